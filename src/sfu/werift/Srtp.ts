import { createCipheriv, createDecipheriv, createHmac, timingSafeEqual } from 'node:crypto';

/** DTLS-SRTP protection profiles (RFC 5764 section 4.1.2, RFC 7714 section 14.2). */
export const SRTP_AES128_CM_SHA1_80 = 0x0001;
export const SRTP_AEAD_AES_128_GCM = 0x0007;
export type SrtpProfile = typeof SRTP_AES128_CM_SHA1_80 | typeof SRTP_AEAD_AES_128_GCM;

/** Bytes a packet may grow by: the GCM tag and, for RTCP, the index. */
export const SRTP_TAILROOM = 20;

export interface SrtpKeys {
  profile: SrtpProfile;
  masterKey: Buffer;
  masterSalt: Buffer;
}

/** A peer that authenticates but keeps inventing SSRCs is not served beyond this. */
const MAX_STREAMS = 256;
const REPLAY_WINDOW = 1024;
const RTCP_REPLAY_WINDOW = 128;

interface StreamState {
  rolloverCounter: number;
  highestSequence: number;
  /** Highest index (48 bits) seen; replay bits are kept for the window below it. */
  highestIndex: number;
  seen: Uint32Array;
}

/** RFC 3711, section 4.3.1 and 4.3.3, key derivation rate 0. */
function derive(keys: SrtpKeys, label: number, size: number): Buffer {
  const iv = Buffer.alloc(16);
  keys.masterSalt.copy(iv, 0, 0, 14);
  iv[7] = (iv[7] as number) ^ label;
  return createCipheriv('aes-128-ctr', keys.masterKey, iv).update(Buffer.alloc(size));
}

/** Sliding replay window over packet indexes (RFC 3711, section 3.3.2). */
function isReplay(
  state: { highestIndex: number; seen: Uint32Array },
  index: number,
  window: number,
): boolean {
  if (index > state.highestIndex) return false;
  if (state.highestIndex - index >= window) return true;
  const bit = index % window;
  return ((state.seen[bit >> 5] as number) & (1 << (bit & 31))) !== 0;
}

function markSeen(state: { highestIndex: number; seen: Uint32Array }, index: number, window: number): void {
  if (index > state.highestIndex) {
    if (index - state.highestIndex >= window) {
      state.seen.fill(0);
    } else {
      for (let passed = state.highestIndex + 1; passed <= index; passed++) {
        const bit = passed % window;
        state.seen[bit >> 5] = (state.seen[bit >> 5] as number) & ~(1 << (bit & 31));
      }
    }
    state.highestIndex = index;
  }
  const bit = index % window;
  state.seen[bit >> 5] = (state.seen[bit >> 5] as number) | (1 << (bit & 31));
}

/** The rollover counter that fits a sequence number best (RFC 3711, section 3.3.1). */
function guessRollover(sequenceNumber: number, state: StreamState): number {
  const { highestSequence, rolloverCounter } = state;
  if (highestSequence < 0x8000) {
    return sequenceNumber - highestSequence > 0x8000 ? rolloverCounter - 1 : rolloverCounter;
  }
  return highestSequence - 0x8000 > sequenceNumber ? rolloverCounter + 1 : rolloverCounter;
}

/**
 * One direction of an SRTP session (RFC 3711; AES-GCM: RFC 7714). Works on whole datagrams in place,
 * keeps the rollover counter by the standard's estimate, and refuses replayed packets.
 */
export class SrtpContext {
  readonly #gcm: boolean;
  readonly #rtpKey: Buffer;
  readonly #rtpAuthKey: Buffer;
  readonly #rtpSalt: Buffer;
  readonly #rtcpKey: Buffer;
  readonly #rtcpAuthKey: Buffer;
  readonly #rtcpSalt: Buffer;
  readonly #streams = new Map<number, StreamState>();
  readonly #rtcpStreams = new Map<number, { highestIndex: number; seen: Uint32Array }>();
  readonly #counterIv = Buffer.alloc(16);
  readonly #gcmIv = Buffer.alloc(12);
  readonly #rolloverBytes = Buffer.alloc(4);
  readonly #aad = Buffer.alloc(12);
  #rtcpIndex = 0;

  constructor(keys: SrtpKeys) {
    this.#gcm = keys.profile === SRTP_AEAD_AES_128_GCM;
    const saltSize = this.#gcm ? 12 : 14;
    this.#rtpKey = derive(keys, 0, 16);
    this.#rtpAuthKey = derive(keys, 1, 20);
    this.#rtpSalt = derive(keys, 2, saltSize);
    this.#rtcpKey = derive(keys, 3, 16);
    this.#rtcpAuthKey = derive(keys, 4, 20);
    this.#rtcpSalt = derive(keys, 5, saltSize);
  }

  /**
   * Encrypts an RTP packet where it lies. `buffer` needs {@link SRTP_TAILROOM} bytes behind `length`;
   * `payloadOffset` is the size of the RTP header. Returns the new length, 0 when it cannot be sent.
   */
  protectRtp(buffer: Buffer, length: number, payloadOffset: number): number {
    const sequenceNumber = buffer.readUInt16BE(2);
    const ssrc = buffer.readUInt32BE(8);
    let state = this.#streams.get(ssrc);
    if (!state) {
      state = {
        rolloverCounter: 0,
        highestSequence: sequenceNumber,
        highestIndex: -1,
        seen: new Uint32Array(0),
      };
      this.#streams.set(ssrc, state);
    }
    const rollover = guessRollover(sequenceNumber, state);
    if (rollover < 0) return 0;
    advance(state, rollover, sequenceNumber);
    if (this.#gcm) {
      const cipher = createCipheriv(
        'aes-128-gcm',
        this.#rtpKey,
        this.#rtpGcmIv(ssrc, rollover, sequenceNumber),
      );
      cipher.setAAD(buffer.subarray(0, payloadOffset));
      cipher.update(buffer.subarray(payloadOffset, length)).copy(buffer, payloadOffset);
      cipher.final();
      cipher.getAuthTag().copy(buffer, length);
      return length + 16;
    }
    const cipher = createCipheriv(
      'aes-128-ctr',
      this.#rtpKey,
      this.#counter(this.#rtpSalt, ssrc, rollover, sequenceNumber),
    );
    cipher.update(buffer.subarray(payloadOffset, length)).copy(buffer, payloadOffset);
    this.#rtpTag(buffer.subarray(0, length), rollover).copy(buffer, length, 0, 10);
    return length + 10;
  }

  /**
   * Authenticates and decrypts an RTP datagram where it lies; `payloadOffset` is the size of its RTP
   * header. Undefined when it is forged, replayed or malformed.
   */
  unprotectRtp(datagram: Buffer, payloadOffset: number): Buffer | undefined {
    const length = datagram.length - (this.#gcm ? 16 : 10);
    if (payloadOffset > length) return undefined;
    const sequenceNumber = datagram.readUInt16BE(2);
    const ssrc = datagram.readUInt32BE(8);
    const known = this.#streams.get(ssrc);
    const rollover = known ? guessRollover(sequenceNumber, known) : 0;
    if (rollover < 0) return undefined;
    const index = rollover * 0x10000 + sequenceNumber;
    if (known && isReplay(known, index, REPLAY_WINDOW)) return undefined;
    const packet = datagram.subarray(0, length);
    if (this.#gcm) {
      const plain = this.#openGcm(
        this.#rtpKey,
        this.#rtpGcmIv(ssrc, rollover, sequenceNumber),
        datagram.subarray(0, payloadOffset),
        datagram.subarray(payloadOffset, length),
        datagram.subarray(length),
      );
      if (!plain) return undefined;
      plain.copy(packet, payloadOffset);
    } else {
      const expected = this.#rtpTag(packet, rollover).subarray(0, 10);
      if (!timingSafeEqual(expected, datagram.subarray(length))) return undefined;
      const iv = this.#counter(this.#rtpSalt, ssrc, rollover, sequenceNumber);
      createDecipheriv('aes-128-ctr', this.#rtpKey, iv)
        .update(packet.subarray(payloadOffset))
        .copy(packet, payloadOffset);
    }
    let state = known;
    if (!state) {
      if (this.#streams.size >= MAX_STREAMS) return undefined;
      state = {
        rolloverCounter: 0,
        highestSequence: sequenceNumber,
        highestIndex: index,
        seen: new Uint32Array(REPLAY_WINDOW / 32),
      };
      this.#streams.set(ssrc, state);
    }
    advance(state, rollover, sequenceNumber);
    markSeen(state, index, REPLAY_WINDOW);
    return packet;
  }

  /** RFC 3711, section 3.4; RFC 7714, section 9. */
  protectRtcp(packet: Buffer): Buffer {
    this.#rtcpIndex = (this.#rtcpIndex + 1) & 0x7fffffff;
    const index = this.#rtcpIndex;
    const ssrc = packet.readUInt32BE(4);
    const out = Buffer.alloc(packet.length + (this.#gcm ? 20 : 14));
    packet.copy(out, 0, 0, 8);
    if (this.#gcm) {
      const indexOffset = packet.length + 16;
      out.writeUInt32BE((index | 0x80000000) >>> 0, indexOffset);
      const cipher = createCipheriv('aes-128-gcm', this.#rtcpKey, this.#rtcpGcmIv(ssrc, index));
      cipher.setAAD(this.#rtcpAad(packet, out, indexOffset));
      cipher.update(packet.subarray(8)).copy(out, 8);
      cipher.final();
      cipher.getAuthTag().copy(out, packet.length);
      return out;
    }
    const iv = this.#counter(this.#rtcpSalt, ssrc, index >>> 16, index & 0xffff);
    createCipheriv('aes-128-ctr', this.#rtcpKey, iv).update(packet.subarray(8)).copy(out, 8);
    out.writeUInt32BE((index | 0x80000000) >>> 0, packet.length);
    const tagOffset = packet.length + 4;
    createHmac('sha1', this.#rtcpAuthKey)
      .update(out.subarray(0, tagOffset))
      .digest()
      .copy(out, tagOffset, 0, 10);
    return out;
  }

  /** Undefined when it is forged, replayed or malformed. */
  unprotectRtcp(datagram: Buffer): Buffer | undefined {
    const overhead = this.#gcm ? 20 : 14;
    const length = datagram.length - overhead;
    if (length < 8) return undefined;
    const ssrc = datagram.readUInt32BE(4);
    const indexOffset = this.#gcm ? datagram.length - 4 : length;
    const indexWord = datagram.readUInt32BE(indexOffset);
    const index = indexWord & 0x7fffffff;
    // Browsers always encrypt; taking clear SRTCP would only widen the surface.
    if (indexWord >>> 31 === 0) return undefined;
    const known = this.#rtcpStreams.get(ssrc);
    if (known && isReplay(known, index, RTCP_REPLAY_WINDOW)) return undefined;
    const out = Buffer.alloc(length);
    datagram.copy(out, 0, 0, 8);
    if (this.#gcm) {
      const aad = this.#rtcpAad(datagram, datagram, indexOffset);
      const plain = this.#openGcm(
        this.#rtcpKey,
        this.#rtcpGcmIv(ssrc, index),
        aad,
        datagram.subarray(8, length),
        datagram.subarray(length, length + 16),
      );
      if (!plain) return undefined;
      plain.copy(out, 8);
    } else {
      const tagOffset = length + 4;
      const expected = createHmac('sha1', this.#rtcpAuthKey).update(datagram.subarray(0, tagOffset)).digest();
      if (!timingSafeEqual(expected.subarray(0, 10), datagram.subarray(tagOffset))) return undefined;
      const iv = this.#counter(this.#rtcpSalt, ssrc, index >>> 16, index & 0xffff);
      createDecipheriv('aes-128-ctr', this.#rtcpKey, iv).update(datagram.subarray(8, length)).copy(out, 8);
    }
    let state = known;
    if (!state) {
      if (this.#rtcpStreams.size >= MAX_STREAMS) return undefined;
      state = { highestIndex: index, seen: new Uint32Array(RTCP_REPLAY_WINDOW / 32) };
      this.#rtcpStreams.set(ssrc, state);
    }
    markSeen(state, index, RTCP_REPLAY_WINDOW);
    return out;
  }

  #openGcm(key: Buffer, iv: Buffer, aad: Buffer, cipherText: Buffer, tag: Buffer): Buffer | undefined {
    const decipher = createDecipheriv('aes-128-gcm', key, iv, { authTagLength: 16 });
    decipher.setAAD(aad);
    decipher.setAuthTag(tag);
    const plain = decipher.update(cipherText);
    try {
      decipher.final();
    } catch {
      return undefined;
    }
    return plain;
  }

  #rtpTag(packet: Buffer, rollover: number): Buffer {
    this.#rolloverBytes.writeUInt32BE(rollover >>> 0);
    return createHmac('sha1', this.#rtpAuthKey).update(packet).update(this.#rolloverBytes).digest();
  }

  /** RFC 3711, section 4.1.1. */
  #counter(salt: Buffer, ssrc: number, high: number, low: number): Buffer {
    const iv = this.#counterIv;
    salt.copy(iv, 0, 0, 14);
    iv[14] = 0;
    iv[15] = 0;
    iv.writeUInt32BE((iv.readUInt32BE(4) ^ ssrc) >>> 0, 4);
    iv.writeUInt32BE((iv.readUInt32BE(8) ^ high) >>> 0, 8);
    iv.writeUInt16BE(iv.readUInt16BE(12) ^ low, 12);
    return iv;
  }

  /** RFC 7714, section 8.1. */
  #rtpGcmIv(ssrc: number, rollover: number, sequenceNumber: number): Buffer {
    const iv = this.#gcmIv;
    this.#rtpSalt.copy(iv);
    iv.writeUInt32BE((iv.readUInt32BE(2) ^ ssrc) >>> 0, 2);
    iv.writeUInt32BE((iv.readUInt32BE(6) ^ rollover) >>> 0, 6);
    iv.writeUInt16BE(iv.readUInt16BE(10) ^ sequenceNumber, 10);
    return iv;
  }

  /** RFC 7714, section 9.1. */
  #rtcpGcmIv(ssrc: number, index: number): Buffer {
    const iv = this.#gcmIv;
    this.#rtcpSalt.copy(iv);
    iv.writeUInt32BE((iv.readUInt32BE(2) ^ ssrc) >>> 0, 2);
    iv.writeUInt32BE((iv.readUInt32BE(8) ^ index) >>> 0, 8);
    return iv;
  }

  #rtcpAad(head: Buffer, indexHolder: Buffer, indexOffset: number): Buffer {
    head.copy(this.#aad, 0, 0, 8);
    indexHolder.copy(this.#aad, 8, indexOffset, indexOffset + 4);
    return this.#aad;
  }
}

function advance(state: StreamState, rollover: number, sequenceNumber: number): void {
  if (rollover > state.rolloverCounter) {
    state.rolloverCounter = rollover;
    state.highestSequence = sequenceNumber;
  } else if (rollover === state.rolloverCounter && sequenceNumber > state.highestSequence) {
    state.highestSequence = sequenceNumber;
  }
}
