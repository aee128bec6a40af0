import type {
  ConsumerDescription,
  EventData,
  ParticipantDescription,
  PublicationDescription,
  VariantName,
  View,
} from '../../../src/signaling/messages.js';
import { PROTOCOL_VERSION } from '../../../src/signaling/protocolVersion.js';
import type { LocalMedia } from './LocalMedia.js';
import { type Consumer, MediaTransports } from './MediaTransports.js';
import { CallModel, RemoteParticipant, RemotePublication } from './model.js';
import type { JoinOptions } from './options.js';
import { Publisher } from './Publisher.js';
import { References } from './References.js';
import { type AnyEvent, SignalingClient, SignalingError } from './SignalingClient.js';
import { UplinkAdaptation } from './UplinkAdaptation.js';

/** After this long without the relay, the person is told that it may take longer. Attempts go on. */
const LONG_GONE_MS = 60_000;

export interface CallSessionOptions {
  join: JoinOptions;
  media: LocalMedia;
  restorable: boolean;
  /** Whether sharp stills of the camera are sent beside its video. */
  sendStills: boolean;
}

/** One person's call: joins, comes back after a lost connection, follows what others publish. */
export class CallSession {
  readonly model = new CallModel();
  readonly publisher: Publisher;
  readonly references: References;
  readonly adaptation: UplinkAdaptation;
  readonly #options: CallSessionOptions;
  readonly #signaling: SignalingClient;
  readonly #consumers = new Map<
    string,
    { consumer: Consumer; publicationId: string; variant: VariantName }
  >();
  #transports: MediaTransports | null = null;
  #resume: string | undefined;
  #lostAtMs: number | null = null;
  /** Events are handled strictly one after the other: a consumer is set up before its removal is looked at. */
  #queue: Promise<void> = Promise.resolve();
  #closed = false;
  readonly #onPageHide = () => this.#signaling.leaveNow();

  constructor(options: CallSessionOptions) {
    this.#options = options;
    this.model.room.value = options.join.room;
    this.#signaling = new SignalingClient({
      open: () => this.#enqueue(() => this.#join()),
      lost: () => this.#lost(),
      event: (event) => this.#enqueue(() => this.#handle(event)),
    });
    this.publisher = new Publisher({
      media: options.media,
      signaling: this.#signaling,
      uplinkBps: options.join.uplinkBps,
      restorable: options.restorable,
      onError: (slot, thrown) => {
        if (this.#closed || (thrown instanceof SignalingError && thrown.retryable)) return;
        const message = thrown instanceof Error ? thrown.message : String(thrown);
        this.model.notify(`Your ${slot} could not be sent: ${message}`, 'error');
      },
    });
    this.adaptation = new UplinkAdaptation(this.publisher);
    this.references = new References({
      publisher: this.publisher,
      signaling: this.#signaling,
      enabled: options.sendStills,
    });
  }

  start(): void {
    this.model.phase.value = 'joining';
    window.addEventListener('pagehide', this.#onPageHide);
    this.#signaling.connect();
  }

  /** The person's own name. */
  get name(): string {
    return this.#options.join.name;
  }

  get transports(): MediaTransports | null {
    return this.#transports;
  }

  /** Received tracks with the consumer behind each, for statistics. */
  received(): { consumer: Consumer; publicationId: string; variant: VariantName }[] {
    return [...this.#consumers.values()];
  }

  #enqueue(work: () => Promise<void> | void): void {
    this.#queue = this.#queue.then(work).catch((thrown) => {
      if (!this.#closed) console.error('vireo: session', thrown);
    });
  }

  async #join(): Promise<void> {
    let participants: ParticipantDescription[];
    try {
      participants = await this.#joinWithMedia();
    } catch (thrown) {
      const error =
        thrown instanceof SignalingError ? thrown : new SignalingError('internal', String(thrown), false);
      if (error.retryable) return this.#signaling.retry();
      this.#fail(error.code, error.message);
      return;
    }
    this.#signaling.settled();
    this.#lostAtMs = null;
    this.model.phase.value = 'joined';
    this.model.failure.value = null;
    await this.#syncParticipants(participants);
  }

  /** Who is in the room, once media can flow. */
  async #joinWithMedia(): Promise<ParticipantDescription[]> {
    const { room, name, token } = this.#options.join;
    const joined = await this.#signaling.request('join', {
      protocol: PROTOCOL_VERSION,
      room,
      name,
      ...(token ? { token } : {}),
      ...(this.#resume ? { resume: this.#resume } : {}),
    });
    this.#resume = joined.resume;
    this.model.participantId.value = joined.participantId;
    this.model.engine.value = joined.engine;
    this.model.restorer.value = joined.restorer;
    this.references.useLimits(joined.references ?? null);
    if (joined.resumed && this.#transports) {
      await this.#transports.restartIce();
    } else {
      this.#dropMedia();
      this.#transports = await MediaTransports.create(this.#signaling, joined);
      this.publisher.useTransports(this.#transports);
    }
    return joined.participants;
  }

  /** Makes the model equal to what the relay says there is, keeping what lives on. */
  async #syncParticipants(descriptions: ParticipantDescription[]): Promise<void> {
    const others = descriptions.filter(
      ({ participantId }) => participantId !== this.model.participantId.value,
    );
    const kept = new Set(others.map(({ participantId }) => participantId));
    for (const participant of this.model.participants.value) {
      if (!kept.has(participant.id)) this.#removeParticipant(participant.id);
    }
    for (const description of others) {
      const participant =
        this.model.participant(description.participantId) ?? this.#addParticipant(description);
      participant.connected.value = description.connected;
      const published = new Set(description.publications.map(({ publicationId }) => publicationId));
      for (const publication of participant.publications.value) {
        if (!published.has(publication.id)) this.#removePublication(publication.id);
      }
      for (const publication of description.publications) await this.#addPublication(publication);
    }
  }

  async #handle(event: AnyEvent): Promise<void> {
    switch (event.name) {
      case 'participantJoined':
        if (this.model.participant(event.data.participantId)) return;
        this.#addParticipant(event.data);
        this.model.notify(`${event.data.name} joined`);
        for (const publication of event.data.publications) await this.#addPublication(publication);
        return;
      case 'participantLeft': {
        if (event.data.participantId === this.model.participantId.value) {
          // Reconnecting would take the session back from whoever took it up: two pages would fight.
          return this.#fail('conflict', 'this call goes on in another window');
        }
        const participant = this.model.participant(event.data.participantId);
        if (!participant) return;
        this.#removeParticipant(participant.id);
        this.model.notify(
          event.data.reason === 'left'
            ? `${participant.name} left`
            : `${participant.name} lost the connection`,
        );
        return;
      }
      case 'participantConnection': {
        const participant = this.model.participant(event.data.participantId);
        if (participant) participant.connected.value = event.data.connected;
        return;
      }
      case 'publicationAdded':
        return this.#addPublication(event.data);
      case 'publicationChanged': {
        const publication = this.model.publication(event.data.publicationId);
        if (publication) publication.description.value = event.data;
        else this.references.publicationChanged(event.data);
        return;
      }
      case 'publicationRemoved':
        return this.#removePublication(event.data.publicationId);
      case 'consumerAdded':
        return this.#addConsumer(event.data);
      case 'consumerRemoved':
        return this.#removeConsumer(event.data.consumerId);
      case 'variantSelected':
        return this.#selectVariant(event.data);
      case 'activeSpeakers':
        this.model.activeSpeakerIds.value = event.data.participantIds;
        return;
      case 'restorationReport': {
        const publication = this.model.publication(event.data.publicationId);
        if (publication) publication.report.value = event.data.report;
        return;
      }
      case 'stillWanted':
        return this.references.wanted(event.data);
      case 'stillRefused':
        return this.references.refused(event.data);
      case 'draining':
        this.model.notify('The relay is restarting; the call comes back by itself.');
        return;
    }
  }

  #addParticipant(description: ParticipantDescription): RemoteParticipant {
    const participant = new RemoteParticipant(description);
    this.model.participants.value = [...this.model.participants.value, participant];
    return participant;
  }

  #removeParticipant(participantId: string): void {
    const participant = this.model.participant(participantId);
    for (const publication of participant?.publications.value ?? []) this.#removePublication(publication.id);
    this.model.participants.value = this.model.participants.value.filter(({ id }) => id !== participantId);
  }

  async #addPublication(description: PublicationDescription): Promise<void> {
    const participant = this.model.participant(description.participantId);
    if (!participant) return;
    let publication = this.model.publication(description.publicationId);
    if (publication) publication.description.value = description;
    else {
      const view = description.source === 'camera' ? this.#options.join.view : 'original';
      publication = new RemotePublication(description, view);
      participant.publications.value = [...participant.publications.value, publication];
    }
    try {
      const { consumers } = await this.#signaling.request('subscribe', {
        publicationId: publication.id,
        view: publication.wantedView.value,
      });
      for (const consumer of consumers) await this.#addConsumer(consumer);
    } catch (thrown) {
      // Gone again before we asked: its removal is on the way. Anything else is worth a word.
      if (thrown instanceof SignalingError && (thrown.code === 'not-found' || thrown.retryable)) return;
      this.model.notify(
        `${participant.name}'s ${description.source} cannot be received: ${String(thrown)}`,
        'error',
      );
    }
  }

  #removePublication(publicationId: string): void {
    for (const [consumerId, entry] of this.#consumers) {
      if (entry.publicationId === publicationId) this.#removeConsumer(consumerId);
    }
    for (const participant of this.model.participants.value) {
      participant.publications.value = participant.publications.value.filter(
        ({ id }) => id !== publicationId,
      );
    }
  }

  async #addConsumer(description: ConsumerDescription): Promise<void> {
    const publication = this.model.publication(description.publicationId);
    if (!publication || this.#consumers.has(description.consumerId) || !this.#transports) return;
    // Audio and original share a stream, so the browser keeps them in sync. The restored variant has its own:
    // browsers synchronise only one video of a stream.
    const streamId =
      description.variant === 'restored'
        ? `${publication.participantId}-restored`
        : publication.participantId;
    const consumer = await this.#transports.consume(description, streamId);
    this.#consumers.set(description.consumerId, {
      consumer,
      publicationId: publication.id,
      variant: description.variant,
    });
    publication.variants.value = [
      ...publication.variants.value.filter(({ variant }) => variant !== description.variant),
      { consumerId: description.consumerId, variant: description.variant, track: consumer.track },
    ];
    await this.#signaling.request('consumerReady', { consumerId: description.consumerId });
  }

  #removeConsumer(consumerId: string): void {
    const entry = this.#consumers.get(consumerId);
    if (!entry) return;
    this.#consumers.delete(consumerId);
    entry.consumer.close();
    const publication = this.model.publication(entry.publicationId);
    if (publication) {
      publication.variants.value = publication.variants.value.filter(
        (received) => received.consumerId !== consumerId,
      );
    }
  }

  #selectVariant({ publicationId, view, reason }: EventData['variantSelected']): void {
    const publication = this.model.publication(publicationId);
    if (!publication) return;
    publication.selectedView.value = view;
    publication.selectionReason.value = reason;
  }

  async setView(
    publication: RemotePublication,
    view: View,
    pinned = publication.pinned.value,
  ): Promise<void> {
    publication.wantedView.value = view;
    publication.pinned.value = pinned;
    await this.#tell(() =>
      this.#signaling.request('setView', { publicationId: publication.id, view, pinned }),
    );
  }

  /** The tile shows this variant now: its first frame is decoded. */
  async variantShown(publication: RemotePublication, variant: VariantName): Promise<void> {
    await this.#tell(() =>
      this.#signaling.request('variantShown', { publicationId: publication.id, variant }),
    );
  }

  /** Sends something that loses its meaning when the connection is gone. */
  async #tell(send: () => Promise<unknown>): Promise<void> {
    try {
      await send();
    } catch (thrown) {
      if (!(thrown instanceof SignalingError)) throw thrown;
      if (!thrown.retryable && thrown.code !== 'not-found') this.model.notify(thrown.message, 'error');
    }
  }

  #lost(): void {
    if (this.#closed || this.model.phase.value === 'failed') return;
    this.#lostAtMs ??= performance.now();
    this.references.stop();
    this.model.phase.value = this.model.participantId.value ? 'reconnecting' : 'joining';
    const longGone = performance.now() - this.#lostAtMs > LONG_GONE_MS;
    const what = this.model.participantId.value
      ? 'The connection to the relay is lost.'
      : 'The relay does not answer.';
    this.model.failure.value = {
      code: 'unavailable',
      message: longGone
        ? `${what} Still trying. Check your connection, or come back later.`
        : `${what} Trying again…`,
    };
  }

  #fail(code: string, message: string): void {
    this.model.failure.value = { code, message };
    this.model.phase.value = 'failed';
    this.#dropMedia();
    this.#signaling.close();
  }

  #dropMedia(): void {
    for (const consumerId of [...this.#consumers.keys()]) this.#removeConsumer(consumerId);
    this.model.participants.value = [];
    this.#transports?.close();
    this.#transports = null;
    this.publisher.useTransports(null);
  }

  /** Idempotent. */
  async leave(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    window.removeEventListener('pagehide', this.#onPageHide);
    await this.#signaling.request('leave', {}).catch(() => {});
    this.#dropMedia();
    this.references.close();
    this.adaptation.close();
    this.publisher.close();
    this.#signaling.close();
    this.model.phase.value = 'left';
  }
}
