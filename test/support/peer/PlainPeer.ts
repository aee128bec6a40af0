import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { MediaPeer } from './MediaPeer.js';
import { isRtcp } from './rtp.js';

/** What a restorer is to the relay: RTP and RTCP on one unencrypted UDP socket. */
export class PlainPeer extends MediaPeer {
  readonly localAddress: { ip: string; port: number };
  remote: { ip: string; port: number } | null = null;
  readonly #socket: Socket;
  #closed = false;

  private constructor(socket: Socket) {
    super();
    const { address, port } = socket.address();
    this.localAddress = { ip: address, port };
    this.#socket = socket;
    socket.on('message', (data) => (isRtcp(data) ? this.onPlainRtcp(data) : this.onPlainRtp(data)));
    socket.on('error', () => {});
  }

  static async create(ip = '127.0.0.1'): Promise<PlainPeer> {
    const socket = createSocket(ip.includes(':') ? 'udp6' : 'udp4');
    socket.bind(0, ip);
    await once(socket, 'listening');
    return new PlainPeer(socket);
  }

  sendRaw(data: Buffer): void {
    if (this.#closed || !this.remote) return;
    this.#socket.send(data, this.remote.port, this.remote.ip);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.stop();
    await new Promise<void>((resolve) => this.#socket.close(() => resolve()));
  }

  protected override sendPlainRtp(data: Buffer): void {
    this.sendRaw(data);
  }

  protected override sendPlainRtcp(data: Buffer): void {
    this.sendRaw(data);
  }
}
