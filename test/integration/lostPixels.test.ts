/** Pixels lost at random, and what fills them in without a model. */
import type { Frame } from 'node-av';
import { afterAll, describe, expect, it } from 'vitest';
import { fillFilter, LostPixels } from '../../src/evaluation/LostPixels.js';
import { copyToI420, lumaOf } from '../../src/restoration/ffmpeg.js';
import { VideoFileReader } from '../../src/restoration/VideoFileReader.js';

const SIZE = { width: 320, height: 192 };
const open: Frame[] = [];
afterAll(() => {
  for (const frame of open) frame.free();
});

/** A smooth picture, tagged as decoders tag theirs or not at all. */
async function picture(tags: string): Promise<Frame> {
  const graph = `gradients=size=${SIZE.width}x${SIZE.height}:c0=black:c1=white:x0=0:y0=0:x1=319:y1=191:nb_colors=2,trim=end_frame=1,format=yuv420p${tags}`;
  const reader = await VideoFileReader.open(graph, { format: 'lavfi' });
  const frame = await reader.next();
  await reader.close();
  if (frame === null) throw new Error('no frame');
  open.push(frame);
  return frame;
}

function chromaOf(frame: Frame): Uint8Array {
  const { width, height } = frame;
  const buffer = new ArrayBuffer((width * height * 3) / 2);
  copyToI420(frame, buffer);
  return new Uint8Array(buffer, width * height);
}

describe.each([
  ['limited range, BT.709', ',setparams=range=tv:colorspace=bt709'],
  ['no tags', ',setparams=range=unknown:colorspace=unknown'],
])('lost pixels of a picture with %s', (_name, tags) => {
  it.each([10, 50, 90])('are %i % of the luma, black, and all others are as they were', async (percent) => {
    const whole = await picture(tags);
    const lost = new LostPixels(SIZE, percent);
    const damaged = await lost.apply(whole);
    open.push(damaged.picture, damaged.lost);
    const [before, after, mask] = [lumaOf(whole), lumaOf(damaged.picture), lumaOf(damaged.lost)];
    expect(new Set(mask)).toEqual(new Set([0, 255]));
    const share = (100 * mask.filter((value) => value === 255).length) / mask.length;
    expect(Math.abs(share - percent)).toBeLessThan(1);
    expect(after).toEqual(before.map((value, at) => (mask[at] === 255 ? 16 : value)));
    expect(chromaOf(damaged.picture)).toEqual(chromaOf(whole));
    lost.close();
  });

  it('are filled in from their neighbours, the known ones untouched', async () => {
    const whole = await picture(tags);
    const lost = new LostPixels(SIZE, 50);
    const fill = fillFilter(50);
    const damaged = await lost.apply(whole);
    const filled = await fill.apply(damaged.picture, damaged.lost);
    open.push(damaged.picture, damaged.lost, filled);
    const [before, after, mask] = [lumaOf(whole), lumaOf(filled), lumaOf(damaged.lost)];
    const off = before.map((value, at) => Math.abs(value - (after[at] ?? 0)));
    expect(Math.max(...off.filter((_, at) => mask[at] === 0))).toBe(0);
    expect(off.reduce((sum, value) => sum + value, 0) / off.length).toBeLessThan(1);
    expect(Math.max(...off)).toBeLessThan(12);
    expect(chromaOf(filled)).toEqual(chromaOf(whole));
    lost.close();
    fill.close();
  });
});

describe('lost pixels', () => {
  it('are other ones in each picture, and the same ones in every run', async () => {
    const whole = await picture('');
    const masksOf = async () => {
      const lost = new LostPixels(SIZE, 50);
      const masks: Uint8Array[] = [];
      for (let count = 0; count < 3; count++) {
        const damaged = await lost.apply(whole);
        masks.push(lumaOf(damaged.lost));
        open.push(damaged.picture, damaged.lost);
      }
      lost.close();
      return masks;
    };
    const [one, again] = [await masksOf(), await masksOf()];
    expect(one).toEqual(again);
    const same = (one[0] ?? []).filter((value, at) => value === one[1]?.[at]).length;
    expect(same / SIZE.width / SIZE.height).toBeCloseTo(0.5, 1);
  });
});
