import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { I420Picture } from '../../../src/media/types.js';
import { createInferenceDevice, WorkerDevice } from '../../../src/restoration/InferenceDevice.js';
import { ModelPackages } from '../../../src/restoration/ModelPackages.js';
import type { InferenceDevice, ModelPackage, RestorationStream } from '../../../src/restoration/types.js';
import { writeTinyPackage } from '../../support/tinyModel.js';

const WIDTH = 32;
const HEIGHT = 16;
let root: string;
let tiny: ModelPackage;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'vireo-device-'));
  await writeTinyPackage(root);
  await writeTinyPackage(root, 'blocks', { T: 3 });
  tiny = await ModelPackages.create([root]).load('tiny');
});
afterAll(() => rm(root, { recursive: true, force: true }));

function picture(stream: RestorationStream, luma: number, timestamp = 0): I420Picture {
  const buffer = stream.allocateInput();
  new Uint8Array(buffer).fill(luma);
  return { buffer, width: WIDTH, height: HEIGHT, rtpTimestamp90k: timestamp, fullRange: false };
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
    const blocks = await ModelPackages.create([root]).load('blocks');
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

  it('refuses pictures of another size, a second block at a time, and blocks of the wrong length', async () => {
    await withDevice([tiny], async (device) => {
      const stream = await open(device);
      const odd = { ...picture(stream, 1), width: 16 };
      await expect(stream.restore([odd])).rejects.toThrow(/takes 32x16, not 16x16/);
      await expect(stream.restore([])).rejects.toThrow(/a block is 1 pictures/);
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
