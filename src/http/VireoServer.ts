import { createServer, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Config } from '../config/schema.js';
import { webClientDistUrl } from '../entrypoints.js';
import { VireoError } from '../errors.js';
import type { Logger } from '../log.js';
import { Relay } from '../relay/Relay.js';
import type { Restorer } from '../restorer/types.js';
import type { SfuEngine } from '../sfu/types.js';
import { SignalingServer } from '../signaling/SignalingServer.js';
import { createHttpApp } from './createHttpApp.js';
import { Metrics } from './Metrics.js';
import { Readiness } from './Readiness.js';

export interface VireoServerOptions {
  config: Config;
  version: string;
  logger: Logger;
  createEngine: () => Promise<SfuEngine>;
  /** Called once, when the relay takes calls already; not called where restoration is off. */
  createRestorer: () => Promise<Restorer>;
  webClientDir?: string;
}

const RESTORER_START_GRACE_MS = 3_000;

/** A whole relay in one process: web server, signalling, engine, restorer, in the order they come up. */
export class VireoServer {
  readonly #options: VireoServerOptions;
  readonly #http: HttpServer;
  readonly #readiness = new Readiness();
  #relay: Relay | null = null;
  #signaling: SignalingServer | null = null;
  #restorer: Restorer | null = null;
  #restorerReady: Promise<void> = Promise.resolve();
  #closing: Promise<void> | null = null;
  #draining = false;

  /**
   * Resolves once calls can be made; models may still be warming up (`restorerReady`).
   * @throws VireoError that names the key at fault, such as `http.port`
   */
  static async start(options: VireoServerOptions): Promise<VireoServer> {
    const server = new VireoServer(options);
    try {
      await server.#start();
    } catch (error) {
      await server.close();
      throw error;
    }
    return server;
  }

  private constructor(options: VireoServerOptions) {
    this.#options = options;
    const { config } = options;
    const metrics = new Metrics({
      relay: () => this.#relay,
      connections: () => this.#signaling?.connections ?? 0,
    });
    this.#onAnswer = (name, error) => metrics.countAnswer(name, error);
    this.#readiness.addProbe(() => (this.#draining ? 'the relay is draining' : null));
    this.#readiness.addProbe(() => (this.#relay?.engine ? null : 'the media engine is not up'));
    if (config.restoration.enabled) this.#readiness.expect('restorer', 'the models are warming up');
    const app = createHttpApp({
      relay: () => this.#relay,
      readiness: this.#readiness,
      metrics,
      adminToken: config.auth.adminToken,
      trustProxy: config.http.trustProxy,
      webClientDir: options.webClientDir ?? fileURLToPath(webClientDistUrl),
      version: options.version,
      logger: options.logger,
    });
    this.#http = createServer(app);
  }

  readonly #onAnswer: NonNullable<ConstructorParameters<typeof SignalingServer>[0]['onAnswer']>;

  get port(): number {
    return (this.#http.address() as AddressInfo).port;
  }

  /** Where people reach it, without a slash at the end. */
  get url(): string {
    const { publicUrl, host } = this.#options.config.http;
    if (publicUrl !== undefined) return publicUrl.replace(/\/+$/, '');
    const local = ['0.0.0.0', '::', '127.0.0.1', '::1', 'localhost'].includes(host);
    const name = local ? 'localhost' : host.includes(':') ? `[${host}]` : host;
    return `http://${name}:${this.port}`;
  }

  get relay(): Relay {
    if (!this.#relay) throw new VireoError('unavailable', 'the relay is not up');
    return this.#relay;
  }

  /** Settles when the models are warm, or cannot be had. */
  get restorerReady(): Promise<void> {
    return this.#restorerReady;
  }

  /** Tells everyone, waits for the configured time where there is anyone, and closes. Idempotent. */
  async drain(): Promise<void> {
    if (this.#draining) return await this.close();
    this.#draining = true;
    const graceMs = this.#options.config.limits.drainMs;
    this.#relay?.drain(graceMs);
    const anyone = (this.#relay?.snapshot().participantsConnected ?? 0) > 0;
    if (anyone) await new Promise((resolve) => setTimeout(resolve, graceMs));
    await this.close();
  }

  /** At once. Idempotent. */
  close(): Promise<void> {
    this.#draining = true;
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #start(): Promise<void> {
    const { config, logger, createEngine } = this.#options;
    await this.#listen();
    const relay = await Relay.create({ config, createEngine, logger });
    this.#relay = relay;
    this.#signaling = new SignalingServer({
      httpServer: this.#http,
      relay,
      config,
      logger,
      onAnswer: this.#onAnswer,
    });
    if (relay.restorationEnabled) {
      this.#restorerReady = this.#startRestorer(relay);
      // Whoever started the server awaits it, too; until then it is nobody's unhandled rejection.
      this.#restorerReady.catch(() => {});
    } else this.#readiness.fulfil('restorer');
  }

  async #startRestorer(relay: Relay): Promise<void> {
    const restorer = await this.#options.createRestorer();
    if (this.#closing) {
      await restorer.close();
      return;
    }
    this.#restorer = restorer;
    relay.attachRestorer(restorer);
    this.#readiness.fulfil('restorer');
    const { provider, models } = restorer.info;
    this.#options.logger.info({ provider, models }, 'restoration is ready');
  }

  async #listen(): Promise<void> {
    const { host, port } = this.#options.config.http;
    await new Promise<void>((resolve, reject) => {
      this.#http.once('error', (error: NodeJS.ErrnoException) => reject(listenError(error, host, port)));
      this.#http.listen(port, host, () => resolve());
    });
  }

  async #close(): Promise<void> {
    this.#signaling?.close();
    await this.#relay?.close();
    await this.#restorer?.close();
    // One that is still starting is closed by `#startRestorer`, if it comes up in time.
    await settledWithin(this.#restorerReady, RESTORER_START_GRACE_MS);
    if (!this.#http.listening) return;
    await new Promise<void>((resolve) => {
      this.#http.close(() => resolve());
      this.#http.closeAllConnections();
    });
  }
}

async function settledWithin(promise: Promise<unknown>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, timeoutMs);
  });
  await Promise.race([promise.then(() => {}).catch(() => {}), timeout]);
  clearTimeout(timer);
}

function listenError(error: NodeJS.ErrnoException, host: string, port: number): VireoError {
  switch (error.code) {
    case 'EADDRINUSE':
      return new VireoError(
        'config-invalid',
        `http.port: ${port} is in use; choose another with --port or http.port`,
      );
    case 'EACCES':
      return new VireoError(
        'config-invalid',
        `http.port: ${port} may not be opened by this user; choose one above 1023`,
      );
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return new VireoError('config-invalid', `http.host: "${host}" is no address of this machine`);
    default:
      return VireoError.from(error, 'unavailable');
  }
}
