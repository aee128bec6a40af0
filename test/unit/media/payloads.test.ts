import { describe, expect, it } from 'vitest';
import type { PayloadSegments } from '../../../src/media/Payload.js';
import { createDepacketizer, createPacketizer } from '../../../src/media/payloadFormats.js';
import type { VideoCodec } from '../../../src/media/types.js';
import { fakeFrame, randomBytes, seededRandom } from './support.js';

const CODECS: VideoCodec[] = ['VP8', 'VP9', 'H264', 'AV1'];
const join = (packets: readonly PayloadSegments[]): Buffer[] =>
  packets.map((segments) => Buffer.concat(segments));

describe.each(CODECS)('%s payloads', (codec) => {
  it('come back as the access unit they were made from, whatever its size', () => {
    const random = seededRandom(1);
    const packetize = createPacketizer(codec);
    const depacketizer = createDepacketizer(codec);
    for (let round = 0; round < 200; round += 1) {
      const keyFrame = round % 7 === 0;
      const bytes = round < 60 ? round + 1 : Math.floor(random() ** 3 * 60_000) + 1;
      const data = fakeFrame(codec, keyFrame, bytes, random);
      const maxBytes = 64 + Math.floor(random() * 1136);
      const payloads = join(packetize({ data, keyFrame }, maxBytes));
      expect(Math.max(...payloads.map((payload) => payload.length))).toBeLessThanOrEqual(maxBytes);
      expect(payloads.map((payload) => depacketizer.startsKeyFrame(payload)).indexOf(true)).toBe(
        keyFrame ? 0 : -1,
      );
      const unit = depacketizer.assemble(payloads);
      expect(unit?.keyFrame).toBe(keyFrame);
      expect(normalized(codec, unit?.data)?.equals(normalized(codec, data) ?? Buffer.alloc(0))).toBe(true);
    }
  });

  it('are refused, not thrown over, when bytes are random, cut or missing', () => {
    const random = seededRandom(2);
    const depacketizer = createDepacketizer(codec);
    const packetize = createPacketizer(codec);
    for (let round = 0; round < 2000; round += 1) {
      const noise = randomBytes(random, Math.floor(random() * 40));
      depacketizer.startsKeyFrame(noise);
      depacketizer.assemble([noise, randomBytes(random, 8)]);
    }
    for (let round = 0; round < 100; round += 1) {
      const data = fakeFrame(codec, true, 5000, random);
      const payloads = join(packetize({ data, keyFrame: true }, 500));
      payloads.splice(Math.floor(random() * payloads.length), 1);
      const cut = payloads.map((payload) => payload.subarray(0, Math.floor(random() * payload.length)));
      depacketizer.assemble(payloads);
      depacketizer.assemble(cut);
    }
  });
});

/** AV1 units may come back with a shorter size field; only what they hold must be the same. */
function normalized(codec: VideoCodec, data: Buffer | undefined): Buffer | undefined {
  if (codec !== 'AV1' || !data) return data;
  return createDepacketizer('AV1').assemble(
    join(createPacketizer('AV1')({ data, keyFrame: true }, 1_000_000)),
  )?.data;
}

describe('H.264', () => {
  const start = Buffer.from([0, 0, 0, 1]);
  const sps = Buffer.from([0x67, 0x42, 0xc0, 0x1f, 0xda, 1]);
  const pps = Buffer.from([0x68, 0xce, 0x3c, 0x80]);
  const idr = Buffer.from([0x65, 0x88, 5, 5]);

  it('repeats parameter sets before an IDR picture that comes without', () => {
    const depacketizer = createDepacketizer('H264');
    expect(depacketizer.startsKeyFrame(idr)).toBe(false);
    depacketizer.startsKeyFrame(sps);
    depacketizer.startsKeyFrame(pps);
    expect(depacketizer.startsKeyFrame(idr)).toBe(true);
    const unit = depacketizer.assemble([idr]);
    expect(unit).toEqual({ data: Buffer.concat([start, sps, start, pps, start, idr]), keyFrame: true });
  });

  it('takes single units, aggregates and fragments in one access unit', () => {
    const depacketizer = createDepacketizer('H264');
    const aggregate = Buffer.concat([
      Buffer.from([0x78, 0, sps.length]),
      sps,
      Buffer.from([0, pps.length]),
      pps,
    ]);
    const fragments = [
      Buffer.from([0x7c, 0x85, 0x88]),
      Buffer.from([0x7c, 0x05, 5]),
      Buffer.from([0x7c, 0x45, 5]),
    ];
    const unit = depacketizer.assemble([aggregate, ...fragments]);
    expect(unit).toEqual({ data: Buffer.concat([start, sps, start, pps, start, idr]), keyFrame: true });
    expect(depacketizer.assemble([aggregate, fragments[0] ?? idr, idr])).toBeNull();
  });

  it('leaves out delimiters, filler and supplemental information', () => {
    const data = Buffer.concat([start, Buffer.from([9, 0x10]), start, Buffer.from([6, 5, 1, 1]), start, idr]);
    expect(join(createPacketizer('H264')({ data, keyFrame: true }, 1000))).toEqual([idr]);
  });
});

describe('VP8', () => {
  it('reads every form of payload descriptor', () => {
    const depacketizer = createDepacketizer('VP8');
    const key = Buffer.from([0x10, 2, 0, 0x9d, 0x01, 0x2a, 64, 1, 180, 0]);
    for (const descriptor of [
      [0x10],
      [0x90, 0x80, 5],
      [0x90, 0x80, 0x85, 1],
      [0x90, 0xf0, 0x85, 1, 7, 9],
      [0x90, 0x20, 9],
    ]) {
      const payload = Buffer.concat([Buffer.from(descriptor), key]);
      expect(depacketizer.startsKeyFrame(payload)).toBe(true);
      expect(depacketizer.assemble([payload])?.data).toEqual(key);
    }
  });
});

describe('VP9', () => {
  it('reads flexible mode and scalability structures, and joins spatial layers into a superframe', () => {
    const depacketizer = createDepacketizer('VP9');
    const base = Buffer.from([
      0x80 | 0x20 | 0x08 | 0x04 | 0x02,
      0x81,
      2,
      0x00,
      7,
      0x30,
      1,
      0,
      0,
      180,
      2,
      0,
      1,
      104,
      0xaa,
      0xbb,
    ]);
    const upper = Buffer.from([0x80 | 0x40 | 0x20 | 0x10 | 0x08 | 0x04, 5, 0x03, 2, 0xcc]);
    expect(depacketizer.startsKeyFrame(base)).toBe(true);
    expect(depacketizer.startsKeyFrame(upper)).toBe(false);
    const unit = depacketizer.assemble([base, upper]);
    expect(unit?.keyFrame).toBe(true);
    expect(unit?.data.toString('hex')).toBe('aabbccd9' + '02000000' + '01000000' + 'd9');
  });
});

describe('AV1', () => {
  it('joins units of every aggregation form, drops delimiters and adds size fields', () => {
    const depacketizer = createDepacketizer('AV1');
    // W=2: one element with a length, the last without; the last goes on in the next packet.
    const first = Buffer.from([0x40 | 0x20 | 0x08, 2, 0x08, 0xa1, 0x30, 0xb1]);
    const second = Buffer.from([0x80 | 0x10, 0xb2, 0xb3]);
    const unit = depacketizer.assemble([first, second]);
    expect(unit).toEqual({
      data: Buffer.from([0x12, 0, 0x0a, 1, 0xa1, 0x32, 3, 0xb1, 0xb2, 0xb3]),
      keyFrame: true,
    });
    expect(depacketizer.assemble([second])).toBeNull();
    expect(depacketizer.assemble([first])).toBeNull();
  });
});
