import { createSocket, type Socket } from 'node:dgram';

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

/**
 * A bad network between browser and relay: listens on another loopback address with the relay's port, so
 * that the relay only has to announce that address in its ICE candidates.
 */
export class UdpImpairment {
  impairment: Impairment = { loss: 0, jitterMs: 0 };
  readonly dropped = { up: 0, down: 0 };
  readonly passed = { up: 0, down: 0 };
  readonly #front: Socket;
  readonly #clients = new Map<string, Socket>();
  readonly #random = seededRandom(7);
  readonly #relayAddress: string;

  private constructor(front: Socket, relayAddress: string, relayPort: number) {
    this.#front = front;
    this.#relayAddress = relayAddress;
    front.on('message', (datagram, from) => {
      this.#pass('up', () =>
        this.#clientSocket(from.address, from.port).send(datagram, relayPort, relayAddress),
      );
    });
  }

  static async create(address: string, relayAddress: string, relayPort: number): Promise<UdpImpairment> {
    const front = createSocket('udp4');
    await new Promise<void>((resolve, reject) => {
      front.once('error', reject);
      front.bind(relayPort, address, resolve);
    });
    return new UdpImpairment(front, relayAddress, relayPort);
  }

  #clientSocket(address: string, port: number): Socket {
    const key = `${address}:${port}`;
    let socket = this.#clients.get(key);
    if (!socket) {
      socket = createSocket('udp4');
      socket.bind(0, this.#relayAddress);
      socket.on('message', (datagram) => this.#pass('down', () => this.#front.send(datagram, port, address)));
      socket.on('error', () => {});
      this.#clients.set(key, socket);
    }
    return socket;
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
    this.#front.close();
    for (const socket of this.#clients.values()) socket.close();
    this.#clients.clear();
  }
}
