/** VP8 over RTP (RFC 7741). */
import { type AccessUnit, type Depacketizer, evenParts, type PayloadSegments } from './Payload.js';

interface Vp8Descriptor {
  /** Start of partition 0: the frame's first packet. */
  startsFrame: boolean;
  /** Where the VP8 bytes begin. */
  headerBytes: number;
}

/** RFC 7741, section 4.2; null when the payload ends before its descriptor does. */
function parseDescriptor(payload: Buffer): Vp8Descriptor | null {
  const first = payload[0];
  if (first === undefined) return null;
  let at = 1;
  if (first & 0x80) {
    const extension = payload[at] ?? 0;
    at += 1;
    if (extension & 0x80) at += (payload[at] ?? 0) & 0x80 ? 2 : 1;
    if (extension & 0x40) at += 1;
    if (extension & 0x30) at += 1;
  }
  if (at >= payload.length) return null;
  return { startsFrame: (first & 0x17) === 0x10, headerBytes: at };
}

export class Vp8Depacketizer implements Depacketizer {
  startsKeyFrame(payload: Buffer): boolean {
    const descriptor = parseDescriptor(payload);
    return descriptor?.startsFrame === true && isKeyFrame(payload.subarray(descriptor.headerBytes));
  }

  assemble(payloads: readonly Buffer[]): AccessUnit | null {
    const parts: Buffer[] = [];
    for (const payload of payloads) {
      const descriptor = parseDescriptor(payload);
      if (!descriptor || descriptor.startsFrame !== (parts.length === 0)) return null;
      parts.push(payload.subarray(descriptor.headerBytes));
    }
    if (parts.length === 0) return null;
    const data = Buffer.concat(parts);
    return { data, keyFrame: isKeyFrame(data) };
  }
}

/** RFC 6386, section 9.1: bit 0 of a frame is 0 in key frames, whose start code follows the 3-byte tag. */
function isKeyFrame(frame: Buffer): boolean {
  return frame.length >= 10 && ((frame[0] ?? 1) & 1) === 0 && frame.readUIntBE(3, 3) === 0x9d012a;
}

export function packetizeVp8(frame: AccessUnit, pictureId: number, maxBytes: number): PayloadSegments[] {
  let at = 0;
  return evenParts(frame.data.length, maxBytes - 4).map((bytes) => {
    const descriptor = Buffer.from([at === 0 ? 0x90 : 0x80, 0x80, 0x80 | (pictureId >> 8), pictureId & 0xff]);
    const part = frame.data.subarray(at, at + bytes);
    at += bytes;
    return [descriptor, part];
  });
}
