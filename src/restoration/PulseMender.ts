/**
 * Keeps a restored call from pulsing. A key frame in mid-call (somebody joined, a packet was lost) is as coarse as a thin uplink makes it: the picture is up to 3 dB
 * worse than the one before, for a second or so. Where nothing has moved, the one before is the better one; a small network says where
 * (models/mending/README.md). Lives in the inference Worker, and works in the size that the model is given.
 */
import { readFile } from 'node:fs/promises';
import { Tensor } from 'onnxruntime-node';
import { mendingModelUrl } from '../entrypoints.js';
import { i420ByteLength } from '../media/types.js';
import { OnnxGraph, type Port } from './OnnxGraph.js';

/** Pictures after a key frame from which on the graphs take nothing of what was there before it. */
const FADED = 12;
/** The network works on a grid of h/2 x w/2 cells from 180 lines; from 360 it looks at pictures halved. */
const FOLD = { 4: 2, 2: 4 } as const;

const INPUTS: readonly Port[] = [
  { name: 'luma', type: 'uint8', dims: [1, 1, 'h', 'w'] },
  { name: 'chroma', type: 'uint8', dims: [1, 2, 'h/2', 'w/2'] },
  { name: 'luma_before', type: 'uint8', dims: [1, 1, 'h', 'w'] },
  { name: 'luma_mended', type: 'uint8', dims: [1, 1, 'h', 'w'] },
  { name: 'chroma_mended', type: 'uint8', dims: [1, 2, 'h/2', 'w/2'] },
  { name: 'kept_in', type: 'float32', dims: [1, 1, 'h/f', 'w/f'] },
  { name: 'age', type: 'float32', dims: [1] },
];
const OUTPUTS: readonly Port[] = [
  { name: 'luma_out', type: 'uint8', dims: [1, 1, 'h', 'w'] },
  { name: 'chroma_out', type: 'uint8', dims: [1, 2, 'h/2', 'w/2'] },
  { name: 'kept_out', type: 'float32', dims: [1, 1, 'h/f', 'w/f'] },
];

/** What is remembered of one stream. */
export interface Pulse {
  readonly width: number;
  readonly height: number;
  /** Luma of the last picture as it came, and all of it (I420) as it was mended. Meaningless until `seen`. */
  readonly cameBefore: Uint8Array<ArrayBuffer>;
  mended: ArrayBuffer;
  /** For the next one. */
  spare: ArrayBuffer;
  /** How much of what was there before the key frame is still shown, for each cell. */
  kept: Float32Array<ArrayBuffer>;
  seen: boolean;
  /** Pictures since the last key frame; null: long ago, or there was none but the first. */
  age: number | null;
}

export class PulseMender {
  readonly #graph: OnnxGraph;
  readonly #fold: number;

  private constructor(graph: OnnxGraph, fold: number) {
    this.#graph = graph;
    this.#fold = fold;
  }

  /** For pictures that are enlarged by so much. Runs on the processor, whatever the model runs on. */
  static async create(scale: keyof typeof FOLD, threads: number): Promise<PulseMender> {
    const url = mendingModelUrl(scale);
    const ports = { inputs: INPUTS, outputs: OUTPUTS };
    const how = { provider: 'cpu', threads } as const;
    const graph = await OnnxGraph.create(await readFile(url), `models/mending/x${scale}.onnx`, ports, how);
    return new PulseMender(graph, FOLD[scale]);
  }

  /** Null: a size that the graph's grid does not divide, as only packages other than the bundled ones take them. */
  begin(width: number, height: number): Pulse | null {
    if (width % this.#fold !== 0 || height % this.#fold !== 0) return null;
    const bytes = i420ByteLength(width, height);
    return {
      width,
      height,
      cameBefore: new Uint8Array(width * height),
      mended: new ArrayBuffer(bytes),
      spare: new ArrayBuffer(bytes),
      kept: new Float32Array((width / this.#fold) * (height / this.#fold)),
      seen: false,
      age: null,
    };
  }

  forget(pulse: Pulse): void {
    pulse.seen = false;
    pulse.age = null;
  }

  /** Mends an I420 picture in place, if a key frame was not long ago, and remembers it. @returns milliseconds that it took */
  async mend(pulse: Pulse, picture: ArrayBuffer, keyFrame: boolean): Promise<number> {
    const startedAtMs = performance.now();
    if (keyFrame && pulse.seen) {
      pulse.age = 0;
      pulse.kept.fill(1);
    }
    const { width, height, age } = pulse;
    const whole = new Uint8Array(picture);
    if (age !== null) await this.#run(pulse, picture, age);
    pulse.cameBefore.set(whole.subarray(0, width * height));
    if (age !== null) {
      whole.set(new Uint8Array(pulse.spare));
      [pulse.mended, pulse.spare] = [pulse.spare, pulse.mended];
      pulse.age = age + 1 < FADED ? age + 1 : null;
    } else new Uint8Array(pulse.mended).set(whole);
    pulse.seen = true;
    return age === null ? 0 : performance.now() - startedAtMs;
  }

  async #run(pulse: Pulse, picture: ArrayBuffer, age: number): Promise<void> {
    const { width, height } = pulse;
    const planes = (buffer: ArrayBuffer): [Tensor, Tensor] => [
      new Tensor('uint8', new Uint8Array(buffer, 0, width * height), [1, 1, height, width]),
      new Tensor('uint8', new Uint8Array(buffer, width * height), [1, 2, height / 2, width / 2]),
    ];
    const [luma, chroma] = planes(picture);
    const [lumaMended, chromaMended] = planes(pulse.mended);
    const [lumaOut, chromaOut] = planes(pulse.spare);
    const cells = [1, 1, height / this.#fold, width / this.#fold];
    const kept = new Float32Array(pulse.kept.length);
    await this.#graph.run(
      {
        luma,
        chroma,
        luma_before: new Tensor('uint8', pulse.cameBefore, [1, 1, height, width]),
        luma_mended: lumaMended,
        chroma_mended: chromaMended,
        kept_in: new Tensor('float32', pulse.kept, cells),
        age: new Tensor('float32', Float32Array.of(age), [1]),
      },
      { luma_out: lumaOut, chroma_out: chromaOut, kept_out: new Tensor('float32', kept, cells) },
      `${width}x${height}`,
    );
    pulse.kept = kept;
  }

  async release(): Promise<void> {
    await this.#graph.release();
  }
}
