/** The few lines of STUN (RFC 8489) and ICE (RFC 8445) that a controlling agent needs against an ICE-lite server. */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { crc32 } from 'node:zlib';

const MAGIC_COOKIE = 0x2112a442;
const HEADER_BYTES = 20;
const INTEGRITY_BYTES = 24;
const FINGERPRINT_XOR = 0x5354554e;

export const STUN_BINDING_REQUEST = 0x0001;
export const STUN_BINDING_SUCCESS = 0x0101;
export const STUN_BINDING_ERROR = 0x0111;

const ATTRIBUTE = {
  username: 0x0006,
  messageIntegrity: 0x0008,
  errorCode: 0x0009,
  xorMappedAddress: 0x0020,
  priority: 0x0024,
  useCandidate: 0x0025,
  fingerprint: 0x8028,
  iceControlling: 0x802a,
} as const;

export interface BindingRequestOptions {
  /** `remote:local` user name fragments. */
  username: string;
  /** The remote side's ICE password. */
  password: string;
  tieBreaker: bigint;
  nominate?: boolean;
  priority?: number;
  transactionId?: Buffer;
}

export interface StunResponse {
  type: number;
  transactionId: string;
  errorCode: number | null;
  mappedAddress: { ip: string; port: number } | null;
  /** MESSAGE-INTEGRITY and FINGERPRINT both right. */
  authentic: boolean;
}

export function isStun(data: Buffer): boolean {
  return data.length >= HEADER_BYTES && (data[0] ?? 255) < 4 && data.readUInt32BE(4) === MAGIC_COOKIE;
}

function attribute(type: number, value: Buffer): Buffer {
  const padded = Buffer.alloc(4 + Math.ceil(value.length / 4) * 4);
  padded.writeUInt16BE(type, 0);
  padded.writeUInt16BE(value.length, 2);
  value.copy(padded, 4);
  return padded;
}

function uint32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32BE(value >>> 0);
  return buffer;
}

export function bindingRequest(options: BindingRequestOptions): Buffer {
  const controlling = Buffer.alloc(8);
  controlling.writeBigUInt64BE(options.tieBreaker);
  const body = Buffer.concat([
    attribute(ATTRIBUTE.username, Buffer.from(options.username)),
    attribute(ATTRIBUTE.priority, uint32(options.priority ?? 0x6e7f1eff)),
    attribute(ATTRIBUTE.iceControlling, controlling),
    ...(options.nominate === false ? [] : [attribute(ATTRIBUTE.useCandidate, Buffer.alloc(0))]),
  ]);
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16BE(STUN_BINDING_REQUEST, 0);
  header.writeUInt32BE(MAGIC_COOKIE, 4);
  (options.transactionId ?? randomBytes(12)).copy(header, 8);

  header.writeUInt16BE(body.length + INTEGRITY_BYTES, 2);
  const mac = createHmac('sha1', options.password).update(header).update(body).digest();
  const signed = Buffer.concat([body, attribute(ATTRIBUTE.messageIntegrity, mac)]);
  header.writeUInt16BE(signed.length + 8, 2);
  const checksum = (crc32(Buffer.concat([header, signed])) ^ FINGERPRINT_XOR) >>> 0;
  return Buffer.concat([header, signed, attribute(ATTRIBUTE.fingerprint, uint32(checksum))]);
}

function readXorAddress(value: Buffer, message: Buffer): { ip: string; port: number } | null {
  const port = value.readUInt16BE(2) ^ (MAGIC_COOKIE >>> 16);
  if (value[1] === 1) {
    const word = (value.readUInt32BE(4) ^ MAGIC_COOKIE) >>> 0;
    return { ip: [24, 16, 8, 0].map((shift) => (word >>> shift) & 255).join('.'), port };
  }
  if (value[1] !== 2) return null;
  const groups: string[] = [];
  for (let i = 0; i < 16; i += 2)
    groups.push((value.readUInt16BE(4 + i) ^ message.readUInt16BE(4 + i)).toString(16));
  const ip = groups.join(':');
  return isIPv6(ip) ? { ip, port } : null;
}

export function parseStunResponse(message: Buffer, password: string): StunResponse {
  const response: StunResponse = {
    type: message.readUInt16BE(0),
    transactionId: message.toString('hex', 8, 20),
    errorCode: null,
    mappedAddress: null,
    authentic: false,
  };
  let integrity = false;
  let checksum = false;
  for (let at = HEADER_BYTES; at + 4 <= message.length; ) {
    const type = message.readUInt16BE(at);
    const length = message.readUInt16BE(at + 2);
    const value = message.subarray(at + 4, at + 4 + length);
    if (type === ATTRIBUTE.errorCode) response.errorCode = (value[2] ?? 0) * 100 + (value[3] ?? 0);
    else if (type === ATTRIBUTE.xorMappedAddress) response.mappedAddress = readXorAddress(value, message);
    else if (type === ATTRIBUTE.messageIntegrity && length === 20) {
      const header = Buffer.from(message.subarray(0, HEADER_BYTES));
      header.writeUInt16BE(at - HEADER_BYTES + INTEGRITY_BYTES, 2);
      const mac = createHmac('sha1', password)
        .update(header)
        .update(message.subarray(HEADER_BYTES, at))
        .digest();
      integrity = timingSafeEqual(mac, value);
    } else if (type === ATTRIBUTE.fingerprint && length === 4) {
      checksum = (crc32(message.subarray(0, at)) ^ FINGERPRINT_XOR) >>> 0 === value.readUInt32BE(0);
    }
    at += 4 + Math.ceil(length / 4) * 4;
  }
  response.authentic = integrity && checksum;
  return response;
}
