/**
 * Restores a video file: decoding, restoring and encoding overlap, with a few frames between them at most.
 */
import type { Frame } from 'node-av';
import { VireoError } from '../errors.js';
import type { I420Picture } from '../media/types.js';
import { BoundedQueue } from './BoundedQueue.js';
import { copyToI420, type FrameTags, frameOf, tagsOf } from './ffmpeg.js';
import { type FrameFilter, inputFilter, originalFilter, outputFilter, PairFilter } from './filters.js';
import type { Fit } from './fit.js';
import type { MaskSource } from './masks.js';
import type { InputPicture, RestorationStream } from './types.js';
import type { VideoFileReader } from './VideoFileReader.js';
import type { VideoFileWriter } from './VideoFileWriter.js';

/** Frames between two stages. */
const QUEUE_FRAMES = 4;

export interface FileRestorerOptions {
  reader: VideoFileReader;
  writer: VideoFileWriter;
  stream: RestorationStream;
  fit: Fit;
  /** Null: nothing of the pictures is lost. Stays the caller's to close. */
  masks: MaskSource | null;
  /** Original (upscaled by a bilinear filter) and restored side by side. */
  compare: boolean;
  /** Called after each frame that was written. */
  onFrame?: (frames: number) => void;
  signal?: AbortSignal;
}

export interface FileReport {
  frames: number;
  /** Wall-clock time, milliseconds. */
  elapsedMs: number;
  /** Milliseconds a frame that each stage was busy; stages overlap. */
  stageMs: { decode: number; restore: number; encode: number };
}

interface Decoded {
  picture: InputPicture;
  tags: FrameTags;
  /** The small frame, kept for `--compare`. */
  original: Frame | null;
  /** The picture's size in the file changed: the state of before means nothing. */
  discontinuity: boolean;
}

interface Restored {
  picture: I420Picture;
  tags: FrameTags;
  original: Frame | null;
}

export async function restoreFile(options: FileRestorerOptions): Promise<FileReport> {
  const run = new FileRun(options);
  return await run.run();
}

class FileRun {
  readonly #options: FileRestorerOptions;
  readonly #decoded = new BoundedQueue<Decoded>(QUEUE_FRAMES, (item) => item.original?.free());
  readonly #restored = new BoundedQueue<Restored>(QUEUE_FRAMES, (item) => item.original?.free());
  readonly #sums = { decode: 0, restore: 0, encode: 0 };
  #frames = 0;

  constructor(options: FileRestorerOptions) {
    this.#options = options;
  }

  async run(): Promise<FileReport> {
    const { signal } = this.#options;
    const startedAtMs = performance.now();
    const abort = () => this.#fail(new VireoError('unavailable', 'interrupted'));
    signal?.addEventListener('abort', abort, { once: true });
    try {
      const stages = [this.#decode(), this.#restore(), this.#encode()];
      for (const stage of stages) stage.catch((thrown: unknown) => this.#fail(thrown));
      // Every stage has to be over before anything it uses may be closed.
      const results = await Promise.allSettled(stages);
      const failed = results.find((result) => result.status === 'rejected');
      if (failed !== undefined) throw failed.reason;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
    const perFrame = (sum: number) => (this.#frames === 0 ? 0 : sum / this.#frames);
    return {
      frames: this.#frames,
      elapsedMs: performance.now() - startedAtMs,
      stageMs: {
        decode: perFrame(this.#sums.decode),
        restore: perFrame(this.#sums.restore),
        encode: perFrame(this.#sums.encode),
      },
    };
  }

  #fail(error: unknown): void {
    this.#decoded.fail(error);
    this.#restored.fail(error);
  }

  async #decode(): Promise<void> {
    const { reader, fit, masks } = this.#options;
    let filter: FrameFilter | null = null;
    let decodedSize = '';
    try {
      for (;;) {
        const startedAtMs = performance.now();
        const frame = await reader.next();
        if (frame === null) break;
        const frameSize = `${frame.width}x${frame.height}`;
        const discontinuity = decodedSize !== '' && decodedSize !== frameSize;
        let small: Frame;
        try {
          if (discontinuity && masks !== null) {
            throw new VireoError(
              'media-invalid',
              `IN ${reader.path} changes from ${decodedSize} to ${frameSize}: lost pixels are filled in at one size`,
            );
          }
          decodedSize = frameSize;
          filter ??= inputFilter(fit, reader.info, frame);
          small = await filter.apply(frame);
        } finally {
          frame.free();
        }
        const item = await this.#itemOf(small, discontinuity);
        this.#sums.decode += performance.now() - startedAtMs;
        await this.#decoded.push(item);
      }
      this.#decoded.end();
    } finally {
      filter?.close();
    }
  }

  /** Copies the picture into a buffer of the stream, its mask into another. Keeps the frame only to compare with. */
  async #itemOf(small: Frame, discontinuity: boolean): Promise<Decoded> {
    const { stream, fit, compare, masks } = this.#options;
    let original: Frame | null = null;
    try {
      const buffer = stream.allocateInput();
      copyToI420(small, buffer);
      const size = { width: fit.inputWidth, height: fit.inputHeight };
      const picture: InputPicture = { buffer, ...size, rtpTimestamp90k: 0, fullRange: false };
      if (masks !== null) {
        picture.mask = stream.allocateMask();
        await masks.next(small, picture.mask);
      }
      const tags = tagsOf(small);
      if (compare) original = small;
      return { picture, tags, original, discontinuity };
    } finally {
      if (original === null) small.free();
    }
  }

  async #restore(): Promise<void> {
    const { T } = this.#options.stream.variant;
    const block: Decoded[] = [];
    try {
      for (let item = await this.#decoded.next(); item !== undefined; item = await this.#decoded.next()) {
        if (item.discontinuity) {
          await this.#restoreBlock(block.splice(0));
          this.#options.stream.reset();
        }
        block.push(item);
        if (block.length === T) await this.#restoreBlock(block.splice(0));
      }
      await this.#restoreBlock(block.splice(0));
      this.#restored.end();
    } finally {
      for (const item of block) item.original?.free();
    }
  }

  async #restoreBlock(block: readonly Decoded[]): Promise<void> {
    const last = block.at(-1);
    if (last === undefined) return;
    const { stream } = this.#options;
    const pictures = block.map((item) => item.picture);
    // The end of the file: repeat the last picture to fill the block; its copies' results are dropped.
    while (pictures.length < stream.variant.T) {
      pictures.push(copyOf(last.picture));
    }
    const restored = await stream.restore(pictures).catch((thrown: unknown) => {
      for (const item of block) item.original?.free();
      throw thrown;
    });
    this.#sums.restore += restored.runMs;
    for (const [index, picture] of restored.pictures.entries()) {
      const item = block[index];
      if (item === undefined) stream.recycle(picture.buffer);
      else await this.#restored.push({ picture, tags: item.tags, original: item.original });
    }
  }

  async #encode(): Promise<void> {
    const { fit, onFrame } = this.#options;
    const shown = outputFilter(fit);
    const upscale = originalFilter(fit);
    const pair = new PairFilter('[a][b]hstack=inputs=2[out]');
    try {
      for (let item = await this.#restored.next(); item !== undefined; item = await this.#restored.next()) {
        const startedAtMs = performance.now();
        try {
          await this.#write(item, shown, upscale, pair);
        } finally {
          item.original?.free();
        }
        this.#sums.encode += performance.now() - startedAtMs;
        onFrame?.(++this.#frames);
      }
    } finally {
      shown?.close();
      upscale.close();
      pair.close();
    }
  }

  async #write(
    { picture, tags, original }: Restored,
    shown: FrameFilter | null,
    upscale: FrameFilter,
    pair: PairFilter,
  ): Promise<void> {
    let frame = frameOf(picture, tags);
    this.#options.stream.recycle(picture.buffer);
    try {
      if (shown !== null) {
        const cropped = await shown.apply(frame);
        frame.free();
        frame = cropped;
      }
      if (original === null) await this.#options.writer.write(frame);
      else await this.#writeSideBySide(original, frame, upscale, pair);
    } finally {
      frame.free();
    }
  }

  async #writeSideBySide(
    original: Frame,
    restored: Frame,
    upscale: FrameFilter,
    pair: PairFilter,
  ): Promise<void> {
    const large = await upscale.apply(original);
    try {
      const both = await pair.apply(large, restored);
      try {
        await this.#options.writer.write(both);
      } finally {
        both.free();
      }
    } finally {
      large.free();
    }
  }
}

function copyOf(picture: InputPicture): InputPicture {
  const copy = { ...picture, buffer: picture.buffer.slice(0) };
  if (picture.mask !== undefined) copy.mask = picture.mask.slice(0);
  return copy;
}
