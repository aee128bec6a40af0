/** The measures of flicker and of motion, with the committed graph: known motions, known flicker. */
import type { Frame } from 'node-av';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WarpMeter } from '../../src/evaluation/WarpMeter.js';
import { i420ByteLength } from '../../src/media/types.js';
import { frameOf, tagsOf } from '../../src/restoration/ffmpeg.js';
import { VideoFileReader } from '../../src/restoration/VideoFileReader.js';

const SIZE = { width: 320, height: 192 };
const MARGIN = 16;
/** The texture's size: what a motion uncovers lies in the margin. */
const WIDE = { width: SIZE.width + 2 * MARGIN, height: SIZE.height + 2 * MARGIN };

let texture: Uint8Array;
let tags: ReturnType<typeof tagsOf>;

beforeAll(async () => {
  const graph = `perlin=size=${WIDE.width}x${WIDE.height}:octaves=6:persistence=0.7:xscale=6:yscale=6:random_mode=seed:random_seed=3,eq=contrast=1.6,trim=end_frame=1,format=yuv420p`;
  const reader = await VideoFileReader.open(graph, { format: 'lavfi' });
  const frame = await reader.next();
  if (frame === null) throw new Error('no frame');
  tags = tagsOf(frame);
  const stride = frame.linesize[0] ?? 0;
  const source = frame.data?.[0];
  texture = new Uint8Array(WIDE.width * WIDE.height);
  for (let y = 0; y < WIDE.height; y++) {
    texture.set(source?.subarray(y * stride, y * stride + WIDE.width) ?? [], y * WIDE.width);
  }
  frame.free();
  await reader.close();
});

/** The texture moved by whole pixels, with something added to every code value. */
function picture(dx: number, dy: number, added = 0): Frame {
  const buffer = new ArrayBuffer(i420ByteLength(SIZE.width, SIZE.height));
  const bytes = new Uint8Array(buffer).fill(128);
  for (let y = 0; y < SIZE.height; y++) {
    for (let x = 0; x < SIZE.width; x++) {
      const value = texture[(y + MARGIN - dy) * WIDE.width + x + MARGIN - dx] ?? 0;
      bytes[y * SIZE.width + x] = Math.min(255, Math.max(0, value + added));
    }
  }
  return frameOf({ buffer, ...SIZE, rtpTimestamp90k: 0, fullRange: false }, tags);
}

const open: Frame[] = [];
afterAll(() => {
  for (const frame of open) frame.free();
});

/** Errors of methods that show the second frame with these offsets in brightness. */
async function errors(dx: number, dy: number, added: number[]): Promise<(number | null)[]> {
  const meter = new WarpMeter(added.length);
  try {
    const [before, after] = [picture(0, 0), picture(dx, dy)];
    const shown = added.map((offset) => picture(dx, dy, offset));
    open.push(before, after, ...shown);
    await meter.add(
      before,
      added.map(() => before),
    );
    expect(meter.errors).toEqual(added.map(() => null));
    await meter.add(after, shown);
    return meter.errors;
  } finally {
    await meter.close();
  }
}

describe('warping error', () => {
  it('is nothing for a still picture, and the square of a jump in brightness', async () => {
    const [still, jump] = await errors(0, 0, [0, 5]);
    expect(still).toBeLessThan(0.01);
    expect(jump).toBeGreaterThan(23);
    expect(jump).toBeLessThan(26);
  });

  it.each([
    [1, 0],
    [3, -2],
    [8, 5],
    [0, -14],
  ])('does not take a motion of (%i, %i) pixels for flicker', async (dx, dy) => {
    const [moved, jump] = await errors(dx, dy, [0, 5]);
    // Without the flow the difference would be the texture's own variance, hundreds.
    expect(moved).toBeLessThan(6);
    expect((jump ?? 0) - (moved ?? 0)).toBeGreaterThan(18);
  });
});

/** tOF of methods whose second frames moved like this while the reference moved by (dx, dy). */
async function flows(dx: number, dy: number, moved: [number, number][]): Promise<(number | null)[]> {
  const meter = new WarpMeter(moved.length);
  try {
    const [before, after] = [picture(0, 0), picture(dx, dy)];
    const shown = moved.map(([x, y]) => picture(x, y));
    open.push(before, after, ...shown);
    await meter.add(
      before,
      moved.map(() => before),
    );
    expect(meter.flows).toEqual(moved.map(() => null));
    await meter.add(after, shown);
    return meter.flows;
  } finally {
    await meter.close();
  }
}

describe('tOF', () => {
  it('is nothing for pictures that move as the reference does', async () => {
    expect(await flows(0, 0, [[0, 0]])).toEqual([0]);
    expect(await flows(5, -3, [[5, -3]])).toEqual([0]);
  });

  it.each([
    [1, 0],
    [3, -2],
    [8, 5],
    [0, -14],
  ])('is as long as a motion of (%i, %i) pixels that a method does not show', async (dx, dy) => {
    const length = Math.abs(dx) + Math.abs(dy);
    const [still, opposite] = await flows(dx, dy, [
      [0, 0],
      [-dx, -dy],
    ]);
    // What comes in at the borders has no flow to be found.
    expect((still ?? 0) / length).toBeGreaterThan(0.9);
    expect((still ?? 0) / length).toBeLessThan(1.15);
    expect((opposite ?? 0) / length).toBeGreaterThan(1.8);
    expect((opposite ?? 0) / length).toBeLessThan(2.3);
  });

  it('does not mind a picture of other brightness', async () => {
    const meter = new WarpMeter(1);
    const [before, after] = [picture(0, 0), picture(3, 1)];
    const [darker, later] = [picture(0, 0, -10), picture(3, 1, -10)];
    open.push(before, after, darker, later);
    await meter.add(before, [darker]);
    await meter.add(after, [later]);
    expect(meter.flows[0]).toBeLessThan(0.1);
    await meter.close();
  });
});
