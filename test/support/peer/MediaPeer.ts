import { EventEmitter } from 'node:events';
import type { MediaKind, RtpParameters } from '../../../src/sfu/types.js';
import {
  encodeRtcp,
  parseRtcp,
  type ReportBlock,
  type RtcpMessage,
  type RtcpOf,
  type TransportFeedbackEntry,
} from './rtcp.js';
import { encodeRtp, parseRtp, type RtpPacket, sequenceDistance } from './rtp.js';
import { EXTENSION, extensionId, SendStream } from './SendStream.js';

export interface ReceivedRtp extends RtpPacket {
  receivedAtMs: number;
}

interface ReceiverState {
  baseSequence: number;
  highest: number;
  cycles: number;
  received: number;
  lastReport: { expected: number; received: number };
  lastSenderReport: { middle: number; atMs: number } | null;
}

const NTP_UNIX_OFFSET_SECONDS = 2_208_988_800;

export function ntpNow(): bigint {
  const ms = Date.now();
  const seconds = BigInt(Math.floor(ms / 1000) + NTP_UNIX_OFFSET_SECONDS);
  return (seconds << 32n) | BigInt(Math.floor(((ms % 1000) / 1000) * 2 ** 32));
}

/** Sending and receiving RTP and RTCP, whatever carries it. Nothing is answered unless a test asks for it. */
export abstract class MediaPeer extends EventEmitter<{
  rtp: [packet: ReceivedRtp];
  rtcp: [message: RtcpMessage];
}> {
  /** All that arrived, in order of arrival. */
  readonly rtp: ReceivedRtp[] = [];
  readonly rtcp: RtcpMessage[] = [];
  /** What did not parse: always a bug of the engine. */
  readonly malformed: Error[] = [];
  readonly localSsrc = 1 + Math.floor(Math.random() * 0xfffffff0);
  readonly streams: SendStream[] = [];
  /** Retransmit at once what a NACK asks for. */
  answerNacks = false;
  /** Send a VP8 key frame at once when a PLI or FIR asks for one. */
  answerKeyFrameRequests = false;
  /** Return true to lose an arriving packet before anything has seen it. */
  loseIncoming: ((packet: RtpPacket) => boolean) | null = null;
  #transportSequence = 0;
  #feedbackCount = 0;
  #feedbackExtensionId: number | null = null;
  #arrivals = new Map<number, number>();
  #feedbackTimer: NodeJS.Timeout | null = null;
  readonly #receivers = new Map<number, ReceiverState>();

  protected abstract sendPlainRtp(data: Buffer): void;
  protected abstract sendPlainRtcp(data: Buffer): void;

  sendRtp(packet: RtpPacket): void {
    this.sendPlainRtp(encodeRtp(packet));
  }

  sendRtcp(...messages: RtcpMessage[]): void {
    this.sendPlainRtcp(encodeRtcp(messages));
  }

  nextTransportSequence(): number {
    this.#transportSequence = (this.#transportSequence + 1) & 0xffff;
    return this.#transportSequence;
  }

  /** A stream to send on, as described by the parameters a test produces with. */
  addStream(kind: MediaKind, rtpParameters: RtpParameters, firstSequenceNumber?: number): SendStream {
    const stream = new SendStream(this, kind, rtpParameters, firstSequenceNumber);
    this.streams.push(stream);
    return stream;
  }

  sendNack(mediaSsrc: number, sequenceNumbers: number[]): void {
    this.sendRtcp(this.receiverReport(), {
      type: 'nack',
      senderSsrc: this.localSsrc,
      mediaSsrc,
      sequenceNumbers,
    });
  }

  sendPli(mediaSsrc: number): void {
    this.sendRtcp(this.receiverReport(), { type: 'pli', senderSsrc: this.localSsrc, mediaSsrc });
  }

  sendRemb(bitrateBps: number, ssrcs: number[]): void {
    this.sendRtcp(this.receiverReport(), { type: 'remb', senderSsrc: this.localSsrc, bitrateBps, ssrcs });
  }

  sendSenderReport(stream: SendStream): void {
    this.sendRtcp(
      {
        type: 'sr',
        ssrc: stream.ssrc,
        ntpTimestamp: ntpNow(),
        rtpTimestamp: stream.timestamp,
        packetCount: stream.packetCount,
        octetCount: stream.octetCount,
        reports: [],
      },
      {
        type: 'sdes',
        chunks: [{ ssrc: stream.ssrc, cname: stream.rtpParameters.rtcp?.cname ?? 'test-peer' }],
      },
    );
  }

  /** A report on everything received so far (RFC 3550, section 6.4 and appendix A.3). */
  receiverReport(): RtcpOf<'rr'> {
    const reports: ReportBlock[] = [];
    for (const [ssrc, state] of this.#receivers) {
      const extended = state.cycles * 0x10000 + state.highest;
      const expected = extended - state.baseSequence + 1;
      const expectedNow = expected - state.lastReport.expected;
      const lostNow = Math.max(0, expectedNow - (state.received - state.lastReport.received));
      state.lastReport = { expected, received: state.received };
      const sr = state.lastSenderReport;
      reports.push({
        ssrc,
        fractionLost: expectedNow > 0 ? Math.min(255, Math.floor((lostNow * 256) / expectedNow)) : 0,
        cumulativeLost: Math.max(0, expected - state.received),
        extendedHighestSequence: extended,
        jitter: 0,
        lastSenderReport: sr?.middle ?? 0,
        delaySinceLastSenderReport: sr ? Math.round(((performance.now() - sr.atMs) / 1000) * 65_536) : 0,
      });
    }
    return { type: 'rr', ssrc: this.localSsrc, reports: reports.slice(0, 31) };
  }

  sendReceiverReport(): void {
    this.sendRtcp(this.receiverReport());
  }

  /** From now on send transport-wide feedback for packets that carry the extension of these consumer parameters. */
  startTransportFeedback(rtpParameters: RtpParameters, intervalMs = 50): void {
    this.#feedbackExtensionId = extensionId(rtpParameters, EXTENSION.transportSequence);
    this.#feedbackTimer ??= setInterval(() => this.#sendTransportFeedback(), intervalMs);
  }

  /** Resolves as soon as it holds, checked at every packet and every 10 ms. */
  async until(what: string, condition: () => boolean, timeoutMs = 5000): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    while (!condition()) {
      if (performance.now() > deadline) {
        throw new Error(`timed out after ${timeoutMs} ms waiting for ${what}; ${this.describe()}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async waitForRtp(
    what: string,
    accept: (packet: ReceivedRtp) => boolean,
    timeoutMs?: number,
  ): Promise<ReceivedRtp> {
    await this.until(what, () => this.rtp.some(accept), timeoutMs);
    return this.rtp.find(accept) as ReceivedRtp;
  }

  async waitForRtcp<T extends RtcpMessage['type']>(
    type: T,
    accept: (message: RtcpOf<T>) => boolean = () => true,
    timeoutMs?: number,
  ): Promise<RtcpOf<T>> {
    await this.until(`RTCP ${type}`, () => this.rtcpOf(type).some(accept), timeoutMs);
    return this.rtcpOf(type).find(accept) as RtcpOf<T>;
  }

  rtcpOf<T extends RtcpMessage['type']>(type: T): RtcpOf<T>[] {
    return this.rtcp.filter((message): message is RtcpOf<T> => message.type === type);
  }

  /** Packets of one stream, in order of arrival. */
  received(ssrc: number): ReceivedRtp[] {
    return this.rtp.filter((packet) => packet.ssrc === ssrc);
  }

  forgetReceived(): void {
    this.rtp.length = 0;
    this.rtcp.length = 0;
  }

  protected describe(): string {
    const counts = new Map<string, number>();
    for (const packet of this.rtp) {
      const key = `RTP ${packet.ssrc}/${packet.payloadType}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    for (const message of this.rtcp) counts.set(message.type, (counts.get(message.type) ?? 0) + 1);
    const seen = [...counts].map(([key, count]) => `${count}× ${key}`).join(', ');
    return `received ${seen || 'nothing'}${this.malformed.length ? `, ${this.malformed.length} malformed` : ''}`;
  }

  protected stop(): void {
    if (this.#feedbackTimer) clearInterval(this.#feedbackTimer);
    this.#feedbackTimer = null;
  }

  protected onPlainRtp(data: Buffer): void {
    try {
      const packet: ReceivedRtp = { ...parseRtp(Buffer.from(data)), receivedAtMs: performance.now() };
      if (this.loseIncoming?.(packet)) return;
      this.#count(packet);
      this.rtp.push(packet);
      this.emit('rtp', packet);
    } catch (error) {
      this.malformed.push(error as Error);
    }
  }

  protected onPlainRtcp(data: Buffer): void {
    try {
      for (const message of parseRtcp(Buffer.from(data))) {
        this.rtcp.push(message);
        this.#answer(message);
        this.emit('rtcp', message);
      }
    } catch (error) {
      this.malformed.push(error as Error);
    }
  }

  #answer(message: RtcpMessage): void {
    if (message.type === 'sr') {
      const state = this.#receivers.get(message.ssrc);
      const middle = Number((message.ntpTimestamp >> 16n) & 0xffffffffn);
      if (state) state.lastSenderReport = { middle, atMs: performance.now() };
    } else if (message.type === 'nack' && this.answerNacks) {
      const stream = this.streams.find(({ ssrc }) => ssrc === message.mediaSsrc);
      for (const sequenceNumber of message.sequenceNumbers) stream?.retransmit(sequenceNumber);
    } else if ((message.type === 'pli' || message.type === 'fir') && this.answerKeyFrameRequests) {
      const wanted =
        message.type === 'fir' ? (message.entries[0]?.ssrc ?? message.mediaSsrc) : message.mediaSsrc;
      this.streams.find(({ ssrc }) => ssrc === wanted)?.sendVp8({ key: true });
    }
  }

  #count(packet: ReceivedRtp): void {
    const sequence =
      this.#feedbackExtensionId === null ? null : packet.extensions.get(this.#feedbackExtensionId);
    if (sequence?.length === 2) this.#arrivals.set(sequence.readUInt16BE(0), packet.receivedAtMs);
    const state = this.#receivers.get(packet.ssrc);
    if (!state) {
      this.#receivers.set(packet.ssrc, {
        baseSequence: packet.sequenceNumber,
        highest: packet.sequenceNumber,
        cycles: 0,
        received: 1,
        lastReport: { expected: 0, received: 0 },
        lastSenderReport: null,
      });
      return;
    }
    state.received += 1;
    if (sequenceDistance(packet.sequenceNumber, state.highest) <= 0) return;
    if (packet.sequenceNumber < state.highest) state.cycles += 1;
    state.highest = packet.sequenceNumber;
  }

  #sendTransportFeedback(): void {
    const arrivals = this.#arrivals;
    if (arrivals.size === 0) return;
    this.#arrivals = new Map();
    const numbers = [...arrivals.keys()].sort((a, b) => sequenceDistance(a, b));
    const first = numbers[0] ?? 0;
    const last = numbers.at(-1) ?? first;
    const startMs = Math.min(...arrivals.values());
    const referenceTime = Math.floor(startMs / 64);
    let previousMs = referenceTime * 64;
    const packets: TransportFeedbackEntry[] = [];
    for (let i = 0; i <= sequenceDistance(last, first); i += 1) {
      const sequenceNumber = (first + i) & 0xffff;
      const atMs = arrivals.get(sequenceNumber);
      packets.push({
        sequenceNumber,
        deltaMicros: atMs === undefined ? null : Math.round((atMs - previousMs) * 1000),
      });
      if (atMs !== undefined) previousMs = atMs;
    }
    this.sendRtcp({
      type: 'twcc',
      senderSsrc: this.localSsrc,
      mediaSsrc: 0,
      referenceTime: referenceTime & 0xffffff,
      feedbackCount: this.#feedbackCount,
      packets,
    });
    this.#feedbackCount = (this.#feedbackCount + 1) & 0xff;
  }
}
