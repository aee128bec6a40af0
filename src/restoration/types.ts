/**
 * Restoration as the rest of Vireo sees it: a device with warmed-up sessions, and one stream with carried
 * state per video track. Nothing here knows RTP or codecs.
 */
import type { VireoError } from '../errors.js';
import type { I420Picture } from '../media/types.js';
import type { Manifest, Variant } from './manifest.js';

export type ProviderName = 'cpu' | 'webgpu' | 'cuda' | 'tensorrt';

/** A model package whose files were read and whose checksums matched. */
export interface ModelPackage {
  readonly directory: string;
  readonly manifest: Manifest;
  /** Bytes of each variant's ONNX file, by file name. */
  readonly files: ReadonlyMap<string, Uint8Array>;
}

export interface DeviceOptions {
  provider: 'auto' | ProviderName;
  /** Threads of a CPU session; 0: all cores. */
  threads: number;
  /** Packages to load and warm up, the top of the load ladder first. */
  packages: readonly ModelPackage[];
  /** Input sizes (luma width × height) to warm up for each variant. */
  warmUpSizes: readonly { scale: 1 | 2 | 4; width: number; height: number }[];
  /** Loads what the variants need for stills, too, where they take any. False unless given. */
  references?: boolean;
}

/** Most pictures in one block: what a caller may hand over, and be without, at a time. */
export const MAX_BLOCK_PICTURES = 32;

/** One Worker with ONNX sessions on one device. `session.run()` never happens outside of it. */
export interface InferenceDevice {
  readonly provider: ProviderName;
  /** One line for each provider that `auto` tried before and why it was not taken. */
  readonly providerNotes: readonly string[];
  /** Opens a stream with a state of its own, all zeros. Width and height are the variant's input size. */
  openStream(options: {
    packageName: string;
    variant: Variant;
    width: number;
    height: number;
  }): Promise<RestorationStream>;
  /** Resolves once the Worker is gone: to the reason when it died by itself, to null after `close`. */
  readonly exited: Promise<VireoError | null>;
  /** Rejects everything in flight, ends the Worker. Idempotent. */
  close(): Promise<void>;
}

/** A picture to restore, and what of it is lost. */
export interface InputPicture extends I420Picture {
  /**
   * One byte for each luma pixel, row by row: 0 as decoded, 255 lost. Only for variants with a mask input; left
   * out: nothing is lost. Owned and transferred like the picture's buffer.
   */
  mask?: ArrayBuffer;
  /**
   * Of a call whose key frames are mended: whether it is one, or one was left out since the picture before. What a key frame on a thin uplink lacks is taken from the
   * pictures before it, where nothing moved (PulseMender). Left out: nothing is taken, nor remembered.
   */
  afterKeyFrame?: boolean;
}

export interface RestoredBlock {
  pictures: I420Picture[];
  /** Time in `session.run()`, milliseconds, for the block. */
  runMs: number;
  /** Share of the last picture that was found in the stream's still, 0 to 1; null without one. */
  found: number | null;
}

export interface RestorationStream {
  readonly variant: Variant;
  readonly inputWidth: number;
  readonly inputHeight: number;
  readonly outputWidth: number;
  readonly outputHeight: number;
  /** Blocks of streams with a higher one go first; 0 unless set. Applies from the next block on. */
  priority: number;
  /**
   * How much of the restoration is applied, from 0 (the plain enlarging) to 1 (all of it, and what it is unless
   * set). Applies from the next block on. Setting it throws `bad-request` outside of that range, and
   * `unsupported` below 1 where the variant has no strength input.
   */
  strength: number;
  /**
   * Restores one block: a multiple of `variant.T` pictures, MAX_BLOCK_PICTURES at most, which the Worker runs T at
   * a time with the state carried from run to run; how a stream is split into blocks changes no byte of it.
   * Takes ownership of the pictures' buffers (they are transferred to the Worker); hands out pictures whose
   * buffers the caller owns and gives back with `recycle`. One block at a time per stream; blocks of different
   * streams interleave. A block that is refused (`bad-request`, `unsupported`) stays the caller's.
   */
  restore(pictures: InputPicture[]): Promise<RestoredBlock>;
  /** Gives buffers back to the pool that `allocateInput` and the outputs come from. */
  recycle(buffer: ArrayBuffer): void;
  /** A buffer of the input size from the pool, or a new one. */
  allocateInput(): ArrayBuffer;
  /** A buffer for the mask of one picture, from the pool or new; what it holds is left from before. */
  allocateMask(): ArrayBuffer;
  /** How many stills `setReferences` takes; 0: the variant takes none, or the device was not told to load what it needs. */
  readonly maxReferences: number;
  /**
   * Sharp stills of the same scene, for the blocks that are handed over from now on: outputWidth * outputHeight bytes
   * of limited-range luma each, transferred to the Worker; up to `maxReferences`, or none any more. Of equals the first is preferred.
   * They take the place of those before; a `reset` leaves them. Rejects with `unsupported` or `bad-request`; then those
   * before stay.
   */
  setReferences(lumas: ArrayBuffer[]): Promise<void>;
  /** The next block starts from an all-zero state (resolution change, seek, decoder reset). */
  reset(): void;
  /** Idempotent. */
  close(): void;
}
