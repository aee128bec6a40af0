import { EventEmitter } from 'node:events';
import type { Router, WebRtcServer } from 'mediasoup/types';
import { ROUTER_CODECS } from '../codecs.js';
import type {
  AudioLevel,
  RtpCapabilities,
  SfuConsumer,
  SfuCounts,
  SfuEngineOptions,
  SfuPlainTransport,
  SfuProducer,
  SfuRouter,
  SfuTransport,
  SfuWebRtcTransport,
} from '../types.js';
import { translated } from './errors.js';
import { MediasoupPlainTransport } from './MediasoupPlainTransport.js';
import { MediasoupWebRtcTransport } from './MediasoupWebRtcTransport.js';
import type { MediasoupWorker } from './MediasoupWorker.js';
import { canConsume, type RouterMedia } from './transportMedia.js';

const AUDIO_LEVEL_INTERVAL_MS = 300;
const AUDIO_LEVEL_THRESHOLD_DBOV = -60;
const AUDIO_LEVEL_MAX_ENTRIES = 16;

export class MediasoupRouter
  extends EventEmitter<{ audioLevels: [levels: AudioLevel[]]; close: [] }>
  implements SfuRouter
{
  readonly #router: Router;
  readonly #webRtcServer: WebRtcServer;
  readonly #media: RouterMedia;
  readonly #options: SfuEngineOptions;
  readonly #transports = new Map<string, SfuTransport>();

  private constructor(
    router: Router,
    webRtcServer: WebRtcServer,
    media: RouterMedia,
    options: SfuEngineOptions,
  ) {
    super();
    this.#router = router;
    this.#webRtcServer = webRtcServer;
    this.#media = media;
    this.#options = options;
    media.audioLevels.on('volumes', (volumes) => {
      this.emit(
        'audioLevels',
        volumes.map(({ producer, volume }) => ({ producerId: producer.id, volumeDbov: volume })),
      );
    });
    media.audioLevels.on('silence', () => this.emit('audioLevels', []));
    router.observer.once('close', () => this.emit('close'));
  }

  static async create(worker: MediasoupWorker, options: SfuEngineOptions): Promise<MediasoupRouter> {
    const router = await translated(
      'create a router',
      worker.worker.createRouter({ mediaCodecs: structuredClone(ROUTER_CODECS) }),
    );
    const observing = router.createAudioLevelObserver({
      interval: AUDIO_LEVEL_INTERVAL_MS,
      threshold: AUDIO_LEVEL_THRESHOLD_DBOV,
      maxEntries: AUDIO_LEVEL_MAX_ENTRIES,
    });
    const audioLevels = await translated('create a router', observing).catch((error: unknown) => {
      router.close();
      throw error;
    });
    const producers = new Map<string, SfuProducer>();
    const consumers = new Map<string, SfuConsumer>();
    return new MediasoupRouter(
      router,
      worker.webRtcServer,
      { router, audioLevels, producers, consumers },
      options,
    );
  }

  get id(): string {
    return this.#router.id;
  }

  get closed(): boolean {
    return this.#router.closed;
  }

  readonly plainVideoMimeTypes = ['video/H264', 'video/VP8', 'video/VP9'];

  get rtpCapabilities(): RtpCapabilities {
    return this.#router.rtpCapabilities;
  }

  async createWebRtcTransport(): Promise<SfuWebRtcTransport> {
    const created = await translated(
      'create a WebRTC transport',
      this.#router.createWebRtcTransport({
        webRtcServer: this.#webRtcServer,
        enableUdp: true,
        enableTcp: false,
        initialAvailableOutgoingBitrate: this.#options.initialDownlinkBps,
      }),
    );
    return this.#keep(await MediasoupWebRtcTransport.create(created, this.#media));
  }

  async createPlainTransport(): Promise<SfuPlainTransport> {
    const created = await translated(
      'create a plain transport',
      this.#router.createPlainTransport({
        listenInfo: { protocol: 'udp', ip: this.#options.plainListenIp },
        rtcpMux: true,
        comedia: false,
      }),
    );
    return this.#keep(new MediasoupPlainTransport(created, this.#media));
  }

  canConsume(producerId: string, rtpCapabilities: RtpCapabilities): boolean {
    return canConsume(this.#media, producerId, rtpCapabilities);
  }

  counts(): Omit<SfuCounts, 'routers'> {
    return {
      transports: this.#transports.size,
      producers: this.#media.producers.size,
      consumers: this.#media.consumers.size,
    };
  }

  close(): void {
    this.#router.close();
  }

  #keep<T extends MediasoupWebRtcTransport | MediasoupPlainTransport>(transport: T): T {
    if (transport.closed) return transport;
    this.#transports.set(transport.id, transport);
    const events: EventEmitter = transport;
    events.once('close', () => this.#transports.delete(transport.id));
    return transport;
  }
}
