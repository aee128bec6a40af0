/** Decodes a sharp still (WebP or AVIF, as it came from a sender) for a variant's output. */
import { Codec, CodecContext, Demuxer, Dictionary, Frame, Packet, Rational } from 'node-av';
import { AV_CODEC_ID_AV1, AV_CODEC_ID_WEBP } from 'node-av/constants';
import { VireoError } from '../errors.js';
import { check, decodeInto, lumaOf } from './ffmpeg.js';
import { type PictureSize, stillFilter } from './filters.js';

/** Side of the largest still, pixels. Nothing larger is decoded, whatever its header says. */
const MAX_SIDE = 4096;
/** A still of another shape shows something else. */
const ASPECT_TOLERANCE = 0.02;

/** The kinds that are taken, by what a file begins with; null for all others. */
export function stillTypeOf(bytes: Uint8Array): 'image/webp' | 'image/avif' | null {
  const text = (from: number, to: number) => Buffer.from(bytes.subarray(from, to)).toString('latin1');
  if (text(0, 4) === 'RIFF' && text(8, 12) === 'WEBP') return 'image/webp';
  // The major brand, or one of those that it is compatible with.
  const brands: readonly string[] = text(8, 64).match(/.{4}/gs) ?? [];
  return text(4, 8) === 'ftyp' && brands.includes('avif') ? 'image/avif' : null;
}

/**
 * The still's luma (width * height bytes, limited range), scaled to the size. Rejects with `media-invalid`: not one of the two
 * kinds, damaged, too large, or of another shape.
 */
export async function decodeStill(bytes: Uint8Array, size: PictureSize): Promise<ArrayBuffer> {
  const type = stillTypeOf(bytes);
  if (type === null) throw invalid('it is neither WebP nor AVIF');
  const frame = type === 'image/webp' ? await decodeWebp(bytes) : await decodeAvif(bytes);
  try {
    const { width, height } = frame;
    const shape = width / height / (size.width / size.height);
    if (Math.abs(shape - 1) > ASPECT_TOLERANCE) {
      throw invalid(`it is ${width}x${height}, of another shape than ${size.width}x${size.height}`);
    }
    const filter = stillFilter(size);
    try {
      const scaled = await filter.apply(frame);
      try {
        return lumaOf(scaled).buffer;
      } finally {
        scaled.free();
      }
    } finally {
      filter.close();
    }
  } finally {
    frame.free();
  }
}

async function decodeWebp(bytes: Uint8Array): Promise<Frame> {
  const packet = new Packet();
  packet.alloc();
  try {
    packet.data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return await decodePacket(openDecoder(AV_CODEC_ID_WEBP), packet);
  } finally {
    packet.free();
  }
}

/** AVIF is a file of boxes around one AV1 key frame. */
async function decodeAvif(bytes: Uint8Array): Promise<Frame> {
  const demuxer = await Demuxer.open(Buffer.from(bytes), { format: 'mov' }).catch((thrown: unknown) => {
    throw invalid(VireoError.from(thrown).message);
  });
  const packet = new Packet();
  packet.alloc();
  try {
    const stream = demuxer.video();
    const { width = 0, height = 0 } = stream?.codecpar ?? {};
    if (stream?.codecpar.codecId !== AV_CODEC_ID_AV1 || tooLarge(width, height)) {
      throw invalid(`there is no AV1 picture of up to ${MAX_SIDE} pixels a side in it`);
    }
    const decoder = openDecoder(AV_CODEC_ID_AV1);
    try {
      check(decoder.context.parametersToContext(stream.codecpar), 'the still cannot be decoded');
      check(await demuxer.getFormatContext().readFrame(packet), 'the still cannot be read');
    } catch (thrown) {
      decoder.context.freeContext();
      throw thrown;
    }
    return await decodePacket(decoder, packet);
  } finally {
    packet.free();
    await demuxer.close();
  }
}

interface UnopenedDecoder {
  context: CodecContext;
  codec: Codec;
}

function openDecoder(id: typeof AV_CODEC_ID_AV1 | typeof AV_CODEC_ID_WEBP): UnopenedDecoder {
  const codec = Codec.findDecoder(id);
  if (codec === null) throw new VireoError('unsupported', 'this FFmpeg cannot decode such a still');
  const context = new CodecContext();
  context.allocContext3(codec);
  // A still is small, and calls need the cores.
  context.threadCount = 1;
  return { context, codec };
}

/** Takes the decoder. The frame is the caller's. */
async function decodePacket({ context, codec }: UnopenedDecoder, packet: Packet): Promise<Frame> {
  const scratch = new Frame();
  scratch.alloc();
  const frames: Frame[] = [];
  try {
    // Refused before memory for its pixels is asked for.
    using options = Dictionary.fromObject({ max_pixels: MAX_SIDE ** 2 });
    check(await context.open2(codec, options), 'the still cannot be decoded');
    const keep = (frame: Frame) => frames.push(frame);
    check(await decodeInto(context, packet, scratch, keep), 'the still is damaged');
    check(await decodeInto(context, null, scratch, keep), 'the still is damaged');
    const first = frames.shift();
    if (first === undefined) throw invalid('there is no picture in it');
    if (tooLarge(first.width, first.height)) {
      first.free();
      throw invalid(`it is larger than ${MAX_SIDE} pixels a side`);
    }
    // Filters ask for a time, though a still has none.
    first.pts = 0n;
    first.timeBase = new Rational(1, 1);
    return first;
  } finally {
    for (const frame of frames) frame.free();
    scratch.free();
    context.freeContext();
  }
}

function tooLarge(width: number, height: number): boolean {
  return !(width > 0 && height > 0 && width <= MAX_SIDE && height <= MAX_SIDE);
}

function invalid(reason: string): VireoError {
  return new VireoError('media-invalid', `the still cannot be used: ${reason}`);
}
