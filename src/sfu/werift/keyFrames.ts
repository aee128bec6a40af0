import type { RtpView } from './RtpView.js';

/** Tells from a packet's payload whether a key frame begins with it. */
export type KeyFrameDetector = (payload: Buffer, offset: number, length: number) => boolean;

/** RFC 7741, section 4.2 (payload descriptor) and 4.3 (P bit of the payload header). */
function vp8(payload: Buffer, offset: number, length: number): boolean {
  const end = offset + length;
  if (length < 2) return false;
  const first = payload[offset] as number;
  let at = offset + 1;
  if (first & 0x80) {
    const extension = payload[at++] as number;
    if (extension & 0x80) {
      if (at >= end) return false;
      at += (payload[at] as number) & 0x80 ? 2 : 1;
    }
    if (extension & 0x40) at++;
    if (extension & 0x30) at++;
  }
  const startOfFirstPartition = (first & 0x10) !== 0 && (first & 0x07) === 0;
  return startOfFirstPartition && at < end && ((payload[at] as number) & 0x01) === 0;
}

/** RFC 9628, section 4.2: B set, P clear, lowest spatial layer. */
function vp9(payload: Buffer, offset: number, length: number): boolean {
  if (length < 1) return false;
  const end = offset + length;
  const first = payload[offset] as number;
  if ((first & 0x40) !== 0 || (first & 0x08) === 0) return false;
  let at = offset + 1;
  if (first & 0x80) {
    if (at >= end) return false;
    at += (payload[at] as number) & 0x80 ? 2 : 1;
  }
  if (first & 0x20) {
    if (at >= end) return false;
    const layers = payload[at] as number;
    if ((layers >> 1) & 0x07) return false;
  }
  return at <= end;
}

const H264_IDR = 5;
const H264_SPS = 7;

/** RFC 6184, section 5: a parameter set or IDR slice, alone, in STAP-A, or at the start of FU-A. */
function h264(payload: Buffer, offset: number, length: number): boolean {
  if (length < 1) return false;
  const end = offset + length;
  const type = (payload[offset] as number) & 0x1f;
  if (type === H264_SPS || type === H264_IDR) return true;
  if (type === 24) {
    for (let at = offset + 1; at + 3 <= end; ) {
      const size = payload.readUInt16BE(at);
      const inner = (payload[at + 2] as number) & 0x1f;
      if (inner === H264_SPS || inner === H264_IDR) return true;
      at += 2 + size;
    }
    return false;
  }
  if (type === 28 && length >= 2) {
    const head = payload[offset + 1] as number;
    return (head & 0x80) !== 0 && (head & 0x1f) === H264_IDR;
  }
  return false;
}

/** AV1 RTP payload format, section 4.4: N says that a new coded video sequence starts here. */
function av1(payload: Buffer, offset: number, length: number): boolean {
  return length >= 1 && ((payload[offset] as number) & 0x88) === 0x08;
}

const DETECTORS: Record<string, KeyFrameDetector> = {
  'video/vp8': vp8,
  'video/vp9': vp9,
  'video/h264': h264,
  'video/av1': av1,
};

/** Undefined: audio, or a codec whose key frames are not known; any packet may then come first. */
export function keyFrameDetector(mimeType: string): KeyFrameDetector | undefined {
  return DETECTORS[mimeType.toLowerCase()];
}

/** Looks once a packet, however many receivers ask. */
export function startsKeyFrame(view: RtpView, detect: KeyFrameDetector): boolean {
  if (view.keyFrame < 0) {
    view.keyFrame = detect(view.buffer, view.payloadOffset, view.payloadLength) ? 1 : 0;
  }
  return view.keyFrame === 1;
}
