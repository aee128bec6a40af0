import { VireoError } from '../errors.js';
import type { Logger } from '../log.js';
import type { ReferenceStill, TrackReport } from '../restorer/types.js';
import type { ReferenceLimits, StillWantedReason } from '../signaling/messages.js';
import { newId } from './ids.js';
import { type AnnouncedStill, ReferenceInbox } from './ReferenceInbox.js';
import { StillWishes } from './StillWishes.js';

/** What became of the stills that arrived whole, since the relay began. */
export interface StillCounts {
  accepted: number;
  /** By the look at their header or, after that, by the restorer. */
  refused: number;
  /** Of whole stills, accepted or not. */
  bytes: number;
}

export interface PublicationReferencesOptions {
  publicationId: string;
  limits: ReferenceLimits;
  counts: StillCounts;
  /** The sender should send one. */
  onWanted: (reason: StillWantedReason) => void;
  /** `still` is another, or gone. */
  onChanged: () => void;
  /** The restorer could not use the one that the sender sent. */
  onRefused: (stillId: string, reason: string) => void;
  logger: Logger;
  /** Milliseconds of a clock that does not go back; for tests. */
  now?: () => number;
}

/** The sharp stills of one camera: what its sender uploads, what the restorer makes of it, when there should be another. */
export class PublicationReferences {
  readonly #options: PublicationReferencesOptions;
  readonly #inbox: ReferenceInbox;
  readonly #wishes: StillWishes;
  /** The still that rests: its camera does not show what it does. */
  #restingId: string | null = null;
  /** A restored stream began, and nothing was asked for yet. */
  #started = false;

  constructor(options: PublicationReferencesOptions) {
    const { limits, now = () => performance.now() } = options;
    this.#options = options;
    this.#inbox = new ReferenceInbox(limits, now);
    this.#wishes = new StillWishes(limits.minIntervalMs, now);
  }

  /** The newest that is fit for the restorer; null: none, or it rests. */
  get still(): ReferenceStill | null {
    const { still } = this.#inbox;
    return still?.id === this.#restingId ? null : still;
  }

  /** Whether this upload is under way here. */
  has(stillId: string): boolean {
    return this.#inbox.uploadId === stillId;
  }

  /** @returns the still's id @throws VireoError that names the field */
  begin(announced: AnnouncedStill): string {
    const stillId = newId();
    this.#inbox.begin(stillId, announced);
    this.#wishes.begun();
    return stillId;
  }

  /** @returns whether it is whole now @throws VireoError that names the field */
  add(stillId: string, offset: number, data: Uint8Array): boolean {
    const { counts, logger, publicationId, onChanged } = this.#options;
    let still: ReferenceStill | null;
    try {
      still = this.#inbox.add(stillId, offset, data);
    } catch (error) {
      if (VireoError.from(error).code === 'media-invalid') {
        counts.refused++;
        counts.bytes += offset + data.byteLength;
        logger.info({ err: error, publicationId, stillId }, 'still refused');
      }
      throw error;
    }
    if (!still) return false;
    counts.accepted++;
    counts.bytes += still.bytes.byteLength;
    logger.debug({ publicationId, stillId, bytes: still.bytes.byteLength }, 'still accepted');
    this.#wishes.came(still.id);
    onChanged();
    return true;
  }

  /** Takes the newest still out of use, or into use again. @throws VireoError that names the field */
  rest(stillId: string, resting: boolean): void {
    if (this.#inbox.still?.id !== stillId)
      throw new VireoError('not-found', `data.stillId: ${stillId} is not the last still of this publication`);
    const restingId = resting ? stillId : null;
    if (restingId === this.#restingId) return;
    this.#restingId = restingId;
    this.#options.onChanged();
  }

  /** The sender opted out, of stills or of restoration as a whole. */
  forget(options: { declined: boolean }): void {
    this.#inbox.forget();
    if (options.declined) this.#wishes.decline();
    else this.#wishes.forgotten();
    // Even without one here: after a refusal the restorer goes on with the one before.
    this.#options.onChanged();
  }

  /** Called now and then: uploads that nobody goes on with are dropped. */
  expire(): void {
    this.#inbox.expire();
  }

  /** A restored stream began. */
  restorationStarted(): void {
    this.#started = true;
  }

  restorerDied(): void {
    this.#wishes.restorerDied();
  }

  reported({ reference, takesStills }: TrackReport): void {
    // Not before: a still that the model has no use for would only take of the uplink.
    if (this.#started && takesStills) {
      this.#started = false;
      this.#want(this.#wishes.started());
    }
    this.#want(this.#wishes.reported(reference));
  }

  refusedByRestorer(stillId: string, reason: string): void {
    const { counts, logger, publicationId, onRefused } = this.#options;
    counts.refused++;
    logger.info({ publicationId, stillId, reason }, 'still refused by the restorer');
    this.#inbox.forgetStill(stillId);
    this.#wishes.forgotten(stillId);
    onRefused(stillId, reason);
  }

  /** The sender was away and may have missed it. */
  repeatWish(): void {
    const { wanted } = this.#wishes;
    if (wanted) this.#options.onWanted(wanted);
  }

  #want(reason: StillWantedReason | null): void {
    if (reason) this.#options.onWanted(reason);
  }
}
