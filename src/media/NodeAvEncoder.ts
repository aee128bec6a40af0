import {
  AV_PICTURE_TYPE_I,
  AV_PICTURE_TYPE_NONE,
  AV_PIX_FMT_YUV420P,
  AVCOL_RANGE_MPEG,
} from 'node-av/constants';
import { Frame, Packet } from 'node-av/lib';
import { VireoError } from '../errors.js';
import { ENCODER_PROFILES, type EncoderProfile } from './encoderProfiles.js';
import { AV_TIME_BASE_90K, ffmpegReason } from './ffmpeg.js';
import { MIN_BITRATE_BPS, OpenEncoder } from './OpenEncoder.js';
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
/** No pause or jump of the timestamps is longer than this to the rate control. */
const MAX_STEP_90K = AV_TIME_BASE_90K;
/** An encoder that keeps more pictures back than this is not one for calls. */
const MAX_INSIDE = 16;

/** Opens the best encoder that works here; rejects with `unsupported` when none does. */
export async function createVideoEncoder(options: CreateVideoEncoderOptions): Promise<VideoEncoder> {
  const { codec, hardware = true, encoderName } = options;
  const notes: string[] = [];
  for (const profile of ENCODER_PROFILES) {
    if (profile.codec !== codec || (profile.hardware && !hardware)) continue;
    if (encoderName !== undefined && profile.encoderName !== encoderName) continue;
    const note = profile.hardware ? await reasonAgainst(profile) : null;
    const opened = note ?? (await OpenEncoder.create(profile, options));
    if (typeof opened !== 'string') return new NodeAvEncoder(profile, options, opened);
    notes.push(`${profile.encoderName}: ${opened}`);
  }
  const wanted = encoderName === undefined ? codec : `${codec} (${encoderName})`;
  throw new VireoError(
    'unsupported',
    `no encoder for ${wanted} works here: ${notes.join('; ') || 'none is known'}`,
  );
}

/** Tries every known encoder once, in order of preference; for `vireo doctor`. Cached for the process. */
export async function availableEncoders(): Promise<EncoderAvailability[]> {
  const found: EncoderAvailability[] = [];
  for (const profile of ENCODER_PROFILES) {
    const { codec, encoderName, hardware } = profile;
    const note = await reasonAgainst(profile);
    found.push({ codec, encoderName, hardware, available: note === null, note });
  }
  return found;
}

const trials = new Map<string, Promise<string | null>>();

/** Null when the encoder works here. Tried once a process: devices do not come and go. */
function reasonAgainst(profile: EncoderProfile): Promise<string | null> {
  let trial = trials.get(profile.encoderName);
  if (!trial) {
    trial = tryOut(profile);
    trials.set(profile.encoderName, trial);
  }
  return trial;
}

/** Drivers may open and then fail, or keep a picture back: only a picture that comes out at once counts. */
async function tryOut(profile: EncoderProfile): Promise<string | null> {
  const { codec } = profile;
  const [width, height] = [640, 360];
  const options = { codec, width, height, bitrateBps: 500_000, fps: 30, threads: 1 };
  const opened = await OpenEncoder.create(profile, options);
  if (typeof opened === 'string') return opened;
  const encoder = new NodeAvEncoder(profile, options, opened);
  try {
    const buffer = new ArrayBuffer(i420ByteLength(width, height));
    const picture = { buffer, width, height, rtpTimestamp90k: 0, fullRange: false };
    const encoded = await encoder.encode(picture, { keyFrame: false });
    return encoded?.keyFrame ? null : 'does not give the first picture back at once, as a key frame';
  } catch (error) {
    return VireoError.from(error).message;
  } finally {
    encoder.close();
  }
}

class NodeAvEncoder implements VideoEncoder {
  readonly codec: VideoCodec;
  readonly encoderName: string;
  readonly #profile: EncoderProfile;
  readonly #options: VideoEncoderOptions;
  #encoder: OpenEncoder;
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

  constructor(profile: EncoderProfile, options: VideoEncoderOptions, encoder: OpenEncoder) {
    this.codec = profile.codec;
    this.encoderName = profile.encoderName;
    this.#profile = profile;
    this.#options = options;
    this.#encoder = encoder;
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
      this.#encoder.setBitrate(this.#bitrateBps);
      this.#openBitrateBps = this.#bitrateBps;
      return;
    }
    const share = Math.abs(this.#bitrateBps - this.#openBitrateBps) / this.#openBitrateBps;
    if (share <= REOPEN_SHARE || this.#framesSinceOpen < REOPEN_INTERVAL_S * this.#options.fps) return;
    const opened = await OpenEncoder.create(this.#profile, {
      ...this.#options,
      bitrateBps: this.#bitrateBps,
    });
    // A hardware encoder may be out of sessions: the one that is open still works.
    this.#framesSinceOpen = 0;
    if (typeof opened === 'string') return;
    const before = this.#encoder;
    this.#encoder = opened;
    this.#openBitrateBps = this.#bitrateBps;
    this.#inside.clear();
    await before.close();
  }

  /**
   * Points the frame at the picture's memory (`fromBuffer` copies nothing), or converts into memory of its own. The
   * caller keeps the picture until `encode` resolves; encoders run without delay, so that none needs it later.
   */
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
    const frame = (await this.#encoder.surfaces?.upload(this.#frame)) ?? this.#frame;
    const step = this.#lastTimestamp90k === null ? 1 : rtpTimestamp90k - this.#lastTimestamp90k;
    this.#lastTimestamp90k = rtpTimestamp90k;
    this.#pts += Math.min(Math.max(step, 1), MAX_STEP_90K);
    frame.pts = BigInt(this.#pts);
    frame.pictType = keyFrame ? AV_PICTURE_TYPE_I : AV_PICTURE_TYPE_NONE;
    if (this.#inside.size >= MAX_INSIDE) this.#inside.clear();
    this.#inside.set(frame.pts, rtpTimestamp90k);
    this.#framesSinceOpen += 1;
    const sent = await this.#encoder.context.sendFrame(frame);
    if (sent < 0) throw this.#failure(sent);
    return this.#receive();
  }

  async #receive(): Promise<EncodedPicture | null> {
    const packet = this.#packet;
    const received = await this.#encoder.context.receivePacket(packet);
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
    void this.#encoder.close().catch(() => {});
  }
}
