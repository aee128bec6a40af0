import { AVCOL_RANGE_MPEG, type FFEncoderCodec } from 'node-av/constants';
import { Codec, type CodecContext, Packet, Rational } from 'node-av/lib';
import type { EncoderProfile } from './encoderProfiles.js';
import { AV_TIME_BASE_90K, openCodec } from './ffmpeg.js';
import { HardwareSurfaces } from './HardwareSurfaces.js';
import type { VideoEncoderOptions } from './types.js';

export const MIN_BITRATE_BPS = 20_000;

/** FFmpeg's encoder, opened as its profile says. */
export class OpenEncoder {
  readonly context: CodecContext;
  readonly surfaces: HardwareSurfaces | null;
  readonly #profile: EncoderProfile;

  private constructor(profile: EncoderProfile, context: CodecContext, surfaces: HardwareSurfaces | null) {
    this.#profile = profile;
    this.context = context;
    this.surfaces = surfaces;
  }

  /** The reason instead when it does not open here. */
  static async create(profile: EncoderProfile, options: VideoEncoderOptions): Promise<OpenEncoder | string> {
    const codec = Codec.findEncoderByName(profile.encoderName as FFEncoderCodec);
    if (!codec) return 'not in this FFmpeg';
    const surfaces = profile.surfaces ? HardwareSurfaces.create(options.width, options.height) : null;
    if (typeof surfaces === 'string') return surfaces;
    const configure = (context: CodecContext): void => {
      context.width = options.width;
      context.height = options.height;
      context.pixelFormat = profile.pixelFormat;
      surfaces?.configure(context);
      context.colorRange = AVCOL_RANGE_MPEG;
      context.timeBase = new Rational(1, AV_TIME_BASE_90K);
      context.framerate = new Rational(Math.round(options.fps * 1000), 1000);
      context.gopSize = 1_000_000;
      context.maxBFrames = 0;
      context.threadCount = Math.max(1, Math.min(options.threads, profile.maxThreads));
      applyBitrate(context, profile, options.bitrateBps);
    };
    const context = await openCodec(codec, configure, profile.options(options));
    if (typeof context !== 'string') return new OpenEncoder(profile, context, surfaces);
    surfaces?.close();
    return context;
  }

  /** Takes effect with the next picture where the profile says so. */
  setBitrate(bitrateBps: number): void {
    applyBitrate(this.context, this.#profile, bitrateBps);
  }

  /** SVT-AV1 wants to be told that the stream is over, or complains and leaks. */
  async close(): Promise<void> {
    try {
      if ((await this.context.sendFrame(null)) < 0) return;
      using packet = new Packet();
      packet.alloc();
      while ((await this.context.receivePacket(packet)) >= 0) packet.unref();
    } finally {
      this.context.freeContext();
      this.surfaces?.close();
    }
  }
}

function applyBitrate(context: CodecContext, profile: EncoderProfile, bitrateBps: number): void {
  const bounded = Math.max(MIN_BITRATE_BPS, Math.round(bitrateBps));
  const rate = BigInt(bounded);
  context.bitRate = rate;
  context.rcMaxRate = rate;
  if (profile.constantBitrate) context.rcMinRate = rate;
  context.rcBufferSize = Math.round(bounded * profile.bufferS);
}
