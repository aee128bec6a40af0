/** Shared by the media tests: repeatable randomness, frames that look like an encoder's, and pictures to encode. */
import type { I420Picture, VideoCodec } from '../../../src/media/types.js';
import type { RtpVideoStream } from '../../../src/restorer/types.js';

/** Mulberry32: the same numbers for the same seed, everywhere. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function randomBytes(random: () => number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i += 1) bytes[i] = Math.floor(random() * 256);
  return bytes;
}

export function videoStream(codec: VideoCodec, rtx = true): RtpVideoStream {
  return {
    codec,
    payloadType: 96,
    ssrc: 0x1234_5678,
    cname: 'test',
    ...(rtx ? { rtx: { payloadType: 97, ssrc: 0x8765_4321 } } : {}),
  };
}

/** An access unit of about `bytes` bytes with a true structure and random content. */
export function fakeFrame(codec: VideoCodec, keyFrame: boolean, bytes: number, random: () => number): Buffer {
  const noise = (length: number): Buffer => {
    const content = randomBytes(random, Math.max(1, length));
    // No start codes inside a unit: encoders prevent them.
    for (let i = 0; i < content.length; i += 1) if (content[i] === 0) content[i] = 1;
    return content;
  };
  const unit = (header: number, length: number): Buffer[] => [
    Buffer.from([0, 0, 0, 1, header]),
    noise(length),
  ];
  const sized = (type: number, length: number): Buffer[] => {
    const size = [(length & 0x7f) | 0x80, ((length >> 7) & 0x7f) | 0x80, length >> 14];
    return [Buffer.from([(type << 3) | 2, ...size]), noise(length)];
  };
  switch (codec) {
    case 'VP8':
      return Buffer.concat([
        Buffer.from(keyFrame ? [0x10, 2, 0, 0x9d, 0x01, 0x2a, 64, 1, 180, 0] : [0x11, 2, 0]),
        noise(bytes),
      ]);
    case 'VP9':
      return noise(bytes);
    case 'H264': {
      const sets = [...unit(0x67, 0), Buffer.from([0xc0, 0x1f, 0xda]), ...unit(0x68, 0)];
      sets[1] = Buffer.from([0x42]);
      sets[4] = Buffer.from([0xce]);
      return Buffer.concat([...(keyFrame ? sets : []), ...unit(keyFrame ? 0x65 : 0x41, bytes)]);
    }
    case 'AV1':
      return Buffer.concat([
        Buffer.from([0x12, 0]),
        ...(keyFrame ? sized(1, 11) : []),
        ...sized(6, Math.max(1, bytes)),
      ]);
  }
}

/** Gradients, texture and a moving square: compresses about as a camera's picture does. */
export function picture(width: number, height: number, index: number): I420Picture {
  const buffer = new ArrayBuffer((width * height * 3) / 2);
  const bytes = new Uint8Array(buffer);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const u = x - index * 2;
      const texture = 25 * Math.sin((u + y) / 5) + 8 * Math.sin((u * 7 + y * 3) / 11);
      const inside = x > 20 + index && x < 60 + index && y > 30 && y < 70;
      bytes[y * width + x] = inside ? 200 : 110 + 50 * Math.sin(u / 31) * Math.cos(y / 23) + texture;
    }
  }
  const chroma = (width * height) / 4;
  for (let i = 0; i < chroma; i += 1) {
    const x = i % (width / 2);
    bytes[width * height + i] = 128 + 30 * Math.sin((x - index) / 40);
    bytes[width * height + chroma + i] = 128 + 30 * Math.cos(x / 50);
  }
  return { buffer, width, height, rtpTimestamp90k: index * 3000, fullRange: false };
}

/** Of the luma planes, in decibels. */
export function psnr(a: I420Picture, b: I420Picture): number {
  const luma = a.width * a.height;
  const [left, right] = [new Uint8Array(a.buffer, 0, luma), new Uint8Array(b.buffer, 0, luma)];
  let sum = 0;
  for (let i = 0; i < luma; i += 1) sum += ((left[i] ?? 0) - (right[i] ?? 0)) ** 2;
  return 10 * Math.log10(255 ** 2 / Math.max(sum / luma, 1e-9));
}
