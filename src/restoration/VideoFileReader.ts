/** Demuxes and decodes one video file, whatever FFmpeg can read, one decoded frame at a time. */
import { availableParallelism } from 'node:os';
import {
  CodecContext,
  FormatContext,
  Frame,
  InputFormat,
  type IRational,
  Packet,
  type Stream,
} from 'node-av';
import {
  AV_PKT_DATA_DISPLAYMATRIX,
  AVERROR_EOF,
  AVMEDIA_TYPE_AUDIO,
  AVMEDIA_TYPE_VIDEO,
} from 'node-av/constants';
import { VireoError } from '../errors.js';
import { check, decodeInto, hasTimestamp } from './ffmpeg.js';

export type Rotation = 0 | 90 | 180 | 270;

export interface VideoInfo {
  /** As shown: square pixels, upright. */
  width: number;
  height: number;
  /** Width of a pixel in the file over its height: 1 for square ones. */
  pixelAspect: number;
  /** Clockwise turn that makes the decoded picture upright. */
  rotation: Rotation;
  timeBase: IRational;
  frameRate: IRational;
  /** Null when the container does not say. */
  frames: number | null;
}

export class VideoFileReader {
  readonly path: string;
  readonly info: VideoInfo;
  readonly audio: Stream | null;
  /** Packets that could not be read or decoded. */
  damaged = 0;
  readonly #format: FormatContext;
  readonly #decoder: CodecContext;
  readonly #streamIndex: number;
  readonly #onAudio: ((packet: Packet) => Promise<void>) | undefined;
  readonly #packet = new Packet();
  readonly #frame = new Frame();
  readonly #decoded: Frame[] = [];
  #ended = false;
  #closed = false;
  #nextPts = 0n;
  #lastPts: bigint | null = null;

  private constructor(
    path: string,
    format: FormatContext,
    decoder: CodecContext,
    stream: Stream,
    audio: Stream | null,
    onAudio: ((packet: Packet) => Promise<void>) | undefined,
  ) {
    this.path = path;
    this.#format = format;
    this.#decoder = decoder;
    this.#streamIndex = stream.index;
    this.audio = audio;
    this.#onAudio = onAudio;
    this.info = infoOf(stream);
    this.#packet.alloc();
    this.#frame.alloc();
  }

  /**
   * `onAudio` is given every packet of the best audio stream; the packet is the reader's.
   * `format` forces FFmpeg's demuxer (such as `lavfi`, where `path` is a filter graph).
   */
  static async open(
    path: string,
    options: { format?: string; onAudio?: (packet: Packet) => Promise<void>; threads?: number } = {},
  ): Promise<VideoFileReader> {
    const format = new FormatContext();
    const inputFormat = options.format === undefined ? null : InputFormat.findInputFormat(options.format);
    const decoder = new CodecContext();
    try {
      check(await format.openInput(path, inputFormat, null), `${path} cannot be read`);
      check(await format.findStreamInfo(null), `${path} cannot be read`);
      const best = format.findBestStream(AVMEDIA_TYPE_VIDEO, -1, -1, true, 0);
      const stream = format.streams[best.streamIndex];
      if (stream === undefined || best.decoder === null) {
        throw new VireoError('media-invalid', `${path} has no video stream that can be decoded`);
      }
      decoder.allocContext3(best.decoder);
      check(decoder.parametersToContext(stream.codecpar), `${path} cannot be decoded`);
      decoder.pktTimebase = stream.timeBase;
      decoder.threadCount = options.threads ?? availableParallelism();
      check(await decoder.open2(best.decoder, null), `${path} cannot be decoded`);
      const audioIndex = format.findBestStream(AVMEDIA_TYPE_AUDIO, -1, best.streamIndex);
      const audio = format.streams[audioIndex] ?? null;
      return new VideoFileReader(path, format, decoder, stream, audio, options.onAudio);
    } catch (thrown) {
      decoder.freeContext();
      await format.closeInput().catch(() => undefined);
      throw thrown;
    }
  }

  /** The next frame in presentation order, its pts and time base set; the caller frees it. Null at the end. */
  async next(): Promise<Frame | null> {
    while (this.#decoded.length === 0 && !this.#ended && !this.#closed) await this.#advance();
    return this.#decoded.shift() ?? null;
  }

  /** Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const frame of this.#decoded.splice(0)) frame.free();
    this.#frame.free();
    this.#packet.free();
    this.#decoder.freeContext();
    await this.#format.closeInput();
  }

  async #advance(): Promise<void> {
    const packet = this.#packet;
    const code = await this.#format.readFrame(packet);
    if (code < 0) {
      if (code !== AVERROR_EOF) this.damaged++;
      this.#ended = true;
      await this.#decode(null);
      return;
    }
    if (packet.streamIndex === this.#streamIndex) await this.#decode(packet);
    else if (packet.streamIndex === this.audio?.index) await this.#onAudio?.(packet);
    packet.unref();
  }

  async #decode(packet: Packet | null): Promise<void> {
    const code = await decodeInto(this.#decoder, packet, this.#frame, (frame) => {
      this.#stamp(frame);
      this.#decoded.push(frame);
    });
    if (code < 0) this.damaged++;
  }

  /** Containers leave timestamps out (raw streams) or repeat them: frames go on from the last one then. */
  #stamp(frame: Frame): void {
    const best = frame.bestEffortTimestamp;
    const duration = frame.duration > 0n ? frame.duration : this.#nominalDuration();
    frame.timeBase = this.#decoder.pktTimebase;
    frame.duration = duration;
    const pts = hasTimestamp(best) ? best : this.#nextPts;
    frame.pts = this.#lastPts !== null && pts <= this.#lastPts ? this.#lastPts + 1n : pts;
    this.#lastPts = frame.pts;
    this.#nextPts = frame.pts + duration;
  }

  #nominalDuration(): bigint {
    const { frameRate, timeBase } = this.info;
    const ticks = Math.round((timeBase.den * frameRate.den) / (timeBase.num * frameRate.num));
    return BigInt(Math.max(1, ticks));
  }

  /** What stopped the file early, for a message; empty when nothing did. */
  get problem(): string {
    return this.damaged === 0 ? '' : `${this.path} is damaged: ${this.damaged} packets could not be decoded`;
  }
}

function infoOf(stream: Stream): VideoInfo {
  const { codecpar } = stream;
  const rotation = rotationOf(codecpar.getCodedSideData(AV_PKT_DATA_DISPLAYMATRIX));
  const sar = codecpar.sampleAspectRatio.num > 0 ? codecpar.sampleAspectRatio : stream.sampleAspectRatio;
  const pixelAspect = sar.num > 0 && sar.den > 0 ? sar.num / sar.den : 1;
  // Square pixels by widening or narrowing: the number of lines is what it is.
  const [width, height] = [Math.round(codecpar.width * pixelAspect), codecpar.height];
  const [shownWidth, shownHeight] = rotation === 90 || rotation === 270 ? [height, width] : [width, height];
  const frames = Number(stream.nbFrames);
  return {
    width: shownWidth,
    height: shownHeight,
    pixelAspect,
    rotation,
    timeBase: { num: stream.timeBase.num, den: stream.timeBase.den },
    frameRate: frameRateOf(stream),
    frames: frames > 0 ? frames : estimateFrames(stream),
  };
}

function frameRateOf(stream: Stream): IRational {
  for (const rate of [stream.avgFrameRate, stream.rFrameRate]) {
    if (rate.num > 0 && rate.den > 0 && rate.num / rate.den <= 1_000) return { num: rate.num, den: rate.den };
  }
  return { num: 30, den: 1 };
}

function estimateFrames(stream: Stream): number | null {
  const rate = frameRateOf(stream);
  if (!hasTimestamp(stream.duration) || stream.duration <= 0n) return null;
  const seconds = (Number(stream.duration) * stream.timeBase.num) / stream.timeBase.den;
  return Math.round((seconds * rate.num) / rate.den);
}

/** The display matrix is nine native-endian int32; a and b of its first row give the counter-clockwise angle. */
function rotationOf(matrix: Buffer | null): Rotation {
  if (matrix === null || matrix.length < 36) return 0;
  const [a, b] = [matrix.readInt32LE(0), matrix.readInt32LE(4)];
  const clockwise = (Math.round((Math.atan2(b, a) * 180) / Math.PI / 90) * 90 + 360) % 360;
  return clockwise as Rotation;
}
