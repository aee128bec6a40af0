import { VireoError } from '../errors.js';
import type { Logger } from '../log.js';
import { createMediasoupEngine } from './mediasoup/MediasoupEngine.js';
import { findMediasoupWorker, mediasoupWorkerPlaces } from './mediasoup/workerPath.js';
import type { SfuEngine, SfuEngineKind, SfuEngineOptions } from './types.js';

export { findMediasoupWorker, type MediasoupWorkerPlace } from './mediasoup/workerPath.js';

export interface CreateSfuEngineOptions extends SfuEngineOptions {
  /** `auto`: mediasoup where its worker binary is found, else werift. */
  engine: 'auto' | SfuEngineKind;
  /** The mediasoup worker to run; default: `MEDIASOUP_WORKER_BIN`, Vireo's cache, the package's own build. */
  mediasoupWorkerBin?: string | undefined;
  /** mediasoup worker processes, one core each. Default 1. */
  mediasoupWorkers?: number | undefined;
  logger: Logger;
}

const HOW_TO_GET_IT = '`npm run setup:mediasoup` downloads or builds it';

export async function createSfuEngine(options: CreateSfuEngineOptions): Promise<SfuEngine> {
  const { engine, mediasoupWorkerBin, mediasoupWorkers, logger, ...common } = options;
  if (engine === 'werift') return createWerift(common);

  const found = findMediasoupWorker(mediasoupWorkerBin);
  if (found) {
    const workers = mediasoupWorkers ?? 1;
    try {
      return await createMediasoupEngine({ ...common, workerBin: found.path, workers, logger });
    } catch (error) {
      // A worker that was built for another machine must not keep `auto` from starting.
      if (engine === 'mediasoup' || !(error instanceof VireoError) || error.code !== 'unavailable')
        throw error;
      logger.warn(`${error.message}; using the embedded werift engine`);
      return createWerift(common);
    }
  }
  const looked = mediasoupWorkerPlaces(mediasoupWorkerBin)
    .map(({ path }) => path)
    .join(', ');
  if (engine === 'mediasoup') {
    throw new VireoError(
      'unavailable',
      `engine: mediasoup's worker binary is missing (looked at ${looked || 'nothing: the package is not installed'}); ${HOW_TO_GET_IT}`,
    );
  }
  logger.info({ looked }, `no mediasoup worker found, using the embedded werift engine; ${HOW_TO_GET_IT}`);
  return createWerift(common);
}

async function createWerift(options: SfuEngineOptions): Promise<SfuEngine> {
  const { createWeriftEngine } = await import('./werift/WeriftEngine.js');
  return createWeriftEngine(options);
}
