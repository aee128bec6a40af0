import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { VireoError } from '../errors.js';

/** A 720p key frame arrives and leaves in one burst; the kernel's default holds only some of it. */
const SOCKET_BUFFER_BYTES = 1 << 20;

export interface TrackSocketOptions {
  /** The only address that packets are taken from, and the one they are sent to. */
  remote: { ip: string; port: number };
  onPacket: (packet: Buffer) => void;
  onError: (error: Error) => void;
}

/** One UDP port for one track's RTP and RTCP, both directions. */
export class TrackSocket {
  readonly localAddress: { ip: string; port: number };
  readonly #socket: Socket;
  readonly #onError: (error: Error) => void;
  #closed = false;

  private constructor(socket: Socket, onError: (error: Error) => void) {
    const { address, port } = socket.address();
    this.localAddress = { ip: address, port };
    this.#socket = socket;
    this.#onError = onError;
  }

  /** Listens on any free port of the address the engine uses (loopback, as a rule). */
  static async create(options: TrackSocketOptions): Promise<TrackSocket> {
    const { remote } = options;
    const type = isIPv6(remote.ip) ? 'udp6' : 'udp4';
    const socket = createSocket(type);
    try {
      // The engine is on this machine: its address is one of ours. Else: whichever address leads to it.
      await bind(socket, remote.ip).catch(() => bind(socket, type === 'udp6' ? '::' : '0.0.0.0'));
      await new Promise<void>((resolve, reject) => {
        socket.once('error', reject);
        socket.connect(remote.port, remote.ip, () => {
          socket.off('error', reject);
          resolve();
        });
      });
      try {
        socket.setRecvBufferSize(SOCKET_BUFFER_BYTES);
        socket.setSendBufferSize(SOCKET_BUFFER_BYTES);
      } catch {
        // The kernel's limit is lower; what it gives will have to do.
      }
    } catch (error) {
      socket.close();
      throw new VireoError(
        'unavailable',
        `no UDP port towards ${remote.ip}: ${VireoError.from(error).message}`,
        {
          cause: error,
        },
      );
    }
    // The kernel filters by address once connected; what came in before did not pass that filter.
    socket.on('message', (packet: Buffer, from: RemoteInfo) => {
      if (from.port === remote.port && from.address === remote.ip) options.onPacket(packet);
    });
    // Connected sockets report "port unreachable" here: the engine's port may open later, or be gone already.
    socket.on('error', options.onError);
    return new TrackSocket(socket, options.onError);
  }

  /** Never throws: UDP may lose packets anyway. */
  send(packet: Buffer): void {
    if (this.#closed) return;
    try {
      this.#socket.send(packet, ignore);
    } catch (error) {
      this.#onError(VireoError.from(error));
    }
  }

  /** Idempotent; resolves when the port is free. */
  close(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    this.#closed = true;
    return new Promise((resolve) => this.#socket.close(resolve));
  }
}

function ignore(): void {}

function bind(socket: Socket, address: string): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.bind({ address, port: 0, exclusive: true }, () => {
      socket.off('error', reject);
      resolve();
    });
  });
}
