import { availableParallelism } from 'node:os';
import { VireoError } from '../errors.js';
import type { Logger } from '../log.js';
import { createVideoDecoder } from '../media/NodeAvDecoder.js';
import { availableEncoders, createVideoEncoder } from '../media/NodeAvEncoder.js';
import { chooseLadder } from '../restoration/autoModel.js';
import { takesSameSize } from '../restoration/fit.js';
import { createInferenceDevice } from '../restoration/InferenceDevice.js';
import { ModelPackages } from '../restoration/ModelPackages.js';
import type { InferenceDevice, ModelPackage } from '../restoration/types.js';
import { CostModel } from './CostModel.js';
import { DeviceGate } from './DeviceGate.js';
import { type FromChild, isPermanent, type ToChild } from './ipc.js';
import { ModelChoice, relayTasks } from './ModelChoice.js';
import type { PipelineContext } from './PipelineContext.js';
import { Scheduler } from './Scheduler.js';
import { TrackPipeline } from './TrackPipeline.js';
import type { RestorerOptions, RestoreTrackOptions, VideoCodec } from './types.js';

/** Capacity is shared out this often; a stall is noticed within it. */
const PLAN_INTERVAL_MS = 100;
const REPORT_INTERVAL_MS = 1_000;
/** What cameras send in a call: warm from the start. Others are prepared when they come. */
const WARM_UP_SIZES = [
  { scale: 4, width: 320, height: 180 },
  { scale: 2, width: 640, height: 360 },
  { scale: 1, width: 1280, height: 720 },
] as const;

export interface RestorerHostOptions {
  options: RestorerOptions;
  logger: Logger;
  send: (message: FromChild) => void;
  /** The device died: only a new process helps. */
  onFatal: (error: VireoError) => void;
}

/** Everything a restorer process does, but for being a process: one device, and the tracks on it. */
export class RestorerHost {
  readonly #options: RestorerHostOptions;
  readonly #device: InferenceDevice;
  readonly #context: PipelineContext;
  readonly #scheduler: Scheduler;
  readonly #tracks = new Map<string, TrackPipeline>();
  /** Tracks whose port is being opened: the request that asked for it. */
  readonly #opening = new Map<string, number>();
  readonly #timers: NodeJS.Timeout[];
  #closing: Promise<void> | null = null;

  private constructor(options: RestorerHostOptions, device: InferenceDevice, models: ModelChoice) {
    this.#options = options;
    this.#device = device;
    const { maxTracks, loadShedding = true } = options.options;
    this.#scheduler = new Scheduler({ maxTracks, loadShedding });
    this.#context = {
      device,
      models,
      gate: new DeviceGate(),
      costs: new CostModel(),
      encoderThreads: Math.min(2, availableParallelism()),
      logger: options.logger,
      createDecoder: createVideoDecoder,
      createEncoder: createVideoEncoder,
      onReport: (report) => options.send({ type: 'report', report }),
      onReferenceRefused: (trackId, referenceId, reason) =>
        options.send({ type: 'referenceRefused', trackId, referenceId, reason }),
      onStarted: (trackId) => options.send({ type: 'trackStarted', trackId }),
      onDemandChanged: () => this.#scheduler.plan(performance.now()),
    };
    this.#timers = [
      setInterval(() => this.#scheduler.plan(performance.now()), PLAN_INTERVAL_MS),
      setInterval(() => this.#report(), REPORT_INTERVAL_MS),
    ];
    void device.exited.then((error) => {
      if (error !== null && this.#closing === null) options.onFatal(error);
    });
  }

  /** Loads and warms up the models, then says `ready`. Rejects with a one-line reason. */
  static async start(hostOptions: RestorerHostOptions): Promise<RestorerHost> {
    const { modelDirs, model, provider, threads, blockBudgetMs, sameSize = false } = hostOptions.options;
    const ladder = await chooseLadder(
      { model, provider, threads, warmUpSizes: WARM_UP_SIZES },
      ModelPackages.create(modelDirs),
    );
    const packages = forCalls(ladder.packages, sameSize);
    const device = await createInferenceDevice(
      { provider, threads, packages, warmUpSizes: WARM_UP_SIZES, references: true },
      ladder.choice,
    );
    const host = new RestorerHost(
      hostOptions,
      device,
      new ModelChoice(packages, { blockBudgetMs, sameSize }),
    );
    try {
      const encoders = await availableEncoders();
      const codecs = encoders.filter(({ available }) => available).map(({ codec }) => codec);
      hostOptions.send({
        type: 'ready',
        provider: device.provider,
        providerNotes: [...device.providerNotes],
        models: packages.map(({ manifest }) => ({ name: manifest.name, version: manifest.version })),
        outputCodecs: [...new Set<VideoCodec>(codecs)],
      });
    } catch (error) {
      await host.close();
      throw error;
    }
    return host;
  }

  /** Messages after `start`. */
  handle(message: Exclude<ToChild, { type: 'start' }>): void {
    switch (message.type) {
      case 'ping': {
        const residentMemoryBytes = process.memoryUsage.rss();
        this.#options.send({ type: 'pong', id: message.id, residentMemoryBytes });
        return;
      }
      case 'startTrack':
        void this.#startTrack(message.requestId, message.options);
        return;
      case 'stopTrack':
        void this.#stopTrack(message.trackId);
        return;
      case 'setPriority': {
        const track = this.#tracks.get(message.trackId);
        if (track) track.priority = message.priority;
        this.#scheduler.plan(performance.now());
        return;
      }
      case 'setMaxBitrate':
        this.#tracks.get(message.trackId)?.setMaxBitrate(message.bitrateBps);
        return;
      case 'setReference':
        this.#tracks.get(message.trackId)?.setReference(message.still);
        return;
      case 'requestKeyFrame':
        this.#tracks.get(message.trackId)?.requestKeyFrame();
        return;
      case 'reportNow':
        this.#report();
        return;
    }
  }

  /** Stops every track and the device. Idempotent. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    await Promise.allSettled([...this.#tracks.keys()].map((trackId) => this.#stopTrack(trackId)));
    await this.#device.close();
  }

  async #startTrack(requestId: number, options: RestoreTrackOptions): Promise<void> {
    const { trackId } = options;
    try {
      if (this.#closing) throw new VireoError('draining', 'restorer is shutting down');
      if (this.#tracks.has(trackId) || this.#opening.has(trackId))
        throw new VireoError('conflict', `track ${trackId} is being restored already`);
      this.#opening.set(trackId, requestId);
      const pipeline = await TrackPipeline.create(options, this.#context);
      if (this.#opening.get(trackId) !== requestId || this.#closing) {
        await pipeline.close();
        throw new VireoError('unavailable', `track ${trackId} was stopped`);
      }
      this.#tracks.set(trackId, pipeline);
      this.#scheduler.add(pipeline);
      this.#options.send({ type: 'trackListening', requestId, ...pipeline.localAddress });
    } catch (thrown) {
      const { code, message } = VireoError.from(thrown);
      this.#options.send({ type: 'trackRefused', requestId, code, message });
    } finally {
      if (this.#opening.get(trackId) === requestId) this.#opening.delete(trackId);
    }
  }

  async #stopTrack(trackId: string): Promise<void> {
    this.#opening.delete(trackId);
    const pipeline = this.#tracks.get(trackId);
    if (pipeline === undefined) return;
    this.#tracks.delete(trackId);
    this.#scheduler.remove(trackId);
    try {
      await pipeline.close();
    } catch (error) {
      this.#options.logger.error({ err: error, trackId }, 'track did not close cleanly');
    }
    if (!this.#closing) this.#scheduler.plan(performance.now());
  }

  #report(): void {
    const nowMs = performance.now();
    for (const pipeline of this.#tracks.values()) pipeline.report(nowMs);
  }
}

/** The variants that calls have a use for: each one that is loaded takes memory, and time to warm up. */
function forCalls(ladder: readonly ModelPackage[], sameSize: boolean): ModelPackage[] {
  const [top] = ladder;
  if (sameSize && top !== undefined && !takesSameSize(top.manifest)) {
    throw new VireoError(
      'config-invalid',
      `restoration.sameSize: model "${top.manifest.name}" has no variant for task deblur and scale 1`,
    );
  }
  const tasks = relayTasks(sameSize);
  return ladder.map((model) => {
    const variants = model.manifest.variants.filter(({ task }) => tasks.includes(task));
    return { ...model, manifest: { ...model.manifest, variants } };
  });
}

/** What the relay is told when the host cannot start. */
export function failureOf(thrown: unknown): Extract<FromChild, { type: 'failed' }> {
  const { code, message } = VireoError.from(thrown);
  const [line] = message.split('\n');
  return { type: 'failed', code, message: line || 'restorer could not start', permanent: isPermanent(code) };
}
