import { UdpProxy } from './UdpProxy.js';

export interface Impairment {
  /** Share of datagrams dropped, 0 to 1, each way. */
  loss: number;
  /** Each datagram is held for a random time up to this, so datagrams are reordered too. */
  jitterMs: number;
}

/** Repeatable random numbers in [0, 1) (mulberry32), so that a failing run can be run again. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A bad network between browser and relay. */
export class UdpImpairment {
  impairment: Impairment = { loss: 0, jitterMs: 0 };
  readonly dropped = { up: 0, down: 0 };
  readonly passed = { up: 0, down: 0 };
  readonly #random = seededRandom(7);
  #proxy: UdpProxy | null = null;

  private constructor() {}

  static async create(address: string, relayAddress: string, port: number): Promise<UdpImpairment> {
    const network = new UdpImpairment();
    network.#proxy = await UdpProxy.create(
      { address, relayAddress, port },
      (_, send) => network.#pass('up', send),
      (_, send) => network.#pass('down', send),
    );
    return network;
  }

  #pass(direction: 'up' | 'down', send: () => void): void {
    if (this.#random() < this.impairment.loss) {
      this.dropped[direction] += 1;
      return;
    }
    this.passed[direction] += 1;
    const delayMs = this.#random() * this.impairment.jitterMs;
    const guarded = () => {
      try {
        send();
      } catch {
        // The socket was closed while the datagram waited.
      }
    };
    if (delayMs < 1) guarded();
    else setTimeout(guarded, delayMs);
  }

  close(): void {
    this.#proxy?.close();
  }
}
