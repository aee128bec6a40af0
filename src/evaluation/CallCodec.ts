/**
 * What a call does to a picture: a real-time encoder at a constant bitrate, a network that loses packets, and
 * a receiver that freezes until the next key frame. Encoder speeds are pinned, so results repeat.
 */
import { Codec, CodecContext, Dictionary, Frame, Packet, Rational } from 'node-av';
import {
  AV_CODEC_FLAG_LOW_DELAY,
  AV_PICTURE_TYPE_I,
  AV_PICTURE_TYPE_NONE,
  AV_PIX_FMT_YUV420P,
  type FFDecoderCodec,
  type FFEncoderCodec,
} from 'node-av/constants';
import { VireoError } from '../errors.js';
import { check, decodeInto, encodeInto } from '../restoration/ffmpeg.js';
import type { CallCodecName } from '../restoration/manifest.js';
import './svtLog.js';

/** Payload of one RTP packet, bytes. */
const PACKET_BYTES = 1_200;
/** From a loss to the first key frame that answers it: detection, a PLI and a round trip. */
const RECOVERY_MS = 150;
const KEY_FRAME_INTERVAL = 3_000;

interface CodecPair {
  encoder: string;
  decoder: string;
  options: Record<string, string>;
}

const CODECS: Readonly<Record<CallCodecName, CodecPair>> = {
  vp8: {
    encoder: 'libvpx',
    decoder: 'vp8',
    options: {
      deadline: 'realtime',
      'cpu-used': '-6',
      'lag-in-frames': '0',
      'auto-alt-ref': '0',
      'static-thresh': '1',
      'undershoot-pct': '100',
      'overshoot-pct': '15',
      qmin: '2',
      qmax: '56',
    },
  },
  vp9: {
    encoder: 'libvpx-vp9',
    decoder: 'vp9',
    options: {
      deadline: 'realtime',
      'cpu-used': '7',
      'lag-in-frames': '0',
      'aq-mode': '3',
      'error-resilient': '1',
      qmin: '2',
      qmax: '56',
    },
  },
  h264: {
    encoder: 'libx264',
    decoder: 'h264',
    // Nearest to what browsers send (OpenH264): `ultrafast`, without its loop filter, is 2 to 4 dB worse at the same bitrate.
    options: {
      preset: 'superfast',
      tune: 'zerolatency',
      profile: 'baseline',
      'forced-idr': '1',
      'x264-params': 'aq-mode=0',
    },
  },
  av1: {
    encoder: 'libsvtav1',
    decoder: 'libdav1d',
    // FFmpeg's wrapper defaults to random access; 1 is low delay, rc 2 constant bitrate.
    options: { preset: '12', 'svtav1-params': 'pred-struct=1:rc=2:lookahead=0:scd=0' },
  },
};

export interface CallCodecOptions {
  codec: CallCodecName;
  width: number;
  height: number;
  fps: { num: number; den: number };
  bitrateBps: number;
  /** Share of RTP packets that get lost, percent. */
  lossPercent: number;
  /** Between key frames that are forced, as somebody who joins forces one; 0, and unless given: none but the first. */
  keyFramesEveryS?: number;
}

export class CallCodec {
  bytesSent = 0;
  readonly #encoder: CodecContext;
  readonly #decoder: CodecContext;
  readonly #options: CallCodecOptions;
  readonly #packet = new Packet();
  readonly #frame = new Frame();
  readonly #random = seededRandom(1);
  readonly #recoveryFrames: number;
  readonly #keyFramesApart: number;
  /** Decoded pictures by frame number; null: nothing new to show. */
  readonly #shown = new Map<number, Frame | null>();
  #last: Frame | null = null;
  #sent = 0;
  #next = 0;
  #waitsForKey = false;
  #keyFrameAt: number | null = null;

  private constructor(options: CallCodecOptions, encoder: CodecContext, decoder: CodecContext) {
    this.#options = options;
    this.#encoder = encoder;
    this.#decoder = decoder;
    this.#packet.alloc();
    this.#frame.alloc();
    const { keyFramesEveryS = 0, fps } = options;
    this.#keyFramesApart =
      keyFramesEveryS > 0
        ? Math.max(1, Math.round((keyFramesEveryS * fps.num) / fps.den))
        : Number.POSITIVE_INFINITY;
    this.#recoveryFrames = Math.max(1, Math.round((RECOVERY_MS * options.fps.num) / options.fps.den / 1_000));
  }

  static async create(options: CallCodecOptions): Promise<CallCodec> {
    const encoder = await openCallEncoder(options);
    const decoder = await openDecoder(CODECS[options.codec].decoder);
    return new CallCodec(options, encoder, decoder);
  }

  /** Sends one picture. Frames are numbered in the order they come; the caller keeps its frame. */
  async send(frame: Frame): Promise<void> {
    const input = frame.clone();
    if (input === null) throw new VireoError('internal', 'out of memory');
    const number = this.#sent++;
    const forced =
      number % this.#keyFramesApart === 0 || (this.#keyFrameAt !== null && number >= this.#keyFrameAt);
    if (forced) this.#keyFrameAt = null;
    input.pts = BigInt(number);
    input.duration = 1n;
    input.timeBase = this.#encoder.timeBase;
    input.pictType = forced ? AV_PICTURE_TYPE_I : AV_PICTURE_TYPE_NONE;
    try {
      await encodeInto(this.#encoder, input, this.#packet, (packet) => this.#deliver(packet));
    } finally {
      input.free();
    }
  }

  /** Nothing more is sent: everything still inside comes out. */
  async end(): Promise<void> {
    await encodeInto(this.#encoder, null, this.#packet, (packet) => this.#deliver(packet));
    await this.#decode(null);
    for (let number = this.#next; number < this.#sent; number++) {
      if (!this.#shown.has(number)) this.#shown.set(number, null);
    }
  }

  /** What the receiver shows for the next frame in order, or undefined when it is not there yet. The caller frees it. */
  receive(): Frame | undefined {
    const shown = this.#shown.get(this.#next);
    if (shown === undefined) return undefined;
    this.#shown.delete(this.#next++);
    if (shown !== null) {
      this.#last?.free();
      this.#last = shown;
    }
    const frame = this.#last?.clone();
    if (frame === undefined || frame === null)
      throw new VireoError('media-invalid', 'the receiver decoded nothing');
    // Shown again it is no key frame that came.
    if (shown === null) frame.keyFrame = 0;
    return frame;
  }

  close(): void {
    for (const frame of this.#shown.values()) frame?.free();
    this.#shown.clear();
    this.#last?.free();
    this.#last = null;
    this.#packet.free();
    this.#frame.free();
    this.#encoder.freeContext();
    this.#decoder.freeContext();
  }

  async #deliver(packet: Packet): Promise<void> {
    this.bytesSent += packet.size;
    const number = Number(packet.pts);
    // The first picture always arrives: a call that has none has not begun.
    const arrives = this.#arrives(packet.size) || number === 0;
    if (packet.isKeyframe && arrives) this.#waitsForKey = false;
    if (!arrives) {
      this.#waitsForKey = true;
      this.#keyFrameAt ??= this.#sent + this.#recoveryFrames - 1;
    }
    if (this.#waitsForKey) this.#shown.set(number, null);
    else if ((await this.#decode(packet)) < 0) this.#shown.set(number, null);
  }

  /** A frame arrives when all of its packets do. */
  #arrives(bytes: number): boolean {
    const { lossPercent } = this.#options;
    if (lossPercent <= 0) return true;
    let whole = true;
    for (let sent = 0; sent < bytes; sent += PACKET_BYTES) {
      if (this.#random() * 100 < lossPercent) whole = false;
    }
    return whole;
  }

  async #decode(packet: Packet | null): Promise<number> {
    return await decodeInto(this.#decoder, packet, this.#frame, (frame) => {
      this.#shown.set(Number(frame.pts), frame);
    });
  }
}

/** A real-time encoder; `threads` other than 1 may change its output from machine to machine. */
export async function openCallEncoder(
  options: Omit<CallCodecOptions, 'lossPercent' | 'keyFramesEveryS'>,
  threads = 1,
): Promise<CodecContext> {
  const { encoder: name, options: settings } = CODECS[options.codec];
  const codec = Codec.findEncoderByName(name as FFEncoderCodec);
  if (codec === null)
    throw new VireoError('unsupported', `--codec ${options.codec}: this FFmpeg has no ${name}`);
  const context = new CodecContext();
  context.allocContext3(codec);
  context.width = options.width;
  context.height = options.height;
  context.pixelFormat = AV_PIX_FMT_YUV420P;
  context.timeBase = new Rational(options.fps.den, options.fps.num);
  context.framerate = new Rational(options.fps.num, options.fps.den);
  context.gopSize = KEY_FRAME_INTERVAL;
  context.maxBFrames = 0;
  context.threadCount = threads;
  context.bitRate = BigInt(options.bitrateBps);
  if (options.codec !== 'av1') {
    context.rcMinRate = BigInt(options.codec.startsWith('vp') ? options.bitrateBps : 0);
    context.rcMaxRate = BigInt(options.bitrateBps);
    context.rcBufferSize = options.bitrateBps;
  }
  check(await context.open2(codec, Dictionary.fromObject(settings)), `encoder ${name}`, 'internal');
  return context;
}

async function openDecoder(name: string): Promise<CodecContext> {
  const codec = Codec.findDecoderByName(name as FFDecoderCodec);
  if (codec === null) throw new VireoError('unsupported', `this FFmpeg has no decoder ${name}`);
  const context = new CodecContext();
  context.allocContext3(codec);
  context.threadCount = 1;
  context.setFlags(AV_CODEC_FLAG_LOW_DELAY);
  const options = name === 'libdav1d' ? Dictionary.fromObject({ max_frame_delay: '1' }) : null;
  check(await context.open2(codec, options), `decoder ${name}`, 'internal');
  return context;
}

/** mulberry32: the same losses in every run. */
function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
