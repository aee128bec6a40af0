import type { RtpVideoStream } from '../restorer/types.js';
import { Unwrapper } from './clocks.js';
import { type BufferedPacket, FrameBuffer } from './FrameBuffer.js';
import { KeyFrameRequests } from './KeyFrameRequests.js';
import { MissingPackets } from './MissingPackets.js';
import type { Depacketizer } from './Payload.js';
import { createDepacketizer } from './payloadFormats.js';
import { ReceptionStatistics } from './ReceptionStatistics.js';
import { encodeRtcp, type RtcpMessage } from './Rtcp.js';
import { parseRtpPacket, type RtpPacket, unwrapRtx } from './RtpPacket.js';
import type { EncodedFrame } from './types.js';

const MIN_WAIT_MS = 10;
const MAX_WAIT_MS = 150;
/** A stalled stream still takes a late packet, until then. */
const MAX_STALL_MS = 1000;
const REPORT_INTERVAL_MS = 1000;
/** A jump wider than this is another stream (RFC 3550, appendix A.1, with a bound for video rates). */
const MAX_SEQUENCE_JUMP = 1000;
const MAX_LATE_RUN = 32;

export interface RtpVideoReceiverOptions {
  stream: RtpVideoStream;
  /** Our own SSRC in the RTCP we send about the stream. */
  localSsrc: number;
  /** CNAME in our receiver reports. */
  cname: string;
  /** Least and most time that a frame waits for packets missing before it; 10 and 150 unless given. */
  minWaitMs?: number;
  maxWaitMs?: number;
  /** Called in order, one complete access unit at a time, from within `receive` or `tick`. */
  onFrame: (frame: EncodedFrame) => void;
  /** One compound RTCP packet to send to where the stream comes from. */
  onRtcp: (packet: Buffer) => void;
}

export interface RtpVideoReceiverStats {
  packetsReceived: number;
  bytesReceived: number;
  /** Given up on, not merely late. */
  packetsLost: number;
  packetsRecovered: number;
  packetsDuplicate: number;
  packetsInvalid: number;
  framesReleased: number;
  framesDropped: number;
  nacksSent: number;
  plisSent: number;
  jitterMs: number;
  /** How long a packet that is missing is waited for at the moment. */
  waitMs: number;
  bufferedPackets: number;
  bufferedBytes: number;
}

/** Where the stream's RTP clock stands against the sender's wall clock. */
export interface SenderClock {
  ntpTimestamp: bigint;
  /** Unwrapped as in the frames' `rtpTimestamp90k`. */
  rtpTimestamp90k: number;
  arrivalAtMs: number;
}

/**
 * Receives one RTP video stream: reorders, asks for what is missing (NACK, then PLI), and releases each frame
 * as soon as it is complete and everything before it was released. While nothing is missing it adds no delay.
 *
 * A missing packet is waited for as long as its retransmission is plausible. Then a key frame is asked for, and
 * whichever comes first, packet or key frame, ends the stall.
 *
 * No timers of its own: call `tick` at `nextDeadlineMs` or a little later, with the same clock as `receive`.
 */
export class RtpVideoReceiver {
  readonly #options: RtpVideoReceiverOptions;
  readonly #depacketizer: Depacketizer;
  readonly #buffer = new FrameBuffer();
  readonly #missing = new MissingPackets();
  readonly #keyFrameRequests = new KeyFrameRequests();
  readonly #reception = new ReceptionStatistics();
  readonly #sequences = new Unwrapper(16, 1);
  readonly #timestamps = new Unwrapper(32);
  #restartSequence: number | null = null;
  #nextLate = 0;
  #lateRun = 0;
  #nextReportMs = Number.POSITIVE_INFINITY;
  #senderClock: SenderClock | null = null;
  #releasedAny = false;
  #discontinuity = false;
  /** The hole that waiting was given up on. */
  #stalledAt: number | null = null;
  /** A key frame was asked for from outside, so that a hole filled does not do. */
  #decoderDamaged = false;
  #closed = false;
  #packetsReceived = 0;
  #bytesReceived = 0;
  #packetsLost = 0;
  #packetsRecovered = 0;
  #packetsDuplicate = 0;
  #packetsInvalid = 0;
  #framesReleased = 0;
  /** Frames that were complete and yet made no access unit. */
  #framesDropped = 0;
  #nacksSent = 0;
  #plisSent = 0;

  constructor(options: RtpVideoReceiverOptions) {
    this.#options = options;
    this.#depacketizer = createDepacketizer(options.stream.codec);
  }

  /** One RTP packet of the stream or of its retransmission stream; anything else is counted and ignored. */
  receive(data: Buffer, arrivalAtMs: number): void {
    if (this.#closed) return;
    const { stream } = this.#options;
    const received = parseRtpPacket(data);
    const retransmitted = received !== null && stream.rtx !== undefined && matches(received, stream.rtx);
    const packet = retransmitted ? unwrapRtx(received, stream) : received;
    if (!packet || !matches(packet, stream)) {
      // Retransmission streams also carry empty packets that only probe for bandwidth.
      if (!retransmitted) this.#packetsInvalid += 1;
      return;
    }
    this.#packetsReceived += 1;
    this.#bytesReceived += data.length;
    if (this.#nextReportMs === Number.POSITIVE_INFINITY)
      this.#nextReportMs = arrivalAtMs + REPORT_INTERVAL_MS / 2;
    const sequence = this.#admit(packet.sequenceNumber, retransmitted, arrivalAtMs);
    if (sequence !== null) this.#store(packet, sequence, retransmitted, arrivalAtMs);
    this.tick(arrivalAtMs);
  }

  /** RTCP from the other side: sender reports of this stream; the rest is ignored. */
  receiveRtcp(messages: readonly RtcpMessage[], arrivalAtMs: number): void {
    for (const message of messages) {
      if (message.type !== 'sr' || message.ssrc !== this.#options.stream.ssrc) continue;
      this.#reception.senderReport(message.ntpTimestamp, arrivalAtMs);
      // An NTP time of zero says that the sender has no wall clock (RFC 3550, section 6.4.1).
      if (message.ntpTimestamp === 0n || this.#timestamps.last === null) continue;
      const rtpTimestamp90k = this.#timestamps.peek(message.rtpTimestamp);
      this.#senderClock = { ntpTimestamp: message.ntpTimestamp, rtpTimestamp90k, arrivalAtMs };
    }
  }

  /** Runs what is due: releasing, NACK, PLI, receiver reports, giving up on a missing packet. */
  tick(nowMs: number): void {
    if (this.#closed) return;
    this.#release(nowMs);
    if (this.#missing.size > 0) this.#sendNack(nowMs);
    if (this.#keyFrameRequests.takeDue(nowMs)) {
      this.#plisSent += 1;
      this.#send([
        { type: 'pli', senderSsrc: this.#options.localSsrc, mediaSsrc: this.#options.stream.ssrc },
      ]);
    }
    if (nowMs >= this.#nextReportMs) this.#sendReport(nowMs);
  }

  /** When `tick` is next needed, Infinity when not. May change with every call. */
  get nextDeadlineMs(): number {
    if (this.#closed) return Number.POSITIVE_INFINITY;
    const due = Math.min(this.#keyFrameRequests.nextDueMs, this.#nextReportMs, this.#missing.nextDueMs);
    const hole = this.#buffer.hole;
    if (hole === null) return due;
    const sinceMs = this.#missing.sinceMs(hole) ?? 0;
    return Math.min(due, sinceMs + (this.#stalledAt === hole ? MAX_STALL_MS : this.waitMs));
  }

  /** Asks for a key frame at once and again, with back-off, until one is released (decoder damaged, say). */
  requestKeyFrame(nowMs: number): void {
    this.#decoderDamaged = true;
    this.#keyFrameRequests.want(nowMs);
    this.tick(nowMs);
  }

  /** Round-trip time known from elsewhere, such as the sender's RTCP on the same path. */
  setRoundTripMs(rttMs: number): void {
    this.#missing.setRoundTripMs(rttMs);
  }

  /** How long a missing packet is waited for at the moment. */
  get waitMs(): number {
    const { minWaitMs = MIN_WAIT_MS, maxWaitMs = MAX_WAIT_MS } = this.#options;
    const plausibleMs = Math.max(this.#missing.plausibleWaitMs, 2 * this.#reception.jitterMs);
    return Math.min(Math.max(plausibleMs, minWaitMs), maxWaitMs);
  }

  get senderClock(): SenderClock | null {
    return this.#senderClock;
  }

  get stats(): RtpVideoReceiverStats {
    return {
      packetsReceived: this.#packetsReceived,
      bytesReceived: this.#bytesReceived,
      packetsLost: this.#packetsLost,
      packetsRecovered: this.#packetsRecovered,
      packetsDuplicate: this.#packetsDuplicate,
      packetsInvalid: this.#packetsInvalid,
      framesReleased: this.#framesReleased,
      framesDropped: this.#framesDropped + this.#buffer.framesDropped,
      nacksSent: this.#nacksSent,
      plisSent: this.#plisSent,
      jitterMs: this.#reception.jitterMs,
      waitMs: this.waitMs,
      bufferedPackets: this.#buffer.packets,
      bufferedBytes: this.#buffer.bytes,
    };
  }

  close(): void {
    this.#closed = true;
    this.#buffer.clear();
    this.#missing.clear();
  }

  /** The unwrapped sequence number; null for a packet from nowhere, which two in a row make a new start. */
  #admit(sequenceNumber: number, retransmitted: boolean, nowMs: number): number | null {
    const highest = this.#sequences.last;
    if (highest === null) return retransmitted ? null : this.#start(sequenceNumber, nowMs);
    const sequence = this.#sequences.peek(sequenceNumber);
    if (Math.abs(sequence - highest) > MAX_SEQUENCE_JUMP) {
      if (retransmitted) return null;
      if (sequenceNumber === this.#restartSequence) return this.#start(sequenceNumber, nowMs);
      this.#restartSequence = (sequenceNumber + 1) & 0xffff;
      return null;
    }
    this.#restartSequence = null;
    if (sequence > highest) {
      this.#sequences.unwrap(sequenceNumber);
      if (!this.#missing.noteGap(highest + 1, sequence, nowMs)) this.#abandon(nowMs);
    }
    return sequence;
  }

  #start(sequenceNumber: number, nowMs: number): number {
    if (this.#sequences.last !== null) {
      this.#reception.restart();
      this.#abandon(nowMs);
      this.#missing.clear();
      this.#buffer.clear();
    }
    this.#restartSequence = null;
    this.#sequences.reset();
    return this.#sequences.unwrap(sequenceNumber);
  }

  #store(packet: RtpPacket, sequence: number, retransmitted: boolean, nowMs: number): void {
    const stored: BufferedPacket = {
      sequence,
      timestamp: packet.timestamp,
      marker: packet.marker,
      payload: packet.payload,
      arrivalAtMs: nowMs,
      startsKeyFrame: packet.payload.length > 0 && this.#depacketizer.startsKeyFrame(packet.payload),
    };
    let outcome = this.#buffer.insert(stored);
    if (outcome === 'full') {
      this.#abandon(nowMs);
      outcome = this.#buffer.insert(stored);
      if (outcome === 'full') this.#buffer.clear();
    }
    if (outcome === 'duplicate') {
      this.#packetsDuplicate += 1;
      return;
    }
    // A stream without a retransmission stream of its own repeats packets as they were.
    const known = this.#options.stream.rtx ? retransmitted : null;
    if (this.#missing.found(sequence, known, nowMs)) this.#packetsRecovered += 1;
    if (!retransmitted) this.#reception.received(sequence, packet.timestamp, nowMs);
    if (outcome === 'late' && !retransmitted) this.#noteLate(packet.sequenceNumber, nowMs);
    if (outcome !== 'stored') return;
    if (!this.#buffer.following) this.#wantKeyFrame(nowMs);
  }

  /** One stray packet far ahead would make everything after it late: a long run of those is the stream itself. */
  #noteLate(sequenceNumber: number, nowMs: number): void {
    this.#lateRun = sequenceNumber === this.#nextLate ? this.#lateRun + 1 : 1;
    this.#nextLate = (sequenceNumber + 1) & 0xffff;
    if (this.#lateRun < MAX_LATE_RUN) return;
    this.#lateRun = 0;
    this.#start(sequenceNumber, nowMs);
  }

  #release(nowMs: number): void {
    for (;;) {
      const frame = this.#buffer.takeFrame();
      if (frame) {
        this.#deliver(frame, nowMs);
        continue;
      }
      const { hole } = this.#buffer;
      if (this.#buffer.following && hole === null) return;
      if (hole !== null && !this.#gaveUpOn(hole, nowMs)) return;
      if (!this.#buffer.skipToKeyFrame()) return;
      this.#discontinuity = this.#releasedAny;
      this.#stalledAt = null;
      this.#packetsLost += this.#missing.forgetBefore(this.#buffer.floor);
    }
  }

  /** Whether the hole was waited for long enough; the first time, a key frame is asked for. */
  #gaveUpOn(hole: number, nowMs: number): boolean {
    const sinceMs = this.#missing.sinceMs(hole) ?? Number.NEGATIVE_INFINITY;
    if (nowMs < sinceMs + this.waitMs && this.#stalledAt !== hole) return false;
    if (this.#stalledAt !== hole) {
      this.#stalledAt = hole;
      this.#missing.gaveUp();
      this.#wantKeyFrame(nowMs);
    }
    if (nowMs >= sinceMs + MAX_STALL_MS) this.#abandon(nowMs);
    return true;
  }

  #deliver(packets: readonly BufferedPacket[], nowMs: number): void {
    const first = packets[0];
    const payloads = packets.map((packet) => packet.payload).filter((payload) => payload.length > 0);
    if (!first || payloads.length === 0) return;
    const unit = this.#depacketizer.assemble(payloads);
    if (!unit) {
      this.#framesDropped += 1;
      this.#abandon(nowMs);
      return;
    }
    // The hole was filled after all: the key frame asked for is not needed any more.
    const filled = this.#stalledAt !== null && !this.#decoderDamaged;
    if (unit.keyFrame || filled) this.#keyFrameRequests.satisfied();
    if (unit.keyFrame) this.#decoderDamaged = false;
    this.#stalledAt = null;
    const discontinuity = this.#discontinuity;
    this.#discontinuity = false;
    this.#releasedAny = true;
    this.#framesReleased += 1;
    const arrivals = packets.map((packet) => packet.arrivalAtMs);
    this.#options.onFrame({
      codec: this.#options.stream.codec,
      data: unit.data,
      keyFrame: unit.keyFrame,
      rtpTimestamp90k: this.#timestamps.unwrapForward(first.timestamp),
      firstPacketAtMs: Math.min(...arrivals),
      lastPacketAtMs: Math.max(...arrivals),
      releasedAtMs: nowMs,
      discontinuity,
    });
  }

  /** The references are lost: nothing can be decoded before the next key frame. */
  #abandon(nowMs: number): void {
    this.#buffer.abandon();
    this.#packetsLost += this.#missing.forgetBefore(this.#buffer.floor);
    this.#stalledAt = null;
    this.#discontinuity = this.#releasedAny;
    this.#wantKeyFrame(nowMs);
  }

  #wantKeyFrame(nowMs: number): void {
    this.#keyFrameRequests.want(this.#buffer.keyFramePending ? nowMs + this.waitMs : nowMs);
  }

  #sendNack(nowMs: number): void {
    const sequenceNumbers = this.#missing.takeDue(nowMs).map((sequence) => sequence & 0xffff);
    if (sequenceNumbers.length === 0) return;
    this.#nacksSent += 1;
    const { localSsrc, stream } = this.#options;
    this.#send([{ type: 'nack', senderSsrc: localSsrc, mediaSsrc: stream.ssrc, sequenceNumbers }]);
  }

  #sendReport(nowMs: number): void {
    this.#nextReportMs = nowMs + REPORT_INTERVAL_MS;
    const { localSsrc, cname, stream } = this.#options;
    const report = this.#reception.report(stream.ssrc, nowMs);
    this.#send([
      { type: 'rr', ssrc: localSsrc, reports: report ? [report] : [] },
      { type: 'sdes', chunks: [{ ssrc: localSsrc, cname }] },
    ]);
  }

  #send(messages: readonly RtcpMessage[]): void {
    this.#options.onRtcp(encodeRtcp(messages));
  }
}

function matches(packet: RtpPacket, stream: { payloadType: number; ssrc: number }): boolean {
  return packet.ssrc === stream.ssrc && packet.payloadType === stream.payloadType;
}
