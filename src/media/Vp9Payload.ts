/** VP9 over RTP (RFC 9628). */
import { type AccessUnit, type Depacketizer, evenParts, type PayloadSegments } from './Payload.js';

interface Vp9Descriptor {
  startsFrame: boolean;
  interPredicted: boolean;
  spatialId: number;
  headerBytes: number;
}

/** RFC 9628, section 4.2; null when the payload ends before its descriptor does. */
function parseDescriptor(payload: Buffer): Vp9Descriptor | null {
  const first = payload[0];
  if (first === undefined) return null;
  const [pictureId, inter, layers, flexible] = [first & 0x80, first & 0x40, first & 0x20, first & 0x10];
  let at = 1;
  let spatialId = 0;
  if (pictureId) at += (payload[at] ?? 0) & 0x80 ? 2 : 1;
  if (layers) {
    spatialId = ((payload[at] ?? 0) >> 1) & 7;
    at += flexible ? 1 : 2;
  }
  if (flexible && inter) {
    for (let i = 0; i < 3; i += 1) {
      const more = (payload[at] ?? 0) & 1;
      at += 1;
      if (!more) break;
    }
  }
  if (first & 0x02) at = skipScalabilityStructure(payload, at);
  if (at >= payload.length) return null;
  return { startsFrame: (first & 0x08) !== 0, interPredicted: inter !== 0, spatialId, headerBytes: at };
}

function skipScalabilityStructure(payload: Buffer, start: number): number {
  let at = start;
  const head = payload[at] ?? 0;
  at += 1;
  if (head & 0x10) at += ((head >> 5) + 1) * 4;
  if (head & 0x08) {
    const pictures = payload[at] ?? 0;
    at += 1;
    for (let i = 0; i < pictures && at < payload.length; i += 1) at += 1 + (((payload[at] ?? 0) >> 2) & 3);
  }
  return at;
}

export class Vp9Depacketizer implements Depacketizer {
  startsKeyFrame(payload: Buffer): boolean {
    const descriptor = parseDescriptor(payload);
    return !!descriptor?.startsFrame && !descriptor.interPredicted && descriptor.spatialId === 0;
  }

  assemble(payloads: readonly Buffer[]): AccessUnit | null {
    /** One list of parts a spatial layer. */
    const layers: Buffer[][] = [];
    let keyFrame = false;
    for (const payload of payloads) {
      const descriptor = parseDescriptor(payload);
      if (!descriptor) return null;
      if (descriptor.startsFrame) {
        if (layers.length === 0) keyFrame = !descriptor.interPredicted && descriptor.spatialId === 0;
        layers.push([]);
      }
      const layer = layers.at(-1);
      if (!layer) return null;
      layer.push(payload.subarray(descriptor.headerBytes));
    }
    if (layers.length === 0 || layers.length > 8) return null;
    const frames = layers.map((parts) => Buffer.concat(parts));
    return { data: frames.length === 1 ? Buffer.concat(frames) : superframe(frames), keyFrame };
  }
}

/** Spatial layers of one picture, with the index that tells a decoder where each begins (VP9 specification, annex B). */
function superframe(frames: readonly Buffer[]): Buffer {
  const marker = 0xc0 | (3 << 3) | (frames.length - 1);
  const index = Buffer.alloc(2 + frames.length * 4, marker);
  for (const [i, frame] of frames.entries()) index.writeUInt32LE(frame.length, 1 + i * 4);
  return Buffer.concat([...frames, index]);
}

export function packetizeVp9(frame: AccessUnit, pictureId: number, maxBytes: number): PayloadSegments[] {
  let at = 0;
  return evenParts(frame.data.length, maxBytes - 3).map((bytes) => {
    const end = at + bytes === frame.data.length;
    const flags = 0x80 | (frame.keyFrame ? 0 : 0x40) | (at === 0 ? 0x08 : 0) | (end ? 0x04 : 0);
    const descriptor = Buffer.from([flags, 0x80 | (pictureId >> 8), pictureId & 0xff]);
    const part = frame.data.subarray(at, at + bytes);
    at += bytes;
    return [descriptor, part];
  });
}
