import { connect, createServer, type Server, type Socket as TcpSocket } from 'node:net';
import { UdpProxy } from './UdpProxy.js';

export interface ThinUplinkOptions {
  /** Where the browser finds the relay: the same ports, on another loopback address. */
  address: string;
  relayAddress: string;
  httpPort: number;
  rtcPort: number;
}

/** What goes around a datagram's or a segment's bytes. */
const HEADER_BYTES = 40;
const SEGMENT_BYTES = 1_400;
/** A router's queue; what finds no room in it is lost. TCP's own window keeps its share smaller. */
const QUEUE_BYTES = 32_000;
const TCP_WINDOW_BYTES = 16_000;
const TICK_MS = 5;

/**
 * An uplink so thin that live video (UDP) and the page's own connection (TCP) stand in one queue, as they do at a sender's
 * router. The way down is not limited.
 */
export class ThinUplink {
  /** Null: no limit. */
  bitrateBps: number | null = null;
  readonly sentBytes = { udp: 0, tcp: 0 };
  droppedDatagrams = 0;
  readonly #queue: { bytes: number; send: () => void }[] = [];
  readonly #tcp: Server;
  readonly #options: ThinUplinkOptions;
  readonly #connections = new Set<TcpSocket>();
  readonly #timer: NodeJS.Timeout;
  #udp: UdpProxy | null = null;
  #queuedBytes = 0;
  #creditBytes = 0;
  #tickedAtMs = performance.now();

  private constructor(options: ThinUplinkOptions, tcp: Server) {
    this.#options = options;
    this.#tcp = tcp;
    tcp.on('connection', (browser) => this.#connection(browser));
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  static async create(options: ThinUplinkOptions): Promise<ThinUplink> {
    const tcp = createServer();
    await new Promise<void>((resolve, reject) => {
      tcp.once('error', reject);
      tcp.listen(options.httpPort, options.address, resolve);
    });
    const uplink = new ThinUplink(options, tcp);
    const { address, relayAddress, rtcPort } = options;
    uplink.#udp = await UdpProxy.create(
      { address, relayAddress, port: rtcPort },
      (datagram, send) => uplink.#datagram(datagram.length, send),
      (_, send) => send(),
    );
    return uplink;
  }

  get url(): string {
    return `http://${this.#options.address}:${this.#options.httpPort}`;
  }

  close(): void {
    clearInterval(this.#timer);
    this.#udp?.close();
    this.#tcp.close();
    for (const connection of this.#connections) connection.destroy();
    this.#queue.length = 0;
  }

  #datagram(bytes: number, send: () => void): void {
    if (this.#queuedBytes + bytes + HEADER_BYTES > QUEUE_BYTES) {
      this.droppedDatagrams += 1;
      return;
    }
    this.#push(bytes, () => {
      this.sentBytes.udp += bytes + HEADER_BYTES;
      send();
    });
  }

  #connection(browser: TcpSocket): void {
    const relay = connect(this.#options.httpPort, this.#options.relayAddress);
    let inFlightBytes = 0;
    for (const socket of [browser, relay]) {
      socket.setNoDelay(true);
      this.#connections.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#connections.delete(socket);
        browser.destroy();
        relay.destroy();
      });
    }
    relay.pipe(browser);
    browser.on('data', (chunk: Buffer) => {
      for (let at = 0; at < chunk.length; at += SEGMENT_BYTES) {
        const segment = chunk.subarray(at, at + SEGMENT_BYTES);
        inFlightBytes += segment.length;
        if (inFlightBytes > TCP_WINDOW_BYTES) browser.pause();
        this.#push(segment.length, () => {
          this.sentBytes.tcp += segment.length + HEADER_BYTES;
          inFlightBytes -= segment.length;
          if (inFlightBytes <= TCP_WINDOW_BYTES) browser.resume();
          relay.write(segment);
        });
      }
    });
  }

  #push(byteLength: number, send: () => void): void {
    const bytes = byteLength + HEADER_BYTES;
    this.#queue.push({ bytes, send });
    this.#queuedBytes += bytes;
    if (this.bitrateBps === null) this.#tick();
  }

  #tick(): void {
    const nowMs = performance.now();
    this.#creditBytes += ((nowMs - this.#tickedAtMs) * (this.bitrateBps ?? 0)) / 8_000;
    this.#tickedAtMs = nowMs;
    let next = this.#queue[0];
    while (next !== undefined && (this.#creditBytes > 0 || this.bitrateBps === null)) {
      this.#queue.shift();
      this.#queuedBytes -= next.bytes;
      this.#creditBytes -= next.bytes;
      try {
        next.send();
      } catch {
        // A socket was closed while this waited.
      }
      next = this.#queue[0];
    }
    // An idle link saves nothing up, and one without a limit owes nothing.
    if (this.bitrateBps === null) this.#creditBytes = 0;
    else if (this.#queue.length === 0) this.#creditBytes = Math.min(this.#creditBytes, 0);
  }
}
