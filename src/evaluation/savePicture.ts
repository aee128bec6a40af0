import { writeFile } from 'node:fs/promises';
import { Codec, CodecContext, Dictionary, type Frame, Packet, Rational } from 'node-av';
import { AV_PIX_FMT_BGRA, AV_PIX_FMT_RGB24, type FFEncoderCodec } from 'node-av/constants';
import { VireoError } from '../errors.js';
import { check, encodeInto } from '../restoration/ffmpeg.js';
import { FrameFilter } from '../restoration/filters.js';

const PNG = { encoder: 'png', format: 'rgb24', pixelFormat: AV_PIX_FMT_RGB24, options: {} };
const WEBP = { encoder: 'libwebp', format: 'bgra', pixelFormat: AV_PIX_FMT_BGRA, options: { quality: '90' } };

/** Writes a frame as PNG or, by the path's ending, as WebP; the frame stays the caller's. */
export async function savePicture(frame: Frame, path: string): Promise<void> {
  const kind = path.endsWith('.webp') ? WEBP : PNG;
  const codec = Codec.findEncoderByName(kind.encoder as FFEncoderCodec);
  if (codec === null) throw new VireoError('unsupported', `${path}: this FFmpeg has no ${kind.encoder}`);
  const toRgb = new FrameFilter(
    `scale=flags=bicubic+accurate_rnd+full_chroma_int,setparams=range=pc,format=${kind.format}`,
  );
  const context = new CodecContext();
  const packet = new Packet();
  packet.alloc();
  let rgb: Frame | null = null;
  try {
    rgb = await toRgb.apply(frame);
    context.allocContext3(codec);
    context.width = rgb.width;
    context.height = rgb.height;
    context.pixelFormat = kind.pixelFormat;
    context.timeBase = new Rational(1, 1);
    check(
      await context.open2(codec, Dictionary.fromObject(kind.options)),
      `encoder ${kind.encoder}`,
      'internal',
    );
    const parts: Buffer[] = [];
    const keep = ({ data }: Packet) => {
      if (data !== null) parts.push(Buffer.from(data));
    };
    await encodeInto(context, rgb, packet, keep);
    await encodeInto(context, null, packet, keep);
    await writeFile(path, Buffer.concat(parts));
  } finally {
    rgb?.free();
    packet.free();
    context.freeContext();
    toRgb.close();
  }
}
