import { io, type Socket } from 'socket.io-client';
import type { VireoErrorCode } from '../../../src/errors.js';
import type {
  ClientToServerEvents,
  EventData,
  EventName,
  RequestData,
  RequestName,
  ResponseData,
  ServerToClientEvents,
} from '../../../src/signaling/messages.js';
import { reconnectDelayMs } from './reconnectPolicy.js';

const REQUEST_TIMEOUT_MS = 10_000;

/** A request that the relay refused, or that got no answer (`timeout`, `unavailable`). */
export class SignalingError extends Error {
  override readonly name = 'SignalingError';
  readonly code: VireoErrorCode;
  readonly retryable: boolean;

  constructor(code: VireoErrorCode, message: string, retryable: boolean) {
    super(message);
    this.code = code;
    this.retryable = retryable;
  }
}

export type AnyEvent = { [N in EventName]: { name: N; data: EventData[N] } }[EventName];

export interface SignalingHandlers {
  event: (event: AnyEvent) => void;
  /** The socket is open: join, or resume. Also called after every reconnection. */
  open: () => void;
  /** The socket is lost; attempts to get it back go on by themselves. */
  lost: () => void;
}

/** Typed requests and events over one socket.io connection that comes back by itself. */
export class SignalingClient {
  readonly #socket: Socket<ServerToClientEvents, ClientToServerEvents>;
  readonly #handlers: SignalingHandlers;
  /** Requests without answer: a lost connection fails them at once, or they would hold everything up. */
  readonly #pending = new Set<() => void>();
  #attempt = 0;
  #closed = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(handlers: SignalingHandlers) {
    this.#handlers = handlers;
    this.#socket = io({ transports: ['websocket'], reconnection: false, autoConnect: false });
    this.#socket.on('connect', () => handlers.open());
    this.#socket.on('event', (message) => handlers.event(message as AnyEvent));
    this.#socket.on('disconnect', () => {
      for (const fail of [...this.#pending]) fail();
      this.#lost();
    });
    this.#socket.on('connect_error', () => this.#lost());
  }

  connect(): void {
    this.#socket.connect();
  }

  /** The relay answers as it should: the next loss is a new one, tried again at once. */
  settled(): void {
    this.#attempt = 0;
  }

  /** The relay is there but cannot serve us yet: drops the connection and tries again, later each time. */
  retry(): void {
    if (this.#socket.connected) this.#socket.disconnect();
  }

  #lost(): void {
    if (this.#closed) return;
    this.#handlers.lost();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#socket.connect(), reconnectDelayMs(this.#attempt));
    this.#attempt += 1;
  }

  async request<N extends RequestName>(name: N, data: RequestData<N>): Promise<ResponseData[N]> {
    if (!this.#socket.connected) throw new SignalingError('unavailable', 'not connected to the relay', true);
    const answer = await new Promise<
      | { ok: true; data: ResponseData[N] }
      | { ok: false; error: { code: VireoErrorCode; message: string; retryable: boolean } }
    >((resolve) => {
      const settle = (settled: Awaited<typeof answer>) => {
        clearTimeout(timer);
        this.#pending.delete(lost);
        resolve(settled);
      };
      const fail = (code: VireoErrorCode, message: string) =>
        settle({ ok: false, error: { code, message, retryable: true } });
      const lost = () => fail('unavailable', `the connection was lost during '${name}'`);
      const timer = setTimeout(
        () => fail('timeout', `the relay did not answer '${name}'`),
        REQUEST_TIMEOUT_MS,
      );
      this.#pending.add(lost);
      this.#socket.emit('request', { name, data }, (acknowledgement) =>
        settle(acknowledgement as Awaited<typeof answer>),
      );
    });
    if (answer.ok) return answer.data;
    throw new SignalingError(answer.error.code, answer.error.message, answer.error.retryable);
  }

  /** Best effort, for a page that is going away: nobody waits for the answer. */
  leaveNow(): void {
    if (this.#socket.connected) this.#socket.emit('request', { name: 'leave', data: {} }, () => {});
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#socket.disconnect();
  }
}
