import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import type { RtpCapabilities } from 'mediasoup/types';
import { VireoError } from '../../errors.js';
import { ROUTER_CODECS } from '../codecs.js';
import type { AudioLevel, SfuEngineOptions, SfuRouter } from '../types.js';
import { AudioLevelObserver } from './AudioLevelObserver.js';
import type { DtlsCertificate } from './DtlsPeer.js';
import { canConsume, routerRtpCapabilities } from './ortc.js';
import type { UdpListener } from './UdpListener.js';
import { WeriftPlainTransport } from './WeriftPlainTransport.js';
import type { WeriftProducer } from './WeriftProducer.js';
import { WeriftWebRtcTransport } from './WeriftWebRtcTransport.js';

/** What all routers of an engine share. */
export interface RouterHost {
  readonly options: SfuEngineOptions;
  readonly listener: UdpListener;
  readonly certificate: DtlsCertificate;
  onRouterClosed(router: WeriftRouter): void;
}

/** One room's media: what its transports produce, any of them can consume. */
export class WeriftRouter
  extends EventEmitter<{ audioLevels: [levels: AudioLevel[]]; close: [] }>
  implements SfuRouter
{
  readonly id = randomUUID();
  readonly rtpCapabilities: RtpCapabilities = routerRtpCapabilities(ROUTER_CODECS);
  readonly plainVideoMimeTypes = ['video/H264', 'video/VP8', 'video/VP9', 'video/AV1'];
  readonly audioLevels = new AudioLevelObserver((levels) => this.emit('audioLevels', levels));
  readonly #host: RouterHost;
  readonly #transports = new Set<WeriftWebRtcTransport | WeriftPlainTransport>();
  readonly #producers = new Map<string, WeriftProducer>();
  #closed = false;

  constructor(host: RouterHost) {
    super();
    this.#host = host;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get transports(): ReadonlySet<WeriftWebRtcTransport | WeriftPlainTransport> {
    return this.#transports;
  }

  async createWebRtcTransport(): Promise<WeriftWebRtcTransport> {
    this.#checkOpen();
    const { listener, certificate, options } = this.#host;
    const transport = new WeriftWebRtcTransport({
      router: this,
      listener,
      certificate,
      initialDownlinkBps: options.initialDownlinkBps,
    });
    this.#transports.add(transport);
    transport.once('close', () => this.#transports.delete(transport));
    return transport;
  }

  async createPlainTransport(): Promise<WeriftPlainTransport> {
    this.#checkOpen();
    const transport = await WeriftPlainTransport.create(this, this.#host.options.plainListenIp);
    // The room may have closed while the port was bound.
    if (this.#closed) {
      transport.close();
      this.#checkOpen();
    }
    this.#transports.add(transport);
    transport.once('close', () => this.#transports.delete(transport));
    return transport;
  }

  canConsume(producerId: string, rtpCapabilities: RtpCapabilities): boolean {
    const producer = this.#producers.get(producerId);
    return producer !== undefined && canConsume(producer.mapping, rtpCapabilities);
  }

  producer(id: string): WeriftProducer | undefined {
    return this.#producers.get(id);
  }

  addProducer(producer: WeriftProducer): void {
    this.#producers.set(producer.id, producer);
    if (producer.kind === 'audio') this.audioLevels.add(producer.id);
  }

  removeProducer(producer: WeriftProducer): void {
    this.#producers.delete(producer.id);
    this.audioLevels.remove(producer.id);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const transport of [...this.#transports]) transport.close();
    this.audioLevels.close();
    this.#host.onRouterClosed(this);
    this.emit('close');
  }

  #checkOpen(): void {
    if (this.#closed) throw new VireoError('conflict', 'the router is closed');
  }
}
