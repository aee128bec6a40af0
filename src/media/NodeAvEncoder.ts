import {
  AV_PICTURE_TYPE_I,
  AV_PICTURE_TYPE_NONE,
  AV_PIX_FMT_YUV420P,
  AVCOL_RANGE_MPEG,
  type FFEncoderCodec,
} from 'node-av/constants';
import { Codec, type CodecContext, Frame, Packet, Rational } from 'node-av/lib';
import { VireoError } from '../errors.js';
import { ENCODER_PROFILES, type EncoderProfile } from './encoderProfiles.js';
import { AV_TIME_BASE_90K, ffmpegReason, openCodec } from './ffmpeg.js';
import { PictureScaler } from './PictureScaler.js';
import {
  type EncodedPicture,
  type I420Picture,
  i420ByteLength,
  type VideoCodec,
  type VideoEncoder,
  type VideoEncoderOptions,
} from './types.js';

export interface CreateVideoEncoderOptions extends VideoEncoderOptions {
  /** Try hardware encoders before the software one; true unless given. */
  hardware?: boolean;
  /** FFmpeg's name of one encoder to use and no other. */
  encoderName?: string;
}

export interface EncoderAvailability {
  codec: VideoCodec;
  encoderName: string;
  hardware: boolean;
  available: boolean;
  /** Why not, in one line; null when available. */
  note: string | null;
}

/** An encoder that has to be opened anew for a bitrate (and so begins with a key frame) is, for changes above this share … */
const REOPEN_SHARE = 0.2;
/** … and not more often than this. */
const REOPEN_INTERVAL_S = 3;
const MIN_BITRATE_BPS = 20_000;
/** No pause or jump of the timestamps is longer than this to the rate control. */
const MAX_STEP_90K = AV_TIME_BASE_90K;

/** Encoders that failed here once; not tried again in this process. */
const failed = new Map<string, string>();

/** Opens the best encoder that works here; rejects with `unsupported` when none does. */
export async function createVideoEncoder(options: CreateVideoEncoderOptions): Promise<VideoEncoder> {
  const { codec, hardware = true, encoderName } = options;
  const notes: string[] = [];
  for (const profile of ENCODER_PROFILES) {
    if (profile.codec !== codec || (profile.hardware && !hardware)) continue;
    if (encoderName !== undefined && profile.encoderName !== encoderName) continue;
    const note = profile.hardware ? failed.get(profile.encoderName) : undefined;
    const opened = note ?? (await openWith(profile, options));
    if (typeof opened !== 'string') return new NodeAvEncoder(profile, options, opened);
    if (profile.hardware) failed.set(profile.encoderName, opened);
    notes.push(`${profile.encoderName}: ${opened}`);
  }
  const wanted = encoderName === undefined ? codec : `${codec} (${encoderName})`;
  throw new VireoError(
    'unsupported',
    `no encoder for ${wanted} works here: ${notes.join('; ') || 'none is known'}`,
  );
}

let availability: Promise<EncoderAvailability[]> | null = null;

/** Opens every known encoder once, in order of preference; for `vireo doctor`. Cached for the process. */
export function availableEncoders(): Promise<EncoderAvailability[]> {
  availability ??= probe();
  return availability;
}

async function probe(): Promise<EncoderAvailability[]> {
  const found: EncoderAvailability[] = [];
  for (const profile of ENCODER_PROFILES) {
    const { codec, encoderName, hardware } = profile;
    const opened = await openWith(profile, {
      codec,
      width: 640,
      height: 360,
      bitrateBps: 500_000,
      fps: 30,
      threads: 1,
    });
    const note = typeof opened === 'string' ? opened : null;
    if (typeof opened !== 'string') await closeContext(opened);
    else if (hardware) failed.set(encoderName, opened);
    found.push({ codec, encoderName, hardware, available: note === null, note });
  }
  return found;
}

function applyBitrate(context: CodecContext, profile: EncoderProfile, bitrateBps: number): void {
  const rate = BigInt(bitrateBps);
  context.bitRate = rate;
  context.rcMaxRate = rate;
  if (profile.constantBitrate) context.rcMinRate = rate;
  context.rcBufferSize = Math.round(bitrateBps * profile.bufferS);
}

async function openWith(
  profile: EncoderProfile,
  options: VideoEncoderOptions,
): Promise<CodecContext | string> {
  const codec = Codec.findEncoderByName(profile.encoderName as FFEncoderCodec);
  if (!codec) return 'not in this FFmpeg';
  const configure = (context: CodecContext): void => {
    context.width = options.width;
    context.height = options.height;
    context.pixelFormat = profile.pixelFormat;
    context.colorRange = AVCOL_RANGE_MPEG;
    context.timeBase = new Rational(1, AV_TIME_BASE_90K);
    context.framerate = new Rational(Math.round(options.fps * 1000), 1000);
    context.gopSize = 1_000_000;
    context.maxBFrames = 0;
    context.threadCount = Math.max(1, Math.min(options.threads, profile.maxThreads));
    applyBitrate(context, profile, Math.max(MIN_BITRATE_BPS, Math.round(options.bitrateBps)));
  };
  return openCodec(codec, configure, profile.options(options));
}

/** SVT-AV1 wants to be told that the stream is over, or complains and leaks. */
async function closeContext(context: CodecContext): Promise<void> {
  try {
    if ((await context.sendFrame(null)) >= 0) {
      using packet = new Packet();
      packet.alloc();
      while ((await context.receivePacket(packet)) >= 0) packet.unref();
    }
  } finally {
    context.freeContext();
  }
}

class NodeAvEncoder implements VideoEncoder {
  readonly codec: VideoCodec;
  readonly encoderName: string;
  readonly #profile: EncoderProfile;
  readonly #options: VideoEncoderOptions;
  #context: CodecContext;
  readonly #frame = new Frame();
  readonly #packet = new Packet();
  readonly #scaler = new PictureScaler();
  /** Timestamps of pictures inside the encoder, by presentation time there. */
  readonly #inside = new Map<bigint, number>();
  #pts = 0;
  #lastTimestamp90k: number | null = null;
  #openBitrateBps: number;
  #bitrateBps: number;
  #framesSinceOpen = 0;
  #busy = false;
  #closed = false;
  #freed = false;

  constructor(profile: EncoderProfile, options: VideoEncoderOptions, context: CodecContext) {
    this.codec = profile.codec;
    this.encoderName = profile.encoderName;
    this.#profile = profile;
    this.#options = options;
    this.#context = context;
    this.#bitrateBps = options.bitrateBps;
    this.#openBitrateBps = options.bitrateBps;
    this.#frame.alloc();
    this.#packet.alloc();
  }

  async encode(picture: I420Picture, options: { keyFrame: boolean }): Promise<EncodedPicture | null> {
    if (this.#busy) throw new VireoError('internal', 'encode() was called before the last call resolved');
    if (this.#closed) return null;
    this.#check(picture);
    this.#busy = true;
    try {
      await this.#followBitrate();
      await this.#fill(picture);
      return await this.#encode(picture.rtpTimestamp90k, options.keyFrame);
    } finally {
      this.#busy = false;
      if (this.#closed) this.#free();
    }
  }

  setBitrate(bitrateBps: number): void {
    this.#bitrateBps = Math.max(MIN_BITRATE_BPS, Math.round(bitrateBps));
  }

  close(): void {
    this.#closed = true;
    if (!this.#busy) this.#free();
  }

  #check(picture: I420Picture): void {
    const { width, height } = this.#options;
    if (
      picture.width === width &&
      picture.height === height &&
      picture.buffer.byteLength === i420ByteLength(width, height)
    ) {
      return;
    }
    const got = `${picture.width}x${picture.height} in ${picture.buffer.byteLength} bytes`;
    throw new VireoError(
      'internal',
      `the encoder was opened for ${width}x${height} and got a picture of ${got}`,
    );
  }

  async #followBitrate(): Promise<void> {
    if (this.#bitrateBps === this.#openBitrateBps) return;
    if (this.#profile.liveBitrate) {
      applyBitrate(this.#context, this.#profile, this.#bitrateBps);
      this.#openBitrateBps = this.#bitrateBps;
      return;
    }
    const share = Math.abs(this.#bitrateBps - this.#openBitrateBps) / this.#openBitrateBps;
    if (share <= REOPEN_SHARE || this.#framesSinceOpen < REOPEN_INTERVAL_S * this.#options.fps) return;
    const opened = await openWith(this.#profile, { ...this.#options, bitrateBps: this.#bitrateBps });
    // A hardware encoder may be out of sessions: the one that is open still works.
    this.#framesSinceOpen = 0;
    if (typeof opened === 'string') return;
    const before = this.#context;
    this.#context = opened;
    this.#openBitrateBps = this.#bitrateBps;
    this.#inside.clear();
    await closeContext(before);
  }

  /** The one copy of the picture; made while the encoder holds no reference to the frame's memory. */
  async #fill(picture: I420Picture): Promise<void> {
    const frame = this.#frame;
    if (frame.width === 0 || !frame.isWritable) {
      frame.unref();
      frame.width = picture.width;
      frame.height = picture.height;
      frame.format = this.#profile.pixelFormat;
      frame.colorRange = AVCOL_RANGE_MPEG;
      const result = frame.allocBuffer();
      if (result < 0)
        throw new VireoError('internal', `no memory for a frame to encode: ${ffmpegReason(result)}`);
    }
    if (frame.format === AV_PIX_FMT_YUV420P && !picture.fullRange)
      frame.fromBuffer(Buffer.from(picture.buffer));
    else await this.#scaler.toFrame(picture, frame);
  }

  async #encode(rtpTimestamp90k: number, keyFrame: boolean): Promise<EncodedPicture | null> {
    const frame = this.#frame;
    const step = this.#lastTimestamp90k === null ? 1 : rtpTimestamp90k - this.#lastTimestamp90k;
    this.#lastTimestamp90k = rtpTimestamp90k;
    this.#pts += Math.min(Math.max(step, 1), MAX_STEP_90K);
    frame.pts = BigInt(this.#pts);
    frame.pictType = keyFrame ? AV_PICTURE_TYPE_I : AV_PICTURE_TYPE_NONE;
    this.#inside.set(frame.pts, rtpTimestamp90k);
    this.#framesSinceOpen += 1;
    const sent = await this.#context.sendFrame(frame);
    if (sent < 0) throw this.#failure(sent);
    return this.#receive();
  }

  async #receive(): Promise<EncodedPicture | null> {
    const packet = this.#packet;
    const received = await this.#context.receivePacket(packet);
    if (received < 0) return null;
    const { pts } = packet;
    const rtpTimestamp90k = this.#inside.get(pts) ?? this.#lastTimestamp90k ?? 0;
    for (const inside of this.#inside.keys()) if (inside <= pts) this.#inside.delete(inside);
    const data = Buffer.from(packet.data ?? []);
    const { isKeyframe } = packet;
    packet.unref();
    return { data, keyFrame: isKeyframe, rtpTimestamp90k };
  }

  #failure(code: number): VireoError {
    return new VireoError('internal', `${this.encoderName} refused a picture: ${ffmpegReason(code)}`);
  }

  #free(): void {
    if (this.#freed) return;
    this.#freed = true;
    this.#scaler.close();
    this.#frame.free();
    this.#packet.free();
    void closeContext(this.#context).catch(() => {});
  }
}
