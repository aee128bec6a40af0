import { randomBytes } from 'node:crypto';
import type { IceParameters } from 'mediasoup/types';
import { buildBindingError, buildBindingSuccess, type StunMessage, verifyIntegrity } from './Stun.js';
import type { Tuple } from './UdpListener.js';

/** Without an authenticated check for this long, the path is in doubt … */
export const CONSENT_DISCONNECTED_MS = 10_000;
/** … and after this long given up (RFC 7675, section 5.1: 30 s). */
export const CONSENT_FAILED_MS = 30_000;
const MAX_TUPLES = 8;

export type IceState = 'new' | 'connected' | 'disconnected' | 'failed';

export interface IceEvents {
  onState(state: IceState): void;
  onTupleAdded(tuple: Tuple): void;
  onTupleRemoved(tuple: Tuple): void;
  onCredentialsRetired(ufrag: string): void;
}

interface Credentials {
  ufrag: string;
  password: string;
}

/** RFC 8445, section 5.3 asks for at least 24 and 128 bits of randomness. */
function newCredentials(): Credentials {
  return { ufrag: randomBytes(12).toString('hex'), password: randomBytes(18).toString('hex') };
}

/**
 * The answering half of ICE lite (RFC 8445, section 2.5 and 7.3): the remote side, always in control,
 * checks and nominates; we authenticate, answer, and send to whatever it nominated last.
 */
export class IceLite {
  readonly #events: IceEvents;
  #current: Credentials = newCredentials();
  /** Still answered after a restart, until the new ones are used. */
  #previous: Credentials | undefined;
  #tuples: Tuple[] = [];
  #selected: Tuple | undefined;
  #lastCheckMs = 0;
  #state: IceState = 'new';

  constructor(events: IceEvents) {
    this.#events = events;
  }

  get parameters(): IceParameters {
    return { usernameFragment: this.#current.ufrag, password: this.#current.password, iceLite: true };
  }

  get state(): IceState {
    return this.#state;
  }

  /** Where to send to; undefined until a check was answered. */
  get selected(): Tuple | undefined {
    return this.#selected;
  }

  get ufrags(): string[] {
    return this.#previous ? [this.#current.ufrag, this.#previous.ufrag] : [this.#current.ufrag];
  }

  /** New credentials; the old path carries on until the new ones are used (RFC 8445, section 9). */
  restart(): IceParameters {
    if (this.#previous) this.#events.onCredentialsRetired(this.#previous.ufrag);
    this.#previous = this.#current;
    this.#current = newCredentials();
    return this.parameters;
  }

  onRequest(datagram: Buffer, message: StunMessage, tuple: Tuple, nowMs: number): void {
    const credentials = [this.#current, this.#previous].find((known) => known?.ufrag === message.localUfrag);
    if (!credentials) return;
    if (message.integrityOffset < 0) {
      reply(tuple, buildBindingError(message.transactionId, 400, 'Bad Request'));
      return;
    }
    if (!verifyIntegrity(datagram, message, credentials.password)) {
      reply(tuple, buildBindingError(message.transactionId, 401, 'Unauthenticated'));
      return;
    }
    if (message.iceControlled) {
      reply(tuple, buildBindingError(message.transactionId, 487, 'Role Conflict', credentials.password));
      return;
    }
    reply(tuple, buildBindingSuccess(message.transactionId, tuple.address, tuple.port, credentials.password));
    if (credentials === this.#current && this.#previous) {
      const retired = this.#previous.ufrag;
      this.#previous = undefined;
      this.#events.onCredentialsRetired(retired);
    }
    this.#lastCheckMs = nowMs;
    this.#remember(tuple);
    if (!this.#selected || message.useCandidate) this.#selected = tuple;
    this.#setState('connected');
  }

  /** To be called about once a second. */
  checkConsent(nowMs: number): void {
    if (this.#state === 'new' || this.#state === 'failed') return;
    const silentMs = nowMs - this.#lastCheckMs;
    if (silentMs >= CONSENT_FAILED_MS) this.#setState('failed');
    else if (silentMs >= CONSENT_DISCONNECTED_MS) this.#setState('disconnected');
  }

  close(): void {
    for (const tuple of this.#tuples) this.#events.onTupleRemoved(tuple);
    this.#tuples = [];
    this.#selected = undefined;
  }

  #remember(tuple: Tuple): void {
    const at = this.#tuples.findIndex((known) => known.key === tuple.key);
    if (at >= 0) this.#tuples.splice(at, 1);
    this.#tuples.push(tuple);
    // Told every time: another transport may have claimed the address in between.
    this.#events.onTupleAdded(tuple);
    while (this.#tuples.length > MAX_TUPLES) {
      const oldest = this.#tuples.findIndex((known) => known !== this.#selected);
      const [removed] = this.#tuples.splice(oldest, 1);
      if (removed) this.#events.onTupleRemoved(removed);
    }
  }

  #setState(state: IceState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#events.onState(state);
  }
}

function reply(tuple: Tuple, response: Buffer): void {
  tuple.socket.send(response, tuple.port, tuple.address);
}
