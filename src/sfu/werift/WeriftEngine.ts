import { EventEmitter } from 'node:events';
import { VireoError } from '../../errors.js';
import type { SfuCounts, SfuEngine, SfuEngineOptions, SfuRouter } from '../types.js';
import { createDtlsCertificate } from './DtlsPeer.js';
import { UdpListener } from './UdpListener.js';
import { type RouterHost, WeriftRouter } from './WeriftRouter.js';

/**
 * The embedded SFU: ICE, SRTP, forwarding and repair in TypeScript, DTLS by werift. Runs wherever
 * Node runs. Throws `config-invalid` when the listen addresses cannot be used.
 */
export async function createWeriftEngine(options: SfuEngineOptions): Promise<SfuEngine> {
  return WeriftEngine.create(options);
}

export class WeriftEngine extends EventEmitter<{ died: [error: Error] }> implements SfuEngine {
  readonly kind = 'werift';
  readonly #host: RouterHost;
  readonly #routers = new Set<WeriftRouter>();
  #closed = false;

  private constructor(host: Omit<RouterHost, 'onRouterClosed'>) {
    super();
    this.#host = { ...host, onRouterClosed: (router) => this.#routers.delete(router) };
  }

  static async create(options: SfuEngineOptions): Promise<WeriftEngine> {
    const certificate = await createDtlsCertificate();
    let engine: WeriftEngine | undefined;
    const listener = await UdpListener.create(
      { port: options.rtcPort, listenIps: options.listenIps, announcedAddress: options.announcedAddress },
      (error) => engine?.emit('died', error),
    );
    engine = new WeriftEngine({ options, listener, certificate });
    return engine;
  }

  /** The UDP port of all WebRTC transports. */
  get rtcPort(): number {
    return this.#host.listener.port;
  }

  async createRouter(): Promise<SfuRouter> {
    if (this.#closed) throw new VireoError('unavailable', 'the engine is closed');
    const router = new WeriftRouter(this.#host);
    this.#routers.add(router);
    return router;
  }

  counts(): SfuCounts {
    const counts: SfuCounts = { routers: this.#routers.size, transports: 0, producers: 0, consumers: 0 };
    for (const router of this.#routers) {
      for (const transport of router.transports) {
        counts.transports++;
        counts.producers += transport.endpoint.producerCount;
        counts.consumers += transport.endpoint.consumerCount;
      }
    }
    return counts;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const router of [...this.#routers]) router.close();
    await this.#host.listener.close();
  }
}
