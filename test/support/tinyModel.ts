/**
 * Model packages for tests, made on the fly: a nearest-neighbour upsampler whose state counts the blocks and
 * brightens the picture by one step each, so that carried, lost and reset state all show. With a strength input
 * the step is that strong; with a mask input, lost pixels come out as LOST_LUMA. Never shipped.
 */
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Manifest, Variant } from '../../src/restoration/manifest.js';

const UINT8 = 2;
const FLOAT = 1;
const BOOL = 9;

/** What a lost pixel is taken for. */
export const LOST_LUMA = 200;

export interface TinyInputs {
  mask?: boolean;
  strength?: boolean;
}

type Field = readonly [number: number, value: number | string | Uint8Array];

/** The little of protobuf's wire format that an ONNX graph needs. */
function message(...fields: readonly Field[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const [number, value] of fields) {
    if (typeof value === 'number') parts.push(varint(number << 3), varint(value));
    else {
      const bytes = typeof value === 'string' ? new TextEncoder().encode(value) : value;
      parts.push(varint((number << 3) | 2), varint(bytes.length), bytes);
    }
  }
  return Buffer.concat(parts);
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  do {
    bytes.push((rest % 128) | (rest >= 128 ? 128 : 0));
    rest = Math.floor(rest / 128);
  } while (rest > 0);
  return Uint8Array.from(bytes);
}

function attribute(name: string, value: number | string): Uint8Array {
  return typeof value === 'number'
    ? message([1, name], [3, value], [20, 2])
    : message([1, name], [4, value], [20, 3]);
}

function node(
  type: string,
  inputs: string[],
  outputs: string[],
  attributes: Record<string, number | string> = {},
): Field {
  return [
    1,
    message(
      ...inputs.map((name): Field => [1, name]),
      ...outputs.map((name): Field => [2, name]),
      [4, type],
      ...Object.entries(attributes).map(([name, value]): Field => [5, attribute(name, value)]),
    ),
  ];
}

function floats(name: string, dims: number[], values: number[]): Field {
  const raw = new Uint8Array(Float32Array.from(values).buffer);
  return [5, message(...dims.map((dim): Field => [1, dim]), [2, FLOAT], [8, name], [9, raw])];
}

function value(field: 11 | 12, name: string, type: number, dims: (number | string)[]): Field {
  const shape = message(
    ...dims.map((dim): Field => [1, typeof dim === 'number' ? message([1, dim]) : message([2, dim])]),
  );
  return [field, message([1, name], [2, message([1, message([1, type], [2, shape])])])];
}

function bytes(name: string, values: number[]): Field {
  return [5, message([1, values.length], [2, UINT8], [8, name], [9, Uint8Array.from(values)])];
}

/** uint8 [T,1,h,w] and [T,2,h/2,w/2] in, `scale` times the size out; state float32 [1,1,1,1]. */
export function tinyOnnx(scale: number, T = 1, inputs: TinyInputs = {}): Uint8Array {
  const upsample = (from: string, to: string): Field[] => [
    node('Resize', [from, '', 'scales'], [`${to}_big`], {
      mode: 'nearest',
      nearest_mode: 'floor',
      coordinate_transformation_mode: 'asymmetric',
    }),
  ];
  const graph = message(
    node('Add', ['count', 'one'], ['count_out']),
    ...(inputs.mask
      ? [
          node('Cast', ['mask'], ['is_lost'], { to: BOOL }),
          node('Where', ['is_lost', 'lost_luma', 'luma'], ['luma_known']),
        ]
      : []),
    ...upsample(inputs.mask ? 'luma_known' : 'luma', 'luma'),
    node('Cast', ['luma_big'], ['luma_float'], { to: FLOAT }),
    ...(inputs.strength ? [node('Mul', ['count', 'strength'], ['step'])] : []),
    node('Add', ['luma_float', inputs.strength ? 'step' : 'count'], ['luma_sum']),
    node('Cast', ['luma_sum'], ['luma_out'], { to: UINT8 }),
    node('Resize', ['chroma', '', 'scales'], ['chroma_out'], {
      mode: 'nearest',
      nearest_mode: 'floor',
      coordinate_transformation_mode: 'asymmetric',
    }),
    [2, 'tiny'],
    floats('scales', [4], [1, 1, scale, scale]),
    floats('one', [1, 1, 1, 1], [1]),
    value(11, 'luma', UINT8, [T, 1, 'h', 'w']),
    value(11, 'chroma', UINT8, [T, 2, 'h2', 'w2']),
    ...(inputs.mask ? [bytes('lost_luma', [LOST_LUMA]), value(11, 'mask', UINT8, [T, 1, 'h', 'w'])] : []),
    ...(inputs.strength ? [value(11, 'strength', FLOAT, [1])] : []),
    value(11, 'count', FLOAT, [1, 1, 1, 1]),
    value(12, 'luma_out', UINT8, [T, 1, 'H', 'W']),
    value(12, 'chroma_out', UINT8, [T, 2, 'H2', 'W2']),
    value(12, 'count_out', FLOAT, [1, 1, 1, 1]),
  );
  return message([1, 8], [2, 'vireo-test'], [7, graph], [8, message([1, ''], [2, 13])]);
}

const FOLDS = { 4: 1, 2: 2, 1: 4 } as const;

export function tinyVariant(
  scale: 1 | 2 | 4,
  onnx: Uint8Array,
  T = 1,
  inputs: TinyInputs = {},
  task: Variant['task'] = scale === 1 ? 'deblur' : 'sr',
): Variant {
  return {
    file: task === 'inpaint' ? `x${scale}-inpaint.onnx` : `x${scale}.onnx`,
    sha256: createHash('sha256').update(onnx).digest('hex'),
    task,
    scale,
    fold: FOLDS[scale],
    T,
    ...(inputs.mask ? { mask: 'mask' } : {}),
    ...(inputs.strength ? { strength: 'strength' } : {}),
    luma: 'luma',
    chroma: 'chroma',
    lumaOut: 'luma_out',
    chromaOut: 'chroma_out',
    state: [{ input: 'count', output: 'count_out', dtype: 'float32', shape: [1, 1, 1, 1] }],
  };
}

export function tinyManifest(name: string, variants: Variant[], extra: Partial<Manifest> = {}): Manifest {
  return {
    schema: 1,
    name,
    version: '1.0.0',
    description: 'nearest-neighbour upsampler for tests',
    licence: 'Apache-2.0',
    weights: 1,
    trainingData: 'none',
    variants,
    evaluation: [],
    ...extra,
  };
}

/**
 * Writes a package with ×4 and ×2 under `root`; `change` may spoil the manifest. `complete`: mask and strength
 * inputs, and ×1 to deblur and to inpaint, as well.
 */
export async function writeTinyPackage(
  root: string,
  name = 'tiny',
  options: {
    T?: number;
    complete?: boolean;
    extra?: Partial<Manifest>;
    change?: (manifest: Manifest) => unknown;
  } = {},
): Promise<string> {
  const directory = join(root, name);
  await mkdir(directory, { recursive: true });
  const variants: Variant[] = [];
  const { T, complete = false } = options;
  const inputs = { mask: complete, strength: complete };
  const add = async (scale: 1 | 2 | 4, task?: Variant['task']) => {
    const onnx = tinyOnnx(scale, T, inputs);
    const variant = tinyVariant(scale, onnx, T, inputs, task);
    await writeFile(join(directory, variant.file), onnx);
    variants.push(variant);
  };
  await add(4);
  await add(2);
  if (complete) {
    await add(1, 'deblur');
    await add(1, 'inpaint');
  }
  const manifest = tinyManifest(name, variants, options.extra);
  const written = options.change?.(structuredClone(manifest)) ?? manifest;
  await writeFile(join(directory, 'manifest.json'), JSON.stringify(written));
  return directory;
}
