import { randomInt, randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import type { MediaKind, RtpParameters } from 'mediasoup/types';
import type { SfuConsumer, SfuStreamStats } from '../types.js';
import { startsKeyFrame } from './keyFrames.js';
import { EXTENSION, isRtx } from './ortc.js';
import { RateMeter } from './RateMeter.js';
import { RtpView } from './RtpView.js';
import { buildSdes, buildSenderReport, type ReportBlock, type SenderInfo } from './rtcp.js';
import { SequenceRewriter } from './SequenceRewriter.js';
import { SRTP_TAILROOM } from './Srtp.js';
import type { WeriftProducer } from './WeriftProducer.js';

/** What a consumer needs from the transport it sends on. */
export interface ConsumerHost {
  /** Whether packets can reach the receiver yet. */
  readonly ready: boolean;
  /** Numbers a packet of that many bytes that is about to be sent, for transport-wide feedback. */
  nextTransportSequence(size: number, nowMs: number): number;
  /** `buffer` has {@link SRTP_TAILROOM} bytes behind `length` and now belongs to the transport. */
  sendRtp(buffer: Buffer, length: number, payloadOffset: number): void;
  sendRtcp(packet: Buffer): void;
  onConsumerClosed(consumer: WeriftConsumer): void;
}

/** The same packet is sent again at most this often, however often it is asked for. */
const MAX_RESENDS = 8;
const MIN_RESEND_INTERVAL_MS = 10;
const RESEND_SLOTS = 1024;
/** Without reports from the producer, ours start after this time, on our own clock. */
const OWN_CLOCK_AFTER_MS = 5000;
const NTP_EPOCH_OFFSET_S = 2_208_988_800;
const MAX_HEADER = 64;

const sharedView = new RtpView();

/** One outgoing stream: a producer's packets under an SSRC and sequence space of its own. */
export class WeriftConsumer
  extends EventEmitter<{ close: []; producerPause: []; producerResume: [] }>
  implements SfuConsumer
{
  readonly id = randomUUID();
  readonly kind: MediaKind;
  readonly rtpParameters: RtpParameters;
  readonly ssrc: number;
  readonly rtxSsrc: number | undefined;
  readonly #producer: WeriftProducer;
  readonly #host: ConsumerHost;
  readonly #payloadType: number;
  readonly #rtxPayloadType: number;
  readonly #clockRate: number;
  readonly #cname: string;
  readonly #nack: boolean;
  readonly #mid: Buffer;
  readonly #midId: number;
  readonly #absSendTimeId: number;
  readonly #transportCcId: number;
  /** Producer's id, receiver's id, alternating: extensions passed on as they are. */
  readonly #passedExtensions: number[] = [];
  readonly #sequence = new SequenceRewriter();
  readonly #rate = new RateMeter();
  #rtxSequence = randomInt(0x8000);
  #paused: boolean;
  #closed = false;
  #waitsForKeyFrame: boolean;
  #packetCount = 0;
  #octetCount = 0;
  #packetsLost = 0;
  #nackCount = 0;
  #pliCount = 0;
  #roundTripTimeMs: number | null = null;
  #startedMs = 0;
  /** Reports sent lately, to tell the round trip from the receiver's answers. */
  #sentReports: { middle: number; sentMs: number }[] = [];
  #resends: { sequenceNumbers: Int32Array; times: Float64Array; counts: Uint8Array } | undefined;

  constructor(options: {
    producer: WeriftProducer;
    rtpParameters: RtpParameters;
    paused: boolean;
    host: ConsumerHost;
  }) {
    super();
    const { producer, rtpParameters } = options;
    this.#producer = producer;
    this.#host = options.host;
    this.kind = producer.kind;
    this.rtpParameters = rtpParameters;
    this.#paused = options.paused;
    this.#waitsForKeyFrame = producer.detectKeyFrame !== undefined;
    const codec = rtpParameters.codecs[0];
    const encoding = rtpParameters.encodings?.[0];
    if (!codec || encoding?.ssrc === undefined)
      throw new TypeError('consumer parameters without codec or SSRC');
    this.ssrc = encoding.ssrc;
    this.rtxSsrc = encoding.rtx?.ssrc;
    this.#payloadType = codec.payloadType;
    this.#rtxPayloadType = rtpParameters.codecs.find(isRtx)?.payloadType ?? -1;
    this.#clockRate = codec.clockRate;
    this.#cname = rtpParameters.rtcp?.cname ?? '';
    this.#nack = codec.rtcpFeedback?.some(({ type, parameter }) => type === 'nack' && !parameter) ?? false;
    const ids = new Map((rtpParameters.headerExtensions ?? []).map(({ uri, id }) => [uri, id]));
    this.#midId = ids.get(EXTENSION.mid) ?? 0;
    this.#mid = Buffer.from(rtpParameters.mid ?? '');
    this.#absSendTimeId = ids.get(EXTENSION.absSendTime) ?? 0;
    this.#transportCcId = ids.get(EXTENSION.transportCc) ?? 0;
    for (const uri of [EXTENSION.audioLevel, EXTENSION.videoOrientation]) {
      const from = producer.mapping.extensionIds.get(uri);
      const to = ids.get(uri);
      if (from !== undefined && to !== undefined) this.#passedExtensions.push(from, to);
    }
  }

  get producerId(): string {
    return this.#producer.id;
  }

  get paused(): boolean {
    return this.#paused;
  }

  get producerPaused(): boolean {
    return this.#producer.paused;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Whether the receiver reports arrivals, so that the sending side estimates the downlink. */
  get transportFeedback(): boolean {
    return this.#transportCcId > 0;
  }

  async pause(): Promise<void> {
    if (this.#closed || this.#paused) return;
    this.#paused = true;
  }

  async resume(): Promise<void> {
    if (this.#closed || !this.#paused) return;
    this.#paused = false;
    this.restart();
  }

  async requestKeyFrame(): Promise<void> {
    if (!this.#closed) this.#producer.requestKeyFrame();
  }

  /** What comes next follows what was sent last; video waits for a key frame. */
  restart(): void {
    this.#sequence.desync();
    if (this.#paused || !this.#host.ready || !this.#producer.detectKeyFrame) return;
    this.#waitsForKeyFrame = true;
    this.#producer.requestKeyFrame();
  }

  onProducerPause(): void {
    if (!this.#closed) this.emit('producerPause');
  }

  onProducerResume(): void {
    if (this.#closed) return;
    this.restart();
    this.emit('producerResume');
  }

  forward(view: RtpView, nowMs: number): void {
    if (this.#paused || !this.#host.ready) return;
    if (this.#waitsForKeyFrame) {
      const detect = this.#producer.detectKeyFrame;
      if (detect && !startsKeyFrame(view, detect)) return;
      this.#waitsForKeyFrame = false;
      this.#sequence.desync();
    }
    const sequenceNumber = this.#sequence.rewrite(view.sequenceNumber);
    if (sequenceNumber < 0) return;
    if (this.#packetCount === 0) this.#startedMs = nowMs;
    this.#packetCount++;
    this.#octetCount += view.payloadLength;
    this.#send(view, sequenceNumber, false, nowMs);
  }

  onNack(sequenceNumbers: readonly number[], nowMs: number): void {
    if (this.#paused || !this.#nack || !this.#host.ready) return;
    this.#nackCount += sequenceNumbers.length;
    for (const sequenceNumber of sequenceNumbers) {
      const original = this.#sequence.original(sequenceNumber);
      if (original < 0) continue;
      const packet = this.#producer.history.get(original, nowMs);
      if (!packet || !this.#mayResend(sequenceNumber, nowMs) || !sharedView.parse(packet)) continue;
      this.#send(sharedView, sequenceNumber, this.rtxSsrc !== undefined, nowMs);
    }
  }

  onKeyFrameRequest(): void {
    this.#pliCount++;
    if (!this.#paused) this.#producer.requestKeyFrame();
  }

  onReport(report: ReportBlock, nowMs: number): void {
    this.#packetsLost = Math.max(0, report.packetsLost);
    const sent =
      report.lastSr === 0 ? undefined : this.#sentReports.find(({ middle }) => middle === report.lastSr);
    if (sent) {
      const sampleMs = Math.max(0, nowMs - sent.sentMs - (report.delaySinceLastSr * 1000) / 65536);
      this.#roundTripTimeMs =
        this.#roundTripTimeMs === null ? sampleMs : this.#roundTripTimeMs * 0.7 + sampleMs * 0.3;
    }
  }

  /** RFC 3550, section 6.4.1, on the original sender's clock, so that streams of one sender stay in sync. */
  sendSenderReport(nowMs: number): void {
    if (this.#paused || this.#packetCount === 0 || !this.#host.ready || this.#producer.paused) return;
    const info = this.#senderInfo(nowMs);
    if (!info) return;
    this.#sentReports.push({
      middle: ((info.ntpSeconds << 16) | (info.ntpFraction >>> 16)) >>> 0,
      sentMs: nowMs,
    });
    if (this.#sentReports.length > 8) this.#sentReports.shift();
    this.#host.sendRtcp(
      Buffer.concat([buildSenderReport(this.ssrc, info), buildSdes(this.ssrc, this.#cname)]),
    );
  }

  bitrateBps(nowMs: number): number {
    return this.#rate.bitrateBps(nowMs);
  }

  async stats(): Promise<SfuStreamStats> {
    return {
      bitrateBps: this.#rate.bitrateBps(performance.now()),
      packetCount: this.#packetCount,
      packetsLost: this.#packetsLost,
      nackCount: this.#nackCount,
      pliCount: this.#pliCount,
      roundTripTimeMs: this.#roundTripTimeMs,
    };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#paused = true;
    this.#producer.removeConsumer(this);
    this.#host.onConsumerClosed(this);
    this.emit('close');
  }

  #senderInfo(nowMs: number): SenderInfo | undefined {
    const counts = { packetCount: this.#packetCount >>> 0, octetCount: this.#octetCount >>> 0 };
    const clock = this.#producer.statistics.clock;
    if (clock) {
      const elapsedMs = nowMs - clock.receivedMs;
      const ntp = clock.ntpSeconds + clock.ntpFraction / 2 ** 32 + elapsedMs / 1000;
      return { ...ntpParts(ntp), rtpTimestamp: this.#extrapolate(clock.rtpTimestamp, elapsedMs), ...counts };
    }
    const last = this.#producer.lastPacket;
    if (!last || nowMs - this.#startedMs < OWN_CLOCK_AFTER_MS) return undefined;
    const ntp = Date.now() / 1000 + NTP_EPOCH_OFFSET_S;
    return {
      ...ntpParts(ntp),
      rtpTimestamp: this.#extrapolate(last.rtpTimestamp, nowMs - last.receivedMs),
      ...counts,
    };
  }

  #extrapolate(rtpTimestamp: number, elapsedMs: number): number {
    return (rtpTimestamp + Math.round((elapsedMs * this.#clockRate) / 1000)) >>> 0;
  }

  #mayResend(sequenceNumber: number, nowMs: number): boolean {
    this.#resends ??= {
      sequenceNumbers: new Int32Array(RESEND_SLOTS).fill(-1),
      times: new Float64Array(RESEND_SLOTS),
      counts: new Uint8Array(RESEND_SLOTS),
    };
    const { sequenceNumbers, times, counts } = this.#resends;
    const slot = sequenceNumber & (RESEND_SLOTS - 1);
    if (sequenceNumbers[slot] !== sequenceNumber) {
      sequenceNumbers[slot] = sequenceNumber;
      counts[slot] = 0;
    } else if (
      nowMs - (times[slot] as number) < MIN_RESEND_INTERVAL_MS ||
      (counts[slot] as number) >= MAX_RESENDS
    ) {
      return false;
    }
    times[slot] = nowMs;
    counts[slot] = (counts[slot] as number) + 1;
    return true;
  }

  /** Writes the packet for the receiver: new header, our extensions, the payload as it came. */
  #send(view: RtpView, sequenceNumber: number, rtx: boolean, nowMs: number): void {
    const out = Buffer.allocUnsafe(MAX_HEADER + view.payloadLength + 2 + SRTP_TAILROOM);
    out[1] = (view.marker ? 0x80 : 0) | (rtx ? this.#rtxPayloadType : this.#payloadType);
    const headerSequence = rtx ? this.#nextRtxSequence() : sequenceNumber;
    out[2] = headerSequence >> 8;
    out[3] = headerSequence & 0xff;
    out.writeUInt32BE(view.timestamp, 4);
    out.writeUInt32BE(rtx ? (this.rtxSsrc as number) : this.ssrc, 8);
    let at = this.#writeExtensions(out, view, nowMs);
    out[0] = at > 12 ? 0x90 : 0x80;
    const payloadOffset = at;
    if (rtx) at = out.writeUInt16BE(sequenceNumber, at);
    view.buffer.copy(out, at, view.payloadOffset, view.payloadOffset + view.payloadLength);
    at += view.payloadLength;
    this.#rate.add(at, nowMs);
    this.#host.sendRtp(out, at, payloadOffset);
  }

  #nextRtxSequence(): number {
    this.#rtxSequence = (this.#rtxSequence + 1) & 0xffff;
    return this.#rtxSequence;
  }

  /** One-byte form (RFC 8285, section 4.2); returns where the payload starts. */
  #writeExtensions(out: Buffer, view: RtpView, nowMs: number): number {
    let at = 16;
    if (this.#midId > 0 && this.#mid.length > 0) {
      out[at++] = (this.#midId << 4) | (this.#mid.length - 1);
      at += this.#mid.copy(out, at);
    }
    if (this.#absSendTimeId > 0) {
      // 24 bits of seconds in 6.18 fixed point.
      const time = Math.floor((nowMs % 64_000) * 262.144) & 0xffffff;
      out[at++] = (this.#absSendTimeId << 4) | 2;
      out[at++] = time >> 16;
      out[at++] = (time >> 8) & 0xff;
      out[at++] = time & 0xff;
    }
    if (this.#transportCcId > 0) {
      const number = this.#host.nextTransportSequence(at + view.payloadLength, nowMs);
      out[at++] = (this.#transportCcId << 4) | 1;
      out[at++] = number >> 8;
      out[at++] = number & 0xff;
    }
    const passed = this.#passedExtensions;
    for (let index = 0; index < passed.length; index += 2) {
      const from = view.findExtension(passed[index] as number);
      if (from < 0) continue;
      // Both extensions that are passed on are one byte long (RFC 6464, 3GPP TS 26.114).
      out[at++] = (passed[index + 1] as number) << 4;
      out[at++] = view.buffer[from] as number;
    }
    if (at === 16) return 12;
    while (at & 3) out[at++] = 0;
    out[12] = 0xbe;
    out[13] = 0xde;
    out[14] = 0;
    out[15] = (at - 16) >> 2;
    return at;
  }
}

function ntpParts(ntp: number): { ntpSeconds: number; ntpFraction: number } {
  const ntpSeconds = Math.floor(ntp);
  return { ntpSeconds: ntpSeconds >>> 0, ntpFraction: Math.floor((ntp - ntpSeconds) * 2 ** 32) >>> 0 };
}
