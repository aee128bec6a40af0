/** Small helpers around node-av that the file tools share. */
import { type CodecContext, FFmpegError, Frame, type IRational, Log, type Packet, Rational } from 'node-av';
import {
  AV_LOG_FATAL,
  AV_NOPTS_VALUE,
  AV_PIX_FMT_YUV420P,
  AVERROR_EAGAIN,
  AVERROR_EOF,
} from 'node-av/constants';
import { VireoError, type VireoErrorCode } from '../errors.js';
import { type I420Picture, i420ByteLength } from '../media/types.js';

// What matters is in return codes; FFmpeg's own chatter would mix with what a command prints.
Log.setLevel(AV_LOG_FATAL);

/** Throws with FFmpeg's own words for a negative return code. */
export function check(code: number, what: string, errorCode: VireoErrorCode = 'media-invalid'): void {
  if (code >= 0) return;
  throw new VireoError(errorCode, `${what}: ${describe(code)}`);
}

export function describe(code: number): string {
  return new FFmpegError(code).message;
}

export function isPending(code: number): boolean {
  return code === AVERROR_EAGAIN || code === AVERROR_EOF;
}

export function hasTimestamp(pts: bigint): boolean {
  return pts !== AV_NOPTS_VALUE;
}

/** Copies a yuv420p frame's planes into a contiguous buffer, row by row only where FFmpeg padded the rows. */
export function copyToI420(frame: Frame, buffer: ArrayBuffer): void {
  const { width, height } = frame;
  if (buffer.byteLength !== i420ByteLength(width, height)) {
    throw new VireoError('internal', `a ${width}x${height} picture does not fit ${buffer.byteLength} bytes`);
  }
  const target = new Uint8Array(buffer);
  let offset = 0;
  for (const [plane, shift] of [0, 1, 1].entries()) {
    offset += copyPlane(frame, plane, width >> shift, height >> shift, target.subarray(offset));
  }
}

/** The luma plane of a yuv420p or gray frame, a copy of width * height bytes. */
export function lumaOf(frame: Frame): Uint8Array<ArrayBuffer> {
  const luma = new Uint8Array(frame.width * frame.height);
  copyLuma(frame, luma.buffer);
  return luma;
}

export function copyLuma(frame: Frame, buffer: ArrayBuffer): void {
  const { width, height } = frame;
  if (buffer.byteLength !== width * height) {
    throw new VireoError('internal', `a ${width}x${height} plane does not fit ${buffer.byteLength} bytes`);
  }
  copyPlane(frame, 0, width, height, new Uint8Array(buffer));
}

function copyPlane(frame: Frame, plane: number, rowBytes: number, rows: number, target: Uint8Array): number {
  const source = frame.data?.[plane];
  const stride = frame.linesize[plane];
  if (source === undefined || stride === undefined) throw new VireoError('internal', 'a plane is missing');
  if (stride === rowBytes) target.set(source.subarray(0, rowBytes * rows));
  else {
    for (let row = 0; row < rows; row++) {
      target.set(source.subarray(row * stride, row * stride + rowBytes), row * rowBytes);
    }
  }
  return rowBytes * rows;
}

/** What a restored picture keeps of the decoded frame it comes from. */
export interface FrameTags {
  pts: bigint;
  duration: bigint;
  timeBase: IRational;
  colorSpace: Frame['colorSpace'];
  colorPrimaries: Frame['colorPrimaries'];
  colorTrc: Frame['colorTrc'];
  colorRange: Frame['colorRange'];
  chromaLocation: Frame['chromaLocation'];
}

export function tagsOf(frame: Frame): FrameTags {
  const { pts, duration, timeBase, colorSpace, colorPrimaries, colorTrc, colorRange, chromaLocation } = frame;
  return {
    pts,
    duration,
    timeBase: { num: timeBase.num, den: timeBase.den },
    colorSpace,
    colorPrimaries,
    colorTrc,
    colorRange,
    chromaLocation,
  };
}

/** A frame with a copy of the picture; the caller frees it. */
export function frameOf(picture: I420Picture, tags: FrameTags): Frame {
  const { width, height } = picture;
  // What node-av makes of a buffer only points at it, and the buffer is reused before the frame is done with.
  const view = Frame.fromVideoBuffer(Buffer.from(picture.buffer), {
    width,
    height,
    format: AV_PIX_FMT_YUV420P,
    pts: tags.pts,
    timeBase: tags.timeBase,
    sampleAspectRatio: { num: 1, den: 1 },
  });
  const frame = new Frame();
  frame.alloc();
  try {
    Object.assign(frame, { width, height, format: AV_PIX_FMT_YUV420P });
    check(frame.getBuffer(), 'no memory for a frame', 'internal');
    check(frame.copy(view), 'a frame cannot be copied', 'internal');
    check(frame.copyProps(view), 'a frame cannot be copied', 'internal');
  } catch (thrown) {
    frame.free();
    throw thrown;
  } finally {
    view.free();
  }
  frame.timeBase = new Rational(tags.timeBase.num, tags.timeBase.den);
  frame.duration = tags.duration;
  frame.colorSpace = tags.colorSpace;
  frame.colorPrimaries = tags.colorPrimaries;
  frame.colorTrc = tags.colorTrc;
  frame.colorRange = tags.colorRange;
  frame.chromaLocation = tags.chromaLocation;
  return frame;
}

/** Sends one packet (null: drain) and takes every frame it gives. Returns the send's code, 0 when all is well. */
export async function decodeInto(
  context: CodecContext,
  packet: Packet | null,
  frame: Frame,
  emit: (frame: Frame) => void,
): Promise<number> {
  let worst = Math.min(0, await context.sendPacket(packet));
  for (;;) {
    const code = await context.receiveFrame(frame);
    if (code < 0) {
      if (!isPending(code)) worst = Math.min(worst, code);
      return isPending(worst) ? 0 : worst;
    }
    const clone = frame.clone();
    frame.unref();
    if (clone === null) throw new VireoError('internal', 'out of memory');
    emit(clone);
  }
}

export async function encodeInto(
  context: CodecContext,
  frame: Frame | null,
  packet: Packet,
  emit: (packet: Packet) => void | Promise<void>,
): Promise<void> {
  const sent = await context.sendFrame(frame);
  if (!isPending(sent)) check(sent, 'the encoder refused a frame', 'internal');
  for (;;) {
    const code = await context.receivePacket(packet);
    if (isPending(code)) return;
    check(code, 'the encoder failed', 'internal');
    await emit(packet);
    packet.unref();
  }
}
