/** Payloads that look like an encoder's to anything that reads only headers: nothing here decodes. */
import { randomBytes } from 'node:crypto';

export interface Vp8FrameOptions {
  key: boolean;
  /** 15-bit picture id, RFC 7741 section 4.2. */
  pictureId: number;
  width?: number;
  height?: number;
  /** Bytes of the whole frame, without payload descriptors. */
  bytes?: number;
  bytesPerPacket?: number;
}

/** One payload per packet: RFC 7741 descriptor with a 15-bit picture id, then the RFC 6386 frame header. */
export function vp8Frame(options: Vp8FrameOptions): Buffer[] {
  const { key, pictureId, width = 640, height = 360, bytes = 700, bytesPerPacket = 1000 } = options;
  const frame = randomBytes(Math.max(bytes, 10));
  const firstPartitionBytes = Math.floor(frame.length / 2);
  // Frame tag (RFC 6386, 9.1): bit 0 is 0 for key frames; then version 0, show_frame 1, first partition size.
  frame.writeUIntLE((key ? 0 : 1) | (1 << 4) | (firstPartitionBytes << 5), 0, 3);
  if (key) {
    frame.set([0x9d, 0x01, 0x2a], 3);
    frame.writeUInt16LE(width, 6);
    frame.writeUInt16LE(height, 8);
  }
  const payloads: Buffer[] = [];
  for (let at = 0; at < frame.length; at += bytesPerPacket) {
    const descriptor = Buffer.from([
      0x80 | (at === 0 ? 0x10 : 0),
      0x80,
      0x80 | ((pictureId >> 8) & 0x7f),
      pictureId & 0xff,
    ]);
    payloads.push(Buffer.concat([descriptor, frame.subarray(at, at + bytesPerPacket)]));
  }
  return payloads;
}

/** Whether a payload is the first packet of a VP8 key frame. */
export function isVp8KeyFrame(payload: Buffer): boolean {
  const first = payload[0] ?? 0;
  if ((first & 0x17) !== 0x10) return false;
  let at = 1;
  if (first & 0x80) {
    const extension = payload[at++] ?? 0;
    if (extension & 0x80) at += (payload[at] ?? 0) & 0x80 ? 2 : 1;
    if (extension & 0x40) at += 1;
    if (extension & 0x30) at += 1;
  }
  return ((payload[at] ?? 1) & 1) === 0;
}

/** RFC 6184: key frames are SPS, PPS, IDR in one STAP-A plus FU-A fragments of the slice; others are FU-A only. */
export function h264Frame(options: { key: boolean; bytes?: number; bytesPerPacket?: number }): Buffer[] {
  const { key, bytes = 700, bytesPerPacket = 1000 } = options;
  const payloads: Buffer[] = [];
  if (key) {
    const sps = Buffer.from([
      0x67, 0x42, 0xe0, 0x1f, 0x8c, 0x8d, 0x40, 0x50, 0x1e, 0xd0, 0x0f, 0x08, 0x84, 0x6a,
    ]);
    const pps = Buffer.from([0x68, 0xce, 0x3c, 0x80]);
    const sized = [sps, pps].flatMap((unit) => [Buffer.from([unit.length >> 8, unit.length & 255]), unit]);
    payloads.push(Buffer.concat([Buffer.from([0x78]), ...sized]));
  }
  const slice = randomBytes(bytes);
  const type = key ? 5 : 1;
  if (bytes <= bytesPerPacket) {
    payloads.push(Buffer.concat([Buffer.from([0x60 | type]), slice]));
    return payloads;
  }
  for (let at = 0; at < bytes; at += bytesPerPacket) {
    const start = at === 0 ? 0x80 : 0;
    const end = at + bytesPerPacket >= bytes ? 0x40 : 0;
    payloads.push(
      Buffer.concat([Buffer.from([0x60 | 28, start | end | type]), slice.subarray(at, at + bytesPerPacket)]),
    );
  }
  return payloads;
}

/** A 20 ms full-band CELT packet as far as its table-of-contents byte goes (RFC 6716, section 3.1). */
export function opusFrame(bytes = 80): Buffer {
  const frame = randomBytes(bytes);
  frame[0] = 0xfc;
  return frame;
}
