import { EventEmitter } from 'node:events';
import { VireoError } from '../../errors.js';
import type { Logger } from '../../log.js';
import type { SfuCounts, SfuEngine, SfuEngineOptions, SfuRouter } from '../types.js';
import { MediasoupRouter } from './MediasoupRouter.js';
import { loadMediasoup, MediasoupWorker } from './MediasoupWorker.js';

export interface MediasoupEngineOptions extends SfuEngineOptions {
  /** The worker binary, an absolute path. */
  workerBin: string;
  /** Worker processes; each takes one core and, with a fixed `rtcPort`, the port `rtcPort + i`. Default 1. */
  workers?: number;
  logger: Logger;
}

/** The production engine: packets never enter this process. */
class MediasoupEngine extends EventEmitter<{ died: [error: Error] }> implements SfuEngine {
  readonly kind = 'mediasoup';
  readonly #options: MediasoupEngineOptions;
  readonly #workers: MediasoupWorker[];
  readonly #routers = new Map<string, MediasoupRouter>();
  #nextWorker = 0;
  #closed = false;

  private constructor(options: MediasoupEngineOptions, workers: MediasoupWorker[]) {
    super();
    this.#options = options;
    this.#workers = workers;
    for (const { worker } of workers) {
      worker.once('died', (error) => {
        if (this.#closed) return;
        options.logger.error({ err: error, workerPid: worker.pid }, 'mediasoup worker died');
        this.emit('died', error);
      });
    }
  }

  static async create(options: MediasoupEngineOptions): Promise<MediasoupEngine> {
    const count = options.workers ?? 1;
    if (!Number.isInteger(count) || count < 1) {
      throw new VireoError('config-invalid', `workers: must be a whole number of at least 1, not ${count}`);
    }
    const mediasoup = await loadMediasoup(options.workerBin, options.logger);
    const workers: MediasoupWorker[] = [];
    try {
      for (let i = 0; i < count; i += 1) workers.push(await MediasoupWorker.create(mediasoup, options, i));
    } catch (error) {
      await Promise.all(workers.map((worker) => worker.close()));
      throw error;
    }
    return new MediasoupEngine(options, workers);
  }

  async createRouter(): Promise<SfuRouter> {
    const alive = this.#workers.filter(({ worker }) => !worker.closed);
    const worker = alive[this.#nextWorker % Math.max(1, alive.length)];
    if (this.#closed || !worker) throw new VireoError('unavailable', 'the media engine is not running');
    this.#nextWorker += 1;
    const router = await MediasoupRouter.create(worker, this.#options);
    if (router.closed) throw new VireoError('unavailable', 'the media engine stopped meanwhile');
    this.#routers.set(router.id, router);
    router.once('close', () => this.#routers.delete(router.id));
    return router;
  }

  counts(): SfuCounts {
    const counts: SfuCounts = { routers: this.#routers.size, transports: 0, producers: 0, consumers: 0 };
    for (const router of this.#routers.values()) {
      const { transports, producers, consumers } = router.counts();
      counts.transports += transports;
      counts.producers += producers;
      counts.consumers += consumers;
    }
    return counts;
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const router of this.#routers.values()) router.close();
    await Promise.all(this.#workers.map((worker) => worker.close()));
  }
}

export function createMediasoupEngine(options: MediasoupEngineOptions): Promise<SfuEngine> {
  return MediasoupEngine.create(options);
}
