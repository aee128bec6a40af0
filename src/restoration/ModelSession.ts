/**
 * One variant of a model as an ONNX session: created, checked against its manifest, and run block by block.
 * Lives in a Worker (or in the probe's process), because `session.run()` blocks its thread.
 */
import { availableParallelism } from 'node:os';
import { env, InferenceSession, Tensor } from 'onnxruntime-node';
import { VireoError } from '../errors.js';
import { i420ByteLength } from '../media/types.js';
import type { StateTensor, Variant } from './manifest.js';
import { executionProviders } from './providers.js';
import type { ModelPackage, ProviderName } from './types.js';

// Failures come back as errors; onnxruntime would print them to stderr as well.
env.logLevel = 'fatal';

type Dimension = number | string;
type TensorType = 'uint8' | StateTensor['dtype'];
interface Slot {
  name: string;
  type: TensorType;
  dims: readonly Dimension[];
}

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

/** What a run takes besides pictures and state, for variants with such inputs. */
export interface RunExtras {
  /** 1 unless given. */
  strength?: number;
  /** One for each picture of the block, or none at all; null: nothing of the picture is lost. */
  masks?: readonly (ArrayBuffer | null)[];
}

export class ModelSession {
  readonly variant: Variant;
  readonly #session: InferenceSession;
  readonly #label: string;
  readonly #warmSizes = new Set<string>();

  private constructor(session: InferenceSession, variant: Variant, label: string) {
    this.#session = session;
    this.variant = variant;
    this.#label = label;
  }

  static async create(
    model: ModelPackage,
    variantIndex: number,
    provider: ProviderName,
    threads: number,
  ): Promise<ModelSession> {
    const { name } = model.manifest;
    const variant = model.manifest.variants[variantIndex];
    const bytes = variant === undefined ? undefined : model.files.get(variant.file);
    if (variant === undefined || bytes === undefined) {
      throw new VireoError('model-invalid', `model "${name}": it has no variant ${variantIndex}`);
    }
    const label = `model "${name}": file ${variant.file}`;
    const session = await InferenceSession.create(bytes, sessionOptions(provider, threads)).catch(
      (thrown: unknown) => {
        const reason = oneLine(thrown);
        throw new VireoError(
          'model-invalid',
          `${label} cannot be loaded by provider ${provider}: ${reason}`,
          {
            cause: thrown,
          },
        );
      },
    );
    const created = new ModelSession(session, variant, label);
    try {
      created.#checkGraph();
    } catch (thrown) {
      await session.release();
      throw thrown;
    }
    return created;
  }

  /** An all-zero state for one stream of this input size. */
  createState(width: number, height: number): CarriedState {
    const { fold, state } = this.variant;
    if (width % (2 * fold) !== 0 || height % (2 * fold) !== 0 || width <= 0 || height <= 0) {
      throw new VireoError(
        'bad-request',
        `${this.#label} takes sizes that are multiples of ${2 * fold}, not ${width}x${height}`,
      );
    }
    const allocate = () => state.map((tensor) => zeros(tensor, width, height));
    const noMask = this.variant.mask === undefined ? null : planes(this.variant.T, width, height);
    return { width, height, current: allocate(), next: allocate(), noMask };
  }

  reset(state: CarriedState): void {
    for (const tensor of state.current) (tensor.data as Uint8Array).fill(0);
  }

  /** Restores one block from `inputs` into `outputs` (I420, T each). Resolves to the milliseconds of the run. */
  async run(
    state: CarriedState,
    inputs: readonly ArrayBuffer[],
    outputs: readonly ArrayBuffer[],
    extras: RunExtras = {},
  ): Promise<number> {
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
    const startedAtMs = performance.now();
    try {
      await this.#session.run(feeds, fetches);
    } catch (thrown) {
      throw new VireoError('internal', `${this.#label} failed at ${width}x${height}: ${oneLine(thrown)}`, {
        cause: thrown,
      });
    }
    const runMs = performance.now() - startedAtMs;
    [state.current, state.next] = [state.next, state.current];
    scatter(fetch, outputs, outWidth, outHeight);
    return runMs;
  }

  /** Runs once at a size not seen before, so that the first real block is not the slow one. */
  async warmUp(width: number, height: number): Promise<void> {
    const key = `${width}x${height}`;
    if (this.#warmSizes.has(key)) return;
    const { T, scale } = this.variant;
    const pictures = (bytes: number) => Array.from({ length: T }, () => new ArrayBuffer(bytes));
    const inputs = pictures(i420ByteLength(width, height));
    const outputs = pictures(i420ByteLength(width * scale, height * scale));
    await this.run(this.createState(width, height), inputs, outputs);
    this.#warmSizes.add(key);
  }

  async release(): Promise<void> {
    await this.#session.release();
  }

  /** What the manifest says of the graph must be what the graph says of itself. */
  #checkGraph(): void {
    const { variant } = this;
    const [half, T]: [(d: string) => string, number] = [(d) => `${d}/2`, variant.T];
    const s = variant.scale;
    const up = (factor: number): Dimension[] => (factor === 1 ? ['h', 'w'] : [`h*${factor}`, `w*${factor}`]);
    const inputs: Slot[] = [
      { name: variant.luma, type: 'uint8', dims: [T, 1, 'h', 'w'] },
      { name: variant.chroma, type: 'uint8', dims: [T, 2, half('h'), half('w')] },
      ...named(variant.mask, 'uint8', [T, 1, 'h', 'w']),
      ...named(variant.strength, 'float32', [1]),
      ...variant.state.map((t): Slot => ({ name: t.input, type: t.dtype, dims: t.shape })),
    ];
    const outputs: Slot[] = [
      { name: variant.lumaOut, type: 'uint8', dims: [T, 1, ...up(s)] },
      {
        name: variant.chromaOut,
        type: 'uint8',
        dims: [T, 2, ...(s === 1 ? [half('h'), half('w')] : up(s / 2))],
      },
      ...variant.state.map((t): Slot => ({ name: t.output, type: t.dtype, dims: t.shape })),
    ];
    for (const slot of inputs) this.#checkSlot('input', slot, this.#session.inputMetadata);
    for (const slot of outputs) this.#checkSlot('output', slot, this.#session.outputMetadata);
    const twice = inputs.find((slot, at) => inputs.findIndex(({ name }) => name === slot.name) < at);
    if (twice !== undefined) {
      throw new VireoError(
        'model-invalid',
        `${this.#label}: two fields of the manifest name "${twice.name}"`,
      );
    }
    const unknown = this.#session.inputNames.find((name) => !inputs.some((slot) => slot.name === name));
    if (unknown !== undefined) {
      throw new VireoError(
        'model-invalid',
        `${this.#label}: input "${unknown}" of the graph is not in the manifest`,
      );
    }
  }

  #checkSlot(kind: 'input' | 'output', slot: Slot, graph: readonly InferenceSession.ValueMetadata[]): void {
    const found = graph.find((value) => value.name === slot.name);
    const where = `${this.#label}: ${kind} "${slot.name}"`;
    if (found === undefined) {
      const names = graph.map((value) => value.name).join(', ');
      throw new VireoError(
        'model-invalid',
        `${where} of the manifest is not in the graph, which has ${names}`,
      );
    }
    if (!found.isTensor || found.type !== slot.type) {
      const type = found.isTensor ? found.type : 'no tensor';
      throw new VireoError('model-invalid', `${where} is ${type} in the graph, ${slot.type} in the manifest`);
    }
    const matches =
      found.shape.length === slot.dims.length &&
      found.shape.every((dim, index) => {
        const wanted = slot.dims[index];
        return typeof dim !== 'number' || typeof wanted !== 'number' || dim === wanted;
      });
    if (matches) return;
    throw new VireoError(
      'model-invalid',
      `${where} has shape [${found.shape.join(', ')}] in the graph, [${slot.dims.join(', ')}] in the manifest`,
    );
  }
}

function named(name: string | undefined, type: TensorType, dims: readonly Dimension[]): Slot[] {
  return name === undefined ? [] : [{ name, type, dims }];
}

function sessionOptions(provider: ProviderName, threads: number): InferenceSession.SessionOptions {
  return {
    executionProviders: executionProviders(provider),
    graphOptimizationLevel: 'all',
    executionMode: 'sequential',
    intraOpNumThreads: threads > 0 ? threads : availableParallelism(),
    interOpNumThreads: 1,
    logSeverityLevel: 4,
    // Idle sessions must not burn the cores that decode and encode.
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  };
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

function oneLine(thrown: unknown): string {
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  // Past the place in onnxruntime's source where a condition failed.
  return message
    .replaceAll(/\s+/g, ' ')
    .replace(/^\/onnxruntime_src\/.* was false\. /, '')
    .slice(0, 400);
}
