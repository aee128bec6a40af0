import { createSocket, type Socket } from 'node:dgram';

export interface UdpProxyOptions {
  /** The loopback address that stands in for the relay's; the port is the same, so the relay only announces that address. */
  address: string;
  relayAddress: string;
  port: number;
}

/** Decides what becomes of a datagram: `send` passes it on, now, later or never. */
export type Passing = (datagram: Buffer, send: () => void) => void;

/** Passes datagrams between browsers and a relay, each browser from a socket of its own. */
export class UdpProxy {
  readonly #front: Socket;
  readonly #options: UdpProxyOptions;
  readonly #down: Passing;
  readonly #towardsRelay = new Map<string, Socket>();

  private constructor(front: Socket, options: UdpProxyOptions, up: Passing, down: Passing) {
    this.#front = front;
    this.#options = options;
    this.#down = down;
    const { relayAddress, port } = options;
    front.on('message', (datagram, from) => {
      up(datagram, () => this.#towards(from.address, from.port).send(datagram, port, relayAddress));
    });
  }

  static async create(options: UdpProxyOptions, up: Passing, down: Passing): Promise<UdpProxy> {
    const front = createSocket('udp4');
    await new Promise<void>((resolve, reject) => {
      front.once('error', reject);
      front.bind(options.port, options.address, resolve);
    });
    return new UdpProxy(front, options, up, down);
  }

  #towards(address: string, port: number): Socket {
    const key = `${address}:${port}`;
    let socket = this.#towardsRelay.get(key);
    if (!socket) {
      socket = createSocket('udp4');
      socket.bind(0, this.#options.relayAddress);
      socket.on('message', (datagram) =>
        this.#down(datagram, () => this.#front.send(datagram, port, address)),
      );
      socket.on('error', () => {});
      this.#towardsRelay.set(key, socket);
    }
    return socket;
  }

  close(): void {
    this.#front.close();
    for (const socket of this.#towardsRelay.values()) socket.close();
    this.#towardsRelay.clear();
  }
}
