/** Times the stages of the restorer's pipeline on this machine: first one by one, then overlapping. */
import { availableParallelism } from 'node:os';
import { type CodecContext, type Frame, Packet } from 'node-av';
import { VireoError } from '../errors.js';
import type { I420Picture } from '../media/types.js';
import { copyToI420, encodeInto, type FrameTags, frameOf, tagsOf } from '../restoration/ffmpeg.js';
import { type FrameFilter, uprightFilter } from '../restoration/filters.js';
import type { Fit } from '../restoration/fit.js';
import type { RestorationStream, RestoredBlock } from '../restoration/types.js';
import { VideoFileReader } from '../restoration/VideoFileReader.js';
import { openCallEncoder } from './CallCodec.js';
import { round } from './report.js';

/** As the relay encodes a restored track. */
const OUTPUT_BITRATE_BPS = 2_500_000;
const CALL_FPS = 30;
/** Pictures until the graph that looks details up has its memory. */
const WARM_UP = 3;

export interface Percentiles {
  p50: number;
  p95: number;
}

/** What a device carries: tracks of 30 frames a second. */
export interface BenchCapacity {
  /** Frames a second with the stages overlapping. */
  sustainedFps: number;
  /** By the whole pipeline, and by inference alone. */
  tracks: number;
  tracksByInference: number;
}

export interface BenchResult extends BenchCapacity {
  /** Milliseconds a frame with nothing else running; overhead is all that is not decode, inference or encode. */
  stageMs: { decode: Percentiles; restore: Percentiles; encode: Percentiles; overhead: Percentiles };
  /** While details are looked up in a sharp still, as in most calls; null for a model that looks nothing up. */
  withStill: (BenchCapacity & { restoreMs: Percentiles }) | null;
  /** A frame's way through an unloaded pipeline, milliseconds. */
  addedLatencyMs: Percentiles;
}

interface Timed {
  picture: I420Picture;
  tags: FrameTags;
  decodeMs: number;
}

export class PipelineBench {
  readonly #path: string;
  readonly #stream: RestorationStream;
  readonly #fit: Fit;
  readonly #encoder: CodecContext;
  readonly #packet = new Packet();
  #reader: VideoFileReader;
  #filter: FrameFilter | null = null;
  #framesOfPass = 0;
  #encoded = 0n;

  private constructor(
    path: string,
    stream: RestorationStream,
    fit: Fit,
    encoder: CodecContext,
    reader: VideoFileReader,
  ) {
    this.#path = path;
    this.#stream = stream;
    this.#fit = fit;
    this.#encoder = encoder;
    this.#reader = reader;
    this.#packet.alloc();
  }

  static async create(path: string, stream: RestorationStream, fit: Fit): Promise<PipelineBench> {
    const encoder = await openCallEncoder(
      {
        codec: 'h264',
        width: fit.outputWidth,
        height: fit.outputHeight,
        fps: { num: CALL_FPS, den: 1 },
        bitrateBps: OUTPUT_BITRATE_BPS,
      },
      availableParallelism(),
    );
    return new PipelineBench(path, stream, fit, encoder, await openReader(path));
  }

  async run(frames: number): Promise<BenchResult> {
    const times = {
      decode: [] as number[],
      restore: [] as number[],
      encode: [] as number[],
      overhead: [] as number[],
      total: [] as number[],
    };
    for (let index = 0; index < frames; index++) {
      const startedAtMs = performance.now();
      const decoded = await this.#decode();
      const { pictures, runMs } = await this.#stream.restore([decoded.picture]);
      const encodeMs = await this.#encode(pictures, decoded.tags);
      const totalMs = performance.now() - startedAtMs;
      times.decode.push(decoded.decodeMs);
      times.restore.push(runMs);
      times.encode.push(encodeMs);
      times.total.push(totalMs);
      times.overhead.push(totalMs - decoded.decodeMs - runMs - encodeMs);
    }
    const restore = percentiles(times.restore);
    return {
      stageMs: {
        decode: percentiles(times.decode),
        restore,
        encode: percentiles(times.encode),
        overhead: percentiles(times.overhead),
      },
      ...(await this.#capacity(frames, restore)),
      addedLatencyMs: percentiles(times.total),
      withStill: this.#stream.maxReferences > 0 ? await this.#withStill(frames) : null,
    };
  }

  /** What was restored last serves as the still: the stream keeps it from here on. */
  async #withStill(frames: number): Promise<BenchResult['withStill']> {
    const { outputWidth, outputHeight } = this.#stream;
    const times: number[] = [];
    for (let index = -WARM_UP; index < frames; index++) {
      const { picture, tags } = await this.#decode();
      const { pictures, runMs } = await this.#stream.restore([picture]);
      if (index >= 0) times.push(runMs);
      const still = index === -WARM_UP && pictures[0]?.buffer.slice(0, outputWidth * outputHeight);
      if (still) await this.#stream.setReferences([still]);
      await this.#encode(pictures, tags);
    }
    const restoreMs = percentiles(times);
    return { restoreMs, ...(await this.#capacity(frames, restoreMs)) };
  }

  async #capacity(frames: number, { p50 }: Percentiles): Promise<BenchCapacity> {
    const sustainedFps = await this.#sustained(frames);
    return {
      sustainedFps: round(sustainedFps, 1),
      tracks: Math.floor(sustainedFps / CALL_FPS),
      tracksByInference: Math.floor(1_000 / CALL_FPS / Math.max(p50, 0.001)),
    };
  }

  async close(): Promise<void> {
    this.#filter?.close();
    this.#packet.free();
    this.#encoder.freeContext();
    await this.#reader.close();
  }

  async #sustained(frames: number): Promise<number> {
    const startedAtMs = performance.now();
    let decoded = await this.#decode();
    let restored: { pictures: I420Picture[]; tags: FrameTags } | null = null;
    for (let index = 0; index < frames; index++) {
      const { picture, tags } = decoded;
      const [block, , next]: [RestoredBlock, number, Timed] = await Promise.all([
        this.#stream.restore([picture]),
        restored === null ? 0 : this.#encode(restored.pictures, restored.tags),
        this.#decode(),
      ]);
      restored = { pictures: block.pictures, tags };
      decoded = next;
    }
    if (restored !== null) await this.#encode(restored.pictures, restored.tags);
    return (frames * 1_000) / (performance.now() - startedAtMs);
  }

  async #decode(): Promise<Timed> {
    const startedAtMs = performance.now();
    const frame = await this.#next();
    let small: Frame;
    const size = { width: this.#fit.inputWidth, height: this.#fit.inputHeight };
    try {
      this.#filter ??= uprightFilter(size, this.#reader.info.rotation, frame);
      small = await this.#filter.apply(frame);
    } finally {
      frame.free();
    }
    const decodeMs = performance.now() - startedAtMs;
    const buffer = this.#stream.allocateInput();
    copyToI420(small, buffer);
    const tags = tagsOf(small);
    small.free();
    return { picture: { buffer, ...size, rtpTimestamp90k: 0, fullRange: false }, tags, decodeMs };
  }

  /** The clip starts over when it ends. */
  async #next(): Promise<Frame> {
    const frame = await this.#reader.next();
    if (frame !== null) {
      this.#framesOfPass++;
      return frame;
    }
    if (this.#framesOfPass === 0) {
      throw new VireoError('media-invalid', `--input ${this.#path}: no frame could be decoded`);
    }
    this.#framesOfPass = 0;
    await this.#reader.close();
    this.#reader = await openReader(this.#path);
    return await this.#next();
  }

  async #encode(pictures: readonly I420Picture[], tags: FrameTags): Promise<number> {
    let encodeMs = 0;
    for (const picture of pictures) {
      const frame = frameOf(picture, { ...tags, pts: this.#encoded++, duration: 1n });
      this.#stream.recycle(picture.buffer);
      frame.timeBase = this.#encoder.timeBase;
      const startedAtMs = performance.now();
      try {
        await encodeInto(this.#encoder, frame, this.#packet, () => undefined);
      } finally {
        frame.free();
      }
      encodeMs += performance.now() - startedAtMs;
    }
    return encodeMs;
  }
}

/** One thread: a decoder with frame threads would hold frames back. */
function openReader(path: string): Promise<VideoFileReader> {
  return VideoFileReader.open(path, { threads: 1 });
}

function percentiles(values: readonly number[]): Percentiles {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) =>
    round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0, 2);
  return { p50: at(0.5), p95: at(0.95) };
}
