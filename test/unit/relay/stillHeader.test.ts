import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Frame } from 'node-av';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeStill } from '../../../src/evaluation/still.js';
import { readStillHeader } from '../../../src/relay/stillHeader.js';
import { MuxedWriter } from '../../../src/restoration/MuxedWriter.js';
import { VideoFileReader } from '../../../src/restoration/VideoFileReader.js';
import type { StillMimeType } from '../../../src/signaling/messages.js';
import {
  avifMeta,
  avifStill,
  avifType,
  box,
  chunk,
  concat,
  ispe,
  uint32be,
  vp8,
  vp8l,
  vp8x,
  webp,
  webpStill,
} from '../../support/stills.js';

function refusal(bytes: Uint8Array, mimeType: StillMimeType): string {
  try {
    readStillHeader(bytes, mimeType);
  } catch (error) {
    expect(error).toMatchObject({ name: 'VireoError', code: 'media-invalid' });
    return (error as Error).message;
  }
  return 'accepted';
}

/** Every shorter beginning of a file is refused, and with words of ours. */
function expectTruncationsRefused(bytes: Uint8Array, mimeType: StillMimeType): void {
  for (let length = 0; length < bytes.byteLength; length += 1) {
    expect(refusal(bytes.subarray(0, length), mimeType), `${length} bytes`).toMatch(/^the still /);
  }
}

describe('real pictures', () => {
  let folder: string;
  let frame: Frame;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'vireo-still-header-'));
    const reader = await VideoFileReader.open('testsrc2=size=322x182:rate=1:duration=1,format=yuv420p', {
      format: 'lavfi',
    });
    const first = await reader.next();
    if (!first) throw new Error('no frame');
    frame = first;
    await reader.close();
  });

  afterAll(() => {
    frame?.free();
    rmSync(folder, { recursive: true, force: true });
  });

  it('of WebP have their size', async () => {
    const bytes = await encodeStill(frame, { maxBytes: 30_000, maxQuality: 72 }, 'image/webp');
    expect(readStillHeader(bytes, 'image/webp')).toEqual({ width: 322, height: 182 });
    expect(refusal(bytes, 'image/avif')).toBe('the still is no AVIF file');
    expect(refusal(bytes.subarray(0, -2), 'image/webp')).toMatch(/says that it has \d+ bytes, but has \d+$/);
  });

  it('of AVIF have their size', async () => {
    const path = join(folder, 'still.avif');
    const container = {
      muxer: 'avif',
      encoder: 'libsvtav1',
      options: { preset: '12', crf: '45' },
      audio: [],
    };
    const rate = { num: 1, den: 1 };
    const writer = new MuxedWriter(path, container, { timeBase: rate, frameRate: rate, audio: null });
    await writer.write(frame);
    await writer.finish();
    const bytes = readFileSync(path);
    expect(readStillHeader(bytes, 'image/avif')).toEqual({ width: 322, height: 182 });
    expect(refusal(bytes, 'image/webp')).toBe('the still is no WebP file');
    expect(refusal(bytes.subarray(0, -1), 'image/avif')).toBe('the still ends within its mdat box');
  });
});

describe('the header of a WebP', () => {
  it.each([
    ['lossy', webpStill(1_280, 720)],
    ['lossless', webp(vp8l(1_280, 720))],
    ['extended', webp(vp8x(1_280, 720), chunk('ICCP', [1, 2, 3]), vp8(1_280, 720), chunk('EXIF', [1]))],
    ['extended lossless', webp(vp8x(1_280, 720, 0x10), vp8l(1_280, 720))],
  ])('says the size of a %s picture', (_, bytes) => {
    expect(readStillHeader(bytes, 'image/webp')).toEqual({ width: 1_280, height: 720 });
  });

  it('reads the largest sizes there can be, and leaves it to others to refuse them', () => {
    expect(readStillHeader(webp(vp8(16_383, 16_383)), 'image/webp')).toEqual({
      width: 16_383,
      height: 16_383,
    });
    expect(readStillHeader(webp(vp8l(16_384, 16_384)), 'image/webp')).toEqual({
      width: 16_384,
      height: 16_384,
    });
  });

  it('ignores the scaling bits above the dimensions', () => {
    expect(readStillHeader(webp(vp8(320 | 0x8000, 180 | 0x4000)), 'image/webp')).toEqual({
      width: 320,
      height: 180,
    });
  });

  it.each([
    ['nothing', new Uint8Array(0), 'is no WebP file'],
    ['another RIFF file', concat('RIFF', [4, 0, 0, 0], 'WAVE'), 'is no WebP file'],
    ['no chunk', webp(), 'has 0 pictures where it must begin with one'],
    ['no width', webp(vp8(0, 720)), 'has no extent'],
    ['no height', webp(vp8(1_280, 0)), 'has no extent'],
    ['two pictures', webp(vp8(320, 180), vp8(320, 180)), 'has 2 pictures where it must begin with one'],
    ['a picture behind something', webp(chunk('EXIF', [1]), vp8(320, 180)), 'must begin with one'],
    ['an animation', webp(vp8x(320, 180, 0x02), chunk('ANIM', [0])), 'is an animation'],
    ['a hidden animation', webp(vp8x(320, 180), chunk('ANMF', [0]), vp8(320, 180)), 'is an animation'],
    ['a picture of another size than its canvas', webp(vp8x(320, 180), vp8(4_000, 4_000)), 'they must agree'],
    ['an inter frame', webp(chunk('VP8 ', [0x11, 0, 0, 0x9d, 1, 0x2a, 64, 1, 180, 0])), 'a key frame'],
    ['no start code', webp(chunk('VP8 ', [0x10, 0, 0, 0, 1, 0x2a, 64, 1, 180, 0])), 'a key frame'],
    ['a short VP8 chunk', webp(chunk('VP8 ', [0x10, 0, 0])), 'too short'],
    ['a short VP8X chunk', webp(chunk('VP8X', [0]), vp8(320, 180)), 'too short'],
    ['no VP8L signature', webp(chunk('VP8L', [0, 0, 0, 0, 0])), 'without its signature'],
    ['a VP8L of another version', webp(chunk('VP8L', [0x2f, 0, 0, 0, 0xe0])), 'unknown version'],
    [
      'a chunk that is longer than the file',
      webp(concat('VP8 ', uint32be(0xffff_ffff))),
      'ends within its VP8',
    ],
    ['very many chunks', webp(vp8(320, 180), ...Array(40).fill(chunk('EXIF'))), 'more than 16 chunks'],
    ['bytes behind its end', concat(webp(vp8(320, 180)), [0, 0]), 'says that it has'],
  ])('refuses %s', (_, bytes, reason) => {
    expect(refusal(bytes, 'image/webp')).toContain(reason);
  });

  it('refuses every beginning of a file', () => {
    expectTruncationsRefused(webp(vp8x(320, 180), chunk('ICCP', [1, 2, 3]), vp8(320, 180, 9)), 'image/webp');
    expectTruncationsRefused(webp(vp8l(320, 180)), 'image/webp');
  });
});

describe('the header of an AVIF', () => {
  const data = box('mdat', [1]);
  const meta = avifMeta(ispe(1_280, 720));

  it('says the size of the picture', () => {
    expect(readStillHeader(avifStill(1_280, 720), 'image/avif')).toEqual({ width: 1_280, height: 720 });
    // Data within the meta box, a last box without length, and a long length.
    const idat = box('meta', [0, 0, 0, 0], box('idat', [1]), box('iprp', box('ipco', ispe(64, 32))));
    expect(readStillHeader(concat(avifType('mif1', 'avif'), idat), 'image/avif')).toEqual({
      width: 64,
      height: 32,
    });
    const open = concat(avifType('avif'), meta, [0, 0, 0, 0], 'mdat', [1, 2, 3]);
    expect(readStillHeader(open, 'image/avif')).toEqual({ width: 1_280, height: 720 });
    const long = concat(avifType('avif'), meta, [0, 0, 0, 1], 'mdat', uint32be(0), uint32be(17), [1]);
    expect(readStillHeader(long, 'image/avif')).toEqual({ width: 1_280, height: 720 });
  });

  it('is as large as its largest part', () => {
    const bytes = concat(avifType('avif'), avifMeta(ispe(64, 8_000), ispe(9_000, 32)), data);
    expect(readStillHeader(bytes, 'image/avif')).toEqual({ width: 9_000, height: 8_000 });
  });

  it.each([
    ['nothing', new Uint8Array(0), 'is no AVIF file'],
    ['another kind', concat(avifType('heic', 'mif1'), meta, data), 'is no AVIF file'],
    ['a sequence', concat(avifType('avis', 'msf1'), meta, data), 'is an image sequence'],
    [
      'a sequence that says it is a still, too',
      concat(avifType('avif', 'avis'), meta, data, box('moov')),
      'is an image sequence',
    ],
    ['no meta box', concat(avifType('avif'), data), 'has 0 meta boxes'],
    ['two meta boxes', concat(avifType('avif'), meta, meta, data), 'has 2 meta boxes'],
    ['no data', concat(avifType('avif'), meta), 'has no picture data'],
    ['no properties', concat(avifType('avif'), box('meta', [0, 0, 0, 0]), data), 'has 0 iprp boxes'],
    ['no size', concat(avifType('avif'), avifMeta(), data), 'does not say how large it is'],
    ['no width', concat(avifType('avif'), avifMeta(ispe(0, 720)), data), 'has no extent'],
    [
      'a short ispe box',
      concat(avifType('avif'), avifMeta(box('ispe', [0, 0])), data),
      'ispe box that is too short',
    ],
    [
      'a box shorter than its header',
      concat(avifType('avif'), uint32be(4), 'meta', data),
      'meta box that is too short',
    ],
    [
      'a box longer than the file',
      concat(avifType('avif'), uint32be(999), 'meta', data),
      'ends within its meta box',
    ],
    [
      'a box of 4 GB and more',
      concat(avifType('avif'), [0, 0, 0, 1], 'mdat', uint32be(1), uint32be(16)),
      'ends within its mdat box',
    ],
    [
      'a name that cannot be printed',
      concat(avifType('avif'), uint32be(999), [0, 1, 2, 255]),
      'ends within its ???? box',
    ],
    ['very many boxes', concat(avifType('avif'), ...Array(90).fill(box('free'))), 'more than 64 boxes'],
  ])('refuses %s', (_, bytes, reason) => {
    expect(refusal(bytes, 'image/avif')).toContain(reason);
  });

  it('refuses every beginning of a file', () => {
    expectTruncationsRefused(avifStill(320, 180), 'image/avif');
  });
});

it('reads nothing into random bytes', () => {
  let state = 1;
  const random = () => {
    state = (state * 1_103_515_245 + 12_345) & 0x7fff_ffff;
    return state >> 8;
  };
  const files: [Uint8Array, StillMimeType][] = [
    [webp(vp8x(320, 180), chunk('ICCP', [1, 2, 3]), vp8(320, 180, 9)), 'image/webp'],
    [avifStill(320, 180), 'image/avif'],
  ];
  for (const [file, mimeType] of files) {
    for (let round = 0; round < 3_000; round += 1) {
      const bytes = Uint8Array.from(file);
      for (let change = 0; change <= random() % 4; change += 1) {
        bytes[random() % bytes.byteLength] = random() & 0xff;
      }
      // Either a size, or a refusal in our words; never another error.
      expect(refusal(bytes, mimeType)).toMatch(/^the still |^accepted$/);
    }
  }
});
