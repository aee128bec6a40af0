import type { RtpVideoStream } from '../restorer/types.js';
import { compactNtp } from './clocks.js';
import { Pacer } from './Pacer.js';
import type { Packetizer, PayloadSegments } from './Payload.js';
import { createPacketizer } from './payloadFormats.js';
import { encodeRtcp, type ReportBlock, type RtcpMessage } from './Rtcp.js';
import { parseRtpPacket, RTP_HEADER_BYTES, writeRtpHeader } from './RtpPacket.js';
import type { SenderClock } from './RtpVideoReceiver.js';
import { SenderClockMapping } from './SenderClockMapping.js';
import { SentPackets } from './SentPackets.js';
import type { EncodedPicture } from './types.js';

const MAX_PACKET_BYTES = 1200;
/** Room for the original sequence number when a packet is repeated (RFC 4588). */
const RTX_BYTES = 2;
const REPORT_INTERVAL_MS = 1000;
const KEY_FRAME_REQUEST_INTERVAL_MS = 300;
/** More than this waits only when nobody calls `tick`. */
const MAX_QUEUED_BYTES = 4 * 1024 * 1024;
const MIN_REPEAT_MS = 10;
const REMEMBERED_REPORTS = 8;

export interface RtpVideoSenderOptions {
  stream: RtpVideoStream;
  bitrateBps: number;
  /** Frames a second expected; a frame is spread over at most half an interval. */
  fps: number;
  /** Longest RTP packet; 1200 unless given. */
  maxPacketBytes?: number;
  /** RTP and RTCP, ready for the socket. The buffer is not reused. */
  send: (packet: Buffer) => void;
  /** PLI or FIR arrived (at most one call in 300 ms). */
  onKeyFrameRequest: () => void;
  /** The last packet of a frame left: the end of the added latency. */
  onFrameSent?: (rtpTimestamp90k: number, sentAtMs: number) => void;
}

export interface RtpVideoSenderStats {
  packetsSent: number;
  bytesSent: number;
  framesSent: number;
  framesDropped: number;
  retransmitted: number;
  nacksReceived: number;
  plisReceived: number;
  queuedPackets: number;
  queuedBytes: number;
  /** From the last receiver report: 0 to 1. */
  fractionLost: number;
  rttMs: number | null;
  /** Of the last REMB, bits per second. */
  remoteEstimateBps: number | null;
}

/** One packet on its way out. Its sequence number is given when it leaves, so that dropped frames leave no gap. */
interface Outgoing {
  packet: Buffer;
  byteLength: number;
  /** Of the frame that ends with this packet; null for the packets before. */
  lastOf: number | null;
}

/**
 * Packetizes, paces and retransmits one video stream. Timestamps go out as they came in with the original.
 * No timers of its own: call `tick` at `nextDeadlineMs` or a little later, with the same clock as `sendFrame`.
 */
export class RtpVideoSender {
  readonly #options: RtpVideoSenderOptions;
  readonly #packetize: Packetizer;
  readonly #pacer: Pacer<Outgoing>;
  readonly #sent = new SentPackets();
  readonly #clock = new SenderClockMapping();
  /** When each sender report left, by its compact NTP time: NTP may be another machine's clock. */
  readonly #reports = new Map<number, number>();
  #sequenceNumber = Math.floor(Math.random() * 0x8000);
  #rtxSequenceNumber = Math.floor(Math.random() * 0x8000);
  #nextReportMs = Number.POSITIVE_INFINITY;
  #keyFrameRequestedAtMs = Number.NEGATIVE_INFINITY;
  #lastFirSequence: number | null = null;
  /** Frames were dropped: nothing else helps the receivers. */
  #needsKeyFrame = false;
  #closed = false;
  #packetsSent = 0;
  #bytesSent = 0;
  #payloadBytesSent = 0;
  #framesSent = 0;
  #framesDropped = 0;
  #retransmitted = 0;
  #nacksReceived = 0;
  #plisReceived = 0;
  #fractionLost = 0;
  #rttMs: number | null = null;
  #remoteEstimateBps: number | null = null;

  constructor(options: RtpVideoSenderOptions) {
    this.#options = options;
    this.#packetize = createPacketizer(options.stream.codec);
    this.#pacer = new Pacer(options.bitrateBps, options.fps);
  }

  /**
   * Queues one access unit and sends what the pacer permits at once. `originalArrivalAtMs` is when the last
   * packet of the original frame came in: it maps RTP to NTP time while the input has no sender reports.
   */
  sendFrame(picture: EncodedPicture, originalArrivalAtMs: number, nowMs: number): void {
    if (this.#closed) return;
    this.#clock.noteArrival(picture.rtpTimestamp90k, originalArrivalAtMs);
    if (this.#pacer.bytes > MAX_QUEUED_BYTES) {
      this.#framesDropped += this.#pacer.clear().filter(({ lastOf }) => lastOf !== null).length;
      this.#needsKeyFrame = true;
    }
    if (this.#needsKeyFrame && !picture.keyFrame) {
      this.#framesDropped += 1;
      this.#requestKeyFrame(nowMs);
      return;
    }
    this.#needsKeyFrame = false;
    if (this.#nextReportMs === Number.POSITIVE_INFINITY) this.#nextReportMs = nowMs;
    const { maxPacketBytes = MAX_PACKET_BYTES } = this.#options;
    const data = Buffer.from(picture.data.buffer, picture.data.byteOffset, picture.data.byteLength);
    const maxPayloadBytes = maxPacketBytes - RTP_HEADER_BYTES - RTX_BYTES;
    const payloads = this.#packetize({ data, keyFrame: picture.keyFrame }, maxPayloadBytes);
    this.#pacer.push(this.#packets(payloads, picture.rtpTimestamp90k));
    this.tick(nowMs);
  }

  /** RTCP from the other side about our stream: RR, NACK, PLI, FIR, REMB; the rest is ignored. */
  receiveRtcp(messages: readonly RtcpMessage[], arrivalAtMs: number): void {
    if (this.#closed) return;
    const { ssrc } = this.#options.stream;
    for (const message of messages) {
      switch (message.type) {
        case 'sr':
        case 'rr':
          for (const report of message.reports)
            if (report.ssrc === ssrc) this.#readReport(report, arrivalAtMs);
          break;
        case 'nack':
          if (message.mediaSsrc === ssrc) this.#repeat(message.sequenceNumbers, arrivalAtMs);
          break;
        case 'pli':
          if (message.mediaSsrc !== ssrc) break;
          this.#plisReceived += 1;
          this.#requestKeyFrame(arrivalAtMs);
          break;
        case 'fir':
          for (const entry of message.entries)
            if (entry.ssrc === ssrc) this.#readFir(entry.sequenceNumber, arrivalAtMs);
          break;
        case 'remb':
          if (message.ssrcs.includes(ssrc)) this.#remoteEstimateBps = message.bitrateBps;
          break;
        default:
      }
    }
  }

  /** Lip-sync: our sender reports follow the input's clock. Hand over `receiver.senderClock` whenever it changes. */
  setSenderClock(clock: SenderClock): void {
    this.#clock.setSenderClock(clock);
  }

  setBitrate(bitrateBps: number): void {
    this.#pacer.setBitrate(bitrateBps);
  }

  /** Sends what is due: packets that the pacer held back, sender reports. */
  tick(nowMs: number): void {
    if (this.#closed) return;
    if (nowMs >= this.#nextReportMs) this.#sendReport(nowMs);
    for (let next = this.#pacer.take(nowMs); next; next = this.#pacer.take(nowMs))
      this.#sendNext(next, nowMs);
  }

  get nextDeadlineMs(): number {
    return this.#closed ? Number.POSITIVE_INFINITY : Math.min(this.#pacer.nextDueMs, this.#nextReportMs);
  }

  get stats(): RtpVideoSenderStats {
    return {
      packetsSent: this.#packetsSent,
      bytesSent: this.#bytesSent,
      framesSent: this.#framesSent,
      framesDropped: this.#framesDropped,
      retransmitted: this.#retransmitted,
      nacksReceived: this.#nacksReceived,
      plisReceived: this.#plisReceived,
      queuedPackets: this.#pacer.packets,
      queuedBytes: this.#pacer.bytes,
      fractionLost: this.#fractionLost,
      rttMs: this.#rttMs,
      remoteEstimateBps: this.#remoteEstimateBps,
    };
  }

  /** Sends BYE and frees everything queued; idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pacer.clear();
    this.#sent.clear();
    if (this.#packetsSent === 0) return;
    const { ssrc } = this.#options.stream;
    this.#options.send(
      encodeRtcp([
        { type: 'rr', ssrc, reports: [] },
        { type: 'bye', ssrcs: [ssrc] },
      ]),
    );
  }

  /** RTP packets, in one allocation a frame. */
  #packets(payloads: readonly PayloadSegments[], rtpTimestamp90k: number): Outgoing[] {
    const { payloadType, ssrc } = this.#options.stream;
    const sizes = payloads.map((segments) =>
      segments.reduce((sum, { length }) => sum + length, RTP_HEADER_BYTES),
    );
    const memory = Buffer.allocUnsafeSlow(sizes.reduce((sum, size) => sum + size, 0));
    const timestamp = rtpTimestamp90k % 2 ** 32;
    let at = 0;
    return payloads.map((segments, i) => {
      const start = at;
      const marker = i === payloads.length - 1;
      writeRtpHeader(memory, at, { marker, payloadType, sequenceNumber: 0, timestamp, ssrc });
      at += RTP_HEADER_BYTES;
      for (const segment of segments) {
        memory.set(segment, at);
        at += segment.length;
      }
      const packet = memory.subarray(start, at);
      return { packet, byteLength: packet.length, lastOf: marker ? rtpTimestamp90k : null };
    });
  }

  #sendNext({ packet, lastOf }: Outgoing, nowMs: number): void {
    packet.writeUInt16BE(this.#sequenceNumber, 2);
    this.#sent.add(this.#sequenceNumber, packet, nowMs);
    this.#sequenceNumber = (this.#sequenceNumber + 1) & 0xffff;
    this.#packetsSent += 1;
    this.#bytesSent += packet.length;
    this.#payloadBytesSent += packet.length - RTP_HEADER_BYTES;
    this.#options.send(packet);
    if (lastOf === null) return;
    this.#framesSent += 1;
    this.#options.onFrameSent?.(lastOf, nowMs);
  }

  #repeat(sequenceNumbers: readonly number[], nowMs: number): void {
    this.#nacksReceived += 1;
    const waitMs = Math.max(MIN_REPEAT_MS, Math.min(this.#rttMs ?? 0, 200));
    for (const sequenceNumber of sequenceNumbers) {
      const original = this.#sent.takeForRepetition(sequenceNumber, waitMs, nowMs);
      if (!original) continue;
      const packet = this.#asRetransmission(original);
      this.#retransmitted += 1;
      this.#bytesSent += packet.length;
      this.#pacer.account(packet.length, nowMs);
      this.#options.send(packet);
    }
  }

  /** RFC 4588, section 4: own SSRC and sequence, the original's sequence number before its payload. */
  #asRetransmission(original: Buffer): Buffer {
    const { rtx } = this.#options.stream;
    const header = rtx && parseRtpPacket(original);
    if (!header) return original;
    const packet = Buffer.allocUnsafe(original.length + RTX_BYTES);
    const sequenceNumber = this.#rtxSequenceNumber;
    this.#rtxSequenceNumber = (sequenceNumber + 1) & 0xffff;
    writeRtpHeader(packet, 0, { ...header, ...rtx, sequenceNumber });
    packet.writeUInt16BE(header.sequenceNumber, RTP_HEADER_BYTES);
    original.copy(packet, RTP_HEADER_BYTES + RTX_BYTES, RTP_HEADER_BYTES);
    return packet;
  }

  #readReport(report: ReportBlock, nowMs: number): void {
    this.#fractionLost = report.fractionLost / 256;
    const sentAtMs = this.#reports.get(report.lastSenderReport);
    if (sentAtMs === undefined) return;
    const rttMs = nowMs - sentAtMs - (report.delaySinceLastSenderReport / 65536) * 1000;
    this.#rttMs = Math.max(0, rttMs);
  }

  /** A FIR repeated with the same sequence number is the same request (RFC 5104, section 4.3.1.1). */
  #readFir(sequenceNumber: number, nowMs: number): void {
    if (sequenceNumber === this.#lastFirSequence) return;
    this.#lastFirSequence = sequenceNumber;
    this.#plisReceived += 1;
    this.#requestKeyFrame(nowMs);
  }

  #requestKeyFrame(nowMs: number): void {
    if (nowMs - this.#keyFrameRequestedAtMs < KEY_FRAME_REQUEST_INTERVAL_MS) return;
    this.#keyFrameRequestedAtMs = nowMs;
    this.#options.onKeyFrameRequest();
  }

  #sendReport(nowMs: number): void {
    this.#nextReportMs = nowMs + REPORT_INTERVAL_MS;
    const time = this.#clock.at(nowMs);
    if (!time) return;
    const { ssrc, cname } = this.#options.stream;
    this.#reports.set(compactNtp(time.ntpTimestamp), nowMs);
    for (const report of this.#reports.keys()) {
      if (this.#reports.size <= REMEMBERED_REPORTS) break;
      this.#reports.delete(report);
    }
    const rtpTimestamp = ((time.rtpTimestamp90k % 2 ** 32) + 2 ** 32) % 2 ** 32;
    this.#options.send(
      encodeRtcp([
        {
          type: 'sr',
          ssrc,
          ntpTimestamp: time.ntpTimestamp,
          rtpTimestamp,
          packetCount: this.#packetsSent,
          octetCount: this.#payloadBytesSent,
          reports: [],
        },
        { type: 'sdes', chunks: [{ ssrc, cname }] },
      ]),
    );
  }
}
