/**
 * Flicker: the warping error E_warp (Lai et al., "Learning Blind Video Temporal Consistency", ECCV 2018) of several
 * methods at once. The reference's optical flow carries each method's earlier frame to the later one; what
 * then differs is not motion. Mean squared difference of luma code values where the flow holds; see
 * models/metrics/build.py for the flow and for what is left out.
 */
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import type { Frame } from 'node-av';
import { warpModelUrl, warpWorkerEntryUrl } from '../entrypoints.js';
import { VireoError } from '../errors.js';
import { lumaOf } from '../restoration/ffmpeg.js';
import type { WarpRequest, WarpResponse } from './warpWorker.js';

/** One pair of frames in so many: each takes as long as dozens of PSNRs. */
const EVERY = 5;

export class WarpMeter {
  readonly #worker: Worker;
  readonly #sums: number[];
  readonly #waiting = new Map<number, (response: WarpResponse) => void>();
  #previous: { reference: Uint8Array; methods: Uint8Array[] } | null = null;
  #failure: Error | null = null;
  #frames = 0;
  /** Sum of the pairs' shares of the picture where the flow holds: next to nothing across a cut. */
  #weight = 0;

  constructor(methods: number) {
    this.#sums = Array.from({ length: methods }, () => 0);
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
    const response = await this.#ask({
      id: this.#frames,
      width: reference.width,
      height: reference.height,
      reference: [previous.reference, lumaOf(reference)],
      methods: [Buffer.concat(previous.methods), Buffer.concat(methods.map(lumaOf))],
    });
    if ('failure' in response) {
      throw new VireoError('internal', `the warping error could not be measured: ${response.failure}`);
    }
    const { errors, valid } = response;
    errors.forEach((error, method) => {
      this.#sums[method] = (this.#sums[method] ?? 0) + error * valid;
    });
    this.#weight += valid;
  }

  /** Per method, squared luma code values; null for a single frame. */
  get errors(): (number | null)[] {
    return this.#sums.map((sum) => (this.#weight === 0 ? null : sum / this.#weight));
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }

  #ask(request: WarpRequest): Promise<WarpResponse> {
    if (this.#failure) return Promise.resolve({ id: request.id, failure: this.#failure.message });
    return new Promise((resolve) => {
      this.#waiting.set(request.id, resolve);
      this.#worker.postMessage(request);
    });
  }
}
