import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bundledModelsUrl } from '../../src/entrypoints.js';
import { copyToI420 } from '../../src/restoration/ffmpeg.js';
import { uprightFilter } from '../../src/restoration/filters.js';
import { createInferenceDevice } from '../../src/restoration/InferenceDevice.js';
import { ModelPackages } from '../../src/restoration/ModelPackages.js';
import type { Variant } from '../../src/restoration/manifest.js';
import type {
  InferenceDevice,
  InputPicture,
  ModelPackage,
  RestorationStream,
} from '../../src/restoration/types.js';
import { VideoFileReader } from '../../src/restoration/VideoFileReader.js';
import { realClip } from '../support/naturalClip.js';

const WIDTH = 160;
const HEIGHT = 96;
const FRAMES = 8;
/** Of 16 pictures. VIREO_LONG_CALL_ROUNDS=6750 is an hour at 30 pictures a second: 10 minutes. */
const LONG_CALL_ROUNDS = Number(process.env.VIREO_LONG_CALL_ROUNDS ?? 60);
/** Steps of the ladder. */
const [CLEAR, SWIFT, LITE] = [0, 1, 2];

let ladder: ModelPackage[];
let device: InferenceDevice;
let clip: ArrayBuffer[];

beforeAll(async () => {
  ladder = await ModelPackages.create().loadLadder('clear');
  device = await createInferenceDevice({
    provider: 'cpu',
    threads: 2,
    packages: ladder,
    warmUpSizes: [{ scale: 4, width: WIDTH, height: HEIGHT }],
  });
  clip = await smallPictures();
});
afterAll(() => device?.close());

async function smallPictures(): Promise<ArrayBuffer[]> {
  const reader = await VideoFileReader.open(await realClip('sam2-04_coffee.mp4'));
  const pictures: ArrayBuffer[] = [];
  const size = { width: WIDTH, height: HEIGHT };
  let filter: ReturnType<typeof uprightFilter> | null = null;
  while (pictures.length < FRAMES) {
    const frame = await reader.next();
    if (frame === null) break;
    filter ??= uprightFilter(size, 0, frame);
    const small = await filter.apply(frame);
    const buffer = new ArrayBuffer((WIDTH * HEIGHT * 3) / 2);
    copyToI420(small, buffer);
    pictures.push(buffer);
    frame.free();
    small.free();
  }
  filter?.close();
  await reader.close();
  return pictures;
}

async function open(step = SWIFT, scale = 4): Promise<RestorationStream> {
  const stream = await openWhere(step, (variant) => variant.scale === scale);
  if (stream === null) throw new Error(`step ${step} of the ladder has no ×${scale}`);
  return stream;
}

/** With the first variant that answers; null: the package has none. */
async function openWhere(
  step: number,
  wanted: (variant: Variant) => boolean,
): Promise<RestorationStream | null> {
  const model = ladder[step];
  const variant = model?.manifest.variants.find(wanted);
  if (model === undefined || variant === undefined) return null;
  return await device.openStream({ packageName: model.manifest.name, variant, width: WIDTH, height: HEIGHT });
}

function pictureOf(source: ArrayBuffer): InputPicture {
  const buffer = source.slice(0);
  return { buffer, width: WIDTH, height: HEIGHT, rtpTimestamp90k: 0, fullRange: false };
}

async function restoreOne(stream: RestorationStream, source: ArrayBuffer): Promise<Buffer> {
  const [bytes] = await restoreBlock(stream, [source]);
  return bytes ?? Buffer.alloc(0);
}

async function restoreBlock(stream: RestorationStream, sources: readonly ArrayBuffer[]): Promise<Buffer[]> {
  const { pictures } = await stream.restore(sources.map(pictureOf));
  return pictures.map(({ buffer }) => {
    const bytes = Buffer.from(new Uint8Array(buffer).slice());
    stream.recycle(buffer);
    return bytes;
  });
}

async function restoreAll(stream: RestorationStream, sources: readonly ArrayBuffer[]): Promise<Buffer[]> {
  const restored: Buffer[] = [];
  for (const source of sources) restored.push(await restoreOne(stream, source));
  return restored;
}

describe('the bundled models', () => {
  it('are a ladder from clear over swift to a lighter one, for 180 and 360 lines, of at most 2 MB each', () => {
    expect(ladder.map((step) => step.manifest.name)).toEqual(['clear', 'swift', 'swift-lite']);
    for (const { manifest, files } of ladder) {
      const enlarging = manifest.variants.filter(({ task }) => task === 'sr');
      expect(enlarging.map(({ scale, T }) => [scale, T])).toEqual([
        [4, 1],
        [2, 1],
      ]);
      for (const bytes of files.values()) expect(bytes.length).toBeLessThan(2 << 20);
    }
  });

  it.each([
    [CLEAR, 4],
    [CLEAR, 2],
    [SWIFT, 4],
    [SWIFT, 2],
    [LITE, 4],
    [LITE, 2],
  ])('step %i, ×%i: the same stream gives the same bytes every time', async (step, scale) => {
    const first = await restoreAll(await open(step, scale), clip);
    const second = await restoreAll(await open(step, scale), clip);
    expect(first[0]?.length).toBe((WIDTH * HEIGHT * scale * scale * 3) / 2);
    expect(second.every((bytes, index) => bytes.equals(first[index] ?? Buffer.alloc(0)))).toBe(true);
  });

  it('give the same result however the stream is split up and whatever runs in between', async () => {
    const whole = await restoreAll(await open(), clip);
    const [split, other] = [await open(), await open()];
    const halves = await restoreAll(split, clip.slice(0, FRAMES / 2));
    await restoreAll(other, clip.slice(2, 4));
    const [rest] = await Promise.all([restoreAll(split, clip.slice(FRAMES / 2)), restoreAll(other, clip)]);
    const again = [...halves, ...rest];
    expect(again.every((bytes, index) => bytes.equals(whole[index] ?? Buffer.alloc(0)))).toBe(true);
  });

  it.each([
    [SWIFT, 4, 1],
    [SWIFT, 4, 2],
    [SWIFT, 4, 3],
    [SWIFT, 4, 7],
    [SWIFT, 2, 3],
    [SWIFT, 2, 7],
    [CLEAR, 4, 3],
    [CLEAR, 2, 7],
  ])(
    'step %i, ×%i: give the same bytes in blocks of %i, and start anew after a reset',
    async (step, scale, length) => {
      const whole = await restoreAll(await open(step, scale), clip);
      const stream = await open(step, scale);
      for (let round = 0; round < 2; round++) {
        const restored: Buffer[] = [];
        for (let at = 0; at < FRAMES; at += length)
          restored.push(...(await restoreBlock(stream, clip.slice(at, at + length))));
        expect(restored.map((bytes, index) => bytes.equals(whole[index] ?? Buffer.alloc(0)))).toEqual(
          clip.map(() => true),
        );
        stream.reset();
      }
    },
  );

  it('remember: a reset gives what a new stream gives, and something else than going on', async () => {
    const last = clip[FRAMES - 1] ?? new ArrayBuffer(0);
    const fresh = await restoreOne(await open(), last);
    const stream = await open();
    const goingOn = (await restoreAll(stream, clip)).at(-1);
    stream.reset();
    expect(await restoreOne(stream, last)).toEqual(fresh);
    expect(goingOn?.equals(fresh)).toBe(false);
  });
});

describe('a long call', () => {
  it(
    'leaves the state where a short one would: in the end the same scene looks the same',
    async () => {
      const stream = await open();
      const there = [...clip, ...clip.toReversed()];
      const rounds = async (count: number) => {
        let last: Buffer[] = [];
        for (let round = 0; round < count; round++) last = await restoreBlock(stream, there);
        return last;
      };
      const [early, late] = [await rounds(3), await rounds(LONG_CALL_ROUNDS)];
      const differences = early.map((bytes, at) => meanDifference(bytes, late[at] ?? Buffer.alloc(0)));
      expect(Math.max(...differences)).toBeLessThan(0.5);
    },
    60_000 + LONG_CALL_ROUNDS * 1_000,
  );
});

function meanDifference(a: Buffer, b: Buffer): number {
  let sum = 0;
  for (let at = 0; at < a.length; at++) sum += Math.abs((a[at] ?? 0) - (b[at] ?? 0));
  return sum / a.length;
}

describe('the bundled models that take more than pictures', () => {
  const lumaOf = (bytes: Buffer | undefined, scale: number) =>
    Buffer.from(bytes ?? []).subarray(0, WIDTH * HEIGHT * scale * scale);

  it('at strength 0 give the plain enlarging, whatever they remember', async () => {
    const stream = await openWhere(SWIFT, ({ strength }) => strength !== undefined);
    if (stream === null) throw new Error('no variant has a strength input');
    const last = clip[FRAMES - 1] ?? new ArrayBuffer(0);
    const full = await restoreBlock(stream, clip);
    stream.strength = 0;
    const plain = await restoreOne(stream, last);
    stream.reset();
    expect(await restoreOne(stream, last)).toEqual(plain);
    expect(full.at(-1)?.equals(plain)).toBe(false);
    stream.strength = 1;
    stream.reset();
    expect((await restoreBlock(stream, clip)).every((bytes, at) => bytes.equals(full[at] ?? bytes))).toBe(
      true,
    );
  });

  it('take an empty mask for none, and another for what it is', async () => {
    const stream = await openWhere(SWIFT, ({ task, mask }) => task === 'inpaint' && mask !== undefined);
    if (stream === null) throw new Error('no variant inpaints by a mask');
    const [first = new ArrayBuffer(0)] = clip;
    const masked = async (lost: number) => {
      stream.reset();
      const mask = stream.allocateMask();
      new Uint8Array(mask).fill(0).fill(255, 0, lost);
      const { pictures } = await stream.restore([{ ...pictureOf(first), mask }]);
      return Buffer.from(pictures[0]?.buffer ?? new ArrayBuffer(0));
    };
    const whole = await restoreOne(stream, first);
    expect(whole.equals(await masked(0))).toBe(true);
    expect(whole.equals(await masked(WIDTH * 40))).toBe(false);
  });

  it('inpaint without a look at what was in the place of lost pixels', async () => {
    const stream = await openWhere(SWIFT, ({ task, mask }) => task === 'inpaint' && mask !== undefined);
    if (stream === null) throw new Error('no variant inpaints by a mask');
    const lost = (luma: number) =>
      clip.map((source): InputPicture => {
        const picture = pictureOf(source);
        const mask = stream.allocateMask();
        new Uint8Array(mask).fill(0);
        for (let row = 20; row < 50; row++) {
          new Uint8Array(mask).fill(255, row * WIDTH + 30, row * WIDTH + 90);
          new Uint8Array(picture.buffer).fill(luma, row * WIDTH + 30, row * WIDTH + 90);
        }
        return { ...picture, mask };
      });
    const { scale } = stream.variant;
    const restored = async (luma: number) => {
      stream.reset();
      const { pictures } = await stream.restore(lost(luma));
      return pictures.map(({ buffer }) => lumaOf(Buffer.from(buffer), scale));
    };
    const [black, white] = [await restored(16), await restored(235)];
    expect(black.map((luma, at) => luma.equals(white[at] ?? Buffer.alloc(0)))).toEqual(clip.map(() => true));
  });
});

describe('a bundled model that was tampered with', () => {
  it('is refused by the name of the package and the file', async () => {
    const root = await mkdtemp(join(tmpdir(), 'vireo-tampered-'));
    await cp(join(fileURLToPath(bundledModelsUrl), 'swift'), join(root, 'swift'), { recursive: true });
    const file = join(root, 'swift', 'x4.onnx');
    const bytes = await readFile(file);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
    await writeFile(file, bytes);
    await expect(ModelPackages.create([root]).load('swift')).rejects.toMatchObject({
      code: 'model-invalid',
      message: expect.stringMatching(/model "swift": file x4\.onnx is refused/),
    });
    await rm(root, { recursive: true });
  });
});
