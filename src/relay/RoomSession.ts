import type { RtpCapabilities } from 'mediasoup/types';
import { VireoError } from '../errors.js';
import type { Logger } from '../log.js';
import type { TrackReport } from '../restorer/types.js';
import { ActiveSpeakers } from '../rooms/ActiveSpeakers.js';
import { Room } from '../rooms/Room.js';
import type { Publication, RestoredAvailability, RoomPolicy } from '../rooms/types.js';
import type { AudioLevel, SfuEngine, SfuProducer, SfuRouter } from '../sfu/types.js';
import type { EventData, EventName, ReferenceLimits } from '../signaling/messages.js';
import type { ParticipantSession } from './ParticipantSession.js';
import { PublicationReferences, type StillCounts } from './PublicationReferences.js';
import { type PublicationOwner, PublicationSession } from './PublicationSession.js';
import type { RestorationController } from './RestorationController.js';

export interface RoomSessionOptions {
  name: string;
  engine: SfuEngine;
  policy: RoomPolicy;
  /** Null: a plain relay. */
  restoration: RestorationController | null;
  /** Null: no stills are taken. */
  references: { limits: ReferenceLimits; counts: StillCounts } | null;
  onClose: (room: RoomSession) => void;
  logger: Logger;
}

/** Downlink estimates, trials of thin ones, and unfinished stills are looked at this often. */
const TICK_MS = 1_000;

/** A room with its router: makes what `Room` decides so, and tells everyone. */
export class RoomSession implements PublicationOwner {
  readonly room: Room;
  readonly createdAt = new Date();
  readonly logger: Logger;
  readonly participants = new Map<string, ParticipantSession>();
  readonly publications = new Map<string, PublicationSession>();
  readonly #options: RoomSessionOptions;
  readonly #speakers = new ActiveSpeakers();
  readonly #ready: Promise<void>;
  readonly #timer: NodeJS.Timeout;
  #router: SfuRouter | null = null;
  #closed = false;
  /** Joins under way: they keep an empty room open. */
  #pendingJoins = 0;

  constructor(options: RoomSessionOptions) {
    this.#options = options;
    this.room = new Room(options.name, options.policy);
    this.logger = options.logger.child({ room: options.name });
    this.#ready = this.#createRouter();
    // A room that never comes up is every joiner's error, and nobody's unhandled rejection.
    this.#ready.catch(() => this.close());
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#timer.unref();
  }

  get name(): string {
    return this.room.name;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get router(): SfuRouter {
    if (!this.#router) throw new VireoError('unavailable', 'the room is not up yet');
    return this.#router;
  }

  /** Waits for the router, then admits. Joins that come at the same time share one router. */
  async join(admit: () => ParticipantSession): Promise<ParticipantSession> {
    this.#pendingJoins++;
    try {
      await this.#ready;
      if (this.#closed) throw new VireoError('unavailable', 'the room was closed; join again');
      const participant = admit();
      this.participants.set(participant.id, participant);
      this.broadcast('participantJoined', this.room.describeParticipant(participant.id), participant.id);
      return participant;
    } finally {
      this.#pendingJoins--;
      this.closeIfEmpty();
    }
  }

  /** Idempotent. */
  remove(participantId: string, reason: 'left' | 'gone' | 'kicked'): void {
    const participant = this.participants.get(participantId);
    if (!participant) return;
    this.participants.delete(participantId);
    participant.close();
    for (const publicationId of [...this.room.participant(participantId).publications.keys()]) {
      this.removePublication(publicationId);
    }
    this.room.removeParticipant(participantId);
    this.#speakers.remove(participantId);
    this.broadcast('participantLeft', { participantId, reason });
    this.reconcile();
    this.closeIfEmpty();
  }

  addPublication(publication: Publication, source: SfuProducer): void {
    const { id: publicationId, participantId } = publication;
    const session = new PublicationSession(publication, source, this.#referencesOf(publication), this);
    this.publications.set(publicationId, session);
    source.once('close', () => this.removePublication(publicationId));
    this.broadcast('publicationAdded', this.room.describePublication(publicationId), participantId);
  }

  /** Idempotent. */
  removePublication(publicationId: string): void {
    const session = this.publications.get(publicationId);
    if (!session) return;
    this.publications.delete(publicationId);
    this.#options.restoration?.remove(publicationId);
    const { participantId } = session.publication;
    for (const participant of this.participants.values()) participant.dropSubscription(publicationId);
    this.room.removePublication(publicationId);
    session.source.close();
    this.broadcast('publicationRemoved', { publicationId, participantId });
    this.reconcile();
  }

  /** The publication is described differently than before. */
  publicationChanged(publicationId: string): void {
    this.broadcast('publicationChanged', this.room.describePublication(publicationId));
    this.reconcile();
  }

  capabilitiesOf(participantIds: readonly string[]): RtpCapabilities[] {
    return participantIds.flatMap((id) => this.participants.get(id)?.rtpCapabilities ?? []);
  }

  restoredChanged(publicationId: string, availability: RestoredAvailability): void {
    if (this.#closed || !this.publications.has(publicationId)) return;
    const news = this.room.setRestored(publicationId, availability);
    // The variant first: a subscriber whose restored picture died has to be back on the original at once.
    this.reconcile();
    if (news) this.broadcast('publicationChanged', this.room.describePublication(publicationId));
  }

  restorationReported(publicationId: string, report: TrackReport): void {
    for (const participant of this.participants.values()) {
      if (participant.subscriptions.has(publicationId)) {
        participant.send('restorationReport', { publicationId, report });
      }
    }
  }

  broadcast<N extends EventName>(name: N, data: EventData[N], exceptId?: string): void {
    for (const participant of this.participants.values()) {
      if (participant.id !== exceptId) participant.send(name, data);
    }
  }

  /** Decides anew and makes it so. Cheap when nothing changed. */
  reconcile(): void {
    if (this.#closed) return;
    const { subscriptions, demands } = this.room.decide(Date.now());
    for (const { subscription } of subscriptions) {
      this.participants
        .get(subscription.participantId)
        ?.subscriptions.get(subscription.publication.id)
        ?.apply();
    }
    const { restoration } = this.#options;
    if (!restoration) return;
    for (const demand of demands) {
      const publication = this.publications.get(demand.publicationId);
      if (publication) restoration.setDemand(publication, demand);
    }
  }

  closeIfEmpty(): void {
    if (this.participants.size === 0 && this.#pendingJoins === 0) this.close();
  }

  /** Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    for (const publicationId of this.publications.keys()) this.#options.restoration?.remove(publicationId);
    for (const participant of this.participants.values()) participant.close();
    this.participants.clear();
    this.publications.clear();
    this.#router?.close();
    this.#options.onClose(this);
  }

  #tick(): void {
    for (const { references } of this.publications.values()) references?.expire();
    this.reconcile();
  }

  /** Cameras only: a screen's picture changes as a whole. */
  #referencesOf({ id: publicationId, participantId, source }: Publication): PublicationReferences | null {
    const { references, restoration } = this.#options;
    if (!references || source !== 'camera') return null;
    const publisher = () => this.participants.get(participantId);
    return new PublicationReferences({
      publicationId,
      ...references,
      onWanted: (reason) => publisher()?.send('stillWanted', { publicationId, reason }),
      onChanged: () => restoration?.referenceChanged(publicationId),
      onRefused: (stillId, reason) => publisher()?.send('stillRefused', { publicationId, stillId, reason }),
      logger: this.logger,
    });
  }

  async #createRouter(): Promise<void> {
    const router = await this.#options.engine.createRouter();
    if (this.#closed) {
      router.close();
      return;
    }
    this.#router = router;
    router.on('audioLevels', (levels) => this.#onAudioLevels(levels));
    router.once('close', () => this.close());
  }

  #onAudioLevels(levels: AudioLevel[]): void {
    const byProducer = new Map<string, string>();
    for (const { source, publication } of this.publications.values()) {
      if (publication.source === 'microphone') byProducer.set(source.id, publication.participantId);
    }
    const heard = levels.flatMap(({ producerId, volumeDbov }) => {
      const participantId = byProducer.get(producerId);
      return participantId === undefined ? [] : [{ participantId, volumeDbov }];
    });
    const changed = this.#speakers.update(Date.now(), heard);
    if (!changed) return;
    this.room.setSpeakers(changed);
    this.broadcast('activeSpeakers', { participantIds: [...changed] });
    this.reconcile();
  }
}
