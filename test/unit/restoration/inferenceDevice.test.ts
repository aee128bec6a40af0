import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createInferenceDevice, WorkerDevice } from '../../../src/restoration/InferenceDevice.js';
import { ModelPackages } from '../../../src/restoration/ModelPackages.js';
import type {
  InferenceDevice,
  InputPicture,
  ModelPackage,
  RestorationStream,
} from '../../../src/restoration/types.js';
import { LOST_LUMA, writeTinyPackage } from '../../support/tinyModel.js';

const WIDTH = 32;
const HEIGHT = 16;
let root: string;
let tiny: ModelPackage;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'vireo-device-'));
  await writeTinyPackage(root);
  await writeTinyPackage(root, 'blocks', { T: 3 });
  await writeTinyPackage(root, 'complete', { complete: true });
  await writeTinyPackage(root, 'complete-blocks', { complete: true, T: 3 });
  tiny = await ModelPackages.create([root]).load('tiny');
});
afterAll(() => rm(root, { recursive: true, force: true }));

const load = (name: string) => ModelPackages.create([root]).load(name);

function picture(stream: RestorationStream, luma: number, timestamp = 0): InputPicture {
  const buffer = stream.allocateInput();
  new Uint8Array(buffer).fill(luma);
  return { buffer, width: WIDTH, height: HEIGHT, rtpTimestamp90k: timestamp, fullRange: false };
}

/** Pictures of these luma values as one block; the luma of each that comes back. */
async function blockOf(stream: RestorationStream, lumas: readonly number[]): Promise<number[]> {
  const { pictures } = await stream.restore(lumas.map((luma) => picture(stream, luma)));
  return pictures.map(({ buffer }) => {
    const value = new Uint8Array(buffer)[0] ?? -1;
    stream.recycle(buffer);
    return value;
  });
}

async function lumaOf(stream: RestorationStream, luma: number): Promise<number> {
  const { pictures } = await stream.restore([picture(stream, luma)]);
  const buffer = pictures[0]?.buffer ?? new ArrayBuffer(0);
  const value = new Uint8Array(buffer)[0] ?? -1;
  stream.recycle(buffer);
  return value;
}

async function withDevice(
  packages: ModelPackage[],
  use: (device: InferenceDevice) => Promise<void>,
): Promise<void> {
  const device = await createInferenceDevice({
    provider: 'cpu',
    threads: 1,
    packages,
    warmUpSizes: [{ scale: 4, width: WIDTH, height: HEIGHT }],
  });
  try {
    await use(device);
  } finally {
    await device.close();
  }
}

function open(device: InferenceDevice, model = tiny): Promise<RestorationStream> {
  const variant = model.manifest.variants[0];
  if (variant === undefined) throw new Error('no variant');
  return device.openStream({ packageName: model.manifest.name, variant, width: WIDTH, height: HEIGHT });
}

describe('an inference device', () => {
  it('restores a picture into a picture of the right size, times its run and keeps the timestamp', async () => {
    await withDevice([tiny], async (device) => {
      const stream = await open(device);
      const block = await stream.restore([picture(stream, 100, 9_000)]);
      expect(block.runMs).toBeGreaterThan(0);
      expect(block.pictures).toHaveLength(1);
      expect(block.pictures[0]).toMatchObject({ width: 128, height: 64, rtpTimestamp90k: 9_000 });
      expect(block.pictures[0]?.buffer.byteLength).toBe((128 * 64 * 3) / 2);
      expect(new Set(new Uint8Array(block.pictures[0]?.buffer ?? new ArrayBuffer(0)))).toEqual(
        new Set([100]),
      );
    });
  });

  it('carries each stream’s own state from block to block, and drops it on reset', async () => {
    await withDevice([tiny], async (device) => {
      const [a, b] = [await open(device), await open(device)];
      expect([await lumaOf(a, 10), await lumaOf(a, 10), await lumaOf(a, 10)]).toEqual([10, 11, 12]);
      expect(await lumaOf(b, 10)).toBe(10);
      a.reset();
      expect(await lumaOf(a, 10)).toBe(10);
      expect(await lumaOf(b, 10)).toBe(11);
    });
  });

  it('takes the buffers it is given and reuses those that come back', async () => {
    await withDevice([tiny], async (device) => {
      const stream = await open(device);
      const input = picture(stream, 1);
      const { pictures } = await stream.restore([input]);
      expect(input.buffer.byteLength).toBe(0);
      expect(stream.allocateInput().byteLength).toBe((WIDTH * HEIGHT * 3) / 2);
      const output = pictures[0]?.buffer ?? new ArrayBuffer(0);
      stream.recycle(output);
      const again = await stream.restore([picture(stream, 1)]);
      expect(output.byteLength).toBe(0);
      expect(again.pictures[0]?.buffer.byteLength).toBe((128 * 64 * 3) / 2);
    });
  });

  it('restores blocks of several pictures', async () => {
    const blocks = await load('blocks');
    await withDevice([blocks], async (device) => {
      const stream = await open(device, blocks);
      const luma = [10, 20, 30];
      const { pictures } = await stream.restore(luma.map((value) => picture(stream, value)));
      expect(pictures.map((restored) => new Uint8Array(restored.buffer)[0])).toEqual(luma);
      expect(pictures.map((restored) => new Uint8Array(restored.buffer).at(-1))).toEqual(luma);
    });
  });

  it('interleaves streams in arrival order, a higher priority first', async () => {
    await withDevice([tiny], async (device) => {
      const streams = [await open(device), await open(device), await open(device), await open(device)];
      const order: number[] = [];
      const urgent = streams[3];
      if (urgent !== undefined) urgent.priority = 1;
      await Promise.all(
        streams.map(async (stream, index) => {
          await stream.restore([picture(stream, 1)]);
          order.push(index);
        }),
      );
      // Two were in the Worker before the urgent one came.
      expect(order).toEqual([0, 1, 3, 2]);
    });
  });

  it('gives the same pictures however the stream is cut into blocks', async () => {
    const lumas = Array.from({ length: 21 }, (_, index) => index * 5);
    await withDevice([tiny], async (device) => {
      for (const length of [1, 2, 3, 7, 21]) {
        const stream = await open(device);
        const restored: number[] = [];
        for (let at = 0; at < lumas.length; at += length)
          restored.push(...(await blockOf(stream, lumas.slice(at, at + length))));
        expect(restored).toEqual(lumas.map((luma, index) => luma + index));
        stream.reset();
        expect(await blockOf(stream, [9, 9, 9])).toEqual([9, 10, 11]);
      }
    });
    const blocks = await load('blocks');
    await withDevice([blocks], async (device) => {
      for (const length of [3, 6, 9, 21]) {
        const stream = await open(device, blocks);
        const restored: number[] = [];
        for (let at = 0; at < lumas.length; at += length)
          restored.push(...(await blockOf(stream, lumas.slice(at, at + length))));
        expect(restored).toEqual(lumas.map((luma, index) => luma + Math.floor(index / 3)));
      }
    });
  });

  it('refuses blocks that are no multiple of T, or longer than a block may be', async () => {
    await withDevice([tiny, await load('blocks')], async (device) => {
      const long = Array.from({ length: 33 }, () => 1);
      await expect(blockOf(await open(device), long)).rejects.toThrow(/1 to 32 pictures, not 33/);
      expect(await blockOf(await open(device), long.slice(1))).toHaveLength(32);
      const three = await open(device, await load('blocks'));
      await expect(blockOf(three, long)).rejects.toThrow(/3 to 30 pictures in multiples of 3, not 33/);
      await expect(blockOf(three, [1, 2, 3, 4])).rejects.toMatchObject({ code: 'bad-request' });
      expect(await blockOf(three, long.slice(3))).toHaveLength(30);
    });
  });

  it('refuses a buffer that is in the block twice, and goes on', async () => {
    await withDevice([tiny], async (device) => {
      const stream = await open(device);
      const one = picture(stream, 1);
      await expect(stream.restore([one, { ...one }])).rejects.toThrow(/share a buffer/);
      expect(one.buffer.byteLength).toBeGreaterThan(0);
      expect(await lumaOf(stream, 10)).toBe(10);
    });
  });

  it('refuses pictures of another size, a second block at a time, and blocks of the wrong length', async () => {
    await withDevice([tiny], async (device) => {
      const stream = await open(device);
      const odd = { ...picture(stream, 1), width: 16 };
      await expect(stream.restore([odd])).rejects.toThrow(/takes 32x16, not 16x16/);
      await expect(stream.restore([])).rejects.toThrow(/a block is 1 to 32 pictures, not 0/);
      const running = stream.restore([picture(stream, 1)]);
      await expect(stream.restore([picture(stream, 1)])).rejects.toMatchObject({ code: 'conflict' });
      await running;
    });
  });

  it('refuses sizes the variant cannot take and models that are not loaded', async () => {
    await withDevice([tiny], async (device) => {
      const variant = tiny.manifest.variants[1];
      if (variant === undefined) throw new Error('no variant');
      const options = { packageName: 'tiny', variant, width: 34, height: 16 };
      await expect(device.openStream(options)).rejects.toThrow(
        /x2\.onnx takes sizes that are multiples of 4/,
      );
      await expect(device.openStream({ ...options, packageName: 'other' })).rejects.toThrow(/"other"/);
    });
  });

  it('rejects what is in flight when it is closed, and says so to its owner', async () => {
    const device = await createInferenceDevice({
      provider: 'cpu',
      threads: 1,
      packages: [tiny],
      warmUpSizes: [],
    });
    const stream = await open(device);
    const running = stream.restore([picture(stream, 1)]);
    const rejected = expect(running).rejects.toMatchObject({ code: 'unavailable' });
    await Promise.all([device.close(), device.close()]);
    await rejected;
    expect(await device.exited).toBeNull();
    await expect(stream.restore([picture(stream, 1)])).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('rejects the block of a stream that is closed, and goes on with the others', async () => {
    await withDevice([tiny], async (device) => {
      const [a, b] = [await open(device), await open(device)];
      const running = a.restore([picture(a, 1)]);
      a.close();
      await expect(running).rejects.toMatchObject({ code: 'unavailable' });
      expect(await lumaOf(b, 10)).toBe(10);
    });
  });
});

describe('how much is restored', () => {
  it('is all unless the stream says less, from the next block on', async () => {
    const complete = await load('complete');
    await withDevice([complete], async (device) => {
      const stream = await open(device, complete);
      expect(stream.strength).toBe(1);
      expect(await blockOf(stream, [10, 10, 10])).toEqual([10, 11, 12]);
      stream.strength = 0.5;
      expect(await blockOf(stream, [10, 10])).toEqual([11, 12]);
      stream.strength = 0;
      expect(await blockOf(stream, [10])).toEqual([10]);
      stream.strength = 1;
      expect(await blockOf(stream, [10])).toEqual([16]);
    });
  });

  it('is a number from 0 to 1, and 1 for a variant that cannot do less', async () => {
    const complete = await load('complete');
    await withDevice([tiny, complete], async (device) => {
      const stream = await open(device, complete);
      for (const strength of [-0.1, 1.1, Number.NaN, '1' as unknown as number]) {
        expect(() => {
          stream.strength = strength;
        }).toThrow(/strength is a number from 0 to 1/);
      }
      expect(stream.strength).toBe(1);
      const plain = await open(device);
      plain.strength = 1;
      expect(() => {
        plain.strength = 0.5;
      }).toThrow(/model "tiny": file x4\.onnx takes no strength/);
    });
  });
});

describe('what is lost of a picture', () => {
  function masked(stream: RestorationStream, luma: number, lost: number): InputPicture {
    const mask = stream.allocateMask();
    new Uint8Array(mask).fill(0).fill(255, 0, lost);
    return { ...picture(stream, luma), mask };
  }
  const rowOf = (buffer: ArrayBuffer | undefined) =>
    [...new Uint8Array(buffer ?? new ArrayBuffer(0), 0, WIDTH * 4)].filter((_, at) => at % 4 === 0);

  it.each([['complete'], ['complete-blocks']])('%s: is told by its mask, each for its own', async (name) => {
    const model = await load(name);
    await withDevice([model], async (device) => {
      const stream = await open(device, model);
      const block = [masked(stream, 10, 3), picture(stream, 20), masked(stream, 30, 5)];
      const masks = block.map(({ mask }) => mask);
      const { pictures } = await stream.restore(block);
      expect(masks.map((mask) => mask?.byteLength)).toEqual([0, undefined, 0]);
      const steps = model.manifest.variants[0]?.T === 1 ? [0, 1, 2] : [0, 0, 0];
      const row = (lost: number, luma: number, step = 0) =>
        Array.from({ length: WIDTH }, (_, at) => (at < lost ? LOST_LUMA : luma) + step);
      expect(pictures.map(({ buffer }) => rowOf(buffer))).toEqual([
        row(3, 10, steps[0]),
        row(0, 20, steps[1]),
        row(5, 30, steps[2]),
      ]);
      // Nothing is left of those masks for blocks without.
      expect(Math.max(...(await blockOf(stream, [1, 1, 1])))).toBeLessThan(10);
    });
  });

  it('comes back to the pool with its mask', async () => {
    const complete = await load('complete');
    await withDevice([complete], async (device) => {
      const stream = await open(device, complete);
      await stream.restore([masked(stream, 10, 3)]);
      // A new one would be blank.
      expect(new Uint8Array(stream.allocateMask()).subarray(0, 4)).toEqual(Uint8Array.of(255, 255, 255, 0));
    });
  });

  it('is refused in another size, and by a variant that takes no mask; the buffers stay the caller’s', async () => {
    const complete = await load('complete');
    await withDevice([tiny, complete], async (device) => {
      const stream = await open(device, complete);
      const wrong = { ...picture(stream, 1), mask: new ArrayBuffer(7) };
      await expect(stream.restore([wrong])).rejects.toThrow(/mask of a 32x16 picture is 512 bytes, not 7/);
      const plain = await open(device);
      const given = masked(plain, 1, 1);
      await expect(plain.restore([given])).rejects.toMatchObject({
        code: 'unsupported',
        message: expect.stringMatching(/model "tiny": file x4\.onnx takes no mask/),
      });
      expect([given.buffer.byteLength, given.mask?.byteLength]).toEqual([768, 512]);
    });
  });
});

describe('when the Worker dies', () => {
  const options = { provider: 'cpu' as const, threads: 1, packages: [], warmUpSizes: [] };
  const entry = (code: string) =>
    new URL(
      `data:text/javascript,import { parentPort } from 'node:worker_threads';${encodeURIComponent(code)}`,
    );
  const answerThen = (last: string) =>
    entry(`parentPort.postMessage({ type: 'ready' });
      parentPort.on('message', (message) => {
        if (message.type === 'open') parentPort.postMessage({ type: 'opened', request: message.request, error: null });
        if (message.type === 'run') { ${last} }
        if (message.type === 'exit') parentPort.close();
      });`);

  it.each([
    ['throws', `throw new Error('boom');`, /crashed: boom/],
    ['exits', 'process.exit(7);', /ended \(exit code 7\)/],
  ])('everything in flight and after it is rejected: it %s', async (_how, last, message) => {
    const device = await WorkerDevice.create({ ...options, packages: [tiny] }, 'cpu', [], answerThen(last));
    const streams = [await open(device), await open(device), await open(device)];
    const results = await Promise.allSettled(streams.map((stream) => stream.restore([picture(stream, 1)])));
    for (const result of results) {
      expect(result).toMatchObject({ status: 'rejected', reason: { code: 'unavailable' } });
    }
    const reason = await device.exited;
    expect(reason?.message).toMatch(message);
    await expect(open(device)).rejects.toMatchObject({ code: 'unavailable' });
    await device.close();
  });

  it('while loading, creation is rejected', async () => {
    const creation = WorkerDevice.create(options, 'cpu', [], entry(`throw new Error('no library');`));
    await expect(creation).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/no library/),
    });
  });
});

describe('a graph that does not match its manifest is refused by name', () => {
  const variantWith = (change: object): ModelPackage => {
    const variants = tiny.manifest.variants.map((variant) => ({ ...variant, ...change }));
    return { ...tiny, manifest: { ...tiny.manifest, variants } };
  };
  const create = (model: ModelPackage) =>
    createInferenceDevice({ provider: 'cpu', threads: 1, packages: [model], warmUpSizes: [] });

  it.each([
    ['an input the graph has not', { luma: 'y' }, /model "tiny": file x4\.onnx: input "y" of the manifest/],
    ['another block length', { T: 2 }, /input "luma" has shape \[1, 1, h, w\] in the graph, \[2, 1, h, w\]/],
    ['a state left out', { state: [] }, /input "count" of the graph is not in the manifest/],
    [
      'another type of state',
      { state: [{ input: 'count', output: 'count_out', dtype: 'uint8', shape: [1, 1, 1, 1] }] },
      /input "count" is float32 in the graph, uint8 in the manifest/,
    ],
  ])('%s', async (_what, change, message) => {
    await expect(create(variantWith(change))).rejects.toMatchObject({
      code: 'model-invalid',
      message: expect.stringMatching(message),
    });
  });

  it('a mask or strength input that only one of the two knows', async () => {
    await expect(create(variantWith({ mask: 'mask' }))).rejects.toThrow(
      /input "mask" of the manifest is not in the graph/,
    );
    await expect(create(variantWith({ strength: 'count', state: [] }))).rejects.toThrow(
      /input "count" has shape \[1, 1, 1, 1\] in the graph, \[1\] in the manifest/,
    );
    await expect(create(variantWith({ mask: 'luma' }))).rejects.toThrow(
      /two fields of the manifest name "luma"/,
    );
    const complete = await load('complete');
    for (const field of ['mask', 'strength'] as const) {
      const variants = complete.manifest.variants.map(({ [field]: _, ...variant }) => variant);
      const model = { ...complete, manifest: { ...complete.manifest, variants } };
      await expect(create(model)).rejects.toThrow(
        new RegExp(`input "${field}" of the graph is not in the manifest`),
      );
    }
  });

  it('a file that is no ONNX graph', async () => {
    const files = new Map(tiny.files).set('x4.onnx', new Uint8Array(64));
    await expect(create({ ...tiny, files })).rejects.toThrow(/model "tiny": file x4\.onnx cannot be loaded/);
  });

  it('a state shape that fails in the graph is a rejection, not a crash', async () => {
    const state = [{ input: 'count', output: 'count_out', dtype: 'float32', shape: [1, 1, 1, 1] }];
    const scale = variantWith({ scale: 2, fold: 2, state });
    const device = await create(scale);
    await expect(open(device, scale)).rejects.toMatchObject({ code: 'internal' });
    await device.close();
  });
});
