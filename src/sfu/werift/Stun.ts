import { createHmac, timingSafeEqual } from 'node:crypto';
import { isIPv4, isIPv6 } from 'node:net';
import { crc32 } from 'node:zlib';

/**
 * The part of STUN an ICE-lite agent needs (RFC 8489, RFC 8445 section 7.3): Binding requests in,
 * responses out. Attributes behind MESSAGE-INTEGRITY are ignored, as section 14.5 demands; only
 * FINGERPRINT may follow.
 */
export const STUN_BINDING_REQUEST = 0x0001;
const BINDING_SUCCESS = 0x0101;
const BINDING_ERROR = 0x0111;
const MAGIC_COOKIE = 0x2112a442;
const HEADER_SIZE = 20;
const FINGERPRINT_XOR = 0x5354554e;

const USERNAME = 0x0006;
const MESSAGE_INTEGRITY = 0x0008;
const ERROR_CODE = 0x0009;
const XOR_MAPPED_ADDRESS = 0x0020;
const USE_CANDIDATE = 0x0025;
const FINGERPRINT = 0x8028;
const ICE_CONTROLLED = 0x8029;

export interface StunMessage {
  type: number;
  transactionId: Buffer;
  /** Before the colon of USERNAME: the receiver's user name fragment. */
  localUfrag: string | undefined;
  useCandidate: boolean;
  /** The sender thinks that it is controlled, as an ICE-lite agent always is: a role conflict. */
  iceControlled: boolean;
  /** Offset of MESSAGE-INTEGRITY; −1: none. */
  integrityOffset: number;
}

/** Undefined: no well-formed STUN message, or a wrong FINGERPRINT. */
export function parseStun(datagram: Buffer): StunMessage | undefined {
  if (datagram.length < HEADER_SIZE || datagram.length % 4 !== 0) return undefined;
  if (datagram.readUInt32BE(4) !== MAGIC_COOKIE) return undefined;
  if (datagram.readUInt16BE(2) !== datagram.length - HEADER_SIZE) return undefined;
  const message: StunMessage = {
    type: datagram.readUInt16BE(0),
    transactionId: datagram.subarray(8, HEADER_SIZE),
    localUfrag: undefined,
    useCandidate: false,
    iceControlled: false,
    integrityOffset: -1,
  };
  for (let at = HEADER_SIZE; at + 4 <= datagram.length; ) {
    const type = datagram.readUInt16BE(at);
    const size = datagram.readUInt16BE(at + 2);
    const value = at + 4;
    if (value + size > datagram.length) return undefined;
    if (type === FINGERPRINT) {
      if (size !== 4 || value + 4 !== datagram.length) return undefined;
      if (datagram.readUInt32BE(value) !== fingerprintOf(datagram.subarray(0, at))) return undefined;
    } else if (message.integrityOffset < 0) {
      switch (type) {
        case USERNAME: {
          const username = datagram.toString('utf8', value, value + size);
          const colon = username.indexOf(':');
          message.localUfrag = colon < 0 ? username : username.slice(0, colon);
          break;
        }
        case USE_CANDIDATE:
          message.useCandidate = true;
          break;
        case ICE_CONTROLLED:
          message.iceControlled = true;
          break;
        case MESSAGE_INTEGRITY:
          if (size !== 20) return undefined;
          message.integrityOffset = at;
          break;
      }
    }
    at = value + ((size + 3) & ~3);
  }
  return message;
}

/** RFC 8489, section 14.5: short-term credentials. */
export function verifyIntegrity(datagram: Buffer, message: StunMessage, password: string): boolean {
  const at = message.integrityOffset;
  if (at < 0) return false;
  const expected = integrityOf(datagram.subarray(0, at), password);
  return timingSafeEqual(expected, datagram.subarray(at + 4, at + 24));
}

export function buildBindingSuccess(
  transactionId: Buffer,
  address: string,
  port: number,
  password: string,
): Buffer {
  return finish(
    BINDING_SUCCESS,
    transactionId,
    attribute(XOR_MAPPED_ADDRESS, xorAddress(address, port, transactionId)),
    password,
  );
}

/** `password`: only once the request was authenticated (RFC 8489, section 9.1.3). */
export function buildBindingError(
  transactionId: Buffer,
  code: number,
  reason: string,
  password?: string,
): Buffer {
  const value = Buffer.alloc(4 + Buffer.byteLength(reason));
  value[2] = Math.floor(code / 100);
  value[3] = code % 100;
  value.write(reason, 4);
  return finish(BINDING_ERROR, transactionId, attribute(ERROR_CODE, value), password);
}

function attribute(type: number, value: Buffer): Buffer {
  const out = Buffer.alloc(4 + ((value.length + 3) & ~3));
  out.writeUInt16BE(type, 0);
  out.writeUInt16BE(value.length, 2);
  value.copy(out, 4);
  return out;
}

function finish(
  type: number,
  transactionId: Buffer,
  attributes: Buffer,
  password: string | undefined,
): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt16BE(type, 0);
  head.writeUInt32BE(MAGIC_COOKIE, 4);
  let message = Buffer.concat([head, transactionId, attributes]);
  if (password !== undefined) {
    message = Buffer.concat([message, attribute(MESSAGE_INTEGRITY, integrityOf(message, password))]);
  }
  message.writeUInt16BE(message.length - HEADER_SIZE + 8, 2);
  const fingerprint = Buffer.alloc(4);
  fingerprint.writeUInt32BE(fingerprintOf(message));
  return Buffer.concat([message, attribute(FINGERPRINT, fingerprint)]);
}

/** HMAC over everything before the attribute, with the length that includes it. */
function integrityOf(before: Buffer, password: string): Buffer {
  const head = Buffer.from(before.subarray(0, HEADER_SIZE));
  head.writeUInt16BE(before.length - HEADER_SIZE + 24, 2);
  return createHmac('sha1', password).update(head).update(before.subarray(HEADER_SIZE)).digest();
}

function fingerprintOf(before: Buffer): number {
  return (crc32(before) ^ FINGERPRINT_XOR) >>> 0;
}

/** RFC 8489, section 14.2. */
function xorAddress(address: string, port: number, transactionId: Buffer): Buffer {
  const bytes = addressBytes(address);
  const out = Buffer.alloc(4 + bytes.length);
  out[1] = bytes.length === 4 ? 1 : 2;
  out.writeUInt16BE(port ^ (MAGIC_COOKIE >>> 16), 2);
  const mask = Buffer.alloc(16);
  mask.writeUInt32BE(MAGIC_COOKIE);
  transactionId.copy(mask, 4);
  for (let at = 0; at < bytes.length; at++) out[4 + at] = (bytes[at] as number) ^ (mask[at] as number);
  return out;
}

function addressBytes(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number));
  const plain = address.split('%')[0] as string;
  if (!isIPv6(plain)) throw new TypeError(`not an IP address: ${address}`);
  // The URL parser writes any IPv6 literal in pure hexadecimal form.
  const canonical = new URL(`http://[${plain}]`).hostname.slice(1, -1);
  const [left = '', right] = canonical.split('::');
  const groups = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
  const head = groups(left);
  const tail = right === undefined ? [] : groups(right);
  const out = Buffer.alloc(16);
  for (const [index, group] of head.entries()) out.writeUInt16BE(group, index * 2);
  for (const [index, group] of tail.entries()) out.writeUInt16BE(group, 16 - (tail.length - index) * 2);
  return out;
}
