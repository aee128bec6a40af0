/**
 * One variant of a model as an ONNX session: created, checked against its manifest, and run block by block.
 * Lives in a Worker (or in the probe's process), because `session.run()` blocks its thread.
 */
import { type InferenceSession, Tensor } from 'onnxruntime-node';
import { VireoError } from '../errors.js';
import { i420ByteLength } from '../media/types.js';
import type { References, StateTensor, Variant } from './manifest.js';
import { OnnxGraph, type Port } from './OnnxGraph.js';
import type { ModelPackage, ProviderName } from './types.js';

/**
 * State of one stream: what the last block left, and room for what the next one leaves. They swap after each
 * run. They are CPU tensors; a device that keeps tensors in its own memory (WebGPU's `gpu-buffer`) would
 * differ only here.
 */
export interface CarriedState {
  readonly width: number;
  readonly height: number;
  current: Tensor[];
  next: Tensor[];
  /** What a block without masks is given, all zeros; null where the variant has no mask input. */
  readonly noMask: Tensor | null;
}

/** What a variant remembers of stills: made once, attended to by every block. */
export type ReferenceTables = Readonly<Record<string, Tensor>>;

/** What a run takes besides pictures and state, for variants with such inputs. */
export interface RunExtras {
  /** 1 unless given. */
  strength?: number;
  /** One for each picture of the block, or none at all; null: nothing of the picture is lost. */
  masks?: readonly (ArrayBuffer | null)[];
  /** Null: there is no still. */
  reference?: ReferenceTables | null;
}

export interface RunResult {
  /** Time in `session.run()`, milliseconds. */
  runMs: number;
  /** Share of the picture that was found in the still, 0 to 1; null without one. */
  found: number | null;
}

export interface SessionOptions {
  provider: ProviderName;
  /** Of a CPU session; 0: all cores. */
  threads: number;
  /** Loads what the variant needs for stills, too, where it takes any. */
  references?: boolean;
}

/** The graphs that a variant needs for stills. */
interface ReferenceGraphs {
  manifest: References;
  tables: OnnxGraph;
  restoring: OnnxGraph;
}

export class ModelSession {
  readonly variant: Variant;
  readonly #graph: OnnxGraph;
  readonly #references: ReferenceGraphs | null;
  readonly #warmSizes = new Set<string>();

  private constructor(graph: OnnxGraph, references: ReferenceGraphs | null, variant: Variant) {
    this.#graph = graph;
    this.#references = references;
    this.variant = variant;
  }

  static async create(
    model: ModelPackage,
    variantIndex: number,
    options: SessionOptions,
  ): Promise<ModelSession> {
    const { name } = model.manifest;
    const variant = model.manifest.variants[variantIndex];
    if (variant === undefined) {
      throw new VireoError('model-invalid', `model "${name}": it has no variant ${variantIndex}`);
    }
    const load = async (
      file: string,
      inputs: readonly Port[],
      outputs: readonly Port[],
      hostNodes?: readonly string[],
    ) => {
      const label = `model "${name}": file ${file}`;
      const bytes = model.files.get(file);
      if (bytes === undefined) throw new VireoError('model-invalid', `${label} was not read`);
      return await OnnxGraph.create(bytes, label, { inputs, outputs }, { ...options, hostNodes });
    };
    const { references } = variant;
    const { inputs, outputs } = portsOf(variant);
    const graphs: OnnxGraph[] = [];
    try {
      const graph = await load(variant.file, inputs, outputs);
      graphs.push(graph);
      if (references === undefined || options.references !== true) {
        return new ModelSession(graph, null, variant);
      }
      const tables = await load(
        references.tablesFile,
        [{ name: references.still, type: 'uint8', dims: [1, 1, 'H', 'W'] }],
        references.tables.map(({ output, dtype }) => ({ name: output, type: dtype })),
      );
      graphs.push(tables);
      const restoring = await load(
        references.file,
        [...inputs, ...references.tables.map(({ input, dtype }): Port => ({ name: input, type: dtype }))],
        [...outputs, { name: references.found, type: 'float32', dims: [1] }],
        references.hostNodes,
      );
      return new ModelSession(graph, { manifest: references, tables, restoring }, variant);
    } catch (thrown) {
      for (const graph of graphs) await graph.release();
      throw thrown;
    }
  }

  /** An all-zero state for one stream of this input size. */
  createState(width: number, height: number): CarriedState {
    const { fold, state } = this.variant;
    if (width % (2 * fold) !== 0 || height % (2 * fold) !== 0 || width <= 0 || height <= 0) {
      throw new VireoError(
        'bad-request',
        `${this.#graph.label} takes sizes that are multiples of ${2 * fold}, not ${width}x${height}`,
      );
    }
    const allocate = () => state.map((tensor) => zeros(tensor, width, height));
    const noMask = this.variant.mask === undefined ? null : planes(this.variant.T, width, height);
    return { width, height, current: allocate(), next: allocate(), noMask };
  }

  reset(state: CarriedState): void {
    for (const tensor of state.current) (tensor.data as Uint8Array).fill(0);
  }

  /**
   * What is to be remembered of stills, from their luma (width * scale by height * scale bytes each, limited range);
   * null: of none. Throws `unsupported` where the variant takes none, or was loaded without.
   */
  async createReference(
    { width, height }: CarriedState,
    lumas: readonly ArrayBuffer[],
  ): Promise<ReferenceTables | null> {
    const references = this.#references;
    if (references === null) throw new VireoError('unsupported', `${this.#graph.label} takes no stills`);
    const dims = [1, 1, height * this.variant.scale, width * this.variant.scale];
    const { manifest, tables } = references;
    const names = manifest.tables.map(({ output }) => output);
    const made: InferenceSession.OnnxValueMapType[] = [];
    for (const luma of lumas) {
      const still = new Tensor('uint8', new Uint8Array(luma), dims);
      made.push(await tables.run({ [manifest.still]: still }, names, `${dims[3]}x${dims[2]}`));
    }
    if (made.length === 0) return null;
    return Object.fromEntries(
      manifest.tables.map(({ output, input }) => [input, below(made.map((one) => one[output] as Tensor))]),
    );
  }

  /** Restores one block from `inputs` into `outputs` (I420, T each). */
  async run(
    state: CarriedState,
    inputs: readonly ArrayBuffer[],
    outputs: readonly ArrayBuffer[],
    extras: RunExtras = {},
  ): Promise<RunResult> {
    const { variant } = this;
    const { width, height } = state;
    const [outWidth, outHeight] = [width * variant.scale, height * variant.scale];
    const feed = block(variant.T, inputs, width, height);
    const fetch = block(variant.T, outputs, outWidth, outHeight);
    gather(feed, inputs, width, height);
    const feeds: Record<string, Tensor> = { [variant.luma]: feed.luma, [variant.chroma]: feed.chroma };
    const fetches: Record<string, Tensor> = {
      [variant.lumaOut]: fetch.luma,
      [variant.chromaOut]: fetch.chroma,
    };
    if (variant.mask !== undefined) feeds[variant.mask] = maskTensor(state, variant.T, extras.masks ?? []);
    if (variant.strength !== undefined) {
      feeds[variant.strength] = new Tensor('float32', Float32Array.of(extras.strength ?? 1), [1]);
    }
    variant.state.forEach((tensor, index) => {
      const [current, next] = [state.current[index], state.next[index]];
      if (current === undefined || next === undefined) return;
      feeds[tensor.input] = current;
      fetches[tensor.output] = next;
    });
    const found = Float32Array.of(0);
    const references = extras.reference ? this.#references : null;
    if (references !== null) {
      Object.assign(feeds, extras.reference);
      fetches[references.manifest.found] = new Tensor('float32', found, [1]);
    }
    const startedAtMs = performance.now();
    await (references?.restoring ?? this.#graph).run(feeds, fetches, `${width}x${height}`);
    const runMs = performance.now() - startedAtMs;
    [state.current, state.next] = [state.next, state.current];
    scatter(fetch, outputs, outWidth, outHeight);
    return { runMs, found: references === null ? null : (found[0] ?? 0) };
  }

  /** Runs once at a size not seen before, so that the first real block is not the slow one. */
  async warmUp(width: number, height: number): Promise<void> {
    const key = `${width}x${height}`;
    if (this.#warmSizes.has(key)) return;
    const { T, scale } = this.variant;
    const pictures = (bytes: number) => Array.from({ length: T }, () => new ArrayBuffer(bytes));
    const inputs = pictures(i420ByteLength(width, height));
    const outputs = pictures(i420ByteLength(width * scale, height * scale));
    const state = this.createState(width, height);
    await this.run(state, inputs, outputs);
    if (this.#references !== null) {
      const reference = await this.createReference(state, [new ArrayBuffer(width * height * scale * scale)]);
      await this.run(state, inputs, outputs, { reference });
    }
    this.#warmSizes.add(key);
  }

  async release(): Promise<void> {
    await this.#graph.release();
    await this.#references?.tables.release();
    await this.#references?.restoring.release();
  }
}

/** What the manifest says of a variant's own graph. */
function portsOf(variant: Variant): { inputs: Port[]; outputs: Port[] } {
  const { T, scale } = variant;
  const half = (d: string) => `${d}/2`;
  const up = (factor: number) => (factor === 1 ? ['h', 'w'] : [`h*${factor}`, `w*${factor}`]);
  return {
    inputs: [
      { name: variant.luma, type: 'uint8', dims: [T, 1, 'h', 'w'] },
      { name: variant.chroma, type: 'uint8', dims: [T, 2, half('h'), half('w')] },
      ...named(variant.mask, 'uint8', [T, 1, 'h', 'w']),
      ...named(variant.strength, 'float32', [1]),
      ...variant.state.map((t): Port => ({ name: t.input, type: t.dtype, dims: t.shape })),
    ],
    outputs: [
      { name: variant.lumaOut, type: 'uint8', dims: [T, 1, ...up(scale)] },
      {
        name: variant.chromaOut,
        type: 'uint8',
        dims: [T, 2, ...(scale === 1 ? [half('h'), half('w')] : up(scale / 2))],
      },
      ...variant.state.map((t): Port => ({ name: t.output, type: t.dtype, dims: t.shape })),
    ],
  };
}

/** One tensor of several, along the first dimension. */
function below(tensors: readonly Tensor[]): Tensor {
  const [first] = tensors;
  if (first === undefined) throw new VireoError('internal', 'no tables');
  if (tensors.length === 1) return first;
  const parts = tensors.map(({ data }) => {
    const { buffer, byteOffset, byteLength } = data as Uint8Array;
    return Buffer.from(buffer, byteOffset, byteLength);
  });
  const bytes = new Uint8Array(Buffer.concat(parts)).buffer;
  const dims = [tensors.reduce((sum, { dims: [rows = 0] }) => sum + rows, 0), ...first.dims.slice(1)];
  if (first.type === 'float32') return new Tensor('float32', new Float32Array(bytes), dims);
  if (first.type === 'float16') return new Tensor('float16', new Uint16Array(bytes), dims);
  return new Tensor('uint8', new Uint8Array(bytes), dims);
}

function named(name: string | undefined, type: Port['type'], dims: readonly (number | string)[]): Port[] {
  return name === undefined ? [] : [{ name, type, dims }];
}

interface BlockTensors {
  luma: Tensor;
  chroma: Tensor;
}

/** For T = 1 the tensors lie right on the picture's buffer; longer blocks need their planes side by side. */
function block(T: number, pictures: readonly ArrayBuffer[], width: number, height: number): BlockTensors {
  const first = pictures[0];
  const lumaLength = width * height;
  const bytes = i420ByteLength(width, height);
  if (pictures.length !== T || first === undefined || pictures.some((p) => p.byteLength !== bytes)) {
    throw new VireoError('bad-request', `a block is ${T} pictures of ${bytes} bytes (${width}x${height})`);
  }
  const lumaDims = [T, 1, height, width];
  const chromaDims = [T, 2, height / 2, width / 2];
  if (T > 1) {
    return {
      luma: new Tensor('uint8', new Uint8Array(T * lumaLength), lumaDims),
      chroma: new Tensor('uint8', new Uint8Array((T * lumaLength) / 2), chromaDims),
    };
  }
  return {
    luma: new Tensor('uint8', new Uint8Array(first, 0, lumaLength), lumaDims),
    chroma: new Tensor('uint8', new Uint8Array(first, lumaLength, lumaLength / 2), chromaDims),
  };
}

/** The masks of a block, or zeros; a single one lies right on its buffer, as the picture does. */
function maskTensor(state: CarriedState, T: number, masks: readonly (ArrayBuffer | null)[]): Tensor {
  const { width, height, noMask } = state;
  if (noMask !== null && masks.every((mask) => mask === null)) return noMask;
  const bytes = width * height;
  if (masks.length !== T || masks.some((mask) => mask !== null && mask.byteLength !== bytes)) {
    throw new VireoError(
      'bad-request',
      `a mask is ${bytes} bytes (${width}x${height}), one for each picture`,
    );
  }
  const [first] = masks;
  if (T === 1 && first) return new Tensor('uint8', new Uint8Array(first), [1, 1, height, width]);
  const together = planes(T, width, height);
  masks.forEach((mask, t) => {
    if (mask !== null) (together.data as Uint8Array).set(new Uint8Array(mask), t * bytes);
  });
  return together;
}

/** T planes of zeros. */
function planes(T: number, width: number, height: number): Tensor {
  return new Tensor('uint8', new Uint8Array(T * width * height), [T, 1, height, width]);
}

function gather(to: BlockTensors, pictures: readonly ArrayBuffer[], width: number, height: number): void {
  if (pictures.length === 1) return;
  const lumaLength = width * height;
  pictures.forEach((picture, t) => {
    (to.luma.data as Uint8Array).set(new Uint8Array(picture, 0, lumaLength), t * lumaLength);
    (to.chroma.data as Uint8Array).set(new Uint8Array(picture, lumaLength), (t * lumaLength) / 2);
  });
}

function scatter(from: BlockTensors, pictures: readonly ArrayBuffer[], width: number, height: number): void {
  if (pictures.length === 1) return;
  const [luma, chroma] = [from.luma.data as Uint8Array, from.chroma.data as Uint8Array];
  const [lumaLength, chromaLength] = [width * height, (width * height) / 2];
  pictures.forEach((picture, t) => {
    const bytes = new Uint8Array(picture);
    bytes.set(luma.subarray(t * lumaLength, (t + 1) * lumaLength));
    bytes.set(chroma.subarray(t * chromaLength, (t + 1) * chromaLength), lumaLength);
  });
}

function zeros(tensor: StateTensor, width: number, height: number): Tensor {
  const dims = tensor.shape.map((dim) => resolveDimension(dim, width, height, tensor.input));
  const length = dims.reduce((product, dim) => product * dim, 1);
  if (tensor.dtype === 'float32') return new Tensor('float32', new Float32Array(length), dims);
  if (tensor.dtype === 'float16') return new Tensor('float16', new Uint16Array(length), dims);
  return new Tensor('uint8', new Uint8Array(length), dims);
}

/** `h`, `w/2`, `h*4` … for one input size. */
export function resolveDimension(dim: number | string, width: number, height: number, name: string): number {
  if (typeof dim === 'number') return dim;
  const base = dim.startsWith('h') ? height : width;
  const factor = Number(dim.slice(2) || '1');
  const value = dim[1] === '/' ? base / factor : base * factor;
  if (!Number.isInteger(value) || value <= 0) {
    throw new VireoError(
      'model-invalid',
      `state "${name}": ${dim} is not a whole number at ${width}x${height}`,
    );
  }
  return value;
}
