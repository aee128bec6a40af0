import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:dgram';
import { EventEmitter } from 'node:events';
import { isIP } from 'node:net';
import { VireoError } from '../../errors.js';
import type {
  ConsumeOptions,
  ProduceOptions,
  SfuConsumer,
  SfuPlainTransport,
  SfuProducer,
  SfuTransportStats,
} from '../types.js';
import { RtpEndpoint } from './RtpEndpoint.js';
import { datagramKind } from './RtpView.js';
import { bind } from './UdpListener.js';
import type { WeriftRouter } from './WeriftRouter.js';

/** RTP and RTCP in the clear on one UDP port (RFC 5761), for a restorer beside us. */
export class WeriftPlainTransport extends EventEmitter<{ close: [] }> implements SfuPlainTransport {
  readonly id = randomUUID();
  readonly localAddress: { ip: string; port: number };
  readonly endpoint: RtpEndpoint;
  readonly #socket: Socket;
  #remote: { ip: string; port: number } | undefined;
  #bytesReceived = 0;
  #bytesSent = 0;
  #closed = false;

  private constructor(router: WeriftRouter, socket: Socket, ip: string) {
    super();
    this.#socket = socket;
    this.localAddress = { ip, port: socket.address().port };
    const send = (buffer: Buffer, length: number): void => {
      const remote = this.#remote;
      if (!remote || this.#closed) return;
      this.#bytesSent += length;
      socket.send(buffer, 0, length, remote.port, remote.ip);
    };
    const isReady = (): boolean => this.#remote !== undefined && !this.#closed;
    this.endpoint = new RtpEndpoint({
      router,
      cname: this.id,
      path: {
        get ready() {
          return isReady();
        },
        sendRtp: send,
        sendRtcp: (packet) => send(packet, packet.length),
      },
    });
    socket.removeAllListeners('error');
    socket.on('error', () => this.close());
    socket.on('message', (datagram, from) => this.#onDatagram(datagram, from.address, from.port));
  }

  static async create(router: WeriftRouter, listenIp: string): Promise<WeriftPlainTransport> {
    try {
      return new WeriftPlainTransport(router, await bind(listenIp, 0), listenIp);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      throw new VireoError('unavailable', `cannot open a plain RTP port on ${listenIp}: ${message}`, {
        cause: error,
      });
    }
  }

  get closed(): boolean {
    return this.#closed;
  }

  async connect(remote: { ip: string; port: number }): Promise<void> {
    this.#checkOpen();
    if (!isIP(remote.ip)) throw new VireoError('bad-request', `ip must be an IP address, got ${remote.ip}`);
    if (!Number.isInteger(remote.port) || remote.port < 1 || remote.port > 65535) {
      throw new VireoError('bad-request', `port must be 1 to 65535, got ${remote.port}`);
    }
    if (this.#remote) throw new VireoError('conflict', 'the transport is connected already');
    this.#remote = { ip: remote.ip, port: remote.port };
    this.endpoint.onReady();
  }

  async produce(options: ProduceOptions): Promise<SfuProducer> {
    this.#checkOpen();
    return this.endpoint.produce(options);
  }

  async consume(options: ConsumeOptions): Promise<SfuConsumer> {
    this.#checkOpen();
    return this.endpoint.consume(options);
  }

  async stats(): Promise<SfuTransportStats> {
    return { bytesReceived: this.#bytesReceived, bytesSent: this.#bytesSent, downlinkEstimateBps: null };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.endpoint.close();
    this.#socket.removeAllListeners('message');
    this.#socket.close();
    this.emit('close');
  }

  #onDatagram(datagram: Buffer, ip: string, port: number): void {
    const remote = this.#remote;
    if (!remote || remote.port !== port || remote.ip !== ip) return;
    this.#bytesReceived += datagram.length;
    try {
      const kind = datagramKind(datagram);
      const nowMs = performance.now();
      if (kind === 'rtp') this.endpoint.receiveRtp(datagram, nowMs);
      else if (kind === 'rtcp') this.endpoint.receiveRtcp(datagram, nowMs);
    } catch {
      // A malformed packet must not end the process.
    }
  }

  #checkOpen(): void {
    if (this.#closed) throw new VireoError('conflict', 'the transport is closed');
  }
}
