import {
  AV_PIX_FMT_YUV420P,
  AV_PIX_FMT_YUVJ420P,
  AVCOL_RANGE_JPEG,
  type AVPixelFormat,
  SWS_BICUBIC,
} from 'node-av/constants';
import { type Frame, SoftwareScaleContext } from 'node-av/lib';
import type { I420Picture } from './types.js';

/** Planes of a contiguous 4:2:0 picture, as views. */
export function i420Planes(buffer: ArrayBuffer, width: number, height: number): [Buffer, Buffer, Buffer] {
  const luma = width * height;
  const chroma = luma / 4;
  return [
    Buffer.from(buffer, 0, luma),
    Buffer.from(buffer, luma, chroma),
    Buffer.from(buffer, luma + chroma, chroma),
  ];
}

/** Size, pixel format and range conversion in one native pass, off the main thread. */
export class PictureScaler {
  #context: SoftwareScaleContext | null = null;
  #key = '';

  /**
   * Any decoded frame into the caller's memory as limited-range 4:2:0 of the size wanted; throws when swscale
   * refuses. The memory must hold `i420ByteLength` bytes.
   */
  async fromFrame(frame: Frame, width: number, height: number, target: ArrayBuffer): Promise<void> {
    const jpeg = frame.format === AV_PIX_FMT_YUVJ420P;
    const format = jpeg ? AV_PIX_FMT_YUV420P : (frame.format as AVPixelFormat);
    const fullRange = jpeg || frame.colorRange === AVCOL_RANGE_JPEG;
    const context = this.#configure(
      { width: frame.width, height: frame.height, format, fullRange },
      { width, height, format: AV_PIX_FMT_YUV420P },
    );
    const source = frame.data;
    if (!source) throw new Error('the decoded frame has no data');
    const planes = i420Planes(target, width, height);
    const strides = [width, width / 2, width / 2];
    const lines = await context.scale(source, frame.linesize, 0, frame.height, planes, strides);
    if (lines !== height) throw new Error(`swscale wrote ${lines} of ${height} lines`);
  }

  /** A picture into an allocated frame of the same size and possibly another pixel format. */
  async toFrame(picture: I420Picture, frame: Frame): Promise<void> {
    const { width, height, fullRange } = picture;
    const context = this.#configure(
      { width, height, format: AV_PIX_FMT_YUV420P, fullRange },
      { width, height, format: frame.format as AVPixelFormat },
    );
    const target = frame.data;
    if (!target) throw new Error('the frame to encode has no data');
    const planes = i420Planes(picture.buffer, width, height);
    const strides = [width, width / 2, width / 2];
    const lines = await context.scale(planes, strides, 0, height, target, frame.linesize);
    if (lines !== height) throw new Error(`swscale wrote ${lines} of ${height} lines`);
  }

  close(): void {
    this.#context?.freeContext();
    this.#context = null;
    this.#key = '';
  }

  #configure(
    source: { width: number; height: number; format: AVPixelFormat; fullRange: boolean },
    target: { width: number; height: number; format: AVPixelFormat },
  ): SoftwareScaleContext {
    const key = `${source.width}x${source.height}/${source.format}/${source.fullRange}>${target.width}x${target.height}/${target.format}`;
    if (this.#context && this.#key === key) return this.#context;
    this.close();
    const context = new SoftwareScaleContext();
    context.allocContext();
    context.setOption('srcw', source.width);
    context.setOption('srch', source.height);
    context.setOption('src_format', source.format);
    context.setOption('src_range', source.fullRange ? 1 : 0);
    context.setOption('dstw', target.width);
    context.setOption('dsth', target.height);
    context.setOption('dst_format', target.format);
    context.setOption('dst_range', 0);
    context.setOption('sws_flags', SWS_BICUBIC);
    const result = context.initContext();
    if (result < 0) {
      context.freeContext();
      throw new Error(`swscale cannot convert ${key}`);
    }
    this.#context = context;
    this.#key = key;
    return context;
  }
}
