/** One RTP packet, parsed without trusting a byte of it (RFC 3550, section 5.1). */
export interface RtpPacket {
  marker: boolean;
  payloadType: number;
  sequenceNumber: number;
  timestamp: number;
  ssrc: number;
  /** View into the datagram, without header extensions and padding; empty for padding-only packets. */
  payload: Buffer;
}

export const RTP_HEADER_BYTES = 12;

/** Null for anything that is not one well-formed RTP packet. */
export function parseRtpPacket(data: Buffer): RtpPacket | null {
  if (data.length < RTP_HEADER_BYTES) return null;
  const first = data.readUInt8(0);
  if (first >> 6 !== 2) return null;
  let start = RTP_HEADER_BYTES + (first & 0x0f) * 4;
  let end = data.length;
  if (first & 0x10) {
    if (start + 4 > end) return null;
    start += 4 + data.readUInt16BE(start + 2) * 4;
  }
  if (start > end) return null;
  if (first & 0x20) {
    const padding = data.readUInt8(end - 1);
    if (padding === 0 || start + padding > end) return null;
    end -= padding;
  }
  const second = data.readUInt8(1);
  return {
    marker: (second & 0x80) !== 0,
    payloadType: second & 0x7f,
    sequenceNumber: data.readUInt16BE(2),
    timestamp: data.readUInt32BE(4),
    ssrc: data.readUInt32BE(8),
    payload: data.subarray(start, end),
  };
}

/** Writes the fixed 12-byte header at `offset`. */
export function writeRtpHeader(target: Buffer, offset: number, header: Omit<RtpPacket, 'payload'>): void {
  target[offset] = 0x80;
  target[offset + 1] = (header.marker ? 0x80 : 0) | header.payloadType;
  target.writeUInt16BE(header.sequenceNumber, offset + 2);
  target.writeUInt32BE(header.timestamp, offset + 4);
  target.writeUInt32BE(header.ssrc, offset + 8);
}

/** The retransmission stream's packet, unwrapped to the packet it repeats (RFC 4588, section 4); null when empty. */
export function unwrapRtx(rtx: RtpPacket, original: { payloadType: number; ssrc: number }): RtpPacket | null {
  if (rtx.payload.length < 2) return null;
  return {
    marker: rtx.marker,
    payloadType: original.payloadType,
    sequenceNumber: rtx.payload.readUInt16BE(0),
    timestamp: rtx.timestamp,
    ssrc: original.ssrc,
    payload: rtx.payload.subarray(2),
  };
}
