import { VireoError } from '../errors.js';
import { i420ByteLength } from '../media/types.js';
import type { BufferPool } from './BufferPool.js';
import type { RunReply, RunRequest } from './inferenceProtocol.js';
import type { Variant } from './manifest.js';
import {
  type InputPicture,
  MAX_BLOCK_PICTURES,
  type RestorationStream,
  type RestoredBlock,
} from './types.js';

/** What a stream asks its device for. */
export interface RunOrder
  extends Pick<RunRequest, 'reset' | 'strength' | 'inputs' | 'outputs' | 'masks' | 'afterKeyFrames'> {
  priority: number;
  /** How often the model runs for it. */
  runs: number;
}

export interface WorkerStreamOptions {
  packageName: string;
  variant: Variant;
  width: number;
  height: number;
  pool: BufferPool;
  maxReferences: number;
  refer: (lumas: ArrayBuffer[]) => Promise<void>;
  run: (order: RunOrder) => Promise<RunReply>;
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
  #strength = 1;
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

  get strength(): number {
    return this.#strength;
  }

  set strength(strength: number) {
    if (typeof strength !== 'number' || !(strength >= 0 && strength <= 1)) {
      throw new VireoError('bad-request', `strength is a number from 0 to 1, not ${String(strength)}`);
    }
    if (strength !== 1 && this.variant.strength === undefined) throw this.#lacks('strength');
    this.#strength = strength;
  }

  async restore(pictures: InputPicture[]): Promise<RestoredBlock> {
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
      const reply = await this.#options.run({
        priority: this.priority,
        runs: pictures.length / this.variant.T,
        reset,
        strength: this.#strength,
        inputs: pictures.map((picture) => picture.buffer),
        outputs,
        masks: pictures.map((picture) => picture.mask ?? null),
        afterKeyFrames: pictures.some(({ afterKeyFrame }) => afterKeyFrame !== undefined)
          ? pictures.map(({ afterKeyFrame }) => afterKeyFrame === true)
          : null,
      });
      for (const buffer of [...reply.inputs, ...reply.masks]) {
        if (buffer !== null) this.#options.pool.give(buffer);
      }
      return {
        pictures: pictures.map((picture, index) => ({
          buffer: reply.outputs[index] ?? new ArrayBuffer(0),
          width: this.outputWidth,
          height: this.outputHeight,
          rtpTimestamp90k: picture.rtpTimestamp90k,
          fullRange: picture.fullRange,
        })),
        runMs: reply.runMs,
        found: reply.found,
      };
    } catch (thrown) {
      // The block never ran, or its result is lost: what was asked for still holds for the next one.
      this.#reset ||= reset;
      throw thrown;
    } finally {
      this.#busy = false;
    }
  }

  get maxReferences(): number {
    return this.#options.maxReferences;
  }

  async setReferences(lumas: ArrayBuffer[]): Promise<void> {
    if (this.#closed) throw new VireoError('unavailable', 'the restoration stream is closed');
    const max = this.maxReferences;
    if (max === 0) throw this.#lacks('still');
    if (lumas.length > max) throw new VireoError('bad-request', `${max} stills at most, not ${lumas.length}`);
    const [width, height] = [this.outputWidth, this.outputHeight];
    const wrong = lumas.find(({ byteLength }) => byteLength !== width * height);
    if (wrong !== undefined) {
      throw new VireoError(
        'bad-request',
        `a still for ${width}x${height} is ${width * height} bytes, not ${wrong.byteLength}`,
      );
    }
    if (new Set(lumas).size < lumas.length) {
      throw new VireoError('bad-request', 'two stills share a buffer');
    }
    await this.#options.refer(lumas);
  }

  recycle(buffer: ArrayBuffer): void {
    if (!this.#closed) this.#options.pool.give(buffer);
  }

  allocateInput(): ArrayBuffer {
    return this.#options.pool.take(i420ByteLength(this.inputWidth, this.inputHeight));
  }

  allocateMask(): ArrayBuffer {
    return this.#options.pool.take(this.inputWidth * this.inputHeight);
  }

  reset(): void {
    this.#reset = true;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#options.close();
  }

  #check(pictures: readonly InputPicture[]): void {
    const { T } = this.variant;
    const most = Math.floor(MAX_BLOCK_PICTURES / T) * T;
    if (pictures.length === 0 || pictures.length % T !== 0 || pictures.length > most) {
      const several = T === 1 ? '' : ` in multiples of ${T}`;
      throw new VireoError(
        'bad-request',
        `a block is ${T} to ${most} pictures${several}, not ${pictures.length}`,
      );
    }
    for (const picture of pictures) this.#checkPicture(picture);
    const buffers = pictures.flatMap(({ buffer, mask }) => (mask === undefined ? [buffer] : [buffer, mask]));
    // A buffer can be transferred once.
    if (new Set(buffers).size < buffers.length) {
      throw new VireoError('bad-request', 'two pictures or masks of the block share a buffer');
    }
  }

  #checkPicture(picture: InputPicture): void {
    const [width, height] = [this.inputWidth, this.inputHeight];
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
    const { mask } = picture;
    if (mask === undefined) return;
    if (this.variant.mask === undefined) throw this.#lacks('mask');
    if (mask.byteLength !== width * height) {
      throw new VireoError(
        'bad-request',
        `the mask of a ${width}x${height} picture is ${width * height} bytes, not ${mask.byteLength}`,
      );
    }
  }

  #lacks(input: 'mask' | 'strength' | 'still'): VireoError {
    const { packageName, variant } = this.#options;
    return new VireoError(
      'unsupported',
      `model "${packageName}": file ${variant.file} takes no ${input} (its manifest names no such input)`,
    );
  }
}
