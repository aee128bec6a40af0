import type { RtpCapabilities } from 'mediasoup/types';
import type { ReferenceStill, TrackReport } from '../restorer/types.js';
import type { Publication, RestoredAvailability } from '../rooms/types.js';
import type { SfuProducer, SfuRouter } from '../sfu/types.js';
import type { PublicationReferences } from './PublicationReferences.js';
import type { RestorationTarget } from './RestorationController.js';

/** What a publication needs of its room. */
export interface PublicationOwner {
  readonly router: SfuRouter;
  capabilitiesOf(participantIds: readonly string[]): RtpCapabilities[];
  restoredChanged(publicationId: string, availability: RestoredAvailability): void;
  restorationReported(publicationId: string, report: TrackReport): void;
}

/** A publication's media: the original's producer and, while there is one, the restored stream's. */
export class PublicationSession implements RestorationTarget {
  readonly publication: Publication;
  /** Of the original. */
  readonly source: SfuProducer;
  /** Null: this publication takes no stills. */
  readonly references: PublicationReferences | null;
  readonly #owner: PublicationOwner;
  #restored: SfuProducer | null = null;
  #report: TrackReport | null = null;

  constructor(
    publication: Publication,
    source: SfuProducer,
    references: PublicationReferences | null,
    owner: PublicationOwner,
  ) {
    this.publication = publication;
    this.source = source;
    this.references = references;
    this.#owner = owner;
  }

  get publicationId(): string {
    return this.publication.id;
  }

  get router(): SfuRouter {
    return this.#owner.router;
  }

  get restored(): SfuProducer | null {
    return this.#restored;
  }

  get report(): TrackReport | null {
    return this.#report;
  }

  get reference(): ReferenceStill | null {
    return this.references?.still ?? null;
  }

  capabilitiesOf(participantIds: readonly string[]): RtpCapabilities[] {
    return this.#owner.capabilitiesOf(participantIds);
  }

  changed(availability: RestoredAvailability, producer: SfuProducer | null): void {
    const began = producer !== null && this.#restored === null;
    this.#restored = producer;
    if (!producer) this.#report = null;
    this.#owner.restoredChanged(this.publicationId, availability);
    if (availability.reason === 'restorer-down') this.references?.restorerDied();
    if (began) this.references?.restorationStarted();
  }

  reported(report: TrackReport): void {
    this.#report = report;
    this.#owner.restorationReported(this.publicationId, report);
    this.references?.reported(report);
  }

  referenceRefused(referenceId: string, reason: string): void {
    this.references?.refusedByRestorer(referenceId, reason);
  }
}
