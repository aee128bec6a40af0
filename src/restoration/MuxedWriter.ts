import { rename, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import {
  avGetCodecName,
  Codec,
  CodecContext,
  Dictionary,
  FormatContext,
  type Frame,
  type IRational,
  Packet,
  Rational,
  type Stream,
} from 'node-av';
import {
  AV_CODEC_FLAG_GLOBAL_HEADER,
  AV_PIX_FMT_YUV420P,
  AVFMT_GLOBALHEADER,
  type FFEncoderCodec,
} from 'node-av/constants';
import { VireoError } from '../errors.js';
import { check, encodeInto } from './ffmpeg.js';
import { temporaryPath, type VideoFileWriter, type WriterOptions } from './writerTypes.js';

/** Muxer, video encoder with its options, and the audio codecs that may be copied (null: any). */
export interface Container {
  muxer: string;
  encoder: string;
  options: Record<string, string>;
  audio: readonly string[] | null;
}

// Restoring in real time on two cores leaves no more than this for the encoder (veryfast: 1.5 times the work).
const H264 = { encoder: 'libx264', options: { preset: 'superfast', crf: '18' } };
/** By file extension. */
export const CONTAINERS: Readonly<Record<string, Container>> = {
  '.mp4': {
    muxer: 'mp4',
    ...H264,
    audio: ['aac', 'mp3', 'mp2', 'ac3', 'eac3', 'opus', 'flac', 'alac'],
  },
  '.mkv': { muxer: 'matroska', ...H264, audio: null },
  '.webm': {
    muxer: 'webm',
    encoder: 'libvpx',
    options: { deadline: 'realtime', 'cpu-used': '-8', crf: '8', b: '12M', 'auto-alt-ref': '0' },
    audio: ['opus', 'vorbis'],
  },
};
/** Encodes the video, copies the sound, and hands both to FFmpeg's muxer. */
export class MuxedWriter implements VideoFileWriter {
  readonly audioNote: string | null;
  readonly #path: string;
  readonly #container: Container;
  readonly #options: WriterOptions;
  readonly #copiesAudio: boolean;
  readonly #packet = new Packet();
  /** Audio read before the first frame was restored. */
  readonly #earlyAudio: Packet[] = [];
  #encoder: CodecContext | null = null;
  #format: FormatContext | null = null;
  #video: Stream | null = null;
  #audio: Stream | null = null;
  #lastPts = -(2n ** 62n);
  #done = false;
  /** Audio comes from the decoding side and video from the encoding side; the muxer takes one at a time. */
  #muxing: Promise<void> = Promise.resolve();

  constructor(path: string, container: Container, options: WriterOptions) {
    this.#path = path;
    this.#container = container;
    this.#options = options;
    this.#packet.alloc();
    const codec =
      options.audio === null ? null : (avGetCodecName(options.audio.codecpar.codecId) ?? 'unknown');
    this.#copiesAudio = codec !== null && (container.audio?.includes(codec) ?? true);
    this.audioNote =
      codec === null || this.#copiesAudio
        ? null
        : `${container.muxer} holds no ${codec} audio: it was left out`;
  }

  async write(frame: Frame): Promise<void> {
    this.#encoder ??= await this.#open(frame);
    // Encoders want time to go on; the clone shares the picture.
    const input = frame.clone();
    if (input === null) throw new VireoError('internal', 'out of memory');
    try {
      if (input.pts <= this.#lastPts) input.pts = this.#lastPts + 1n;
      this.#lastPts = input.pts;
      await encodeInto(this.#encoder, input, this.#packet, (packet) => this.#mux(packet));
    } finally {
      input.free();
    }
  }

  async writeAudio(packet: Packet): Promise<void> {
    if (!this.#copiesAudio || this.#done) return;
    const copy = packet.clone();
    if (copy === null) throw new VireoError('internal', 'out of memory');
    if (this.#audio === null) this.#earlyAudio.push(copy);
    else await this.#muxAudio(copy, this.#audio);
  }

  async finish(): Promise<void> {
    if (this.#encoder === null || this.#format === null)
      throw new VireoError('internal', 'nothing was written');
    await encodeInto(this.#encoder, null, this.#packet, (packet) => this.#mux(packet));
    await this.#muxing;
    check(await this.#format.writeTrailer(), `OUT ${this.#path} cannot be completed`, 'internal');
    await this.#release();
    await rename(temporaryPath(this.#path), this.#path);
    this.#done = true;
  }

  async abort(): Promise<void> {
    if (this.#done) return;
    this.#done = true;
    await this.#muxing.catch(() => undefined);
    await this.#release();
    await rm(temporaryPath(this.#path), { force: true });
  }

  async #open(frame: Frame): Promise<CodecContext> {
    const { muxer, encoder: name, options } = this.#container;
    const codec = Codec.findEncoderByName(name as FFEncoderCodec);
    if (codec === null) throw new VireoError('unsupported', `this FFmpeg has no encoder ${name}`);
    const format = new FormatContext();
    this.#format = format;
    const path = temporaryPath(this.#path);
    check(format.allocOutputContext2(null, muxer, path), `OUT ${this.#path}`, 'internal');
    const context = new CodecContext();
    context.allocContext3(codec);
    context.width = frame.width;
    context.height = frame.height;
    context.pixelFormat = AV_PIX_FMT_YUV420P;
    context.timeBase = rational(this.#options.timeBase);
    context.framerate = rational(this.#options.frameRate);
    context.sampleAspectRatio = new Rational(1, 1);
    context.colorSpace = frame.colorSpace;
    context.colorPrimaries = frame.colorPrimaries;
    context.colorTrc = frame.colorTrc;
    context.colorRange = frame.colorRange;
    context.chromaLocation = frame.chromaLocation;
    context.threadCount = availableParallelism();
    if (format.oformat?.hasFlags(AVFMT_GLOBALHEADER) === true) context.setFlags(AV_CODEC_FLAG_GLOBAL_HEADER);
    check(await context.open2(codec, Dictionary.fromObject(options)), `encoder ${name}`, 'internal');
    this.#video = format.newStream(null);
    this.#video.timeBase = context.timeBase;
    this.#video.avgFrameRate = context.framerate;
    check(this.#video.codecpar.fromContext(context), `OUT ${this.#path}`, 'internal');
    const audio = this.#copiesAudio ? this.#addAudio(format) : null;
    check(await format.openOutput(), `OUT ${this.#path} cannot be written`, 'bad-request');
    check(await format.writeHeader(null), `OUT ${this.#path}`, 'internal');
    if (audio !== null) {
      // More may come while these are written; only then may packets pass by the queue.
      for (let packet = this.#earlyAudio.shift(); packet !== undefined; packet = this.#earlyAudio.shift()) {
        await this.#muxAudio(packet, audio);
      }
      this.#audio = audio;
    }
    return context;
  }

  #addAudio(format: FormatContext): Stream | null {
    const source = this.#options.audio;
    if (source === null) return null;
    const stream = format.newStream(null);
    check(source.codecpar.copy(stream.codecpar), 'the audio stream cannot be copied', 'internal');
    stream.codecpar.codecTag = 0;
    stream.timeBase = source.timeBase;
    return stream;
  }

  async #mux(packet: Packet): Promise<void> {
    if (this.#video === null || this.#encoder === null) return;
    packet.streamIndex = this.#video.index;
    packet.rescaleTs(this.#encoder.timeBase, this.#video.timeBase);
    await this.#interleave(packet);
  }

  async #muxAudio(packet: Packet, stream: Stream): Promise<void> {
    packet.streamIndex = stream.index;
    if (this.#options.audio !== null) packet.rescaleTs(this.#options.audio.timeBase, stream.timeBase);
    packet.pos = -1n;
    await this.#interleave(packet);
    packet.free();
  }

  #interleave(packet: Packet): Promise<void> {
    const write = async () => {
      const code = (await this.#format?.interleavedWriteFrame(packet)) ?? 0;
      check(code, `OUT ${this.#path} cannot be written`, 'internal');
    };
    this.#muxing = this.#muxing.then(write);
    return this.#muxing;
  }

  async #release(): Promise<void> {
    for (const packet of this.#earlyAudio.splice(0)) packet.free();
    this.#packet.free();
    this.#encoder?.freeContext();
    if (this.#format !== null) {
      await this.#format.closeOutput();
      this.#format.freeContext();
    }
  }
}

function rational({ num, den }: IRational): Rational {
  return new Rational(num, den);
}
