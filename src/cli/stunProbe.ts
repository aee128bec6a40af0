import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { connect } from 'node:net';

/** A STUN or TURN server's address, from a `stun:`, `turn:`, `stuns:` or `turns:` URL (RFC 7064, RFC 7065). */
export interface IceServerAddress {
  host: string;
  port: number;
  transport: 'udp' | 'tcp';
}

const BINDING_REQUEST = 0x0001;
const BINDING_SUCCESS = 0x0101;
const MAGIC_COOKIE = 0x2112a442;
const ATTEMPTS = 3;

export function parseIceUrl(url: string): IceServerAddress | null {
  const match = /^(stuns?|turns?):(\[[^\]]+\]|[^:?]+)(?::(\d+))?(?:\?transport=(udp|tcp))?$/.exec(url);
  if (!match) return null;
  const [, scheme = '', host = '', port, transport] = match;
  const secure = scheme.endsWith('s');
  return {
    host: host.replace(/^\[|\]$/g, ''),
    port: port === undefined ? (secure ? 5349 : 3478) : Number(port),
    transport: transport === 'tcp' || secure ? 'tcp' : 'udp',
  };
}

/** Whether a server answers: a STUN binding over UDP (RFC 8489), a connection over TCP. Null: yes; else why not. */
export async function probeIceServer(address: IceServerAddress, timeoutMs: number): Promise<string | null> {
  try {
    const { address: ip, family } = await lookup(address.host);
    return address.transport === 'udp'
      ? await probeUdp(ip, family, address.port, timeoutMs)
      : await probeTcp(ip, address.port, timeoutMs);
  } catch (error) {
    return (error as Error).message;
  }
}

function probeUdp(ip: string, family: number, port: number, timeoutMs: number): Promise<string | null> {
  const request = Buffer.alloc(20);
  request.writeUInt16BE(BINDING_REQUEST, 0);
  request.writeUInt32BE(MAGIC_COOKIE, 4);
  randomBytes(12).copy(request, 8);
  const socket = createSocket(family === 6 ? 'udp6' : 'udp4');
  return new Promise((resolve) => {
    const send = () => socket.send(request, port, ip, () => {});
    const repeat = setInterval(send, timeoutMs / ATTEMPTS);
    const timer = setTimeout(() => done(`no answer within ${timeoutMs} ms`), timeoutMs);
    const done = (failure: string | null) => {
      clearInterval(repeat);
      clearTimeout(timer);
      socket.close();
      resolve(failure);
    };
    socket.once('error', (error) => done(error.message));
    socket.on('message', (answer) => {
      const ours = answer.length >= 20 && answer.subarray(8, 20).equals(request.subarray(8, 20));
      if (ours && answer.readUInt16BE(0) === BINDING_SUCCESS) done(null);
    });
    send();
  });
}

function probeTcp(ip: string, port: number, timeoutMs: number): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = connect({ host: ip, port, timeout: timeoutMs });
    const done = (failure: string | null) => {
      socket.destroy();
      resolve(failure);
    };
    socket.once('connect', () => done(null));
    socket.once('timeout', () => done(`no connection within ${timeoutMs} ms`));
    socket.once('error', (error) => done(error.message));
  });
}
