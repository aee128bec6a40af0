/** RTCP (RFC 3550, 4585, 5104, REMB and transport-wide feedback drafts); independent of what the engines use. */

export interface ReportBlock {
  ssrc: number;
  /** 0 to 255: fraction of packets lost since the last report, in 1/256. */
  fractionLost: number;
  cumulativeLost: number;
  extendedHighestSequence: number;
  jitter: number;
  lastSenderReport: number;
  delaySinceLastSenderReport: number;
}

export interface TransportFeedbackEntry {
  sequenceNumber: number;
  /** Since the packet received before it (or the reference time); null: not received. */
  deltaMicros: number | null;
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
  | {
      type: 'fir';
      senderSsrc: number;
      mediaSsrc: number;
      entries: { ssrc: number; sequenceNumber: number }[];
    }
  | { type: 'remb'; senderSsrc: number; bitrateBps: number; ssrcs: number[] }
  | {
      type: 'twcc';
      senderSsrc: number;
      mediaSsrc: number;
      /** 24 bits, units of 64 ms. */
      referenceTime: number;
      feedbackCount: number;
      packets: TransportFeedbackEntry[];
    }
  | { type: 'other'; packetType: number; count: number; body: Buffer };

export type RtcpOf<T extends RtcpMessage['type']> = Extract<RtcpMessage, { type: T }>;

function packet(type: number, count: number, body: Buffer): Buffer {
  const padded = Math.ceil(body.length / 4) * 4;
  const buffer = Buffer.alloc(4 + padded);
  buffer[0] = 0x80 | count;
  buffer[1] = type;
  buffer.writeUInt16BE(padded / 4, 2);
  body.copy(buffer, 4);
  return buffer;
}

function words(...values: number[]): Buffer {
  const buffer = Buffer.alloc(values.length * 4);
  values.forEach((value, i) => {
    buffer.writeUInt32BE(value >>> 0, i * 4);
  });
  return buffer;
}

function encodeReports(reports: ReportBlock[]): Buffer {
  return Buffer.concat(
    reports.map((report) =>
      words(
        report.ssrc,
        (report.fractionLost << 24) | (report.cumulativeLost & 0xffffff),
        report.extendedHighestSequence,
        report.jitter,
        report.lastSenderReport,
        report.delaySinceLastSenderReport,
      ),
    ),
  );
}

function encodeNackBlocks(sequenceNumbers: number[]): Buffer {
  const pairs: number[] = [];
  const rest = [...sequenceNumbers];
  for (let pid = rest.shift(); pid !== undefined; pid = rest.shift()) {
    let mask = 0;
    for (let i = rest.length - 1; i >= 0; i -= 1) {
      const offset = ((rest[i] ?? 0) - pid - 1) & 0xffff;
      if (offset < 16) {
        mask |= 1 << offset;
        rest.splice(i, 1);
      }
    }
    pairs.push(((pid << 16) | mask) >>> 0);
  }
  return words(...pairs);
}

function encodeTransportFeedback(message: RtcpOf<'twcc'>): Buffer {
  const head = Buffer.alloc(16);
  head.writeUInt32BE(message.senderSsrc, 0);
  head.writeUInt32BE(message.mediaSsrc, 4);
  head.writeUInt16BE(message.packets[0]?.sequenceNumber ?? 0, 8);
  head.writeUInt16BE(message.packets.length, 10);
  head.writeUIntBE(message.referenceTime & 0xffffff, 12, 3);
  head[15] = message.feedbackCount & 0xff;
  const symbols: number[] = [];
  const deltas: Buffer[] = [];
  for (const { deltaMicros } of message.packets) {
    if (deltaMicros === null) {
      symbols.push(0);
      continue;
    }
    const ticks = Math.round(deltaMicros / 250);
    if (ticks >= 0 && ticks <= 255) {
      symbols.push(1);
      deltas.push(Buffer.from([ticks]));
    } else {
      const wide = Buffer.alloc(2);
      wide.writeInt16BE(Math.max(-32768, Math.min(32767, ticks)));
      symbols.push(2);
      deltas.push(wide);
    }
  }
  const chunks: Buffer[] = [];
  for (let at = 0; at < symbols.length; at += 7) {
    let chunk = 0xc000;
    for (let i = 0; i < 7; i += 1) chunk |= (symbols[at + i] ?? 0) << (12 - i * 2);
    chunks.push(Buffer.from([chunk >> 8, chunk & 255]));
  }
  return packet(205, 15, Buffer.concat([head, ...chunks, ...deltas]));
}

function encodeRemb(message: RtcpOf<'remb'>): Buffer {
  let exponent = 0;
  let mantissa = Math.floor(message.bitrateBps);
  while (mantissa > 0x3ffff) {
    mantissa = Math.floor(mantissa / 2);
    exponent += 1;
  }
  return packet(
    206,
    15,
    Buffer.concat([
      words(message.senderSsrc, 0),
      Buffer.from('REMB'),
      words(((message.ssrcs.length << 24) | (exponent << 18) | mantissa) >>> 0, ...message.ssrcs),
    ]),
  );
}

function encodeOne(message: RtcpMessage): Buffer {
  switch (message.type) {
    case 'sr': {
      const ntp = Buffer.alloc(8);
      ntp.writeBigUInt64BE(message.ntpTimestamp);
      const info = words(message.rtpTimestamp, message.packetCount, message.octetCount);
      const body = Buffer.concat([words(message.ssrc), ntp, info, encodeReports(message.reports)]);
      return packet(200, message.reports.length, body);
    }
    case 'rr':
      return packet(
        201,
        message.reports.length,
        Buffer.concat([words(message.ssrc), encodeReports(message.reports)]),
      );
    case 'sdes': {
      const chunks = message.chunks.map(({ ssrc, cname }) => {
        const text = Buffer.from(cname);
        const chunk = Buffer.alloc(Math.ceil((4 + 2 + text.length + 1) / 4) * 4);
        chunk.writeUInt32BE(ssrc, 0);
        chunk.set([1, text.length], 4);
        text.copy(chunk, 6);
        return chunk;
      });
      return packet(202, chunks.length, Buffer.concat(chunks));
    }
    case 'bye':
      return packet(203, message.ssrcs.length, words(...message.ssrcs));
    case 'nack':
      return packet(
        205,
        1,
        Buffer.concat([
          words(message.senderSsrc, message.mediaSsrc),
          encodeNackBlocks(message.sequenceNumbers),
        ]),
      );
    case 'pli':
      return packet(206, 1, words(message.senderSsrc, message.mediaSsrc));
    case 'fir':
      return packet(
        206,
        4,
        words(
          message.senderSsrc,
          message.mediaSsrc,
          ...message.entries.flatMap(({ ssrc, sequenceNumber }) => [ssrc, (sequenceNumber << 24) >>> 0]),
        ),
      );
    case 'remb':
      return encodeRemb(message);
    case 'twcc':
      return encodeTransportFeedback(message);
    case 'other':
      return packet(message.packetType, message.count, message.body);
  }
}

/** A compound packet. */
export function encodeRtcp(messages: RtcpMessage[]): Buffer {
  return Buffer.concat(messages.map(encodeOne));
}

function readReports(body: Buffer, at: number, count: number): ReportBlock[] {
  return Array.from({ length: count }, (_, i) => {
    const from = at + i * 24;
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

function readNack(body: Buffer): RtcpMessage {
  const sequenceNumbers: number[] = [];
  for (let at = 8; at + 4 <= body.length; at += 4) {
    const pid = body.readUInt16BE(at);
    const mask = body.readUInt16BE(at + 2);
    sequenceNumbers.push(pid);
    for (let bit = 0; bit < 16; bit += 1)
      if (mask & (1 << bit)) sequenceNumbers.push((pid + bit + 1) & 0xffff);
  }
  return { type: 'nack', senderSsrc: body.readUInt32BE(0), mediaSsrc: body.readUInt32BE(4), sequenceNumbers };
}

function readTransportFeedback(body: Buffer): RtcpMessage {
  const base = body.readUInt16BE(8);
  const count = body.readUInt16BE(10);
  const symbols: number[] = [];
  let at = 16;
  while (symbols.length < count) {
    const chunk = body.readUInt16BE(at);
    at += 2;
    if ((chunk & 0x8000) === 0) {
      const run = Math.min(chunk & 0x1fff, count - symbols.length);
      for (let i = 0; i < run; i += 1) symbols.push((chunk >> 13) & 3);
    } else if (chunk & 0x4000) for (let i = 0; i < 7; i += 1) symbols.push((chunk >> (12 - i * 2)) & 3);
    else for (let i = 0; i < 14; i += 1) symbols.push((chunk >> (13 - i)) & 1);
  }
  const packets = symbols.slice(0, count).map((symbol, i): TransportFeedbackEntry => {
    const sequenceNumber = (base + i) & 0xffff;
    if (symbol === 1) return { sequenceNumber, deltaMicros: body.readUInt8(at++) * 250 };
    if (symbol !== 2) return { sequenceNumber, deltaMicros: null };
    at += 2;
    return { sequenceNumber, deltaMicros: body.readInt16BE(at - 2) * 250 };
  });
  return {
    type: 'twcc',
    senderSsrc: body.readUInt32BE(0),
    mediaSsrc: body.readUInt32BE(4),
    referenceTime: body.readUIntBE(12, 3),
    feedbackCount: body.readUInt8(15),
    packets,
  };
}

function readSdes(body: Buffer, count: number): RtcpMessage {
  const chunks: { ssrc: number; cname: string }[] = [];
  let at = 0;
  for (let i = 0; i < count; i += 1) {
    const ssrc = body.readUInt32BE(at);
    let cname = '';
    at += 4;
    while (body[at]) {
      const length = body.readUInt8(at + 1);
      if (body[at] === 1) cname = body.toString('utf8', at + 2, at + 2 + length);
      at += 2 + length;
    }
    at = Math.ceil((at + 1) / 4) * 4;
    chunks.push({ ssrc, cname });
  }
  return { type: 'sdes', chunks };
}

function parseOne(packetType: number, count: number, body: Buffer): RtcpMessage {
  const other: RtcpMessage = { type: 'other', packetType, count, body };
  switch (packetType) {
    case 200:
      return {
        type: 'sr',
        ssrc: body.readUInt32BE(0),
        ntpTimestamp: body.readBigUInt64BE(4),
        rtpTimestamp: body.readUInt32BE(12),
        packetCount: body.readUInt32BE(16),
        octetCount: body.readUInt32BE(20),
        reports: readReports(body, 24, count),
      };
    case 201:
      return { type: 'rr', ssrc: body.readUInt32BE(0), reports: readReports(body, 4, count) };
    case 202:
      return readSdes(body, count);
    case 203:
      return { type: 'bye', ssrcs: Array.from({ length: count }, (_, i) => body.readUInt32BE(i * 4)) };
    case 205:
      if (count === 1) return readNack(body);
      return count === 15 ? readTransportFeedback(body) : other;
    case 206: {
      const senderSsrc = body.readUInt32BE(0);
      const mediaSsrc = body.readUInt32BE(4);
      if (count === 1) return { type: 'pli', senderSsrc, mediaSsrc };
      if (count === 4) {
        const entries = Array.from({ length: (body.length - 8) / 8 }, (_, i) => ({
          ssrc: body.readUInt32BE(8 + i * 8),
          sequenceNumber: body.readUInt8(12 + i * 8),
        }));
        return { type: 'fir', senderSsrc, mediaSsrc, entries };
      }
      if (count !== 15 || body.toString('latin1', 8, 12) !== 'REMB') return other;
      const value = body.readUInt32BE(12);
      const ssrcs = Array.from({ length: value >>> 24 }, (_, i) => body.readUInt32BE(16 + i * 4));
      return { type: 'remb', senderSsrc, bitrateBps: (value & 0x3ffff) * 2 ** ((value >> 18) & 0x3f), ssrcs };
    }
    default:
      return other;
  }
}

/** Throws on anything malformed: an engine that sends such a packet fails its test. */
export function parseRtcp(data: Buffer): RtcpMessage[] {
  const messages: RtcpMessage[] = [];
  for (let at = 0; at < data.length; ) {
    const first = data.readUInt8(at);
    if (first >> 6 !== 2) throw new Error(`RTCP version is ${first >> 6}, not 2`);
    const end = at + 4 + data.readUInt16BE(at + 2) * 4;
    if (end > data.length) throw new Error('RTCP packet is longer than its datagram');
    const padding = first & 0x20 ? data.readUInt8(end - 1) : 0;
    messages.push(parseOne(data.readUInt8(at + 1), first & 0x1f, data.subarray(at + 4, end - padding)));
    at = end;
  }
  return messages;
}
