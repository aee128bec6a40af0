import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import type { MediaKind, RtpParameters } from 'mediasoup/types';
import type { SfuProducer, SfuStreamStats } from '../types.js';
import { KeyFrameRequester } from './KeyFrameRequester.js';
import { type KeyFrameDetector, keyFrameDetector, startsKeyFrame } from './keyFrames.js';
import { NackTracker } from './NackTracker.js';
import { EXTENSION, type ProducerMapping } from './ortc.js';
import { PacketHistory } from './PacketHistory.js';
import { RateMeter } from './RateMeter.js';
import { ReceiveStatistics } from './ReceiveStatistics.js';
import type { RtpView } from './RtpView.js';
import { buildFir, buildNack, buildPli, type SenderInfo } from './rtcp.js';
import type { WeriftConsumer } from './WeriftConsumer.js';

/** What a producer needs from the transport it receives on. */
export interface ProducerHost {
  /** Our SSRC in feedback packets. */
  readonly feedbackSsrc: number;
  sendRtcp(packet: Buffer): void;
  onProducerClosed(producer: WeriftProducer): void;
}

const VIDEO_HISTORY_PACKETS = 1024;
const AUDIO_HISTORY_PACKETS = 128;
const HISTORY_MS = 1000;
const NACK_TICK_MS = 20;

/** One incoming stream: repairs it as far as it can, and hands every packet to its consumers. */
export class WeriftProducer extends EventEmitter<{ close: [] }> implements SfuProducer {
  readonly id = randomUUID();
  readonly kind: MediaKind;
  readonly rtpParameters: RtpParameters;
  readonly mapping: ProducerMapping;
  readonly history: PacketHistory;
  readonly statistics: ReceiveStatistics;
  readonly detectKeyFrame: KeyFrameDetector | undefined;
  readonly #host: ProducerHost;
  readonly #onLevel: (levelDbov: number) => void;
  readonly #audioLevelId: number;
  readonly #nacks: NackTracker | undefined;
  readonly #keyFrames: KeyFrameRequester;
  readonly #rate = new RateMeter();
  readonly #consumers = new Set<WeriftConsumer>();
  #ssrc: number | undefined;
  #paused: boolean;
  #closed = false;
  #nackTimer: NodeJS.Timeout | undefined;
  #nackCount = 0;
  #pliCount = 0;
  #firNumber = 0;
  #lastTimestamp = 0;
  #lastArrivalMs = 0;

  constructor(options: {
    kind: MediaKind;
    rtpParameters: RtpParameters;
    mapping: ProducerMapping;
    paused: boolean;
    host: ProducerHost;
    onLevel(levelDbov: number): void;
  }) {
    super();
    this.kind = options.kind;
    this.rtpParameters = options.rtpParameters;
    this.mapping = options.mapping;
    this.#paused = options.paused;
    this.#host = options.host;
    this.#onLevel = options.onLevel;
    this.#ssrc = options.mapping.ssrc;
    const { codec, extensionIds } = options.mapping;
    this.statistics = new ReceiveStatistics(codec.clockRate);
    this.history = new PacketHistory(
      this.kind === 'video' ? VIDEO_HISTORY_PACKETS : AUDIO_HISTORY_PACKETS,
      HISTORY_MS,
    );
    this.detectKeyFrame = this.kind === 'video' ? keyFrameDetector(codec.mimeType) : undefined;
    this.#audioLevelId = this.kind === 'audio' ? (extensionIds.get(EXTENSION.audioLevel) ?? 0) : 0;
    const feedback = codec.rtcpFeedback ?? [];
    this.#nacks = feedback.some(({ type, parameter }) => type === 'nack' && !parameter)
      ? new NackTracker()
      : undefined;
    const pli = feedback.some(({ type, parameter }) => type === 'nack' && parameter === 'pli');
    const fir = feedback.some(({ type, parameter }) => type === 'ccm' && parameter === 'fir');
    this.#keyFrames = new KeyFrameRequester(() => {
      if (this.#ssrc === undefined || (!pli && !fir)) return;
      this.#pliCount++;
      const { feedbackSsrc } = this.#host;
      this.#host.sendRtcp(
        pli ? buildPli(feedbackSsrc, this.#ssrc) : buildFir(feedbackSsrc, this.#ssrc, this.#firNumber++),
      );
    });
  }

  /** The media SSRC, once known. */
  get ssrc(): number | undefined {
    return this.#ssrc;
  }

  get paused(): boolean {
    return this.#paused;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get consumers(): ReadonlySet<WeriftConsumer> {
    return this.#consumers;
  }

  async pause(): Promise<void> {
    if (this.#closed || this.#paused) return;
    this.#paused = true;
    this.history.clear();
    for (const consumer of [...this.#consumers]) consumer.onProducerPause();
  }

  async resume(): Promise<void> {
    if (this.#closed || !this.#paused) return;
    this.#paused = false;
    for (const consumer of [...this.#consumers]) consumer.onProducerResume();
  }

  /** Asks the sender for a key frame, throttled; without effect for audio. */
  requestKeyFrame(): void {
    if (this.kind === 'video' && !this.#closed && !this.#paused) this.#keyFrames.request();
  }

  addConsumer(consumer: WeriftConsumer): void {
    this.#consumers.add(consumer);
  }

  removeConsumer(consumer: WeriftConsumer): void {
    this.#consumers.delete(consumer);
  }

  /** A media packet, or the one a retransmission repeated. */
  receive(view: RtpView, retransmitted: boolean, nowMs: number): void {
    if (this.#closed || view.payloadType !== this.mapping.codec.payloadType) return;
    this.#ssrc ??= view.ssrc;
    this.#rate.add(view.buffer.length, nowMs);
    if (!retransmitted) {
      this.statistics.onPacket(view.sequenceNumber, view.timestamp, nowMs);
      this.#lastTimestamp = view.timestamp;
      this.#lastArrivalMs = nowMs;
    }
    if (this.#nacks && !this.#repair(this.#nacks, view, nowMs)) return;
    if (this.#paused) return;
    if (this.#audioLevelId > 0) {
      const at = view.findExtension(this.#audioLevelId);
      if (at >= 0) this.#onLevel(-((view.buffer[at] as number) & 0x7f));
    }
    if (this.#keyFrames.waiting && this.detectKeyFrame && startsKeyFrame(view, this.detectKeyFrame)) {
      this.#keyFrames.onKeyFrame();
    }
    this.history.store(view.sequenceNumber, view.buffer, nowMs);
    for (const consumer of this.#consumers) consumer.forward(view, nowMs);
  }

  /** The sender's own clock mapping; passed on to the consumers as it is. */
  onSenderReport(info: SenderInfo, nowMs: number): void {
    const first = this.statistics.clock === undefined;
    this.statistics.onSenderReport(info, nowMs);
    // The sooner a receiver can align audio and video, the better.
    if (first) for (const consumer of this.#consumers) consumer.sendSenderReport(nowMs);
  }

  /** Wall clock and RTP time of the last packet, for senders that send no reports. */
  get lastPacket(): { rtpTimestamp: number; receivedMs: number } | undefined {
    return this.statistics.started
      ? { rtpTimestamp: this.#lastTimestamp, receivedMs: this.#lastArrivalMs }
      : undefined;
  }

  async stats(): Promise<SfuStreamStats> {
    return {
      bitrateBps: this.#rate.bitrateBps(performance.now()),
      packetCount: this.statistics.packetsReceived,
      packetsLost: this.statistics.packetsLost,
      nackCount: this.#nackCount,
      pliCount: this.#pliCount,
      roundTripTimeMs: this.#nacks && this.#nackCount > 0 ? this.#nacks.rttMs : null,
    };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#nackTimer);
    this.#keyFrames.close();
    this.history.clear();
    for (const consumer of [...this.#consumers]) consumer.close();
    this.#host.onProducerClosed(this);
    this.emit('close');
  }

  /** False: a packet that was had before. */
  #repair(nacks: NackTracker, view: RtpView, nowMs: number): boolean {
    const arrival = nacks.onPacket(view.sequenceNumber, nowMs);
    if (arrival === 'duplicate') return false;
    if (arrival === 'reset') this.requestKeyFrame();
    if (nacks.missingCount > 0) {
      if (this.detectKeyFrame && startsKeyFrame(view, this.detectKeyFrame))
        nacks.forgetBefore(view.sequenceNumber);
      if (!this.#nackTimer) this.#requestMissing();
    }
    return true;
  }

  #requestMissing(): void {
    this.#nackTimer = undefined;
    const nacks = this.#nacks;
    if (!nacks || this.#closed) return;
    const { sequenceNumbers, givenUp } = nacks.due(performance.now());
    if (givenUp > 0) this.requestKeyFrame();
    if (sequenceNumbers.length > 0 && this.#ssrc !== undefined && !this.#paused) {
      this.#nackCount += sequenceNumbers.length;
      this.#host.sendRtcp(buildNack(this.#host.feedbackSsrc, this.#ssrc, sequenceNumbers));
    }
    if (nacks.missingCount > 0) {
      this.#nackTimer = setTimeout(() => this.#requestMissing(), NACK_TICK_MS);
      this.#nackTimer.unref();
    }
  }
}
