/** Sharp stills: coded, decoded, and what the real model makes of them. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Frame } from 'node-av';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { restore } from '../../src/cli/restore.js';
import { encodeStill } from '../../src/evaluation/still.js';
import { copyToI420, lumaOf } from '../../src/restoration/ffmpeg.js';
import { FrameFilter, uprightFilter } from '../../src/restoration/filters.js';
import { createInferenceDevice } from '../../src/restoration/InferenceDevice.js';
import { ModelPackages } from '../../src/restoration/ModelPackages.js';
import { decodeStill } from '../../src/restoration/stills.js';
import type { InferenceDevice, InputPicture, RestorationStream } from '../../src/restoration/types.js';
import { VideoFileReader } from '../../src/restoration/VideoFileReader.js';
import { TrackReference } from '../../src/restorer/TrackReference.js';
import { naturalClip } from '../support/naturalClip.js';
import { writeTinyPackage } from '../support/tinyModel.js';
import { psnr } from '../unit/restorer/support/clip.js';

const SIZE = { width: 640, height: 384 };
const HALF = { width: 320, height: 192 };
const SMALL = { width: 160, height: 96 };
const STILL_BUDGET = { maxBytes: 30_000, maxQuality: 72 };

let folder: string;
let sharp: Frame;
let still: Buffer;
let half: ArrayBuffer;
let small: ArrayBuffer;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vireo-stills-'));
  const reader = await VideoFileReader.open(await naturalClip({ seconds: 0.2, width: 640, height: 384 }));
  const first = await reader.next();
  if (first === null) throw new Error('the clip is empty');
  const upright = uprightFilter(SIZE, 0, first);
  sharp = await upright.apply(first);
  half = await shrunk(HALF);
  small = await shrunk(SMALL);
  first.free();
  upright.close();
  await reader.close();
  still = await encodeStill(sharp, STILL_BUDGET);
});
afterAll(async () => {
  sharp?.free();
  await rm(folder, { recursive: true, force: true });
});

/** I420 of the sharp picture, as a sender would scale it. */
async function shrunk({ width, height }: typeof SMALL): Promise<ArrayBuffer> {
  const shrink = new FrameFilter(`scale=${width}:${height}:flags=area,format=yuv420p`);
  const picture = await shrink.apply(sharp);
  const bytes = new ArrayBuffer((width * height * 3) / 2);
  copyToI420(picture, bytes);
  picture.free();
  shrink.close();
  return bytes;
}

/** PSNR-Y in dB of two pictures' luma. */
const closeness = (luma: ArrayBuffer, to = sharp) => psnr(new Uint8Array(luma), lumaOf(to));

describe('a still', () => {
  it('comes back nearly as it was, at any size', async () => {
    expect(closeness(await decodeStill(still, SIZE))).toBeGreaterThan(30);
    expect((await decodeStill(still, { width: 1280, height: 768 })).byteLength).toBe(1280 * 768);
  });

  it('is refused with the reason when it is none', async () => {
    const refused = (bytes: Uint8Array, size = SIZE) => expect(decodeStill(bytes, size)).rejects;
    await refused(Buffer.from('GIF89a, which is another kind')).toThrow(/neither WebP nor AVIF/);
    await refused(new Uint8Array(0)).toThrow(/neither WebP nor AVIF/);
    await refused(still, { width: 384, height: 640 }).toThrow(/640x384, of another shape than 384x640/);
    await refused(still.subarray(0, 40)).toThrow(/the still/);
    const damaged = Buffer.from(still);
    damaged.fill(0xff, 20, 60);
    await refused(damaged).toThrow(/the still/);
    // The beginning of an AVIF, and nothing after it.
    await refused(Buffer.concat([Buffer.from([0, 0, 0, 20]), Buffer.from('ftypavif\0\0\0\0avif')])).toThrow();
  });
});

describe.each(['swift', 'swift-lite'])('%s with a still', (name) => {
  let device: InferenceDevice;
  let stream: RestorationStream;

  beforeAll(async () => {
    const model = await ModelPackages.create().load(name);
    device = await createInferenceDevice({
      provider: 'cpu',
      threads: 1,
      packages: [model],
      warmUpSizes: [
        { scale: 4, ...SMALL },
        { scale: 2, ...HALF },
      ],
      references: true,
    });
    const variant = model.manifest.variants.find(({ scale }) => scale === 4);
    if (variant === undefined) throw new Error(`${name} has no x4`);
    stream = await device.openStream({ packageName: name, variant, ...SMALL });
  });
  afterAll(async () => {
    stream?.close();
    await device?.close();
  });

  const picture = (): InputPicture => ({
    buffer: small.slice(0),
    ...SMALL,
    rtpTimestamp90k: 0,
    fullRange: false,
  });

  /** Luma of the last of some equal pictures, from a fresh state, and what was found of it in the still. */
  async function restored(count = 3): Promise<{ luma: ArrayBuffer; found: number | null }> {
    stream.reset();
    const { pictures, found } = await stream.restore(Array.from({ length: count }, picture));
    const last = pictures.at(-1);
    if (last === undefined) throw new Error('nothing was restored');
    return { luma: last.buffer.slice(0, SIZE.width * SIZE.height), found };
  }

  it('restores more than without, and as before when it is gone', async () => {
    const without = await restored();
    expect(without.found).toBeNull();
    await stream.setReferences([await decodeStill(still, SIZE)]);
    const withStill = await restored();
    expect(withStill.found).toBeGreaterThan(0.5);
    expect(closeness(withStill.luma)).toBeGreaterThan(closeness(without.luma) + 0.5);
    await stream.setReferences([]);
    expect(Buffer.from((await restored()).luma).equals(Buffer.from(without.luma))).toBe(true);
  });

  it('looks details up in its own picture from before the sender turned the size down', async () => {
    const reference = new TrackReference({ decode: decodeStill, onRefused: () => {} });
    const { manifest } = await ModelPackages.create().load(name);
    const variant = manifest.variants.find(({ scale }) => scale === 2);
    if (variant === undefined) throw new Error(`${name} has no x2`);
    const larger = await device.openStream({ packageName: name, variant, ...HALF });
    reference.applyTo(larger, HALF.width * HALF.height);
    const before = await larger.restore([{ ...picture(), buffer: half.slice(0), ...HALF }]);
    const [last] = before.pictures;
    if (last === undefined) throw new Error('nothing was restored');
    reference.restored(larger, last, HALF.width * HALF.height, before.found);
    larger.close();
    const without = await restored();
    reference.applyTo(stream, SMALL.width * SMALL.height);
    const helped = await restored();
    expect(helped.found).toBeGreaterThan(0.5);
    expect(closeness(helped.luma)).toBeGreaterThan(closeness(without.luma) + 0.3);
    // A still of the sender is preferred, and loses nothing by that picture beside it.
    reference.set({ id: 'a', mimeType: 'image/avif', bytes: still });
    await vi.waitFor(() => {
      reference.applyTo(stream, SMALL.width * SMALL.height);
      expect(reference.report(performance.now())?.id).toBe('a');
    });
    const both = await restored();
    await stream.setReferences([await decodeStill(still, SIZE)]);
    const alone = await restored();
    await stream.setReferences([]);
    expect(closeness(both.luma)).toBeGreaterThan(closeness(helped.luma));
    expect(closeness(both.luma)).toBeGreaterThan(closeness(alone.luma) - 0.1);
  });

  it('finds next to nothing in a picture of something else, and restores as without it', async () => {
    // As loud as a picture can be: what little is believed of it is seen.
    const without = await restored();
    const noise = new Uint8Array(SIZE.width * SIZE.height).map(
      (_, at) => 16 + ((at * 2_654_435_761) >>> 24) * 0.8,
    );
    await stream.setReferences([noise.buffer]);
    const withNoise = await restored();
    await stream.setReferences([]);
    expect(withNoise.found).toBeLessThan(0.2);
    // The light model has weights of its own for stills.
    if (name === 'swift-lite')
      expect(closeness(withNoise.luma)).toBeGreaterThan(closeness(without.luma) - 0.1);
    else expect(Buffer.from(withNoise.luma).equals(Buffer.from(without.luma))).toBe(true);
  });

  it('looks in several stills for what one of them has', async () => {
    const grey = () => new Uint8Array(SIZE.width * SIZE.height).fill(120).buffer;
    await stream.setReferences([await decodeStill(still, SIZE)]);
    const one = await restored();
    await stream.setReferences([grey(), await decodeStill(still, SIZE)]);
    const two = await restored();
    await stream.setReferences([]);
    expect(closeness(two.luma)).toBeGreaterThan(closeness(one.luma) - 0.3);
    const many = Array.from({ length: 5 }, grey);
    await expect(stream.setReferences(many)).rejects.toThrow(/4 stills at most, not 5/);
  });

  it.each([4, 2])('×%i: takes pictures of every size that its grid has, without one, too', async (scale) => {
    const variant = (await ModelPackages.create().load(name)).manifest.variants.find(
      (one) => one.task === 'sr' && one.scale === scale,
    );
    if (variant === undefined) throw new Error(`${name} has no x${scale}`);
    const grid = 2 * variant.fold;
    // Odd numbers of its steps: what is halved again within the graph must come out even.
    const size = { width: grid * 29, height: grid * 15 };
    const odd = await device.openStream({ packageName: name, variant, ...size });
    try {
      const given = { ...size, rtpTimestamp90k: 0, fullRange: false };
      for (const references of [0, 1, 2]) {
        const luma = (): ArrayBuffer => new ArrayBuffer(size.width * size.height * scale ** 2);
        await odd.setReferences(Array.from({ length: references }, luma));
        const { pictures } = await odd.restore([{ ...given, buffer: await shrunk(size) }]);
        expect(pictures[0]).toMatchObject({ width: size.width * scale, height: size.height * scale });
      }
    } finally {
      odd.close();
    }
  });

  it('gives the same for every split of the pictures into blocks', async () => {
    await stream.setReferences([await decodeStill(still, SIZE)]);
    const together = await restored(4);
    stream.reset();
    let last: ArrayBuffer | undefined;
    for (let block = 0; block < 2; block += 1) {
      const { pictures } = await stream.restore([picture(), picture()]);
      last = pictures.at(-1)?.buffer.slice(0, SIZE.width * SIZE.height);
    }
    await stream.setReferences([]);
    expect(Buffer.from(last ?? new ArrayBuffer(0)).equals(Buffer.from(together.luma))).toBe(true);
  });

  it('refuses one of the wrong size, and keeps the one before', async () => {
    await stream.setReferences([await decodeStill(still, SIZE)]);
    const before = await restored();
    await expect(stream.setReferences([new ArrayBuffer(10)])).rejects.toThrow(/245760 bytes, not 10/);
    expect(Buffer.from((await restored()).luma).equals(Buffer.from(before.luma))).toBe(true);
    await stream.setReferences([]);
  });
});

describe('vireo restore --reference', () => {
  it('restores a file nearer to the original, and names what it cannot use', async () => {
    const clip = await naturalClip({ seconds: 0.4, fps: 10 });
    const sent = join(folder, 'sent.y4m');
    const reader = await VideoFileReader.open(clip);
    const first = await reader.next();
    if (first === null) throw new Error('the clip is empty');
    const path = join(folder, 'still.webp');
    await writeFile(path, await encodeStill(first, STILL_BUDGET));
    const { width, height } = first;
    first.free();
    await reader.close();
    await shrinkFile(clip, sent, { width: width / 4, height: height / 4 });
    const flags = {
      task: 'auto' as const,
      model: 'swift',
      modelDir: [folder],
      provider: 'cpu' as const,
      threads: 1,
    };
    const [plain, referred] = [join(folder, 'plain.y4m'), join(folder, 'referred.y4m')];
    await restore(sent, plain, flags);
    await restore(sent, referred, { ...flags, reference: [path, path] });
    expect(await firstPsnr(referred, clip)).toBeGreaterThan((await firstPsnr(plain, clip)) + 0.5);
    // What is nearer to a variant that takes none is restored by one that does.
    const larger = join(folder, 'larger.y4m');
    await shrinkFile(clip, larger, { width: (width / 3) * 2, height: (height / 3) * 2 });
    const looked = await restore(larger, join(folder, 'looked.y4m'), { ...flags, reference: [path] });
    expect(looked).toMatchObject({ output: { width, height } });
    const refusal = (reference: string[], model = 'swift') =>
      expect(restore(sent, join(folder, 'none.y4m'), { ...flags, model, reference })).rejects;
    await refusal([join(folder, 'nowhere.webp')]).toThrow(/--reference .*nowhere\.webp: ENOENT/);
    await refusal([clip]).toThrow(/--reference .*neither WebP nor AVIF/);
    await refusal([path, path, path, path, path]).toThrow(/takes 4 stills at most/);
    await writeTinyPackage(folder, 'tiny');
    await refusal([path], 'tiny').toThrow(/--reference: model "tiny" \(x4\.onnx\) takes no/);
  });
});

async function shrinkFile(from: string, to: string, size: { width: number; height: number }): Promise<void> {
  const reader = await VideoFileReader.open(from);
  const { createVideoFileWriter } = await import('../../src/restoration/VideoFileWriter.js');
  const { timeBase, frameRate } = reader.info;
  const writer = createVideoFileWriter(to, { timeBase, frameRate, audio: null });
  const shrink = new FrameFilter(`scale=${size.width}:${size.height}:flags=area,format=yuv420p`);
  for (let frame = await reader.next(); frame !== null; frame = await reader.next()) {
    const shrunk = await shrink.apply(frame);
    await writer.write(shrunk);
    frame.free();
    shrunk.free();
  }
  await writer.finish();
  shrink.close();
  await reader.close();
}

async function firstPsnr(path: string, original: string): Promise<number> {
  const lumas: Uint8Array[] = [];
  for (const file of [path, original]) {
    const reader = await VideoFileReader.open(file);
    const frame = await reader.next();
    if (frame === null) throw new Error(`${file} is empty`);
    lumas.push(lumaOf(frame));
    frame.free();
    await reader.close();
  }
  const [a, b] = lumas;
  return a && b ? psnr(a, b) : Number.NaN;
}
