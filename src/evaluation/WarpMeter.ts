/**
 * How several methods' pictures go from one to the next.
 *
 * Flicker: the warping error E_warp (Lai et al., "Learning Blind Video Temporal Consistency", ECCV 2018). The
 * reference's optical flow carries each method's earlier frame to the later one; what then differs is not
 * motion. Mean squared difference of luma code values where the flow holds.
 *
 * Motion: tOF (Chu et al., "Learning Temporal Coherence via Self-Supervision for GAN-based Video Generation",
 * 2020). The optical flow between a method's two frames against the reference's, the L1 norm of the
 * difference of the two vectors in pixels, mean over the picture.
 *
 * See models/metrics/build.py for the flow and for what is left out.
 */
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { Frame } from 'node-av';
import { warpModelUrl, warpWorkerEntryUrl } from '../entrypoints.js';
import { VireoError } from '../errors.js';
import { lumaOf } from '../restoration/ffmpeg.js';
import type { WarpRequest, WarpResponse } from './warpWorker.js';

/** One pair of frames in so many: each takes as long as dozens of PSNRs. */
const EVERY = 5;
/** Motion at one of so many of those pairs: it takes a flow for each method, flicker one for all. */
const MOTION_EVERY = 2;

export class WarpMeter {
  readonly #worker: Worker;
  readonly #errors: WeightedMeans;
  readonly #flows: WeightedMeans;
  readonly #waiting = new Map<number, (response: WarpResponse) => void>();
  #previous: { reference: Uint8Array; methods: Uint8Array[] } | null = null;
  #failure: Error | null = null;
  #frames = 0;
  #pairs = 0;

  constructor(methods: number) {
    this.#errors = new WeightedMeans(methods);
    this.#flows = new WeightedMeans(methods);
    this.#worker = new Worker(warpWorkerEntryUrl, { workerData: { model: fileURLToPath(warpModelUrl) } });
    this.#worker.on('message', (response: WarpResponse) => {
      this.#waiting.get(response.id)?.(response);
      this.#waiting.delete(response.id);
    });
    this.#worker.on('error', (error) => {
      this.#failure = error;
      for (const [id, done] of this.#waiting) done({ id, failure: error.message });
      this.#waiting.clear();
    });
  }

  /** Every frame in order; the frames stay the caller's. One method's frame each, in the constructor's order. */
  async add(reference: Frame, methods: readonly Frame[]): Promise<void> {
    const at = this.#frames++ % EVERY;
    if (at === 0) {
      this.#previous = { reference: lumaOf(reference), methods: methods.map(lumaOf) };
      return;
    }
    const previous = this.#previous;
    if (at !== 1 || previous === null) return;
    this.#previous = null;
    const motion = this.#pairs++ % MOTION_EVERY === 0;
    const response = await this.#ask({
      id: this.#frames,
      width: reference.width,
      height: reference.height,
      reference: [previous.reference, lumaOf(reference)],
      methods: [Buffer.concat(previous.methods), Buffer.concat(methods.map(lumaOf))],
      motion,
    });
    if ('failure' in response) {
      throw new VireoError('internal', `warping error and tOF could not be measured: ${response.failure}`);
    }
    const { errors, flows, valid } = response;
    // The share of the picture where the flow holds, as a weight: next to nothing across a cut.
    this.#errors.add(errors, valid);
    if (motion) this.#flows.add(flows, valid);
  }

  /** E_warp of each method, squared luma code values; null for a single frame. */
  get errors(): (number | null)[] {
    return this.#errors.means;
  }

  /** tOF of each method, pixels; null for a single frame. */
  get flows(): (number | null)[] {
    return this.#flows.means;
  }

  /** Waits for the Worker to end by itself: terminated while native code is loaded, it would take the process along. */
  async close(): Promise<void> {
    if (this.#worker.threadId === -1) return;
    const gone = once(this.#worker, 'exit');
    this.#worker.postMessage(null);
    await gone;
  }

  #ask(request: WarpRequest): Promise<WarpResponse> {
    if (this.#failure) return Promise.resolve({ id: request.id, failure: this.#failure.message });
    return new Promise((resolve) => {
      this.#waiting.set(request.id, resolve);
      this.#worker.postMessage(request);
    });
  }
}

class WeightedMeans {
  readonly #sums: number[];
  #weight = 0;

  constructor(length: number) {
    this.#sums = Array.from({ length }, () => 0);
  }

  add(values: readonly number[], weight: number): void {
    values.forEach((value, at) => {
      this.#sums[at] = (this.#sums[at] ?? 0) + value * weight;
    });
    this.#weight += weight;
  }

  /** Null while nothing was added. */
  get means(): (number | null)[] {
    return this.#sums.map((sum) => (this.#weight === 0 ? null : sum / this.#weight));
  }
}
