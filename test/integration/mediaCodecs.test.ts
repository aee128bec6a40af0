/** Real codecs behind the media interfaces: what goes in comes out, damage is survived, memory comes back. */
import { AV_PIX_FMT_YUV420P, AVCOL_RANGE_JPEG } from 'node-av/constants';
import { Frame } from 'node-av/lib';
import { afterEach, describe, expect, it } from 'vitest';
import { type CountingVideoDecoder, createVideoDecoder } from '../../src/media/NodeAvDecoder.js';
import { availableEncoders, createVideoEncoder } from '../../src/media/NodeAvEncoder.js';
import { PictureScaler } from '../../src/media/PictureScaler.js';
import { createDepacketizer, createPacketizer } from '../../src/media/payloadFormats.js';
import type { EncodedFrame, EncodedPicture, VideoCodec, VideoEncoder } from '../../src/media/types.js';
import { picture, psnr, seededRandom } from '../unit/media/support.js';

const CODECS: VideoCodec[] = ['VP8', 'VP9', 'H264', 'AV1'];
const same = (width: number, height: number) => ({ width, height });
const allocate = (bytes: number) => new ArrayBuffer(bytes);

const clip = Array.from({ length: 40 }, (_, i) => picture(320, 180, i));

const opened: { close(): void }[] = [];
afterEach(() => {
  for (const codec of opened.splice(0)) codec.close();
});

async function encoder(
  codec: VideoCodec,
  width: number,
  height: number,
  bitrateBps = 600_000,
): Promise<VideoEncoder> {
  const made = await createVideoEncoder({ codec, width, height, bitrateBps, fps: 30, threads: 1 });
  opened.push(made);
  return made;
}

async function decoder(codec: VideoCodec): Promise<CountingVideoDecoder> {
  const made = await createVideoDecoder(codec);
  opened.push(made);
  return made;
}

function received(codec: VideoCodec, { data, keyFrame, rtpTimestamp90k }: EncodedPicture): EncodedFrame {
  const times = { firstPacketAtMs: 0, lastPacketAtMs: 0, releasedAtMs: 0 };
  return { codec, data, keyFrame, rtpTimestamp90k, ...times, discontinuity: false };
}

async function encoded(
  from: VideoEncoder,
  index: number,
  width: number,
  height: number,
  keyFrame = false,
): Promise<EncodedPicture> {
  const result = await from.encode(picture(width, height, index), { keyFrame });
  if (!result) throw new Error(`${from.encoderName} gave nothing for picture ${index}`);
  return result;
}

describe.each(CODECS)('%s', (codec) => {
  it('gives every picture back at once, through RTP payloads, with key frames where asked for', async () => {
    const from = await encoder(codec, 320, 180);
    const to = await decoder(codec);
    const packetize = createPacketizer(codec);
    const depacketizer = createDepacketizer(codec);
    for (let i = 0; i < 12; i += 1) {
      const sent = await encoded(from, i, 320, 180, i === 7);
      expect(sent.keyFrame).toBe(i === 0 || i === 7);
      expect(sent.rtpTimestamp90k).toBe(i * 3000);
      const payloads = packetize({ data: Buffer.from(sent.data), keyFrame: sent.keyFrame }, 1186).map(
        (parts) => Buffer.concat(parts),
      );
      expect(payloads.some((payload) => depacketizer.startsKeyFrame(payload))).toBe(sent.keyFrame);
      const unit = depacketizer.assemble(payloads);
      if (!unit) throw new Error(`picture ${i} did not come out of its packets`);
      expect(unit.keyFrame).toBe(sent.keyFrame);
      const shown = await to.decode(received(codec, { ...sent, data: unit.data }), same, allocate);
      if (!shown) throw new Error(`picture ${i} was not decoded`);
      expect(shown).toMatchObject({ width: 320, height: 180, rtpTimestamp90k: i * 3000, fullRange: false });
      expect(psnr(shown, picture(320, 180, i))).toBeGreaterThan(25);
    }
    expect(to.errors).toBe(0);
  });

  it('follows a change of resolution and scales into the size asked for', async () => {
    const to = await decoder(codec);
    for (const [width, height] of [
      [320, 180],
      [640, 360],
      [176, 144],
    ] as const) {
      const from = await encoder(codec, width, height);
      for (let i = 0; i < 2; i += 1) {
        const sent = received(codec, await encoded(from, i, width, height));
        const shown = await to.decode(sent, () => ({ width: 480, height: 270 - (270 % 4) }), allocate);
        expect(shown).toMatchObject({ width: 480, height: 268, decodedWidth: width, decodedHeight: height });
        expect(shown?.buffer.byteLength).toBe((480 * 268 * 3) / 2);
      }
    }
    expect(to.errors).toBe(0);
  });

  it('follows the bitrate', async () => {
    const from = await encoder(codec, 320, 180, 300_000);
    const bytes = async (first: number): Promise<number> => {
      let sum = 0;
      for (let i = first; i < first + 100; i += 1) {
        const next = clip[i % clip.length] ?? picture(320, 180, i);
        const sent = await from.encode({ ...next, rtpTimestamp90k: i * 3000 }, { keyFrame: false });
        if (sent && i >= first + 20 && !sent.keyFrame) sum += sent.data.length;
      }
      return sum;
    };
    const before = await bytes(0);
    from.setBitrate(100_000);
    expect(await bytes(100)).toBeLessThan(before * 0.7);
  });

  it('survives damaged frames and goes on with the next key frame', async () => {
    const random = seededRandom(5);
    const from = await encoder(codec, 176, 144, 200_000);
    const to = await decoder(codec);
    const good: EncodedPicture[] = [];
    for (let i = 0; i < 10; i += 1) good.push(await encoded(from, i, 176, 144, i === 5));
    for (let round = 0; round < 500; round += 1) {
      const original = good[round % good.length];
      if (!original) continue;
      const data = Buffer.from(original.data);
      for (let hit = 0; hit <= random() * 8; hit += 1)
        data[Math.floor(random() * data.length)] = Math.floor(random() * 256);
      const cut = random() < 0.3 ? data.subarray(0, Math.floor(random() * data.length)) : data;
      await to.decode(
        received(codec, { ...original, data: cut }),
        () => ({ width: 176, height: 144 }),
        allocate,
      );
    }
    const key = good[5];
    if (!key) throw new Error('no key frame was encoded');
    // One frame may still be inside a decoder that was refused in the middle of something.
    let shown = await to.decode(received(codec, key), same, allocate);
    shown ??= await to.decode(received(codec, key), same, allocate);
    expect(shown && psnr(shown, picture(176, 144, 5))).toBeGreaterThan(25);
  });
});

describe('a decoder', () => {
  it('wants a key frame first', async () => {
    const from = await encoder('VP8', 176, 144);
    const to = await decoder('VP8');
    const [key, delta] = [await encoded(from, 0, 176, 144), await encoded(from, 1, 176, 144)];
    expect(await to.decode(received('VP8', delta), same, allocate)).toBeNull();
    expect(to.needsKeyFrame).toBe(true);
    expect(await to.decode(received('VP8', key), same, allocate)).not.toBeNull();
    expect(to.needsKeyFrame).toBe(false);
  });

  it('may be closed in the middle of a call, and twice', async () => {
    const from = await encoder('H264', 320, 180);
    const to = await decoder('H264');
    const key = received('H264', await encoded(from, 0, 320, 180));
    const decoding = to.decode(key, same, allocate);
    to.close();
    to.close();
    expect(await decoding).toBeNull();
    expect(await to.decode(key, same, allocate)).toBeNull();
    const encoding = from.encode(picture(320, 180, 1), { keyFrame: false });
    from.close();
    from.close();
    await encoding;
    expect(await from.encode(picture(320, 180, 2), { keyFrame: false })).toBeNull();
  });

  it('says which contract a caller broke', async () => {
    const from = await encoder('H264', 320, 180);
    const to = await decoder('H264');
    const key = received('H264', await encoded(from, 0, 320, 180));
    await expect(to.decode(key, () => ({ width: 321, height: 180 }), allocate)).rejects.toThrow('321x180');
    await expect(from.encode(picture(176, 144, 1), { keyFrame: false })).rejects.toThrow('320x180');
  });
});

describe('full-range pictures', () => {
  it.each([
    ['kept at their size', 64, 32],
    ['scaled', 128, 64],
  ])('%s become limited-range', async (_how, width, height) => {
    const frame = Frame.fromVideoBuffer(Buffer.alloc((64 * 32 * 3) / 2, 255), {
      width: 64,
      height: 32,
      format: AV_PIX_FMT_YUV420P,
    });
    frame.colorRange = AVCOL_RANGE_JPEG;
    const scaler = new PictureScaler();
    opened.push(scaler, { close: () => frame.free() });
    const target = new ArrayBuffer((width * height * 3) / 2);
    await scaler.fromFrame(frame, width, height, target);
    const bytes = new Uint8Array(target);
    expect(Math.abs((bytes[width * 9 + 9] ?? 0) - 235)).toBeLessThanOrEqual(1);
    expect(Math.abs((bytes[width * height + 9] ?? 0) - 240)).toBeLessThanOrEqual(1);
  });
});

describe('H.264 out of the encoder', () => {
  it('is constrained baseline with parameter sets in every key frame', async () => {
    const from = await encoder('H264', 1280, 720, 1_500_000);
    for (const index of [0, 1, 2]) {
      const { data, keyFrame } = await encoded(from, index, 1280, 720, index === 2);
      const hex = Buffer.from(data).toString('hex');
      expect(keyFrame).toBe(index !== 1);
      expect(/000000016742[c-f]0(1f|1e)/.test(hex)).toBe(keyFrame);
      expect(hex.includes('0000000168')).toBe(keyFrame);
    }
  });
});

describe('native memory', () => {
  it('stays flat over hundreds of decoders and encoders', async () => {
    const from = await encoder('VP8', 320, 180);
    const key = received('VP8', await encoded(from, 0, 320, 180));
    const cycle = async (): Promise<void> => {
      const to = await createVideoDecoder('VP8');
      await to.decode(key, () => ({ width: 640, height: 360 }), allocate);
      to.close();
      const again = await createVideoEncoder({
        codec: 'H264',
        width: 320,
        height: 180,
        bitrateBps: 300_000,
        fps: 30,
        threads: 1,
        hardware: false,
      });
      await again.encode(picture320, { keyFrame: false });
      again.close();
    };
    const picture320 = picture(320, 180, 0);
    for (let i = 0; i < 100; i += 1) await cycle();
    const before = process.memoryUsage().rss;
    for (let i = 0; i < 500; i += 1) await cycle();
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024);
  });
});

describe('availableEncoders', () => {
  it('lists every encoder known, with the reason why one does not work', async () => {
    const found = await availableEncoders();
    for (const codec of CODECS)
      expect(found.some((entry) => entry.codec === codec && entry.available)).toBe(true);
    for (const entry of found) expect(entry.available).toBe(entry.note === null);
  });
});
