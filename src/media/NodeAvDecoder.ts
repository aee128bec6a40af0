import { AV_CODEC_FLAG_LOW_DELAY, AVERROR_EAGAIN, type FFDecoderCodec } from 'node-av/constants';
import { Codec, type CodecContext, Frame, Packet } from 'node-av/lib';
import { VireoError } from '../errors.js';
import { openCodec } from './ffmpeg.js';
import { PictureScaler } from './PictureScaler.js';
import {
  type DecodedPicture,
  type EncodedFrame,
  i420ByteLength,
  type VideoCodec,
  type VideoDecoder,
} from './types.js';

/** `VideoDecoder` with figures, on FFmpeg through node-av. */
export interface CountingVideoDecoder extends VideoDecoder {
  /** FFmpeg's name of the decoder in use. */
  readonly decoderName: string;
  /** Access units that FFmpeg refused or decoded with errors. */
  readonly errors: number;
  /** True at the start and after an error: anything but a key frame resolves to null. */
  readonly needsKeyFrame: boolean;
}

/** FFmpeg's own VP8 and VP9 decoders are faster than libvpx. */
const DECODERS: Record<VideoCodec, string> = { VP8: 'vp8', VP9: 'vp9', H264: 'h264', AV1: 'libdav1d' };
/** Nobody calls in larger pictures than 4K; a forged header must not allocate gigabytes. */
const MAX_PIXELS = 4096 * 2304;

type Fit = (decodedWidth: number, decodedHeight: number) => { width: number; height: number };

/** Opens a low-delay, one-thread decoder; rejects with `unsupported` when FFmpeg has none. */
export async function createVideoDecoder(codec: VideoCodec): Promise<CountingVideoDecoder> {
  return NodeAvDecoder.create(codec);
}

class NodeAvDecoder implements CountingVideoDecoder {
  readonly codec: VideoCodec;
  readonly decoderName: string;
  readonly #context: CodecContext;
  readonly #packet = new Packet();
  readonly #frame = new Frame();
  readonly #scaler = new PictureScaler();
  #busy = false;
  #closed = false;
  #freed = false;
  #errors = 0;
  #needsKeyFrame = true;

  private constructor(codec: VideoCodec, context: CodecContext) {
    this.codec = codec;
    this.decoderName = DECODERS[codec];
    this.#context = context;
    this.#packet.alloc();
    this.#frame.alloc();
  }

  static async create(codec: VideoCodec): Promise<NodeAvDecoder> {
    const name = DECODERS[codec];
    const decoder = Codec.findDecoderByName(name as FFDecoderCodec);
    if (!decoder) throw new VireoError('unsupported', `this FFmpeg has no decoder "${name}" for ${codec}`);
    const opened = await openCodec(decoder, (context) => {
      context.threadCount = 1;
      context.setFlags(AV_CODEC_FLAG_LOW_DELAY);
      context.setOption('max_pixels', MAX_PIXELS);
      if (codec === 'AV1') context.setOption('max_frame_delay', 1);
    });
    if (typeof opened === 'string') {
      throw new VireoError('unsupported', `decoder "${name}" for ${codec} does not open: ${opened}`);
    }
    return new NodeAvDecoder(codec, opened);
  }

  get errors(): number {
    return this.#errors;
  }

  get needsKeyFrame(): boolean {
    return this.#needsKeyFrame;
  }

  async decode(
    frame: EncodedFrame,
    fit: Fit,
    allocate: (byteLength: number) => ArrayBuffer,
  ): Promise<DecodedPicture | null> {
    if (this.#busy) throw new VireoError('internal', 'decode() was called before the last call resolved');
    if (this.#closed || frame.data.length === 0) return null;
    if (this.#needsKeyFrame && !frame.keyFrame) return null;
    this.#busy = true;
    try {
      if (!(await this.#decode(frame)) || this.#closed) return null;
      const picture = await this.#picture(frame, fit, allocate);
      this.#needsKeyFrame = false;
      return this.#closed ? null : picture;
    } catch (error) {
      if (error instanceof VireoError) throw error;
      this.#damaged();
      return null;
    } finally {
      this.#frame.unref();
      this.#busy = false;
      if (this.#closed) this.#free();
    }
  }

  close(): void {
    this.#closed = true;
    if (!this.#busy) this.#free();
  }

  /** Leaves the picture in `#frame`; false when there is none to show. */
  async #decode(frame: EncodedFrame): Promise<boolean> {
    const packet = this.#packet;
    packet.unref();
    packet.data = Buffer.from(frame.data.buffer, frame.data.byteOffset, frame.data.byteLength);
    packet.pts = BigInt(frame.rtpTimestamp90k);
    packet.isKeyframe = frame.keyFrame;
    let sent = await this.#context.sendPacket(packet);
    if (sent === AVERROR_EAGAIN) {
      while ((await this.#context.receiveFrame(this.#frame)) >= 0) this.#frame.unref();
      sent = await this.#context.sendPacket(packet);
    }
    packet.unref();
    if (sent < 0) return this.#damaged();
    const received = await this.#context.receiveFrame(this.#frame);
    if (received === AVERROR_EAGAIN) return false;
    if (received < 0) return this.#damaged();
    // Spatial layers come out one by one; the last is the picture.
    if (this.codec === 'VP9') await this.#takeLast();
    return this.#frame.decodeErrorFlags === 0 && this.#frame.width > 0 ? true : this.#damaged();
  }

  async #takeLast(): Promise<void> {
    using next = new Frame();
    next.alloc();
    while ((await this.#context.receiveFrame(next)) >= 0) {
      this.#frame.unref();
      this.#frame.ref(next);
      next.unref();
    }
  }

  async #picture(
    encoded: EncodedFrame,
    fit: Fit,
    allocate: (byteLength: number) => ArrayBuffer,
  ): Promise<DecodedPicture> {
    const { width: decodedWidth, height: decodedHeight } = this.#frame;
    const { width, height } = wanted(fit, decodedWidth, decodedHeight);
    const byteLength = i420ByteLength(width, height);
    const buffer = allocate(byteLength);
    if (buffer.byteLength !== byteLength) {
      throw new VireoError('internal', `allocate() returned ${buffer.byteLength} of ${byteLength} bytes`);
    }
    await this.#scaler.fromFrame(this.#frame, width, height, buffer);
    return {
      buffer,
      width,
      height,
      rtpTimestamp90k: encoded.rtpTimestamp90k,
      fullRange: false,
      decodedWidth,
      decodedHeight,
      keyFrame: encoded.keyFrame,
    };
  }

  #damaged(): false {
    this.#errors += 1;
    this.#needsKeyFrame = true;
    return false;
  }

  #free(): void {
    if (this.#freed) return;
    this.#freed = true;
    this.#scaler.close();
    this.#frame.free();
    this.#packet.free();
    this.#context.freeContext();
  }
}

function wanted(
  chooseSize: Fit,
  decodedWidth: number,
  decodedHeight: number,
): { width: number; height: number } {
  const size = chooseSize(decodedWidth, decodedHeight);
  if ([size.width, size.height].every((side) => Number.isInteger(side) && side > 0 && side % 2 === 0))
    return size;
  throw new VireoError(
    'internal',
    `fit() returned ${size.width}x${size.height}; sides must be even and positive`,
  );
}
