import type { WebRtcServer, Worker, WorkerLogTag } from 'mediasoup/types';
import { VireoError } from '../../errors.js';
import type { Logger } from '../../log.js';
import type { SfuEngineOptions } from '../types.js';
import { udpListenInfos } from './listenAddresses.js';

type Mediasoup = typeof import('mediasoup');

const LOG_TAGS: WorkerLogTag[] = ['ice', 'dtls', 'rtp', 'srtp', 'rtcp', 'bwe'];
const LOAD_HELP = 'install it again with `npm run setup:mediasoup`, or run with `--engine werift`';

/**
 * Loads the package around a given worker binary. mediasoup reads the path from the environment, once,
 * while its module loads, so a process stays with the first binary it was given.
 */
export async function loadMediasoup(workerBin: string, logger: Logger): Promise<Mediasoup> {
  const before = process.env.MEDIASOUP_WORKER_BIN;
  process.env.MEDIASOUP_WORKER_BIN = workerBin;
  let mediasoup: Mediasoup;
  try {
    mediasoup = await import('mediasoup');
  } catch (cause) {
    throw new VireoError('unavailable', `cannot load mediasoup: ${LOAD_HELP}`, { cause });
  } finally {
    if (before === undefined) delete process.env.MEDIASOUP_WORKER_BIN;
    else process.env.MEDIASOUP_WORKER_BIN = before;
  }
  if (mediasoup.workerBin !== workerBin) {
    throw new VireoError(
      'unavailable',
      `mediasoup already runs with the worker ${mediasoup.workerBin} in this process, cannot change to ${workerBin}`,
    );
  }
  mediasoup.setLogEventListeners({
    onwarn: (namespace, message) => logger.debug({ namespace }, message),
    onerror: (namespace: string, message: string, err?: Error) => {
      // What comes from the worker itself (its Channel) can be provoked by any peer, once a packet.
      const level = namespace.endsWith(':Channel') ? 'debug' : 'warn';
      logger[level](err ? { namespace, err } : { namespace }, message);
    },
  });
  return mediasoup;
}

/** One worker process and its UDP port. */
export class MediasoupWorker {
  readonly worker: Worker;
  readonly webRtcServer: WebRtcServer;

  private constructor(worker: Worker, webRtcServer: WebRtcServer) {
    this.worker = worker;
    this.webRtcServer = webRtcServer;
  }

  /** `index` is added to a fixed RTC port. */
  static async create(
    mediasoup: Mediasoup,
    options: SfuEngineOptions,
    index: number,
  ): Promise<MediasoupWorker> {
    const port = options.rtcPort === 0 ? 0 : options.rtcPort + index;
    const listenInfos = udpListenInfos(options.listenIps, options.announcedAddress, port);
    let worker: Worker;
    try {
      worker = await mediasoup.createWorker({ logLevel: 'warn', logTags: LOG_TAGS, disableLiburing: true });
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      const message = `the mediasoup worker ${mediasoup.workerBin} does not start (${reason}): ${LOAD_HELP}`;
      throw new VireoError('unavailable', message, { cause });
    }
    try {
      return new MediasoupWorker(worker, await worker.createWebRtcServer({ listenInfos }));
    } catch (cause) {
      worker.close();
      const reason = cause instanceof Error ? cause.message : String(cause);
      const where = listenInfos.map(({ ip }) => ip).join(', ');
      throw new VireoError('conflict', `rtcPort: cannot listen on UDP port ${port} of ${where} (${reason})`, {
        cause,
      });
    }
  }

  async close(): Promise<void> {
    if (this.worker.closed) return;
    const gone = this.worker.subprocessClosed
      ? Promise.resolve()
      : new Promise<void>((resolve) => this.worker.once('subprocessclose', () => resolve()));
    this.worker.close();
    await gone;
  }
}
