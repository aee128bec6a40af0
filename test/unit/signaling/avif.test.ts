/** AVIF files around a key frame of an AV1 encoder. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Frame } from 'node-av';
import { AV_PIX_FMT_YUV420P } from 'node-av/constants';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodePicture } from '../../../src/evaluation/encodePicture.js';
import { readStillHeader } from '../../../src/relay/stillHeader.js';
import { lumaOf } from '../../../src/restoration/ffmpeg.js';
import { FrameFilter } from '../../../src/restoration/filters.js';
import { MuxedWriter } from '../../../src/restoration/MuxedWriter.js';
import { decodeStill } from '../../../src/restoration/stills.js';
import { VideoFileReader } from '../../../src/restoration/VideoFileReader.js';
import { avifFile } from '../../../src/signaling/avif.js';

const SIZE = { width: 322, height: 182 };
const SEQUENCE_HEADER = 0x0a;
const TEMPORAL_DELIMITER = [0x12, 0];

let picture: Frame;
let keyFrame: Uint8Array;

beforeAll(async () => {
  const source = `testsrc2=size=${SIZE.width}x${SIZE.height}:rate=1:duration=1,format=yuv420p`;
  const reader = await VideoFileReader.open(source, { format: 'lavfi' });
  const first = await reader.next();
  if (!first) throw new Error('no frame');
  picture = first;
  await reader.close();
  keyFrame = await encodePicture(picture, {
    encoder: 'libsvtav1',
    filter: 'format=yuv420p',
    pixelFormat: AV_PIX_FMT_YUV420P,
    options: { preset: '12', crf: '20' },
  });
});

afterAll(() => picture?.free());

describe('an AVIF file', () => {
  it('is taken by the relay and decodes to the picture', async () => {
    const file = avifFile({ keyFrame, ...SIZE });
    expect(file.byteLength).toBeLessThan(keyFrame.byteLength + 400);
    expect(readStillHeader(file, 'image/avif')).toEqual(SIZE);
    const luma = new Uint8Array(await decodeStill(file, SIZE));
    const expected = lumaOf(picture);
    const squares = luma.reduce((sum, value, at) => sum + (value - (expected[at] ?? 0)) ** 2, 0);
    expect(squares / luma.length).toBeLessThan(4);
  });

  it('of full range and matrix 709, as browsers code a canvas, has the luma of a call', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'vireo-avif-'));
    // Smooth colours: what is lost with chroma's resolution is none of this.
    const source = `gradients=size=320x180:speed=0.00001:rate=1:duration=1,format=yuv420p`;
    const reader = await VideoFileReader.open(source, { format: 'lavfi' });
    const accurately = 'flags=accurate_rnd+full_chroma_int+full_chroma_inp';
    const toCanvas = new FrameFilter(
      `setparams=colorspace=bt470bg:range=limited,scale=${accurately}:out_range=full:out_color_matrix=bt709,format=yuv420p`,
    );
    const camera = await reader.next();
    if (!camera) throw new Error('no frame');
    const canvas = await toCanvas.apply(camera);
    try {
      const path = join(folder, 'still.avif');
      const container = {
        muxer: 'avif',
        encoder: 'libsvtav1',
        options: { preset: '12', crf: '5' },
        audio: [],
      };
      const rate = { num: 1, den: 1 };
      const writer = new MuxedWriter(path, container, { timeBase: rate, frameRate: rate, audio: null });
      await writer.write(canvas);
      await writer.finish();
      const luma = new Uint8Array(await decodeStill(readFileSync(path), { width: 320, height: 180 }));
      const expected = lumaOf(camera);
      const differences = Array.from(luma, (value, at) => value - (expected[at] ?? 0));
      const mean = differences.reduce((sum, difference) => sum + difference, 0) / luma.length;
      expect(Math.abs(mean)).toBeLessThan(0.5);
      expect(Math.max(...differences.map(Math.abs))).toBeLessThanOrEqual(4);
    } finally {
      canvas.free();
      camera.free();
      toCanvas.close();
      await reader.close();
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it('has no temporal delimiter, and the level of the stream', () => {
    const file = Buffer.from(avifFile({ keyFrame, ...SIZE }));
    const data = file.subarray(file.indexOf('mdat') + 4);
    expect([...keyFrame.subarray(0, 2)]).toEqual(TEMPORAL_DELIMITER);
    expect(data.equals(Buffer.from(keyFrame.subarray(2)))).toBe(true);
    expect(data[0]).toBe(SEQUENCE_HEADER);
    const configuration = file.subarray(file.indexOf('av1C') + 4);
    // Marker and version; main profile, level 2.0; 8 bits, 4:2:0.
    expect([...configuration.subarray(0, 4)]).toEqual([0x81, 0x00, 0x0c, 0]);
  });

  it('says where its picture is', () => {
    const file = Buffer.from(avifFile({ keyFrame, ...SIZE }));
    const extent = file.indexOf('iloc') + 4 + 4 + 2 + 2 + 2 + 2 + 2;
    expect(file.readUInt32BE(extent)).toBe(file.indexOf('mdat') + 4);
    expect(file.readUInt32BE(extent) + file.readUInt32BE(extent + 4)).toBe(file.byteLength);
  });

  it.each([
    ['nothing', [], 'has no sequence header'],
    ['a delimiter alone', TEMPORAL_DELIMITER, 'has no sequence header'],
    ['a unit longer than the picture', [SEQUENCE_HEADER, 9, 0], 'ends within a unit'],
    ['a size without end', [SEQUENCE_HEADER, 0x80], 'ends within the size of a unit'],
    ['a size beyond all bounds', [SEQUENCE_HEADER, 0x80, 0x80, 0x80, 0x80, 0x80, 1], 'within the size'],
    ['another profile', [SEQUENCE_HEADER, 2, 0x20, 0], 'is of profile 1'],
    ['timing information', [SEQUENCE_HEADER, 2, 0x04, 0], 'has timing information'],
  ])('is not made of %s', (_, bytes, reason) => {
    expect(() => avifFile({ keyFrame: Uint8Array.from(bytes), ...SIZE })).toThrow(reason);
  });
});
