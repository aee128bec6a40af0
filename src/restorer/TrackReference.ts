import { VireoError } from '../errors.js';
import type { I420Picture } from '../media/types.js';
import type { PictureSize } from '../restoration/filters.js';
import type { RestorationStream } from '../restoration/types.js';
import { SharpestPicture } from './SharpestPicture.js';
import type { ReferenceReport, ReferenceStill } from './types.js';

export interface TrackReferenceOptions {
  /** Luma of a coded still in the size of the restored picture; rejects with the reason why it cannot be used. */
  decode: (bytes: Uint8Array, size: PictureSize) => Promise<ArrayBuffer>;
  /** The still is not used, and what was used before it still is. */
  onRefused: (referenceId: string, reason: string) => void;
}

type StreamSize = Pick<RestorationStream, 'outputWidth' | 'outputHeight'>;
type ReferenceStream = StreamSize & Pick<RestorationStream, 'maxReferences' | 'setReferences'>;

interface DecodedStill {
  still: ReferenceStill;
  size: PictureSize;
  /** Null: of another shape than the picture, and of no use at this size. */
  luma: ArrayBuffer | null;
  atMs: number;
}

/** What a stream looks details up in. */
interface Source {
  /** Null: a picture of its own. */
  still: ReferenceStill | null;
  luma: ArrayBuffer;
  /** Since when there has been such a picture. */
  atMs: number;
}

interface InUse {
  stream: ReferenceStream;
  /** Not empty; the first is preferred. */
  sources: Source[];
  sinceMs: number;
  /** Share of the last pictures that was found in them. */
  found: number | null;
  blocks: number;
}

/**
 * Each but the first takes 0.7 ms of a core a picture, and brings 0.1 to 0.15 dB in the mean if it is the stream's own, some hundredths if it is the still before
 * (models/training/README.md, "Two are better than one").
 */
const MOST_SOURCES = 2;
/** So much of the pictures was found in a still of the same scene at least: worth keeping beside the next one, and more than guesses. */
const SAME_SCENE = 0.35;
/** With less a still that served well does not any more. */
const SERVES_WELL_ABOVE = 0.2;
/** Weight of a new picture in what was found of the last ones: about a second of them. */
const FOUND_SHARE = 0.05;
/** Of the stream's own picture so much must be found after this many blocks: looking up costs time, and the scene may be another. */
const OWN_WORTH = 0.2;
const OWN_TRIAL_BLOCKS = 30;
/** While no more than this is found, what is restored is guessed as without; the bundled models take nothing of such a still. */
const SERVES_ABOVE = 0.15;

/**
 * What one track's details are looked up in: the sender's newest still, decoded beside the stream of pictures, and besides, or without one, the stream's
 * own sharpest picture or the still before, whichever is newer. Given to whichever stream restores the track; blocks never wait for it.
 */
export class TrackReference {
  readonly #options: TrackReferenceOptions;
  /** Decoded at least once. */
  #current: ReferenceStill | null = null;
  /** Came since, and is not decoded yet. */
  #next: ReferenceStill | null = null;
  #decoded: DecodedStill | null = null;
  /** The one before, of the same scene. */
  #previous: DecodedStill | null = null;
  #decoding = false;
  /** Of the restored picture; null before the first block. */
  #size: PictureSize | null = null;
  readonly #sharpest = new SharpestPicture();
  #inUse: InUse | null = null;
  #servesWell = false;
  #closed = false;

  constructor(options: TrackReferenceOptions) {
    this.#options = options;
  }

  /** The newest still; null: forget all. */
  set(still: ReferenceStill | null): void {
    if (this.#closed) return;
    if (still === null) {
      this.#servesWell = false;
      this.#current = null;
      this.#decoded = null;
      this.#previous = null;
    }
    this.#next = still;
    this.#decodeMore();
  }

  /** Whether there is something, or will be soon, that pictures received in this size and restored to that could be looked up in. */
  offers(size: StreamSize, receivedPixels: number): boolean {
    return this.#next !== null || this.#sourcesFor(size, receivedPixels, 1).length > 0;
  }

  /** Before each block: the stream gets what it does not have yet, as far as that is decoded; nothing while it is not to look anything up. */
  applyTo(stream: ReferenceStream, receivedPixels: number, looksUp = true): void {
    if (this.#closed) return;
    const { outputWidth: width, outputHeight: height } = stream;
    if (this.#size?.width !== width || this.#size.height !== height) this.#size = { width, height };
    this.#decodeMore();
    if (this.#inUse !== null && this.#inUse.stream !== stream) this.#inUse = null;
    if (stream.maxReferences === 0) return;
    const most = looksUp ? Math.min(MOST_SOURCES, stream.maxReferences) : 0;
    const sources = this.#sourcesFor(stream, receivedPixels, most);
    const before = this.#inUse;
    if (sameSources(sources, before?.sources ?? [])) return;
    // Of the same still the second one may come and go.
    const goesOn = before !== null && before.sources[0]?.luma === sources[0]?.luma;
    const { sinceMs, found } = goesOn ? before : { sinceMs: performance.now(), found: null };
    // While the still in use is decoded for another size, or was forgotten, there is none.
    this.#inUse = sources.length === 0 ? null : { stream, sources, sinceMs, found, blocks: 0 };
    // Copies, for the stream keeps them: the next one needs them, too.
    const lumas = sources.map(({ luma }) => luma.slice(0));
    stream.setReferences(lumas).catch((thrown: unknown) => this.#failed(sources, thrown));
  }

  /** Whether the stream that restores the track has something to look details up in. */
  get used(): boolean {
    return this.#inUse !== null;
  }

  /** Likewise, and finds them there. */
  get serves(): boolean {
    return this.#inUse !== null && (this.#inUse.found ?? 1) > SERVES_ABOVE;
  }

  /** Whether it is a still of the sender in which much is found; for longer than that, once it was. */
  get servesWell(): boolean {
    return this.#servesWell;
  }

  /** After each block: a picture of it, and the share of it that was found in the reference. */
  restored(
    stream: ReferenceStream,
    picture: I420Picture,
    receivedPixels: number,
    found: number | null,
  ): void {
    if (this.#closed) return;
    this.#sharpest.offer(picture, receivedPixels, performance.now());
    const inUse = this.#inUse;
    if (found === null || inUse?.stream !== stream) return;
    const before = inUse.found ?? found;
    inUse.found = before + FOUND_SHARE * (found - before);
    inUse.blocks += 1;
    const isStill = inUse.sources[0]?.still != null;
    this.#servesWell = isStill && inUse.found >= (this.#servesWell ? SERVES_WELL_ABOVE : SAME_SCENE);
    const hasOwn = inUse.sources.some((source) => source.still === null);
    if (hasOwn && inUse.blocks >= OWN_TRIAL_BLOCKS && inUse.found < OWN_WORTH) this.#sharpest.forget();
  }

  report(nowMs: number): ReferenceReport | null {
    if (this.#inUse === null) return null;
    const { sources, sinceMs, found } = this.#inUse;
    return { id: sources[0]?.still?.id ?? null, ageMs: Math.max(0, nowMs - sinceMs), found };
  }

  close(): void {
    this.#closed = true;
    this.#current = null;
    this.#next = null;
    this.#decoded = null;
    this.#previous = null;
    this.#sharpest.forget();
    this.#inUse = null;
  }

  /** Up to so many: the newest still first, and then the newer of the others. */
  #sourcesFor({ outputWidth, outputHeight }: StreamSize, receivedPixels: number, most: number): Source[] {
    const own = this.#sharpest.sharperThan(receivedPixels, outputWidth, outputHeight);
    const others = [this.#sourceOf(this.#previous), own && { still: null, luma: own.luma, atMs: own.atMs }];
    const newestFirst = others.filter((source) => source !== null).sort((a, b) => b.atMs - a.atMs);
    const still = this.#sourceOf(this.#decoded);
    return (still === null ? newestFirst : [still, ...newestFirst]).slice(0, most);
  }

  /** Null: there is none, or not in this size. */
  #sourceOf(decoded: DecodedStill | null): Source | null {
    if (decoded === null || decoded.size !== this.#size || decoded.luma === null) return null;
    return { still: decoded.still, luma: decoded.luma, atMs: decoded.atMs };
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
    if (still === this.#next) {
      this.#next = null;
      const sameScene = (this.#inUse?.found ?? 0) >= SAME_SCENE;
      this.#previous = sameScene ? this.#decoded : null;
    }
    this.#current = still;
    this.#decoded = { still, size, luma, atMs: performance.now() };
  }

  #refuse(still: ReferenceStill, size: PictureSize, thrown: unknown): void {
    if (still === this.#next) {
      this.#next = null;
      this.#options.onRefused(still.id, VireoError.from(thrown).message);
    } else if (still === this.#current) this.#decoded = { still, size, luma: null, atMs: performance.now() };
  }

  /** The last of them is used no more; the others get another try. */
  #failed(sources: readonly Source[], thrown: unknown): void {
    const last = sources.at(-1);
    if (this.#closed || last === undefined || !sameSources(sources, this.#inUse?.sources ?? [])) return;
    this.#inUse = null;
    if (last.still === null) this.#sharpest.forget();
    else if (last.still.id === this.#previous?.still.id) this.#previous = null;
    else {
      this.#servesWell = false;
      this.#current = null;
      this.#decoded = null;
      this.#options.onRefused(last.still.id, VireoError.from(thrown).message);
    }
  }
}

function sameSources(some: readonly Source[], others: readonly Source[]): boolean {
  return some.length === others.length && some.every(({ luma }, at) => luma === others[at]?.luma);
}
