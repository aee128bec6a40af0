import { VireoError } from '../errors.js';
import { type I420Picture, i420ByteLength } from '../media/types.js';
import type { BufferPool } from './BufferPool.js';
import type { RunReply } from './inferenceProtocol.js';
import type { Variant } from './manifest.js';
import type { RestorationStream, RestoredBlock } from './types.js';

export interface WorkerStreamOptions {
  variant: Variant;
  width: number;
  height: number;
  pool: BufferPool;
  run: (job: {
    priority: number;
    reset: boolean;
    inputs: ArrayBuffer[];
    outputs: ArrayBuffer[];
  }) => Promise<RunReply>;
  close: () => void;
}

/** A stream of one InferenceDevice. Its state stays in the Worker; only pictures travel. */
export class WorkerStream implements RestorationStream {
  readonly variant: Variant;
  readonly inputWidth: number;
  readonly inputHeight: number;
  readonly outputWidth: number;
  readonly outputHeight: number;
  priority = 0;
  readonly #options: WorkerStreamOptions;
  /** The state is all zeros from the start; a reset before the first block changes nothing. */
  #reset = false;
  #busy = false;
  #closed = false;

  constructor(options: WorkerStreamOptions) {
    this.#options = options;
    this.variant = options.variant;
    this.inputWidth = options.width;
    this.inputHeight = options.height;
    this.outputWidth = options.width * options.variant.scale;
    this.outputHeight = options.height * options.variant.scale;
  }

  async restore(pictures: I420Picture[]): Promise<RestoredBlock> {
    if (this.#closed) throw new VireoError('unavailable', 'the restoration stream is closed');
    if (this.#busy) throw new VireoError('conflict', 'a stream restores one block at a time');
    this.#check(pictures);
    const outputs = pictures.map(() =>
      this.#options.pool.take(i420ByteLength(this.outputWidth, this.outputHeight)),
    );
    const reset = this.#reset;
    this.#reset = false;
    this.#busy = true;
    try {
      const inputs = pictures.map((picture) => picture.buffer);
      const reply = await this.#options.run({ priority: this.priority, reset, inputs, outputs });
      for (const buffer of reply.inputs) this.#options.pool.give(buffer);
      return {
        pictures: pictures.map((picture, index) => ({
          buffer: reply.outputs[index] ?? new ArrayBuffer(0),
          width: this.outputWidth,
          height: this.outputHeight,
          rtpTimestamp90k: picture.rtpTimestamp90k,
          fullRange: picture.fullRange,
        })),
        runMs: reply.runMs,
      };
    } catch (thrown) {
      // The block never ran, or its result is lost: what was asked for still holds for the next one.
      this.#reset ||= reset;
      throw thrown;
    } finally {
      this.#busy = false;
    }
  }

  recycle(buffer: ArrayBuffer): void {
    if (!this.#closed) this.#options.pool.give(buffer);
  }

  allocateInput(): ArrayBuffer {
    return this.#options.pool.take(i420ByteLength(this.inputWidth, this.inputHeight));
  }

  reset(): void {
    this.#reset = true;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#options.close();
  }

  #check(pictures: readonly I420Picture[]): void {
    const { T } = this.variant;
    const [width, height] = [this.inputWidth, this.inputHeight];
    if (pictures.length !== T) {
      throw new VireoError('bad-request', `a block is ${T} pictures, not ${pictures.length}`);
    }
    for (const picture of pictures) {
      const fits =
        picture.width === width &&
        picture.height === height &&
        picture.buffer.byteLength === i420ByteLength(width, height);
      if (!fits) {
        throw new VireoError(
          'bad-request',
          `the stream takes ${width}x${height}, not ${picture.width}x${picture.height} in ${picture.buffer.byteLength} bytes`,
        );
      }
    }
  }
}
