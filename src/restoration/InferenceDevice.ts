/**
 * The main thread's end of an inference Worker: streams, a queue that lets their blocks take turns, and what
 * happens when the Worker dies.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { inferenceWorkerEntryUrl } from '../entrypoints.js';
import { VireoError } from '../errors.js';
import { BufferPool } from './BufferPool.js';
import {
  buffersOf,
  type FromWorker,
  type RunReply,
  type ToWorker,
  variantIndexOf,
  type WorkerFailure,
  type WorkerSettings,
} from './inferenceProtocol.js';
import type { Variant } from './manifest.js';
import { chooseProvider, type ProviderChoice, trialOf } from './providers.js';
import {
  type DeviceOptions,
  type InferenceDevice,
  MAX_BLOCK_PICTURES,
  type ProviderName,
  type RestorationStream,
} from './types.js';
import { type RunOrder, WorkerStream } from './WorkerStream.js';

const READY_TIMEOUT_MS = 180_000;
/** TensorRT builds an engine for each shape. */
const READY_TIMEOUT_TENSORRT_MS = 1_800_000;
const ANSWER_TIMEOUT_MS = 30_000;
/** For every further run that is in the Worker: even a large model needs less. */
const FURTHER_RUN_TIMEOUT_MS = 5_000;
const EXIT_TIMEOUT_MS = 5_000;
/** One block runs and one waits in the Worker, so that it never idles while the main thread is busy. */
const MAX_IN_WORKER = 2;
/** The longest block that runs, and the one that is filled meanwhile. */
const POOLED_PER_SIZE = 2 * MAX_BLOCK_PICTURES;

interface Job extends RunOrder {
  stream: number;
  resolve: (reply: RunReply) => void;
  reject: (error: VireoError) => void;
}

interface Pending {
  stream: number;
  runs: number;
  settle: (message: FromWorker) => void;
  reject: (error: VireoError) => void;
  timer: NodeJS.Timeout;
}

/**
 * Chooses the provider unless `choice` says what was found, starts the Worker, loads and warms up every package.
 * Rejects with `unavailable` (no such provider here) or `model-invalid` (a graph that does not match its manifest),
 * by name.
 */
export async function createInferenceDevice(
  options: DeviceOptions,
  choice?: ProviderChoice,
): Promise<InferenceDevice> {
  const trial = trialOf(options);
  const { provider, notes } =
    trial === undefined
      ? { provider: 'cpu' as const, notes: [] }
      : (choice ?? (await chooseProvider(options.provider, trial)));
  return await WorkerDevice.create(options, provider, notes);
}

export class WorkerDevice implements InferenceDevice {
  readonly provider: ProviderName;
  readonly providerNotes: readonly string[];
  readonly exited: Promise<VireoError | null>;
  readonly #options: DeviceOptions;
  readonly #worker: Worker;
  readonly #pool = new BufferPool(POOLED_PER_SIZE);
  readonly #pending = new Map<number, Pending>();
  readonly #queue: Job[] = [];
  readonly #ready: PromiseWithResolversLike<void>;
  #resolveExited: (error: VireoError | null) => void = () => undefined;
  #nextRequest = 1;
  #nextStream = 1;
  #failure: VireoError | null = null;
  #closing: Promise<void> | null = null;

  private constructor(options: DeviceOptions, provider: ProviderName, notes: readonly string[], entry: URL) {
    this.#options = options;
    this.provider = provider;
    this.providerNotes = notes;
    this.exited = new Promise((resolve) => {
      this.#resolveExited = resolve;
    });
    this.#ready = withResolvers<void>();
    const { threads, packages, warmUpSizes, references = false } = options;
    const settings: WorkerSettings = { provider, threads, packages, warmUpSizes, references };
    this.#worker = new Worker(entry, {
      workerData: settings,
      execArgv: [],
      name: 'vireo-inference',
    });
    this.#worker.on('message', (message: FromWorker) => this.#receive(message));
    this.#worker.on('error', (error) => this.#fail(`the inference Worker crashed: ${error.message}`));
    this.#worker.on('messageerror', (error) =>
      this.#fail(`the inference Worker sent garbage: ${error.message}`),
    );
    this.#worker.once('exit', (code) => {
      if (this.#closing === null) this.#fail(`the inference Worker ended (exit code ${code})`);
      this.#resolveExited(this.#failure);
    });
  }

  static async create(
    options: DeviceOptions,
    provider: ProviderName,
    notes: readonly string[] = [],
    entry: URL = inferenceWorkerEntryUrl,
  ): Promise<WorkerDevice> {
    const device = new WorkerDevice(options, provider, notes, entry);
    const timeoutMs = provider === 'tensorrt' ? READY_TIMEOUT_TENSORRT_MS : READY_TIMEOUT_MS;
    const timer = setTimeout(() => {
      device.#ready.reject(new VireoError('timeout', `models were not warm after ${timeoutMs / 1_000} s`));
    }, timeoutMs);
    try {
      await device.#ready.promise;
    } catch (thrown) {
      await device.close();
      throw thrown;
    } finally {
      clearTimeout(timer);
    }
    return device;
  }

  async openStream(options: {
    packageName: string;
    variant: Variant;
    width: number;
    height: number;
  }): Promise<RestorationStream> {
    const { packageName, variant, width, height } = options;
    const model = this.#options.packages.find((candidate) => candidate.manifest.name === packageName);
    if (model === undefined) {
      throw new VireoError('not-found', `model "${packageName}" is not loaded on this device`);
    }
    const stream = this.#nextStream++;
    const variantIndex = variantIndexOf(model.manifest, variant);
    await this.#tell(stream, (request) => {
      return { type: 'open', request, stream, packageName, variantIndex, width, height };
    });
    return new WorkerStream({
      packageName,
      variant,
      width,
      height,
      pool: this.#pool,
      maxReferences: this.#options.references === true ? (variant.references?.max ?? 0) : 0,
      refer: (lumas) =>
        this.#tell(stream, (request) => ({ type: 'reference', request, stream, lumas }), lumas),
      run: (order) => this.#run({ ...order, stream }),
      close: () => this.#closeStream(stream),
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  async #end(): Promise<void> {
    const gone = new Promise<void>((resolve) => this.#worker.once('exit', () => resolve()));
    this.#rejectAll(new VireoError('unavailable', 'the inference device is closed'));
    if (this.#worker.threadId === -1) return;
    // A graceful end first: terminating a thread inside native code can take the process with it.
    this.#post({ type: 'exit' });
    const patience = () => delay(EXIT_TIMEOUT_MS, undefined, { ref: false });
    await Promise.race([gone, patience().then(() => void this.#worker.terminate())]);
    await Promise.race([gone, patience()]);
    this.#worker.unref();
  }

  /** Something that is done or not; rejects with the reason. */
  #tell(
    stream: number,
    message: (request: number) => ToWorker,
    transfer: readonly ArrayBuffer[] = [],
  ): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      const settle = (answer: FromWorker) => {
        const error = answer.type === 'opened' || answer.type === 'referenced' ? answer.error : null;
        if (error === null) resolve();
        else reject(errorOf(error));
      };
      this.#send(message, { stream, runs: 1, settle, reject }, transfer);
    });
  }

  #run(job: Omit<Job, 'resolve' | 'reject'>): Promise<RunReply> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== null || this.#closing !== null) {
        reject(this.#failure ?? new VireoError('unavailable', 'the inference device is closed'));
        return;
      }
      this.#queue.push({ ...job, resolve, reject });
      this.#dispatch();
    });
  }

  /** Highest priority first; among equals, in the order they came. */
  #dispatch(): void {
    while (this.#queue.length > 0 && this.#pending.size < MAX_IN_WORKER) {
      let best = 0;
      this.#queue.forEach((job, index) => {
        if (job.priority > (this.#queue[best]?.priority ?? 0)) best = index;
      });
      const [job] = this.#queue.splice(best, 1);
      if (job === undefined) return;
      const { stream, runs, reset, strength, inputs, outputs, masks, afterKeyFrames } = job;
      this.#send(
        (request) => ({
          type: 'run',
          request,
          stream,
          reset,
          strength,
          inputs,
          outputs,
          masks,
          afterKeyFrames,
        }),
        {
          stream,
          runs,
          settle: (message) => {
            if (message.type !== 'ran') return;
            if (message.error === null) job.resolve(message.reply);
            else {
              for (const buffer of buffersOf(message.reply)) this.#pool.give(buffer);
              job.reject(errorOf(message.error));
            }
          },
          reject: job.reject,
        },
        buffersOf(job),
      );
    }
  }

  #send(
    message: (request: number) => ToWorker,
    what: Omit<Pending, 'timer'>,
    transfer: readonly ArrayBuffer[] = [],
  ): void {
    if (this.#failure !== null || this.#closing !== null) {
      what.reject(this.#failure ?? new VireoError('unavailable', 'the inference device is closed'));
      return;
    }
    const request = this.#nextRequest++;
    // What is before it in the Worker takes its time first.
    let further = what.runs - 1;
    for (const pending of this.#pending.values()) further += pending.runs;
    const timeoutMs = ANSWER_TIMEOUT_MS + further * FURTHER_RUN_TIMEOUT_MS;
    const timer = setTimeout(() => {
      this.#fail(`the inference Worker gave no answer for ${timeoutMs / 1_000} s`);
    }, timeoutMs);
    this.#pending.set(request, { ...what, timer });
    this.#post(message(request), transfer);
  }

  #receive(message: FromWorker): void {
    if (message.type === 'ready') {
      this.#ready.resolve();
      return;
    }
    if (message.type === 'failed') {
      this.#ready.reject(errorOf(message.error));
      return;
    }
    const pending = this.#pending.get(message.request);
    if (pending === undefined) return;
    this.#pending.delete(message.request);
    clearTimeout(pending.timer);
    this.#dispatch();
    pending.settle(message);
  }

  #closeStream(stream: number): void {
    const error = new VireoError('unavailable', 'the restoration stream is closed');
    for (let index = this.#queue.length - 1; index >= 0; index--) {
      if (this.#queue[index]?.stream === stream) this.#queue.splice(index, 1)[0]?.reject(error);
    }
    for (const pending of this.#pending.values()) {
      if (pending.stream === stream) pending.reject(error);
    }
    if (this.#failure === null && this.#closing === null) this.#post({ type: 'close', stream });
  }

  #fail(message: string): void {
    if (this.#failure !== null) return;
    this.#failure = new VireoError('unavailable', message);
    this.#ready.reject(this.#failure);
    this.#rejectAll(this.#failure);
    // Not on its exit: a thread that hangs in native code may never get there.
    this.#resolveExited(this.#failure);
    void this.#worker.terminate();
  }

  #rejectAll(error: VireoError): void {
    for (const pending of this.#pending.values()) {
      clearTimeout(pending.timer);
      pending.reject(error);
    }
    this.#pending.clear();
    for (const job of this.#queue.splice(0)) job.reject(error);
    this.#pool.clear();
  }

  #post(message: ToWorker, transfer: readonly ArrayBuffer[] = []): void {
    this.#worker.postMessage(message, transfer);
  }
}

interface PromiseWithResolversLike<T> {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: VireoError) => void;
}

function withResolvers<T>(): PromiseWithResolversLike<T> {
  let resolve: (value: T) => void = () => undefined;
  let reject: (error: VireoError) => void = () => undefined;
  const promise = new Promise<T>((res, rej) => {
    resolve = res;
    reject = rej;
  });
  // A Worker that fails after it was ready has nobody waiting here.
  promise.catch(() => undefined);
  return { promise, resolve, reject };
}

function errorOf(failure: WorkerFailure): VireoError {
  return new VireoError(failure.code, failure.message);
}
