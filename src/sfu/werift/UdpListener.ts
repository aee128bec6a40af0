import { createSocket, type Socket } from 'node:dgram';
import { isIP, isIPv4, isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';
import type { IceCandidate } from 'mediasoup/types';
import { VireoError } from '../../errors.js';
import { datagramKind } from './RtpView.js';
import { parseStun, STUN_BINDING_REQUEST, type StunMessage } from './Stun.js';

/** A remote address as seen from one of our sockets. */
export interface Tuple {
  readonly key: string;
  readonly socket: Socket;
  readonly address: string;
  readonly port: number;
}

/** Whoever owns an ICE user name fragment. Handlers must not throw; the listener counts if they do. */
export interface DatagramSink {
  onStun(datagram: Buffer, message: StunMessage, tuple: Tuple): void;
  onDtls(datagram: Buffer, tuple: Tuple): void;
  onRtp(datagram: Buffer, tuple: Tuple): void;
  onRtcp(datagram: Buffer, tuple: Tuple): void;
}

export interface UdpListenerOptions {
  port: number;
  listenIps: readonly string[];
  announcedAddress: string | undefined;
}

const SOCKET_BUFFER_BYTES = 4 * 1024 * 1024;
const BIND_ATTEMPTS = 8;

interface Bound {
  socket: Socket;
  ip: string;
}

/**
 * The UDP sockets all WebRTC transports share: one port, one socket per listen address. Datagrams
 * go by remote address to the transport that authenticated it, STUN requests from new addresses by
 * the user name they carry (RFC 8445, section 7.3; RFC 7983).
 */
export class UdpListener {
  readonly port: number;
  readonly #bound: Bound[];
  readonly #announcedAddress: string | undefined;
  readonly #byUfrag = new Map<string, DatagramSink>();
  readonly #byTuple = new Map<string, { sink: DatagramSink; tuple: Tuple }>();
  #closed = false;
  /** Datagrams that belonged to nobody, were malformed, or made a handler fail. */
  dropped = 0;

  private constructor(
    bound: Bound[],
    port: number,
    options: UdpListenerOptions,
    onError: (error: Error) => void,
  ) {
    this.#bound = bound;
    this.port = port;
    this.#announcedAddress = options.announcedAddress;
    bound.forEach(({ socket }, index) => {
      socket.removeAllListeners('error');
      socket.on('error', onError);
      socket.on('message', (datagram, remote) =>
        this.#onDatagram(datagram, index, remote.address, remote.port),
      );
    });
  }

  /** Throws `config-invalid` when an address cannot be listened on. */
  static async create(options: UdpListenerOptions, onError: (error: Error) => void): Promise<UdpListener> {
    if (options.listenIps.length === 0)
      throw new VireoError('config-invalid', 'listenIps must name at least one address');
    for (const ip of options.listenIps) {
      if (!isIP(ip)) throw new VireoError('config-invalid', `listenIps: "${ip}" is not an IP address`);
    }
    for (let attempt = 1; ; attempt++) {
      const bound: Bound[] = [];
      try {
        let port = options.port;
        for (const ip of new Set(options.listenIps)) {
          const socket = await bind(ip, port);
          bound.push({ socket, ip });
          port = socket.address().port;
        }
        return new UdpListener(bound, port, options, onError);
      } catch (error) {
        for (const { socket } of bound) socket.close();
        // With a free port for the first socket, the second may find it taken: try another one.
        if (options.port === 0 && bound.length > 0 && attempt < BIND_ATTEMPTS) continue;
        const message = error instanceof Error ? error.message : String(error);
        throw new VireoError(
          'config-invalid',
          `cannot listen on UDP ${options.listenIps.join(', ')}: ${message}`,
          {
            cause: error,
          },
        );
      }
    }
  }

  /** Host candidates of every address that can reach us, in the order of the listen addresses. */
  candidates(): IceCandidate[] {
    const addresses = new Set<string>();
    const announced = this.#announcedAddress;
    for (const { ip } of this.#bound) {
      if (announced !== undefined && (!isIP(announced) || isIPv4(announced) === isIPv4(ip)))
        addresses.add(announced);
      else if (ip === '0.0.0.0' || ip === '::')
        for (const local of interfaceAddresses(isIPv6(ip))) addresses.add(local);
      else addresses.add(ip);
    }
    return [...addresses].map((address, index) => ({
      foundation: `udp${index}`,
      // RFC 8445, section 5.1.2.1: type preference 126 (host), local preference by order, component 1.
      priority: (126 * 2 ** 24 + (65535 - index) * 2 ** 8 + 255) >>> 0,
      ip: address,
      address,
      protocol: 'udp',
      port: this.port,
      type: 'host',
    }));
  }

  addUfrag(ufrag: string, sink: DatagramSink): void {
    this.#byUfrag.set(ufrag, sink);
  }

  removeUfrag(ufrag: string): void {
    this.#byUfrag.delete(ufrag);
  }

  /** From now on, datagrams of this remote address are the sink's. */
  addTuple(tuple: Tuple, sink: DatagramSink): void {
    this.#byTuple.set(tuple.key, { sink, tuple });
  }

  removeTuple(tuple: Tuple, sink: DatagramSink): void {
    if (this.#byTuple.get(tuple.key)?.sink === sink) this.#byTuple.delete(tuple.key);
  }

  /** Idempotent; resolves when the sockets are gone. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#byUfrag.clear();
    this.#byTuple.clear();
    await Promise.all(
      this.#bound.map(({ socket }) => new Promise<void>((resolve) => socket.close(() => resolve()))),
    );
  }

  #onDatagram(datagram: Buffer, socketIndex: number, address: string, port: number): void {
    if (this.#closed) return;
    try {
      const key = `${socketIndex}|${address}|${port}`;
      const known = this.#byTuple.get(key);
      switch (datagramKind(datagram)) {
        case 'rtp':
          if (known) known.sink.onRtp(datagram, known.tuple);
          else this.dropped++;
          return;
        case 'rtcp':
          if (known) known.sink.onRtcp(datagram, known.tuple);
          else this.dropped++;
          return;
        case 'dtls':
          if (known) known.sink.onDtls(datagram, known.tuple);
          else this.dropped++;
          return;
        case 'stun': {
          const message = parseStun(datagram);
          const sink = message?.localUfrag === undefined ? undefined : this.#byUfrag.get(message.localUfrag);
          if (!message || message.type !== STUN_BINDING_REQUEST || !sink) {
            this.dropped++;
            return;
          }
          const socket = (this.#bound[socketIndex] as Bound).socket;
          sink.onStun(datagram, message, known?.tuple ?? { key, socket, address, port });
          return;
        }
        default:
          this.dropped++;
      }
    } catch {
      // Whatever a stranger sends must not end the process; handlers check their input, this is the net below.
      this.dropped++;
    }
  }
}

/** Binds a UDP socket; addresses are literals, so that sending never goes through the resolver. */
export function bind(ip: string, port: number): Promise<Socket> {
  const v6 = isIPv6(ip);
  const socket = createSocket({
    type: v6 ? 'udp6' : 'udp4',
    ipv6Only: v6,
    lookup: (hostname, _options, callback) => callback(null, hostname, v6 ? 6 : 4),
  });
  return new Promise((resolve, reject) => {
    socket.once('error', (error) => {
      socket.close();
      reject(error);
    });
    socket.bind(port, ip, () => {
      try {
        // The system may grant less; bursts of key frames need what there is.
        socket.setRecvBufferSize(SOCKET_BUFFER_BYTES);
        socket.setSendBufferSize(SOCKET_BUFFER_BYTES);
      } catch {
        // Not permitted here; the default size works, too.
      }
      resolve(socket);
    });
  });
}

function interfaceAddresses(v6: boolean): string[] {
  const family = v6 ? 'IPv6' : 'IPv4';
  const all = Object.values(networkInterfaces()).flatMap((entries) => entries ?? []);
  const usable = all.filter((entry) => entry.family === family && !entry.address.startsWith('fe80:'));
  const outside = usable.filter((entry) => !entry.internal);
  return (outside.length > 0 ? outside : usable).map((entry) => entry.address);
}
