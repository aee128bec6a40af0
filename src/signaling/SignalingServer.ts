import type { Server as HttpServer, IncomingMessage } from 'node:http';
import { Server, type Socket } from 'socket.io';
import type { Config } from '../config/schema.js';
import { VireoError } from '../errors.js';
import type { Logger } from '../log.js';
import type { Relay } from '../relay/Relay.js';
import { ClientConnection, toProtocolError } from './ClientConnection.js';
import { iceServersFor } from './iceServers.js';
import { verifyJoinToken } from './joinToken.js';
import type { ProtocolError, RequestName } from './messages.js';

export interface SignalingServerOptions {
  httpServer: HttpServer;
  relay: Relay;
  config: Config;
  logger: Logger;
  /** Told of every request that was answered; name null: none of the protocol's. */
  onAnswer?: (name: RequestName | null, error: ProtocolError | null) => void;
}

const PING_INTERVAL_MS = 10_000;
const PING_TIMEOUT_MS = 10_000;
/** A connection that opens no session in this time is dropped. */
const CONNECT_TIMEOUT_MS = 10_000;

/** The signalling endpoint: socket.io on the relay's HTTP server, one `ClientConnection` each. */
export class SignalingServer {
  readonly #io: Server;
  readonly #options: SignalingServerOptions;
  readonly #perAddress = new Map<string, number>();

  constructor(options: SignalingServerOptions) {
    this.#options = options;
    const { http, limits } = options.config;
    this.#io = new Server(options.httpServer, {
      serveClient: false,
      maxHttpBufferSize: limits.messageBytes,
      pingInterval: PING_INTERVAL_MS,
      pingTimeout: PING_TIMEOUT_MS,
      connectTimeout: CONNECT_TIMEOUT_MS,
      ...(http.corsOrigins.length > 0 && { cors: { origin: http.corsOrigins } }),
      // Upgrades of other paths belong to nobody here: they are closed.
      destroyUpgrade: true,
    });
    this.#io.engine.on('connection', (raw: RawConnection) => this.#count(raw));
    this.#io.use((socket, next) => {
      const error = this.#refusal(this.#addressOf(socket.request));
      next(error && Object.assign(new Error(error.message), { data: toProtocolError(error) }));
    });
    this.#io.on('connection', (socket) => this.#onConnection(socket));
  }

  get connections(): number {
    return this.#io.engine.clientsCount;
  }

  /** Cuts every connection; the HTTP server stays its creator's to close. */
  close(): void {
    this.#io.disconnectSockets(true);
    this.#io.engine.close();
    this.#io.removeAllListeners();
  }

  #onConnection(socket: Socket): void {
    const { relay, config, logger, onAnswer } = this.#options;
    new ClientConnection({
      socket,
      relay,
      requestsPerSecond: config.limits.requestsPerSecond,
      admit: ({ room, name, token }) => {
        if (config.auth.secret !== undefined) verifyJoinToken(config.auth.secret, token, { room, name });
        return iceServersFor(config.ice, name);
      },
      onAnswer: onAnswer ?? (() => {}),
      logger,
    });
  }

  #count(raw: RawConnection): void {
    const address = this.#addressOf(raw.request);
    this.#perAddress.set(address, (this.#perAddress.get(address) ?? 0) + 1);
    raw.once('close', () => {
      const left = (this.#perAddress.get(address) ?? 1) - 1;
      if (left > 0) this.#perAddress.set(address, left);
      else this.#perAddress.delete(address);
    });
  }

  #refusal(address: string): VireoError | undefined {
    const limit = this.#options.config.limits.connectionsPerAddress;
    if ((this.#perAddress.get(address) ?? 0) <= limit) return undefined;
    return new VireoError('limit-reached', `more than ${limit} connections from your address`);
  }

  #addressOf(request: IncomingMessage): string {
    const forwarded = this.#options.config.http.trustProxy ? request.headers['x-forwarded-for'] : undefined;
    // The last entry is the one that the trusted proxy itself wrote.
    const last = (Array.isArray(forwarded) ? forwarded.join(',') : forwarded)?.split(',').at(-1)?.trim();
    return last || (request.socket.remoteAddress ?? 'unknown');
  }
}

interface RawConnection {
  request: IncomingMessage;
  once(event: 'close', listener: () => void): void;
}
