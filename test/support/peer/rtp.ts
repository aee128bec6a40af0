/** RTP packets (RFC 3550) with one-byte header extensions (RFC 8285); independent of what the engines use. */

export interface RtpPacket {
  payloadType: number;
  marker: boolean;
  sequenceNumber: number;
  timestamp: number;
  ssrc: number;
  /** Extension id to its bytes. */
  extensions: Map<number, Buffer>;
  payload: Buffer;
}

export function encodeRtp(packet: RtpPacket): Buffer {
  const elements: Buffer[] = [];
  for (const [id, value] of packet.extensions)
    elements.push(Buffer.from([(id << 4) | (value.length - 1)]), value);
  const extension = Buffer.concat(elements);
  const words = Math.ceil(extension.length / 4);
  const hasExtension = words > 0;
  const header = Buffer.alloc(12 + (hasExtension ? 4 + words * 4 : 0));
  header[0] = 0x80 | (hasExtension ? 0x10 : 0);
  header[1] = (packet.marker ? 0x80 : 0) | packet.payloadType;
  header.writeUInt16BE(packet.sequenceNumber & 0xffff, 2);
  header.writeUInt32BE(packet.timestamp >>> 0, 4);
  header.writeUInt32BE(packet.ssrc >>> 0, 8);
  if (hasExtension) {
    header.writeUInt16BE(0xbede, 12);
    header.writeUInt16BE(words, 14);
    extension.copy(header, 16);
  }
  return Buffer.concat([header, packet.payload]);
}

function readExtensions(block: Buffer, profile: number): Map<number, Buffer> {
  const extensions = new Map<number, Buffer>();
  const twoByte = (profile & 0xfff0) === 0x1000;
  if (profile !== 0xbede && !twoByte) return extensions;
  for (let at = 0; at < block.length; ) {
    const first = block[at] ?? 0;
    if (first === 0) {
      at += 1;
      continue;
    }
    const id = twoByte ? first : first >> 4;
    if (!twoByte && id === 15) break;
    const length = twoByte ? (block[at + 1] ?? 0) : (first & 15) + 1;
    const start = at + (twoByte ? 2 : 1);
    extensions.set(id, block.subarray(start, start + length));
    at = start + length;
  }
  return extensions;
}

export function parseRtp(data: Buffer): RtpPacket {
  const first = data.readUInt8(0);
  if (first >> 6 !== 2) throw new Error(`RTP version is ${first >> 6}, not 2`);
  let at = 12 + (first & 15) * 4;
  let extensions = new Map<number, Buffer>();
  if (first & 0x10) {
    const bytes = data.readUInt16BE(at + 2) * 4;
    extensions = readExtensions(data.subarray(at + 4, at + 4 + bytes), data.readUInt16BE(at));
    at += 4 + bytes;
  }
  const padding = first & 0x20 ? data.readUInt8(data.length - 1) : 0;
  return {
    payloadType: data.readUInt8(1) & 0x7f,
    marker: (data.readUInt8(1) & 0x80) !== 0,
    sequenceNumber: data.readUInt16BE(2),
    timestamp: data.readUInt32BE(4),
    ssrc: data.readUInt32BE(8),
    extensions,
    payload: data.subarray(at, data.length - padding),
  };
}

/** Length of the header with CSRCs and extension; null where the packet is shorter or no RTP. */
export function rtpHeaderBytes(data: Buffer): number | null {
  const first = data[0] ?? 0;
  let bytes = 12 + (first & 15) * 4;
  if (first >> 6 !== 2 || data.length < bytes) return null;
  if (first & 0x10) {
    if (data.length < bytes + 4) return null;
    bytes += 4 + data.readUInt16BE(bytes + 2) * 4;
  }
  return data.length < bytes ? null : bytes;
}

/** RFC 5761, section 4: payload types 64 to 95 are RTCP on a multiplexed port. */
export function isRtcp(data: Buffer): boolean {
  const type = (data[1] ?? 0) & 0x7f;
  return type >= 64 && type <= 95;
}

/** `a - b` in 16-bit sequence space, −32768 to 32767. */
export function sequenceDistance(a: number, b: number): number {
  return (((a - b) & 0xffff) ^ 0x8000) - 0x8000;
}
