import { VireoError } from '../errors.js';
import type { I420Picture } from '../media/types.js';
import type { PictureSize } from '../restoration/filters.js';
import type { RestorationStream } from '../restoration/types.js';
import { type KeptPicture, SharpestPicture } from './SharpestPicture.js';
import type { ReferenceReport, ReferenceStill } from './types.js';

export interface TrackReferenceOptions {
  /** Luma of a coded still in the size of the restored picture; rejects with the reason why it cannot be used. */
  decode: (bytes: Uint8Array, size: PictureSize) => Promise<ArrayBuffer>;
  /** The still is not used, and what was used before it still is. */
  onRefused: (referenceId: string, reason: string) => void;
}

type StreamSize = Pick<RestorationStream, 'inputWidth' | 'inputHeight' | 'outputWidth' | 'outputHeight'>;
type ReferenceStream = StreamSize & Pick<RestorationStream, 'takesReferences' | 'setReferences'>;

interface DecodedStill {
  still: ReferenceStill;
  size: PictureSize;
  /** Null: of another shape than the picture, and of no use at this size. */
  luma: ArrayBuffer | null;
}

/** What a stream looks details up in. */
type Source = { still: ReferenceStill } | { own: KeptPicture };

interface InUse {
  stream: ReferenceStream;
  source: Source;
  sinceMs: number;
  /** Share of the last pictures that was found in it. */
  found: number | null;
  blocks: number;
}

/** Weight of a new picture in what was found of the last ones: about a second of them. */
const FOUND_SHARE = 0.05;
/** Of the stream's own picture so much must be found after this many blocks: looking up costs time, and the scene may be another. */
const OWN_WORTH = 0.2;
const OWN_TRIAL_BLOCKS = 30;
/** While no more than this is found, what is restored is guessed as without; the bundled models take nothing of such a still. */
const SERVES_ABOVE = 0.15;

/**
 * What one track's details are looked up in: the sender's still, decoded beside the stream of pictures, or without one the stream's
 * own sharpest picture. Given to whichever stream restores the track; blocks never wait for it.
 */
export class TrackReference {
  readonly #options: TrackReferenceOptions;
  /** Decoded at least once. */
  #current: ReferenceStill | null = null;
  /** Came since, and is not decoded yet. */
  #next: ReferenceStill | null = null;
  #decoded: DecodedStill | null = null;
  #decoding = false;
  /** Of the restored picture; null before the first block. */
  #size: PictureSize | null = null;
  readonly #sharpest = new SharpestPicture();
  #inUse: InUse | null = null;
  #closed = false;

  constructor(options: TrackReferenceOptions) {
    this.#options = options;
  }

  /** The newest still; null: forget all. */
  set(still: ReferenceStill | null): void {
    if (this.#closed) return;
    if (still === null) {
      this.#current = null;
      this.#decoded = null;
    }
    this.#next = still;
    this.#decodeMore();
  }

  /** Whether there is something, or will be soon, that pictures of this size could be looked up in. */
  offers(size: StreamSize): boolean {
    return this.#next !== null || this.#sourceFor(size) !== null;
  }

  /** Before each block: the stream gets what it does not have yet, as far as that is decoded; nothing while it is not to look anything up. */
  applyTo(stream: ReferenceStream, looksUp = true): void {
    if (this.#closed) return;
    const { outputWidth: width, outputHeight: height } = stream;
    if (this.#size?.width !== width || this.#size.height !== height) this.#size = { width, height };
    this.#decodeMore();
    if (this.#inUse !== null && this.#inUse.stream !== stream) this.#inUse = null;
    if (!stream.takesReferences) return;
    const source = looksUp ? this.#sourceFor(stream) : null;
    if (sameSource(source, this.#inUse?.source ?? null)) return;
    // While the still in use is decoded for another size, or was forgotten, there is none.
    this.#inUse = source && { stream, source, sinceMs: performance.now(), found: null, blocks: 0 };
    stream.setReferences(this.#lumas(source)).catch((thrown: unknown) => this.#failed(source, thrown));
  }

  /** Whether the stream that restores the track has something to look details up in. */
  get used(): boolean {
    return this.#inUse !== null;
  }

  /** Likewise, and finds them there. */
  get serves(): boolean {
    return this.#inUse !== null && (this.#inUse.found ?? 1) > SERVES_ABOVE;
  }

  /** After each block: a picture of it, and the share of it that was found in the reference. */
  restored(stream: ReferenceStream, picture: I420Picture, found: number | null): void {
    if (this.#closed) return;
    this.#sharpest.offer(picture, stream.inputWidth * stream.inputHeight, performance.now());
    const inUse = this.#inUse;
    if (found === null || inUse?.stream !== stream) return;
    const before = inUse.found ?? found;
    inUse.found = before + FOUND_SHARE * (found - before);
    inUse.blocks += 1;
    if ('own' in inUse.source && inUse.blocks >= OWN_TRIAL_BLOCKS && inUse.found < OWN_WORTH)
      this.#sharpest.forget();
  }

  report(nowMs: number): ReferenceReport | null {
    if (this.#inUse === null) return null;
    const { source, sinceMs, found } = this.#inUse;
    const id = 'still' in source ? source.still.id : null;
    return { id, ageMs: Math.max(0, nowMs - sinceMs), found };
  }

  close(): void {
    this.#closed = true;
    this.#current = null;
    this.#next = null;
    this.#decoded = null;
    this.#sharpest.forget();
    this.#inUse = null;
  }

  #sourceFor(stream: StreamSize): Source | null {
    const decoded = this.#decoded;
    if (decoded !== null && decoded.size === this.#size && decoded.luma !== null)
      return { still: decoded.still };
    const { inputWidth, inputHeight, outputWidth, outputHeight } = stream;
    const own = this.#sharpest.sharperThan(inputWidth * inputHeight, outputWidth, outputHeight);
    return own && { own };
  }

  /** A copy, for the stream keeps it: the next one needs it, too. */
  #lumas(source: Source | null): ArrayBuffer[] {
    if (source === null) return [];
    const luma = 'own' in source ? source.own.luma : this.#decoded?.luma;
    return luma ? [luma.slice(0)] : [];
  }

  /** One at a time: the newest still, or the present one for a size that it is not decoded for. */
  #decodeMore(): void {
    const size = this.#size;
    if (this.#decoding || size === null) return;
    const still = this.#next ?? (this.#decoded?.size === size ? null : this.#current);
    if (still === null) return;
    this.#decoding = true;
    void this.#options
      .decode(still.bytes, size)
      .then(
        (luma) => this.#keep(still, size, luma),
        (thrown: unknown) => this.#refuse(still, size, thrown),
      )
      .finally(() => {
        this.#decoding = false;
        this.#decodeMore();
      });
  }

  #keep(still: ReferenceStill, size: PictureSize, luma: ArrayBuffer): void {
    // Forgotten, or overtaken, meanwhile.
    if (still !== this.#next && still !== this.#current) return;
    if (still === this.#next) this.#next = null;
    this.#current = still;
    this.#decoded = { still, size, luma };
  }

  #refuse(still: ReferenceStill, size: PictureSize, thrown: unknown): void {
    if (still === this.#next) {
      this.#next = null;
      this.#options.onRefused(still.id, VireoError.from(thrown).message);
    } else if (still === this.#current) this.#decoded = { still, size, luma: null };
  }

  #failed(source: Source | null, thrown: unknown): void {
    if (this.#closed || source === null || !sameSource(source, this.#inUse?.source ?? null)) return;
    this.#inUse = null;
    if ('own' in source) {
      this.#sharpest.forget();
      return;
    }
    this.#current = null;
    this.#decoded = null;
    this.#options.onRefused(source.still.id, VireoError.from(thrown).message);
  }
}

function sameSource(a: Source | null, b: Source | null): boolean {
  if (a === null || b === null) return a === b;
  return 'own' in a ? 'own' in b && a.own === b.own : 'still' in b && a.still.id === b.still.id;
}
