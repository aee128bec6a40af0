import type { RtpCapabilities, RtpParameters } from 'mediasoup/types';
import { VireoError } from '../errors.js';
import type { Participant } from '../rooms/types.js';
import type { SfuWebRtcTransport } from '../sfu/types.js';
import type {
  EventData,
  EventName,
  RequestData,
  ResponseData,
  TransportDescription,
} from '../signaling/messages.js';
import { newId, newSecret } from './ids.js';
import type { PublicationReferences } from './PublicationReferences.js';
import type { PublicationSession } from './PublicationSession.js';
import type { RoomSession } from './RoomSession.js';
import { SubscriptionSession } from './SubscriptionSession.js';

/** The signalling connection that a participant has at the moment. */
export interface ParticipantConnection {
  send<N extends EventName>(name: N, data: EventData[N]): void;
  /** Another connection took the session up, or the session is over. */
  end(): void;
}

/** Requests of one participant once joined, answered with the protocol's response data. */
export type ParticipantRequest = Exclude<keyof ResponseData, 'join' | 'leave'>;

type Direction = RequestData<'createTransport'>['direction'];

const AUDIO_ALLOWANCE_BPS = 64_000;
const UNLIMITED_BPS = 100_000_000;
const REMEMBERED_REMOVALS = 256;

/** One participant: transports, publications, subscriptions. Outlives its signalling connection for a while. */
export class ParticipantSession {
  readonly id: string;
  /** Whoever knows it may take the session up. */
  readonly resumeSecret = newSecret();
  readonly room: RoomSession;
  /** By publication id. */
  readonly subscriptions = new Map<string, SubscriptionSession>();
  /** What the client can receive; null until it has told. */
  rtpCapabilities: RtpCapabilities | null = null;
  readonly #state: Participant;
  readonly #transports: Partial<Record<Direction, SfuWebRtcTransport>> = {};
  readonly #opening = new Map<string, Promise<SubscriptionSession>>();
  /** Told again after a resume: the client may have missed them. */
  readonly #removals: EventData['consumerRemoved'][] = [];
  #connection: ParticipantConnection | null = null;
  #uplinkLimitBps = UNLIMITED_BPS;
  #closed = false;

  /** @throws VireoError `room-full` */
  constructor(room: RoomSession, name: string) {
    this.id = newId();
    this.room = room;
    this.#state = room.room.addParticipant(this.id, name);
  }

  get name(): string {
    return this.#state.name;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get connection(): ParticipantConnection | null {
    return this.#connection;
  }

  attach(connection: ParticipantConnection): void {
    const before = this.#connection;
    this.#connection = connection;
    if (before && before !== connection) before.end();
    this.#setConnected(true);
  }

  /** @returns false when it is not this participant's connection (any more) */
  detach(connection: ParticipantConnection): boolean {
    if (this.#connection !== connection) return false;
    this.#connection = null;
    if (!this.#closed) this.#setConnected(false);
    return true;
  }

  /** Events for a client that is away are dropped: `replay` brings it up to date. */
  send<N extends EventName>(name: N, data: EventData[N]): void {
    if (name === 'consumerRemoved') {
      this.#removals.push(data as EventData['consumerRemoved']);
      if (this.#removals.length > REMEMBERED_REMOVALS) this.#removals.shift();
    }
    this.#connection?.send(name, data);
  }

  /** After a resume: tells again what became of the subscriptions, and of the own publications. */
  replay(): void {
    for (const removal of this.#removals) this.#connection?.send('consumerRemoved', removal);
    for (const subscription of this.subscriptions.values()) subscription.replay();
    for (const publicationId of this.#state.publications.keys()) {
      this.#connection?.send('publicationChanged', this.room.room.describePublication(publicationId));
      this.room.publications.get(publicationId)?.references?.repeatWish();
    }
  }

  setRtpCapabilities({ rtpCapabilities }: RequestData<'setRtpCapabilities'>): Record<string, never> {
    this.rtpCapabilities = rtpCapabilities as RtpCapabilities;
    return {};
  }

  /** A transport of a direction replaces the one before it, and all that ran over that. */
  async createTransport({ direction }: RequestData<'createTransport'>): Promise<TransportDescription> {
    this.#closeTransport(direction);
    const transport = await this.room.router.createWebRtcTransport();
    if (this.#closed) {
      transport.close();
      throw new VireoError('conflict', 'you have left the room');
    }
    this.#transports[direction] = transport;
    if (direction === 'recv') {
      transport.on('downlinkEstimate', (bitrateBps) => this.room.room.setDownlink(this.id, bitrateBps));
    }
    transport.on('state', (state) =>
      this.room.logger.debug({ participantId: this.id, direction, state }, 'transport state'),
    );
    return {
      transportId: transport.id,
      iceParameters: transport.iceParameters,
      iceCandidates: transport.iceCandidates,
      dtlsParameters: transport.dtlsParameters,
    };
  }

  async connectTransport({ transportId, dtlsParameters }: RequestData<'connectTransport'>) {
    const transport = this.#transport(transportId);
    const { role, fingerprints } = dtlsParameters;
    await transport.connect({ dtlsParameters: { fingerprints, ...(role ? { role } : {}) } });
    return {};
  }

  async restartIce({ transportId }: RequestData<'restartIce'>): Promise<ResponseData['restartIce']> {
    const transport = this.#transport(transportId);
    return { iceParameters: await transport.restartIce() };
  }

  async publish(data: RequestData<'publish'>): Promise<ResponseData['publish']> {
    const { kind, source, paused = false, restorable, uplinkBudgetBps } = data;
    const transport = this.#transport(data.transportId);
    if (transport !== this.#transports.send) {
      throw new VireoError('bad-request', 'data.transportId: must be your send transport');
    }
    const { room } = this.room;
    room.assertMayPublish(this.id, kind, source);
    const producer = await transport.produce({
      kind,
      rtpParameters: data.rtpParameters as RtpParameters,
      paused,
    });
    try {
      if (this.#closed || producer.closed)
        throw new VireoError('conflict', 'the transport was closed meanwhile');
      const id = newId();
      const publication = room.addPublication({
        id,
        participantId: this.id,
        kind,
        source,
        paused,
        restorable,
        uplinkBudgetBps,
      });
      this.room.addPublication(publication, producer);
      this.#applyUplinkBudget();
      return { publicationId: id };
    } catch (error) {
      producer.close();
      throw error;
    }
  }

  unpublish({ publicationId }: RequestData<'unpublish'>): Record<string, never> {
    this.#ownPublication(publicationId);
    this.room.removePublication(publicationId);
    this.#applyUplinkBudget();
    return {};
  }

  async updatePublication(data: RequestData<'updatePublication'>): Promise<Record<string, never>> {
    const { publicationId, ...patch } = data;
    const { source, references } = this.#ownPublication(publicationId);
    if (patch.restorable === false) references?.forget({ declined: false });
    if (patch.paused === true) await source.pause();
    if (patch.paused === false) await source.resume();
    if (!this.room.publications.has(publicationId)) return {};
    this.room.room.updatePublication(publicationId, patch);
    this.#applyUplinkBudget();
    this.room.publicationChanged(publicationId);
    return {};
  }

  /** Subscribing again answers with the consumers there are. */
  async subscribe({ publicationId, view }: RequestData<'subscribe'>): Promise<ResponseData['subscribe']> {
    const existing = this.subscriptions.get(publicationId) ?? (await this.#opening.get(publicationId));
    if (existing && !existing.closed) {
      this.room.room.subscribe(this.id, publicationId, view);
      this.room.reconcile();
      return { consumers: existing.describe() };
    }
    const opening = this.#open(publicationId, view);
    this.#opening.set(publicationId, opening);
    try {
      return { consumers: (await opening).describe() };
    } finally {
      this.#opening.delete(publicationId);
    }
  }

  /** The answer to `subscribe` is out. */
  subscribed(publicationId: string): void {
    this.room.reconcile();
    this.subscriptions.get(publicationId)?.announce();
  }

  unsubscribe({ publicationId }: RequestData<'unsubscribe'>): Record<string, never> {
    this.dropSubscription(publicationId);
    this.room.reconcile();
    return {};
  }

  setView({ publicationId, view, pinned }: RequestData<'setView'>): Record<string, never> {
    this.room.room.setView(this.id, publicationId, view, pinned);
    this.room.reconcile();
    return {};
  }

  consumerReady({ consumerId }: RequestData<'consumerReady'>): Record<string, never> {
    this.#handle(consumerId).setReady();
    return {};
  }

  variantShown({ publicationId, variant }: RequestData<'variantShown'>): Record<string, never> {
    this.room.room.setShown(this.id, publicationId, variant);
    this.room.reconcile();
    return {};
  }

  async requestKeyFrame({ consumerId }: RequestData<'requestKeyFrame'>): Promise<Record<string, never>> {
    const { consumer } = this.#handle(consumerId);
    if (consumer.kind === 'video') await consumer.requestKeyFrame();
    return {};
  }

  /** @throws VireoError that names the field */
  beginStill({ publicationId, ...announced }: RequestData<'beginStill'>): ResponseData['beginStill'] {
    return { stillId: this.#referencesOf(publicationId).begin(announced) };
  }

  /** @throws VireoError that names the field */
  stillPart({ stillId, offset, data }: RequestData<'stillPart'>): ResponseData['stillPart'] {
    for (const publicationId of this.#state.publications.keys()) {
      const references = this.room.publications.get(publicationId)?.references;
      if (references?.has(stillId)) return { complete: references.add(stillId, offset, data) };
    }
    throw new VireoError('not-found', `data.stillId: no still ${stillId} is under way`);
  }

  /** @throws VireoError that names the field */
  restStill({ publicationId, stillId, resting }: RequestData<'restStill'>): Record<string, never> {
    this.#referencesOf(publicationId).rest(stillId, resting);
    return {};
  }

  forgetStills({ publicationId }: RequestData<'forgetStills'>): Record<string, never> {
    this.#ownPublication(publicationId).references?.forget({ declined: true });
    return {};
  }

  async transportBytes(): Promise<{ received: number; sent: number }> {
    const total = { received: 0, sent: 0 };
    for (const transport of Object.values(this.#transports)) {
      // A transport that closes while it is asked has nothing to add.
      const stats = await transport.stats().catch(() => null);
      total.received += stats?.bytesReceived ?? 0;
      total.sent += stats?.bytesSent ?? 0;
    }
    return total;
  }

  /** Idempotent. */
  dropSubscription(publicationId: string): void {
    this.subscriptions.get(publicationId)?.close();
    this.subscriptions.delete(publicationId);
    this.room.room.unsubscribe(this.id, publicationId);
  }

  /** Idempotent; `RoomSession.remove` is what takes a participant out. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const subscription of this.subscriptions.values()) subscription.close();
    this.subscriptions.clear();
    for (const transport of Object.values(this.#transports)) transport.close();
    const connection = this.#connection;
    this.#connection = null;
    connection?.end();
  }

  async #open(publicationId: string, view: RequestData<'subscribe'>['view']): Promise<SubscriptionSession> {
    const transport = this.#transports.recv;
    if (!transport || transport.closed) {
      throw new VireoError('conflict', 'create a recv transport before you subscribe');
    }
    const { rtpCapabilities } = this;
    if (!rtpCapabilities) throw new VireoError('conflict', 'setRtpCapabilities before you subscribe');
    const { room, router, logger } = this.room;
    const subscription = room.subscribe(this.id, publicationId, view);
    const publication = this.room.publications.get(publicationId);
    if (!publication)
      throw new VireoError('not-found', `data.publicationId: no publication ${publicationId}`);
    const session = new SubscriptionSession({
      subscription,
      publication,
      router,
      transport,
      rtpCapabilities,
      send: (name, data) => this.send(name, data),
      onChange: () => this.room.reconcile(),
      logger,
    });
    try {
      if (!router.canConsume(publication.source.id, rtpCapabilities)) {
        throw new VireoError('unsupported', 'your rtpCapabilities have no codec for this publication');
      }
      await session.open();
      if (this.#closed || !this.room.publications.has(publicationId) || transport.closed) {
        throw new VireoError('not-found', `publication ${publicationId} ended meanwhile`);
      }
    } catch (error) {
      session.close();
      room.unsubscribe(this.id, publicationId);
      throw error;
    }
    this.subscriptions.set(publicationId, session);
    return session;
  }

  #closeTransport(direction: Direction): void {
    const transport = this.#transports[direction];
    if (!transport) return;
    delete this.#transports[direction];
    if (direction === 'recv') {
      for (const publicationId of [...this.subscriptions.keys()]) this.dropSubscription(publicationId);
    } else {
      for (const publicationId of [...this.#state.publications.keys()])
        this.room.removePublication(publicationId);
    }
    transport.close();
    this.room.reconcile();
  }

  #transport(transportId: string): SfuWebRtcTransport {
    const transport = Object.values(this.#transports).find(({ id }) => id === transportId);
    if (!transport || transport.closed) {
      throw new VireoError('not-found', `data.transportId: you have no transport ${transportId}`);
    }
    return transport;
  }

  #ownPublication(publicationId: string): PublicationSession {
    const session = this.room.publications.get(publicationId);
    if (!session || !this.#state.publications.has(publicationId)) {
      throw new VireoError('not-found', `data.publicationId: you have no publication ${publicationId}`);
    }
    return session;
  }

  #referencesOf(publicationId: string): PublicationReferences {
    const { references, publication } = this.#ownPublication(publicationId);
    if (publication.source !== 'camera') {
      throw new VireoError(
        'bad-request',
        `data.publicationId: only a camera has stills, and this is your ${publication.source}`,
      );
    }
    if (!references) throw new VireoError('unsupported', 'data.publicationId: this relay takes no stills');
    if (publication.restorable === false) {
      throw new VireoError('forbidden', 'data.publicationId: is not to be restored, as you said');
    }
    return references;
  }

  #handle(consumerId: string) {
    for (const subscription of this.subscriptions.values()) {
      const handle = subscription.find(consumerId);
      if (handle) return handle;
    }
    throw new VireoError('not-found', `data.consumerId: you have no consumer ${consumerId}`);
  }

  /** The sender is held (REMB) to the sum of its budgets, as soon as every video has one. */
  #applyUplinkBudget(): void {
    const transport = this.#transports.send;
    if (!transport || transport.closed) return;
    let totalBps = 0;
    for (const { kind, uplinkBudgetBps } of this.#state.publications.values()) {
      totalBps += uplinkBudgetBps ?? (kind === 'audio' ? AUDIO_ALLOWANCE_BPS : UNLIMITED_BPS);
    }
    const limitBps = totalBps === 0 ? UNLIMITED_BPS : Math.min(totalBps, UNLIMITED_BPS);
    if (limitBps === this.#uplinkLimitBps) return;
    this.#uplinkLimitBps = limitBps;
    transport.setMaxIncomingBitrate(limitBps).catch((error: unknown) => {
      if (!transport.closed) this.room.logger.warn({ err: error }, 'uplink budget could not be set');
    });
  }

  #setConnected(connected: boolean): void {
    if (this.#state.connected === connected) return;
    this.room.room.setConnected(this.id, connected);
    this.room.broadcast('participantConnection', { participantId: this.id, connected }, this.id);
  }
}
