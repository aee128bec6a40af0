import type { RtpCapabilities } from 'mediasoup/types';
import type { Config } from '../config/schema.js';
import { VireoError } from '../errors.js';
import type { Logger } from '../log.js';
import type { Restorer, TrackReport } from '../restorer/types.js';
import type { RoomPolicy } from '../rooms/types.js';
import type { SfuCounts, SfuEngine } from '../sfu/types.js';
import type { ReferenceLimits, ResponseData } from '../signaling/messages.js';
import { PROTOCOL_VERSION } from '../signaling/protocolVersion.js';
import { type ParticipantConnection, ParticipantSession } from './ParticipantSession.js';
import type { StillCounts } from './PublicationReferences.js';
import { RestorationController } from './RestorationController.js';
import { RoomSession } from './RoomSession.js';

export interface RelayOptions {
  config: Config;
  /** Called at the start, and again when an engine died. */
  createEngine: () => Promise<SfuEngine>;
  logger: Logger;
}

export interface JoinOptions {
  protocol: number;
  room: string;
  name: string;
  rtpCapabilities?: RtpCapabilities | undefined;
  resume?: string | undefined;
  iceServers: ResponseData['join']['iceServers'];
}

export interface Joined {
  participant: ParticipantSession;
  response: ResponseData['join'];
}

/** What /metrics and the tests read. */
export interface RelaySnapshot {
  rooms: number;
  participants: number;
  participantsConnected: number;
  publications: { audio: number; video: number };
  consumers: { original: number; restored: number };
  restored: TrackReport[];
  stills: Readonly<StillCounts>;
  engine: SfuCounts | null;
}

/** A part of a still fits into one packet, with what goes around it. */
const STILL_PART_BYTES = 1_200;
const FIRST_ENGINE_RETRY_MS = 500;
const LAST_ENGINE_RETRY_MS = 15_000;

/** Rooms on an engine, restored by a restorer: everything between signalling and media. */
export class Relay {
  readonly #config: Config;
  readonly #options: RelayOptions;
  readonly #logger: Logger;
  readonly #policy: RoomPolicy;
  readonly #restoration: RestorationController | null;
  /** Null: no stills are taken. */
  readonly #referenceLimits: ReferenceLimits | null;
  readonly #stillCounts: StillCounts = { accepted: 0, refused: 0, bytes: 0 };
  readonly #rooms = new Map<string, RoomSession>();
  readonly #sessions = new Map<string, ParticipantSession>();
  readonly #graceTimers = new Map<ParticipantSession, NodeJS.Timeout>();
  #engine: SfuEngine | null = null;
  #retryTimer: NodeJS.Timeout | null = null;
  #draining = false;
  #closed = false;

  /** Resolves once the engine is up. @throws what the engine's start throws */
  static async create(options: RelayOptions): Promise<Relay> {
    const relay = new Relay(options);
    relay.#useEngine(await options.createEngine());
    return relay;
  }

  private constructor(options: RelayOptions) {
    const { config, logger } = options;
    const { restoration, references, limits, rtc } = config;
    this.#options = options;
    this.#config = config;
    this.#logger = logger;
    const enabled = restoration.enabled && restoration.maxTracks > 0;
    this.#policy = {
      restorationEnabled: enabled,
      maxRestoredBitrateBps: restoration.maxBitrateBps,
      initialDownlinkBps: rtc.initialDownlinkBps,
      maxParticipants: limits.participantsPerRoom,
      maxPublicationsPerParticipant: limits.publicationsPerParticipant,
    };
    this.#restoration = enabled ? new RestorationController(restoration, logger) : null;
    const { uplinkShare, maxBytes, maxSide, minIntervalMs } = references;
    const partBytes = Math.min(STILL_PART_BYTES, limits.messageBytes);
    this.#referenceLimits =
      enabled && references.enabled && uplinkShare > 0
        ? { uplinkShare, maxBytes, maxSide, minIntervalMs, partBytes }
        : null;
  }

  get engine(): SfuEngine | null {
    return this.#engine;
  }

  get restorer(): Restorer | null {
    return this.#restoration?.restorer ?? null;
  }

  /** Whether this relay restores at all, its restorer up or not. */
  get restorationEnabled(): boolean {
    return this.#restoration !== null;
  }

  get draining(): boolean {
    return this.#draining;
  }

  get rooms(): ReadonlyMap<string, RoomSession> {
    return this.#rooms;
  }

  /** From here on tracks can be restored. The restorer stays its creator's to close. */
  attachRestorer(restorer: Restorer): void {
    this.#restoration?.attach(restorer);
  }

  /**
   * Takes a participant into a room, or an earlier session up again. The connection is attached, and the
   * answer made, in one step: events that come after it are all the client has to follow.
   */
  async join(options: JoinOptions, connection: ParticipantConnection): Promise<Joined> {
    if (options.protocol !== PROTOCOL_VERSION) {
      throw new VireoError(
        'unsupported',
        `data.protocol: this relay speaks version ${PROTOCOL_VERSION}, not ${options.protocol}; reload the page`,
      );
    }
    if (this.#draining) throw new VireoError('draining', 'the relay is shutting down; try another or later');
    const resumed = this.#resumable(options);
    if (resumed) {
      if (options.rtpCapabilities) resumed.rtpCapabilities = options.rtpCapabilities;
      this.#stopGrace(resumed);
      resumed.attach(connection);
      return { participant: resumed, response: this.#describeJoin(resumed, options, true) };
    }
    const room = this.#openRoom(options.room);
    const participant = await room.join(() => new ParticipantSession(room, options.name));
    if (options.rtpCapabilities) participant.rtpCapabilities = options.rtpCapabilities;
    if (participant.closed) throw new VireoError('unavailable', 'the room was closed; join again');
    this.#sessions.set(participant.resumeSecret, participant);
    participant.attach(connection);
    return { participant, response: this.#describeJoin(participant, options, false) };
  }

  /** The connection is gone without a `leave`: the session is kept for the grace period. */
  disconnected(participant: ParticipantSession, connection: ParticipantConnection): void {
    if (!participant.detach(connection) || participant.closed) return;
    const graceMs = this.#config.limits.sessionGraceMs;
    const timer = setTimeout(() => this.#remove(participant, 'gone'), graceMs);
    timer.unref();
    this.#graceTimers.set(participant, timer);
  }

  /** Idempotent. */
  leave(participant: ParticipantSession): void {
    this.#remove(participant, 'left');
  }

  /** No more joins; everyone is told. */
  drain(graceMs: number): void {
    if (this.#draining) return;
    this.#draining = true;
    for (const room of this.#rooms.values()) room.broadcast('draining', { graceMs });
  }

  snapshot(): RelaySnapshot {
    const snapshot: RelaySnapshot = {
      rooms: this.#rooms.size,
      participants: 0,
      participantsConnected: 0,
      publications: { audio: 0, video: 0 },
      consumers: { original: 0, restored: 0 },
      restored: this.#restoration?.tracks.flatMap(({ report }) => report ?? []) ?? [],
      stills: { ...this.#stillCounts },
      engine: this.#engine?.counts() ?? null,
    };
    for (const room of this.#rooms.values()) {
      for (const { publication } of room.publications.values()) snapshot.publications[publication.kind]++;
      for (const participant of room.participants.values()) {
        snapshot.participants++;
        if (participant.connection) snapshot.participantsConnected++;
        for (const { consumers } of participant.subscriptions.values()) {
          for (const { variant } of consumers) snapshot.consumers[variant]++;
        }
      }
    }
    return snapshot;
  }

  /** What went over the transports of everyone who is here now. */
  async transportBytes(): Promise<{ received: number; sent: number }> {
    const participants = [...this.#rooms.values()].flatMap((room) => [...room.participants.values()]);
    const each = await Promise.all(participants.map((participant) => participant.transportBytes()));
    return {
      received: each.reduce((sum, { received }) => sum + received, 0),
      sent: each.reduce((sum, { sent }) => sum + sent, 0),
    };
  }

  /** Idempotent. Closes rooms and engine. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#draining = true;
    if (this.#retryTimer) clearTimeout(this.#retryTimer);
    this.#closeRooms();
    this.#restoration?.close();
    await this.#engine?.close();
    this.#engine = null;
  }

  #resumable({ resume, room }: JoinOptions): ParticipantSession | null {
    const session = resume === undefined ? undefined : this.#sessions.get(resume);
    return session && !session.closed && session.room.name === room ? session : null;
  }

  #openRoom(name: string): RoomSession {
    const existing = this.#rooms.get(name);
    if (existing) return existing;
    const engine = this.#engine;
    if (!engine) throw new VireoError('unavailable', 'the media engine is restarting; try again in a moment');
    const { rooms } = this.#config.limits;
    if (this.#rooms.size >= rooms) throw new VireoError('limit-reached', `all ${rooms} rooms are taken`);
    const room = new RoomSession({
      name,
      engine,
      policy: this.#policy,
      restoration: this.#restoration,
      references: this.#referenceLimits && { limits: this.#referenceLimits, counts: this.#stillCounts },
      onClose: (closed) => this.#onRoomClosed(closed),
      logger: this.#logger,
    });
    this.#rooms.set(name, room);
    return room;
  }

  #onRoomClosed(room: RoomSession): void {
    if (this.#rooms.get(room.name) === room) this.#rooms.delete(room.name);
    for (const session of this.#sessions.values()) {
      if (session.room !== room) continue;
      this.#stopGrace(session);
      this.#sessions.delete(session.resumeSecret);
    }
  }

  #remove(participant: ParticipantSession, reason: 'left' | 'gone' | 'kicked'): void {
    this.#stopGrace(participant);
    this.#sessions.delete(participant.resumeSecret);
    participant.room.remove(participant.id, reason);
  }

  #stopGrace(participant: ParticipantSession): void {
    clearTimeout(this.#graceTimers.get(participant));
    this.#graceTimers.delete(participant);
  }

  #describeJoin(
    participant: ParticipantSession,
    options: JoinOptions,
    resumed: boolean,
  ): ResponseData['join'] {
    const { room } = participant;
    const info = this.restorer?.info;
    return {
      participantId: participant.id,
      resume: participant.resumeSecret,
      resumed,
      room: room.name,
      routerRtpCapabilities: room.router.rtpCapabilities,
      iceServers: options.iceServers,
      participants: room.room.describe().filter(({ participantId }) => participantId !== participant.id),
      engine: this.#engine?.kind ?? 'none',
      restorer: this.#restoration
        ? { model: info?.models[0]?.name ?? null, provider: info?.provider ?? null }
        : null,
      sessionGraceMs: this.#config.limits.sessionGraceMs,
      references: this.#referenceLimits,
    };
  }

  #useEngine(engine: SfuEngine): void {
    this.#engine = engine;
    engine.once('died', (error) => {
      if (this.#closed || this.#engine !== engine) return;
      this.#logger.error({ err: error }, 'the media engine died; starting it again');
      this.#engine = null;
      // Clients whose connection is cut come back by themselves, and find a new room.
      this.#closeRooms();
      engine.close().catch(() => {});
      this.#restartEngine(FIRST_ENGINE_RETRY_MS);
    });
  }

  #restartEngine(delayMs: number): void {
    if (this.#closed) return;
    this.#retryTimer = setTimeout(() => {
      this.#options.createEngine().then(
        (engine) => {
          if (this.#closed) void engine.close();
          else this.#useEngine(engine);
        },
        (error: unknown) => {
          this.#logger.error({ err: error }, 'the media engine does not start');
          this.#restartEngine(Math.min(delayMs * 2, LAST_ENGINE_RETRY_MS));
        },
      );
    }, delayMs);
  }

  #closeRooms(): void {
    for (const room of [...this.#rooms.values()]) room.close();
  }
}
