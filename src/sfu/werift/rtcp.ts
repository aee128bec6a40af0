/**
 * RTCP packets, read and written (RFC 3550 section 6, RFC 4585, RFC 5104, REMB and transport-wide
 * congestion control drafts). Reading never throws: what is malformed is skipped or ends the walk.
 */

export interface ReportBlock {
  ssrc: number;
  /** Of 256, since the last report. */
  fractionLost: number;
  packetsLost: number;
  highestSequence: number;
  jitter: number;
  /** Middle 32 bits of the last SR's NTP time; 0: none yet. */
  lastSr: number;
  /** In units of 1/65536 s. */
  delaySinceLastSr: number;
}

export interface SenderInfo {
  ntpSeconds: number;
  ntpFraction: number;
  rtpTimestamp: number;
  packetCount: number;
  octetCount: number;
}

export type RtcpMessage =
  | { type: 'sr'; ssrc: number; info: SenderInfo; reports: ReportBlock[] }
  | { type: 'rr'; ssrc: number; reports: ReportBlock[] }
  | { type: 'nack'; mediaSsrc: number; sequenceNumbers: number[] }
  | { type: 'pli'; mediaSsrc: number }
  | { type: 'fir'; ssrcs: number[] }
  | { type: 'remb'; bitrateBps: number; ssrcs: number[] }
  | TransportFeedback;

/** Which packets of a transport arrived, and when (draft-holmer-rmcat-transport-wide-cc-extensions-01). */
export interface TransportFeedback {
  type: 'twcc';
  baseSequence: number;
  /** One entry a packet from the base on: milliseconds on the receiver's clock, null when it did not arrive. */
  arrivalsMs: (number | null)[];
}

const SR = 200;
const RR = 201;
const SDES = 202;
const RTPFB = 205;
const PSFB = 206;
const REMB_IDENTIFIER = 0x52454d42;
/** Feedback on more packets at once is not honest. */
const MAX_FEEDBACK_PACKETS = 8192;
/** A NACK that asks for more is not honest. */
const MAX_NACKED = 1024;

/** Walks a compound packet; unknown packet types are passed over. */
export function parseRtcp(compound: Buffer): RtcpMessage[] {
  const messages: RtcpMessage[] = [];
  let offset = 0;
  while (offset + 8 <= compound.length) {
    const first = compound[offset] as number;
    if (first >> 6 !== 2) break;
    const size = (compound.readUInt16BE(offset + 2) + 1) * 4;
    if (offset + size > compound.length) break;
    const packet = compound.subarray(offset, offset + size);
    const message = parsePacket(first & 0x1f, compound[offset + 1] as number, packet);
    if (message) messages.push(message);
    offset += size;
  }
  return messages;
}

function parsePacket(count: number, type: number, packet: Buffer): RtcpMessage | undefined {
  switch (type) {
    case SR: {
      if (packet.length < 28) return undefined;
      const info: SenderInfo = {
        ntpSeconds: packet.readUInt32BE(8),
        ntpFraction: packet.readUInt32BE(12),
        rtpTimestamp: packet.readUInt32BE(16),
        packetCount: packet.readUInt32BE(20),
        octetCount: packet.readUInt32BE(24),
      };
      return { type: 'sr', ssrc: packet.readUInt32BE(4), info, reports: parseReports(packet, 28, count) };
    }
    case RR:
      return packet.length < 8
        ? undefined
        : { type: 'rr', ssrc: packet.readUInt32BE(4), reports: parseReports(packet, 8, count) };
    case RTPFB:
      if (count === 1 && packet.length >= 12) return parseNack(packet);
      return count === 15 && packet.length >= 20 ? parseTransportFeedback(packet) : undefined;
    case PSFB:
      return packet.length >= 12 ? parsePayloadFeedback(count, packet) : undefined;
    default:
      return undefined;
  }
}

function parseReports(packet: Buffer, start: number, count: number): ReportBlock[] {
  const reports: ReportBlock[] = [];
  for (let at = start; reports.length < count && at + 24 <= packet.length; at += 24) {
    reports.push({
      ssrc: packet.readUInt32BE(at),
      fractionLost: packet[at + 4] as number,
      packetsLost: packet.readIntBE(at + 5, 3),
      highestSequence: packet.readUInt32BE(at + 8),
      jitter: packet.readUInt32BE(at + 12),
      lastSr: packet.readUInt32BE(at + 16),
      delaySinceLastSr: packet.readUInt32BE(at + 20),
    });
  }
  return reports;
}

function parseNack(packet: Buffer): RtcpMessage {
  const sequenceNumbers: number[] = [];
  for (let at = 12; at + 4 <= packet.length && sequenceNumbers.length < MAX_NACKED; at += 4) {
    const first = packet.readUInt16BE(at);
    const following = packet.readUInt16BE(at + 2);
    sequenceNumbers.push(first);
    for (let bit = 0; bit < 16; bit++) {
      if (following & (1 << bit)) sequenceNumbers.push((first + bit + 1) & 0xffff);
    }
  }
  return { type: 'nack', mediaSsrc: packet.readUInt32BE(8), sequenceNumbers };
}

function parseTransportFeedback(packet: Buffer): TransportFeedback | undefined {
  const count = packet.readUInt16BE(14);
  if (count > MAX_FEEDBACK_PACKETS) return undefined;
  const symbols: number[] = [];
  let at = 20;
  while (symbols.length < count) {
    if (at + 2 > packet.length) return undefined;
    const chunk = packet.readUInt16BE(at);
    at += 2;
    if ((chunk & 0x8000) === 0) {
      const run = Math.min(chunk & 0x1fff, count - symbols.length);
      for (let index = 0; index < run; index++) symbols.push((chunk >> 13) & 3);
      if (run === 0) return undefined;
    } else if (chunk & 0x4000) {
      for (let shift = 12; shift >= 0 && symbols.length < count; shift -= 2)
        symbols.push((chunk >> shift) & 3);
    } else {
      for (let shift = 13; shift >= 0 && symbols.length < count; shift--) symbols.push((chunk >> shift) & 1);
    }
  }
  let ticks = packet.readUIntBE(16, 3) * 256;
  const arrivalsMs: (number | null)[] = [];
  for (const symbol of symbols) {
    if (symbol === 0 || symbol === 3) {
      arrivalsMs.push(null);
      continue;
    }
    if (at + symbol > packet.length) return undefined;
    ticks += symbol === 1 ? packet.readUInt8(at) : packet.readInt16BE(at);
    at += symbol;
    arrivalsMs.push(ticks / 4);
  }
  return { type: 'twcc', baseSequence: packet.readUInt16BE(12), arrivalsMs };
}

function parsePayloadFeedback(format: number, packet: Buffer): RtcpMessage | undefined {
  const mediaSsrc = packet.readUInt32BE(8);
  switch (format) {
    case 1:
      return { type: 'pli', mediaSsrc };
    case 4: {
      const ssrcs: number[] = [];
      for (let at = 12; at + 8 <= packet.length; at += 8) ssrcs.push(packet.readUInt32BE(at));
      return { type: 'fir', ssrcs };
    }
    case 15: {
      if (packet.length < 20 || packet.readUInt32BE(12) !== REMB_IDENTIFIER) return undefined;
      const word = packet.readUInt32BE(16);
      const bitrateBps = (word & 0x3ffff) * 2 ** ((word >>> 18) & 0x3f);
      const ssrcs: number[] = [];
      for (let at = 20; at + 4 <= packet.length; at += 4) ssrcs.push(packet.readUInt32BE(at));
      return { type: 'remb', bitrateBps, ssrcs };
    }
    default:
      return undefined;
  }
}

function header(count: number, type: number, size: number): Buffer {
  const packet = Buffer.alloc(size);
  packet[0] = 0x80 | count;
  packet[1] = type;
  packet.writeUInt16BE(size / 4 - 1, 2);
  return packet;
}

function writeReports(packet: Buffer, start: number, reports: readonly ReportBlock[]): void {
  let at = start;
  for (const report of reports) {
    packet.writeUInt32BE(report.ssrc, at);
    packet[at + 4] = report.fractionLost;
    packet.writeIntBE(Math.max(-0x800000, Math.min(0x7fffff, report.packetsLost)), at + 5, 3);
    packet.writeUInt32BE(report.highestSequence >>> 0, at + 8);
    packet.writeUInt32BE(report.jitter >>> 0, at + 12);
    packet.writeUInt32BE(report.lastSr, at + 16);
    packet.writeUInt32BE(report.delaySinceLastSr >>> 0, at + 20);
    at += 24;
  }
}

/** RFC 3550, section 6.4.2; at most 31 reports. */
export function buildReceiverReport(senderSsrc: number, reports: readonly ReportBlock[]): Buffer {
  const packet = header(reports.length, RR, 8 + reports.length * 24);
  packet.writeUInt32BE(senderSsrc, 4);
  writeReports(packet, 8, reports);
  return packet;
}

/** RFC 3550, section 6.4.1. */
export function buildSenderReport(ssrc: number, info: SenderInfo): Buffer {
  const packet = header(0, SR, 28);
  packet.writeUInt32BE(ssrc, 4);
  packet.writeUInt32BE(info.ntpSeconds, 8);
  packet.writeUInt32BE(info.ntpFraction, 12);
  packet.writeUInt32BE(info.rtpTimestamp, 16);
  packet.writeUInt32BE(info.packetCount >>> 0, 20);
  packet.writeUInt32BE(info.octetCount >>> 0, 24);
  return packet;
}

/** RFC 3550, section 6.5: one chunk with a CNAME. */
export function buildSdes(ssrc: number, cname: string): Buffer {
  const name = Buffer.from(cname, 'utf8').subarray(0, 255);
  // At least one zero byte ends the chunk, which is padded to 32 bits.
  const size = 4 + Math.ceil((4 + 2 + name.length + 1) / 4) * 4;
  const packet = header(1, SDES, size);
  packet.writeUInt32BE(ssrc, 4);
  packet[8] = 1;
  packet[9] = name.length;
  name.copy(packet, 10);
  return packet;
}

/** RFC 4585, section 6.2.1. */
export function buildNack(senderSsrc: number, mediaSsrc: number, sequenceNumbers: readonly number[]): Buffer {
  const items: [first: number, following: number][] = [];
  let item: [number, number] | undefined;
  for (const sequenceNumber of sequenceNumbers) {
    const distance = item ? (sequenceNumber - item[0]) & 0xffff : 0;
    if (item && distance >= 1 && distance <= 16) {
      item[1] |= 1 << (distance - 1);
    } else {
      item = [sequenceNumber, 0];
      items.push(item);
    }
  }
  const packet = header(1, RTPFB, 12 + items.length * 4);
  packet.writeUInt32BE(senderSsrc, 4);
  packet.writeUInt32BE(mediaSsrc, 8);
  items.forEach(([first, following], index) => {
    packet.writeUInt16BE(first, 12 + index * 4);
    packet.writeUInt16BE(following, 14 + index * 4);
  });
  return packet;
}

/** RFC 4585, section 6.3.1. */
export function buildPli(senderSsrc: number, mediaSsrc: number): Buffer {
  const packet = header(1, PSFB, 12);
  packet.writeUInt32BE(senderSsrc, 4);
  packet.writeUInt32BE(mediaSsrc, 8);
  return packet;
}

/** RFC 5104, section 4.3.1; `commandNumber` changes with every new request. */
export function buildFir(senderSsrc: number, mediaSsrc: number, commandNumber: number): Buffer {
  const packet = header(4, PSFB, 20);
  packet.writeUInt32BE(senderSsrc, 4);
  packet.writeUInt32BE(mediaSsrc, 12);
  packet[16] = commandNumber & 0xff;
  return packet;
}

/** draft-alvestrand-rmcat-remb-03, section 2.2. */
export function buildRemb(senderSsrc: number, bitrateBps: number, ssrcs: readonly number[]): Buffer {
  const packet = header(15, PSFB, 20 + ssrcs.length * 4);
  packet.writeUInt32BE(senderSsrc, 4);
  packet.writeUInt32BE(REMB_IDENTIFIER, 12);
  let exponent = 0;
  let mantissa = Math.max(0, Math.floor(bitrateBps));
  while (mantissa > 0x3ffff) {
    mantissa = Math.floor(mantissa / 2);
    exponent++;
  }
  packet.writeUInt32BE(((ssrcs.length << 24) | (exponent << 18) | mantissa) >>> 0, 16);
  ssrcs.forEach((ssrc, index) => {
    packet.writeUInt32BE(ssrc, 20 + index * 4);
  });
  return packet;
}
