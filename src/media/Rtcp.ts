/** RTCP (RFC 3550 section 6, RFC 4585, RFC 5104, REMB draft): what a receiver and a sender of one video need. */

export interface ReportBlock {
  ssrc: number;
  /** Share of packets lost since the last report, in 1/256. */
  fractionLost: number;
  cumulativeLost: number;
  extendedHighestSequence: number;
  /** Interarrival jitter in units of the media clock. */
  jitter: number;
  /** Compact NTP of the last sender report received, 0 before the first. */
  lastSenderReport: number;
  /** In 1/65536 s. */
  delaySinceLastSenderReport: number;
}

export type RtcpMessage =
  | {
      type: 'sr';
      ssrc: number;
      ntpTimestamp: bigint;
      rtpTimestamp: number;
      packetCount: number;
      octetCount: number;
      reports: ReportBlock[];
    }
  | { type: 'rr'; ssrc: number; reports: ReportBlock[] }
  | { type: 'sdes'; chunks: { ssrc: number; cname: string }[] }
  | { type: 'bye'; ssrcs: number[] }
  | { type: 'nack'; senderSsrc: number; mediaSsrc: number; sequenceNumbers: number[] }
  | { type: 'pli'; senderSsrc: number; mediaSsrc: number }
  | { type: 'fir'; senderSsrc: number; entries: { ssrc: number; sequenceNumber: number }[] }
  | { type: 'remb'; senderSsrc: number; bitrateBps: number; ssrcs: number[] };

/** Tells RTCP from RTP on one port (RFC 5761, section 4). */
export function isRtcp(packet: Uint8Array): boolean {
  const type = packet[1] ?? 0;
  return packet.length >= 4 && type >= 192 && type <= 223;
}

const SENDER_REPORT = 200;
const RECEIVER_REPORT = 201;
const SOURCE_DESCRIPTION = 202;
const BYE = 203;
const TRANSPORT_FEEDBACK = 205;
const PAYLOAD_FEEDBACK = 206;
const REPORT_BYTES = 24;
const REMB = 0x52454d42;
/** More sequence numbers than this in one message are not a NACK but an attack on the sender's uplink. */
const MAX_NACKED = 1024;

/**
 * Every message understood in a compound packet. Skips unknown ones, stops at the first that does not fit
 * its own length, and never throws.
 */
export function parseRtcp(packet: Buffer): RtcpMessage[] {
  const messages: RtcpMessage[] = [];
  for (let at = 0; at + 4 <= packet.length; ) {
    const first = packet.readUInt8(at);
    const end = at + 4 + packet.readUInt16BE(at + 2) * 4;
    if (first >> 6 !== 2 || end > packet.length) break;
    let bodyEnd = end;
    if (first & 0x20) bodyEnd -= packet.readUInt8(end - 1);
    if (bodyEnd < at + 4) break;
    const message = parseOne(packet.readUInt8(at + 1), first & 0x1f, packet.subarray(at + 4, bodyEnd));
    if (message) messages.push(message);
    at = end;
  }
  return messages;
}

function parseOne(type: number, count: number, body: Buffer): RtcpMessage | null {
  switch (type) {
    case SENDER_REPORT:
      if (body.length < 24 + count * REPORT_BYTES) return null;
      return {
        type: 'sr',
        ssrc: body.readUInt32BE(0),
        ntpTimestamp: body.readBigUInt64BE(4),
        rtpTimestamp: body.readUInt32BE(12),
        packetCount: body.readUInt32BE(16),
        octetCount: body.readUInt32BE(20),
        reports: parseReports(body, 24, count),
      };
    case RECEIVER_REPORT:
      if (body.length < 4 + count * REPORT_BYTES) return null;
      return { type: 'rr', ssrc: body.readUInt32BE(0), reports: parseReports(body, 4, count) };
    case SOURCE_DESCRIPTION:
      return { type: 'sdes', chunks: parseChunks(body, count) };
    case BYE:
      if (body.length < count * 4) return null;
      return { type: 'bye', ssrcs: Array.from({ length: count }, (_, i) => body.readUInt32BE(i * 4)) };
    case TRANSPORT_FEEDBACK:
      return count === 1 && body.length >= 12 ? parseNack(body) : null;
    case PAYLOAD_FEEDBACK:
      return body.length >= 8 ? parsePayloadFeedback(count, body) : null;
    default:
      return null;
  }
}

function parseReports(body: Buffer, at: number, count: number): ReportBlock[] {
  return Array.from({ length: count }, (_, i) => {
    const from = at + i * REPORT_BYTES;
    return {
      ssrc: body.readUInt32BE(from),
      fractionLost: body.readUInt8(from + 4),
      cumulativeLost: body.readIntBE(from + 5, 3),
      extendedHighestSequence: body.readUInt32BE(from + 8),
      jitter: body.readUInt32BE(from + 12),
      lastSenderReport: body.readUInt32BE(from + 16),
      delaySinceLastSenderReport: body.readUInt32BE(from + 20),
    };
  });
}

function parseChunks(body: Buffer, count: number): { ssrc: number; cname: string }[] {
  const chunks: { ssrc: number; cname: string }[] = [];
  let at = 0;
  for (let i = 0; i < count && at + 4 <= body.length; i += 1) {
    const chunk = { ssrc: body.readUInt32BE(at), cname: '' };
    at += 4;
    while (at + 2 <= body.length && body[at] !== 0) {
      const length = body.readUInt8(at + 1);
      if (body[at] === 1) chunk.cname = body.toString('utf8', at + 2, Math.min(at + 2 + length, body.length));
      at += 2 + length;
    }
    at = (Math.floor(at / 4) + 1) * 4;
    chunks.push(chunk);
  }
  return chunks;
}

function parseNack(body: Buffer): RtcpMessage {
  const sequenceNumbers: number[] = [];
  for (let at = 8; at + 4 <= body.length && sequenceNumbers.length < MAX_NACKED; at += 4) {
    const first = body.readUInt16BE(at);
    const mask = body.readUInt16BE(at + 2);
    sequenceNumbers.push(first);
    for (let bit = 0; bit < 16; bit += 1) {
      if (mask & (1 << bit)) sequenceNumbers.push((first + bit + 1) & 0xffff);
    }
  }
  return { type: 'nack', senderSsrc: body.readUInt32BE(0), mediaSsrc: body.readUInt32BE(4), sequenceNumbers };
}

function parsePayloadFeedback(format: number, body: Buffer): RtcpMessage | null {
  const senderSsrc = body.readUInt32BE(0);
  if (format === 1) return { type: 'pli', senderSsrc, mediaSsrc: body.readUInt32BE(4) };
  if (format === 4) {
    const entries = Array.from({ length: Math.floor((body.length - 8) / 8) }, (_, i) => ({
      ssrc: body.readUInt32BE(8 + i * 8),
      sequenceNumber: body.readUInt8(12 + i * 8),
    }));
    return { type: 'fir', senderSsrc, entries };
  }
  if (format !== 15 || body.length < 16 || body.readUInt32BE(8) !== REMB) return null;
  const rate = body.readUInt32BE(12);
  const count = Math.min(rate >>> 24, Math.floor((body.length - 16) / 4));
  const bitrateBps = (rate & 0x3ffff) * 2 ** ((rate >>> 18) & 0x3f);
  const ssrcs = Array.from({ length: count }, (_, i) => body.readUInt32BE(16 + i * 4));
  return { type: 'remb', senderSsrc, bitrateBps, ssrcs };
}

/** One packet, compound when there are several messages. */
export function encodeRtcp(messages: readonly RtcpMessage[]): Buffer {
  return Buffer.concat(messages.map(encodeOne));
}

function encodeOne(message: RtcpMessage): Buffer {
  switch (message.type) {
    case 'sr': {
      const head = Buffer.alloc(24);
      head.writeUInt32BE(message.ssrc, 0);
      head.writeBigUInt64BE(message.ntpTimestamp, 4);
      head.writeUInt32BE(message.rtpTimestamp, 12);
      head.writeUInt32BE(message.packetCount >>> 0, 16);
      head.writeUInt32BE(message.octetCount >>> 0, 20);
      return pack(SENDER_REPORT, message.reports.length, head, ...message.reports.map(encodeReport));
    }
    case 'rr':
      return pack(
        RECEIVER_REPORT,
        message.reports.length,
        words(message.ssrc),
        ...message.reports.map(encodeReport),
      );
    case 'sdes':
      return pack(SOURCE_DESCRIPTION, message.chunks.length, ...message.chunks.map(encodeChunk));
    case 'bye':
      return pack(BYE, message.ssrcs.length, words(...message.ssrcs));
    case 'nack':
      return pack(
        TRANSPORT_FEEDBACK,
        1,
        words(message.senderSsrc, message.mediaSsrc, ...nackWords(message.sequenceNumbers)),
      );
    case 'pli':
      return pack(PAYLOAD_FEEDBACK, 1, words(message.senderSsrc, message.mediaSsrc));
    case 'fir': {
      const entries = message.entries.flatMap((entry) => [entry.ssrc, entry.sequenceNumber << 24]);
      return pack(PAYLOAD_FEEDBACK, 4, words(message.senderSsrc, 0, ...entries));
    }
    case 'remb': {
      const exponent = Math.max(0, Math.ceil(Math.log2((message.bitrateBps + 1) / 2 ** 18)));
      const mantissa = Math.floor(message.bitrateBps / 2 ** exponent);
      const rate = (message.ssrcs.length << 24) | (exponent << 18) | mantissa;
      return pack(PAYLOAD_FEEDBACK, 15, words(message.senderSsrc, 0, REMB, rate, ...message.ssrcs));
    }
  }
}

function pack(type: number, count: number, ...parts: Buffer[]): Buffer {
  const head = Buffer.alloc(4);
  head[0] = 0x80 | count;
  head[1] = type;
  head.writeUInt16BE(parts.reduce((bytes, part) => bytes + part.length, 0) / 4, 2);
  return Buffer.concat([head, ...parts]);
}

function words(...values: number[]): Buffer {
  const buffer = Buffer.alloc(values.length * 4);
  for (const [i, value] of values.entries()) buffer.writeUInt32BE(value >>> 0, i * 4);
  return buffer;
}

function encodeReport(report: ReportBlock): Buffer {
  const lost = Math.max(-0x80_0000, Math.min(0x7f_ffff, report.cumulativeLost));
  return words(
    report.ssrc,
    (report.fractionLost << 24) | (lost & 0xff_ffff),
    report.extendedHighestSequence,
    report.jitter,
    report.lastSenderReport,
    report.delaySinceLastSenderReport,
  );
}

function encodeChunk(chunk: { ssrc: number; cname: string }): Buffer {
  const text = Buffer.from(chunk.cname).subarray(0, 255);
  const buffer = Buffer.alloc((Math.floor((6 + text.length) / 4) + 1) * 4);
  buffer.writeUInt32BE(chunk.ssrc, 0);
  buffer[4] = 1;
  buffer[5] = text.length;
  text.copy(buffer, 6);
  return buffer;
}

/** Pairs of first sequence number and bit mask of the 16 after it; the numbers come in ascending order. */
function nackWords(sequenceNumbers: readonly number[]): number[] {
  const pairs: number[] = [];
  let first = -1;
  let mask = 0;
  for (const sequenceNumber of sequenceNumbers) {
    const distance = (sequenceNumber - first) & 0xffff;
    if (first >= 0 && distance >= 1 && distance <= 16) {
      mask |= 1 << (distance - 1);
      continue;
    }
    if (first >= 0) pairs.push((first << 16) | mask);
    first = sequenceNumber;
    mask = 0;
  }
  if (first >= 0) pairs.push((first << 16) | mask);
  return pairs;
}
