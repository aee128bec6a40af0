import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bundledModelsUrl } from '../../src/entrypoints.js';
import type { I420Picture } from '../../src/media/types.js';
import { copyToI420 } from '../../src/restoration/ffmpeg.js';
import { uprightFilter } from '../../src/restoration/filters.js';
import { createInferenceDevice } from '../../src/restoration/InferenceDevice.js';
import { ModelPackages } from '../../src/restoration/ModelPackages.js';
import type { InferenceDevice, ModelPackage, RestorationStream } from '../../src/restoration/types.js';
import { VideoFileReader } from '../../src/restoration/VideoFileReader.js';
import { realClip } from '../support/naturalClip.js';

const WIDTH = 160;
const HEIGHT = 96;
const FRAMES = 6;

let ladder: ModelPackage[];
let device: InferenceDevice;
let clip: ArrayBuffer[];

beforeAll(async () => {
  ladder = await ModelPackages.create().loadLadder('swift');
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

async function open(step = 0, scale = 4): Promise<RestorationStream> {
  const model = ladder[step];
  const variant = model?.manifest.variants.find((candidate) => candidate.scale === scale);
  if (model === undefined || variant === undefined) throw new Error(`the ladder has no step ${step}`);
  return await device.openStream({ packageName: model.manifest.name, variant, width: WIDTH, height: HEIGHT });
}

async function restoreOne(stream: RestorationStream, source: ArrayBuffer): Promise<Buffer> {
  const picture: I420Picture = {
    buffer: source.slice(0),
    width: WIDTH,
    height: HEIGHT,
    rtpTimestamp90k: 0,
    fullRange: false,
  };
  const { pictures } = await stream.restore([picture]);
  const buffer = pictures[0]?.buffer ?? new ArrayBuffer(0);
  const bytes = Buffer.from(new Uint8Array(buffer).slice());
  stream.recycle(buffer);
  return bytes;
}

async function restoreAll(stream: RestorationStream, sources: readonly ArrayBuffer[]): Promise<Buffer[]> {
  const restored: Buffer[] = [];
  for (const source of sources) restored.push(await restoreOne(stream, source));
  return restored;
}

describe('the bundled models', () => {
  it('are a ladder from swift to a lighter one, for 180 and 360 lines, of at most 1 MB each', () => {
    expect(ladder.map((step) => step.manifest.name)).toEqual(['swift', 'swift-lite']);
    for (const { manifest, files } of ladder) {
      expect(manifest.variants.map(({ scale, fold, T }) => [scale, fold, T])).toEqual([
        [4, 1, 1],
        [2, 2, 1],
      ]);
      for (const bytes of files.values()) expect(bytes.length).toBeLessThan(1 << 20);
    }
  });

  it.each([
    [0, 4],
    [0, 2],
    [1, 4],
    [1, 2],
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
