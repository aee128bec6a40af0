import { VireoError } from '../errors.js';
import type { PictureSize } from '../restoration/filters.js';
import type { RestorationStream } from '../restoration/types.js';
import type { ReferenceReport, ReferenceStill } from './types.js';

export interface TrackReferenceOptions {
  /** Luma of a coded still in the size of the restored picture; rejects with the reason why it cannot be used. */
  decode: (bytes: Uint8Array, size: PictureSize) => Promise<ArrayBuffer>;
  /** The still is not used, and what was used before it still is. */
  onRefused: (referenceId: string, reason: string) => void;
}

type ReferenceStream = Pick<
  RestorationStream,
  'outputWidth' | 'outputHeight' | 'takesReferences' | 'setReferences'
>;

interface DecodedStill {
  still: ReferenceStill;
  size: PictureSize;
  /** Null: of another shape than the picture, and of no use at this size. */
  luma: ArrayBuffer | null;
}

/** Weight of a new picture in what was found of the last ones: about a second of them. */
const FOUND_SHARE = 0.05;

/**
 * The still of one track: decoded beside the stream of pictures, and given to whichever stream restores them. Blocks never
 * wait for it.
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
  #inUse: { stream: ReferenceStream; id: string; sinceMs: number; found: number | null } | null = null;
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

  /** Before each block: the stream gets what it does not have yet, as far as that is decoded. */
  applyTo(stream: ReferenceStream): void {
    if (this.#closed) return;
    const { outputWidth: width, outputHeight: height } = stream;
    if (this.#size?.width !== width || this.#size.height !== height) this.#size = { width, height };
    this.#decodeMore();
    if (this.#inUse !== null && this.#inUse.stream !== stream) this.#inUse = null;
    if (!stream.takesReferences) return;
    const decoded = this.#decoded;
    const fits = decoded !== null && decoded.size === this.#size && decoded.luma !== null;
    const id = fits ? decoded.still.id : null;
    if (id === (this.#inUse?.id ?? null)) return;
    // While the still in use is decoded for another size, or was forgotten, there is none.
    this.#inUse = fits ? { stream, id: decoded.still.id, sinceMs: performance.now(), found: null } : null;
    // A copy: the next stream needs it, too.
    const lumas = fits && decoded.luma ? [decoded.luma.slice(0)] : [];
    stream.setReferences(lumas).catch((thrown: unknown) => this.#failed(id, thrown));
  }

  /** After each block: the share of its picture that was found in the still. */
  restored(stream: ReferenceStream, found: number | null): void {
    if (found === null || this.#inUse?.stream !== stream) return;
    const before = this.#inUse.found ?? found;
    this.#inUse.found = before + FOUND_SHARE * (found - before);
  }

  report(nowMs: number): ReferenceReport | null {
    if (this.#inUse === null) return null;
    const { id, sinceMs, found } = this.#inUse;
    return { id, ageMs: Math.max(0, nowMs - sinceMs), found };
  }

  close(): void {
    this.#closed = true;
    this.#current = null;
    this.#next = null;
    this.#decoded = null;
    this.#inUse = null;
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

  #failed(id: string | null, thrown: unknown): void {
    if (this.#closed || id === null || this.#inUse?.id !== id) return;
    this.#inUse = null;
    this.#current = null;
    this.#decoded = null;
    this.#options.onRefused(id, VireoError.from(thrown).message);
  }
}
