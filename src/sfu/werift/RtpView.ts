/**
 * A reusable window on one RTP packet (RFC 3550, section 5.1): no object is made per packet on the
 * forwarding path. Header extensions are read in both forms of RFC 8285.
 */
export class RtpView {
  buffer: Buffer = Buffer.alloc(0);
  marker = false;
  payloadType = 0;
  sequenceNumber = 0;
  timestamp = 0;
  ssrc = 0;
  /** Offset of the payload: fixed header, CSRCs and extension block skipped. */
  payloadOffset = 0;
  /** Payload bytes without padding. */
  payloadLength = 0;
  paddingLength = 0;
  /** Whether this packet starts a key frame: −1 not looked at yet, 0 no, 1 yes. */
  keyFrame = -1;

  #extensionOffset = 0;
  #extensionEnd = 0;
  #twoByte = false;

  /** Length of the element that {@link findExtension} found last. */
  foundLength = 0;

  /** False when the bytes are no RTP packet; the view is then meaningless. */
  parse(buffer: Buffer): boolean {
    const size = buffer.length;
    if (size < 12) return false;
    const first = buffer[0] as number;
    if (first >> 6 !== 2) return false;
    const second = buffer[1] as number;
    let offset = 12 + (first & 0x0f) * 4;
    this.#extensionOffset = 0;
    this.#extensionEnd = 0;
    if (first & 0x10) {
      if (offset + 4 > size) return false;
      const profile = buffer.readUInt16BE(offset);
      const end = offset + 4 + buffer.readUInt16BE(offset + 2) * 4;
      if (end > size) return false;
      if (profile === 0xbede || (profile & 0xfff0) === 0x1000) {
        this.#twoByte = profile !== 0xbede;
        this.#extensionOffset = offset + 4;
        this.#extensionEnd = end;
      }
      offset = end;
    }
    if (offset > size) return false;
    let padding = 0;
    if (first & 0x20) {
      padding = buffer[size - 1] as number;
      if (padding === 0 || padding > size - offset) return false;
    }
    this.buffer = buffer;
    this.marker = (second & 0x80) !== 0;
    this.payloadType = second & 0x7f;
    this.sequenceNumber = buffer.readUInt16BE(2);
    this.timestamp = buffer.readUInt32BE(4);
    this.ssrc = buffer.readUInt32BE(8);
    this.payloadOffset = offset;
    this.payloadLength = size - offset - padding;
    this.paddingLength = padding;
    this.keyFrame = -1;
    return true;
  }

  /** Offset of the data of the header extension `id`, or −1; its length is in {@link foundLength}. */
  findExtension(id: number): number {
    const buffer = this.buffer;
    const end = this.#extensionEnd;
    let at = this.#extensionOffset;
    while (at < end) {
      const head = buffer[at] as number;
      if (head === 0) {
        at++;
        continue;
      }
      let elementId: number;
      let length: number;
      if (this.#twoByte) {
        if (at + 2 > end) return -1;
        elementId = head;
        length = buffer[at + 1] as number;
        at += 2;
      } else {
        elementId = head >> 4;
        if (elementId === 15) return -1;
        length = (head & 0x0f) + 1;
        at += 1;
      }
      if (at + length > end) return -1;
      if (elementId === id) {
        this.foundLength = length;
        return at;
      }
      at += length;
    }
    return -1;
  }
}

/** RFC 7983 section 7 and RFC 5761 section 4: what the first bytes of a datagram say it is. */
export type DatagramKind = 'stun' | 'dtls' | 'rtp' | 'rtcp' | 'unknown';

export function datagramKind(datagram: Buffer): DatagramKind {
  if (datagram.length < 2) return 'unknown';
  const first = datagram[0] as number;
  if (first <= 3) return 'stun';
  if (first >= 20 && first <= 63) return 'dtls';
  if (first >= 128 && first <= 191) {
    const second = datagram[1] as number;
    return second >= 192 && second <= 223 ? 'rtcp' : 'rtp';
  }
  return 'unknown';
}
