import { Codec, CodecContext, Dictionary, type Frame, Packet, Rational } from 'node-av';
import type { AVPixelFormat, FFEncoderCodec } from 'node-av/constants';
import { VireoError } from '../errors.js';
import { check, encodeInto } from '../restoration/ffmpeg.js';
import { FrameFilter } from '../restoration/filters.js';
import './svtLog.js';

export interface PictureCoding {
  encoder: 'png' | 'libwebp' | 'libsvtav1';
  /** FFmpeg filter chain that leads to `pixelFormat`. */
  filter: string;
  pixelFormat: AVPixelFormat;
  options: Record<string, string>;
}

/** One frame as a file's bytes (of `libsvtav1`: as a bitstream); the frame stays the caller's. */
export async function encodePicture(frame: Frame, coding: PictureCoding): Promise<Buffer> {
  const { encoder, filter, pixelFormat, options } = coding;
  const codec = Codec.findEncoderByName(encoder as FFEncoderCodec);
  if (codec === null) throw new VireoError('unsupported', `this FFmpeg has no ${encoder}`);
  const convert = new FrameFilter(filter);
  const context = new CodecContext();
  const packet = new Packet();
  packet.alloc();
  let converted: Frame | null = null;
  try {
    converted = await convert.apply(frame);
    context.allocContext3(codec);
    context.width = converted.width;
    context.height = converted.height;
    context.pixelFormat = pixelFormat;
    context.timeBase = new Rational(1, 1);
    check(await context.open2(codec, Dictionary.fromObject(options)), `encoder ${encoder}`, 'internal');
    const parts: Buffer[] = [];
    const keep = ({ data }: Packet) => {
      if (data !== null) parts.push(Buffer.from(data));
    };
    await encodeInto(context, converted, packet, keep);
    await encodeInto(context, null, packet, keep);
    return Buffer.concat(parts);
  } finally {
    converted?.free();
    packet.free();
    context.freeContext();
    convert.close();
  }
}
