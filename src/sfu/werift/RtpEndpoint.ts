import { randomInt } from 'node:crypto';
import { VireoError } from '../../errors.js';
import type { ConsumeOptions, ProduceOptions } from '../types.js';
import type { DownlinkEstimator } from './DownlinkEstimator.js';
import { canConsume, consumerRtpParameters, EXTENSION, mapProducer } from './ortc.js';
import { RtpView } from './RtpView.js';
import {
  buildReceiverReport,
  buildRemb,
  buildSdes,
  parseRtcp,
  type ReportBlock,
  type RtcpMessage,
} from './rtcp.js';
import { unwrapRtx } from './rtx.js';
import { TwccReceiver } from './TwccReceiver.js';
import { WeriftConsumer } from './WeriftConsumer.js';
import { WeriftProducer } from './WeriftProducer.js';
import type { WeriftRouter } from './WeriftRouter.js';

/** How an endpoint reaches the other side. */
export interface RtpPath {
  readonly ready: boolean;
  sendRtp(buffer: Buffer, length: number, payloadOffset: number): void;
  sendRtcp(packet: Buffer): void;
}

const REPORT_INTERVAL_MS = 1000;
const TWCC_INTERVAL_MS = 80;
const MAX_REPORTS = 31;
/** SSRCs a remote side may have; beyond, packets of unannounced SSRCs are dropped. */
const MAX_STREAMS = 128;

interface Stream {
  producer: WeriftProducer;
  rtx: boolean;
}

/**
 * The RTP side of a transport, encrypted or not: which packet belongs to which producer, which
 * feedback to which consumer, and the reports in both directions.
 */
export class RtpEndpoint {
  readonly feedbackSsrc = randomInt(1, 0xffffffff);
  readonly #router: WeriftRouter;
  readonly #path: RtpPath;
  readonly #cname: string;
  readonly #downlink: DownlinkEstimator | undefined;
  readonly #producers = new Map<string, WeriftProducer>();
  readonly #consumers = new Map<string, WeriftConsumer>();
  readonly #streams = new Map<number, Stream>();
  readonly #consumersBySsrc = new Map<number, WeriftConsumer>();
  readonly #view = new RtpView();
  readonly #timers: NodeJS.Timeout[];
  readonly #twcc: TwccReceiver;
  #midId = 0;
  #transportCcId = 0;
  #twccSsrc = 0;
  #nextMid = 0;
  #transportSequence = 0;
  #maxIncomingBps: number | undefined;
  #closed = false;

  constructor(options: {
    router: WeriftRouter;
    path: RtpPath;
    /** For producers that name none. */
    cname: string;
    /** Undefined: the other side is beside us, and its link no question. */
    downlink?: DownlinkEstimator;
  }) {
    this.#router = options.router;
    this.#path = options.path;
    this.#cname = options.cname;
    this.#downlink = options.downlink;
    this.#twcc = new TwccReceiver(this.feedbackSsrc);
    this.#timers = [
      setInterval(() => this.#sendReports(performance.now()), REPORT_INTERVAL_MS),
      setInterval(() => this.#sendTransportFeedback(), TWCC_INTERVAL_MS),
    ];
    for (const timer of this.#timers) timer.unref();
  }

  get producerCount(): number {
    return this.#producers.size;
  }

  get consumerCount(): number {
    return this.#consumers.size;
  }

  /** What is sent to the remote side right now, all consumers together. */
  sendingBps(nowMs: number): number {
    let sum = 0;
    for (const consumer of this.#consumers.values()) sum += consumer.bitrateBps(nowMs);
    return sum;
  }

  produce(options: ProduceOptions): WeriftProducer {
    if (options.kind !== 'audio' && options.kind !== 'video') {
      throw new VireoError('bad-request', `kind must be audio or video, got ${String(options.kind)}`);
    }
    const mapping = mapProducer(options.kind, options.rtpParameters, this.#router.rtpCapabilities);
    mapping.cname ||= this.#cname;
    for (const ssrc of [mapping.ssrc, mapping.rtxSsrc]) {
      if (ssrc !== undefined && this.#announced(ssrc)) {
        throw new VireoError('conflict', `SSRC ${ssrc} is in use on this transport`);
      }
    }
    if (mapping.mid !== undefined) {
      for (const { mapping: known } of this.#producers.values()) {
        if (known.mid === mapping.mid)
          throw new VireoError('conflict', `mid ${mapping.mid} is in use on this transport`);
      }
    }
    const producer: WeriftProducer = new WeriftProducer({
      kind: options.kind,
      rtpParameters: options.rtpParameters,
      mapping,
      paused: options.paused ?? false,
      host: {
        feedbackSsrc: this.feedbackSsrc,
        sendRtcp: (packet) => this.#sendRtcp(packet),
        onProducerClosed: (closed) => this.#forget(closed),
      },
      onLevel: (level) => this.#router.audioLevels.onLevel(producer.id, level),
    });
    this.#producers.set(producer.id, producer);
    if (mapping.ssrc !== undefined) this.#streams.set(mapping.ssrc, { producer, rtx: false });
    if (mapping.rtxSsrc !== undefined) this.#streams.set(mapping.rtxSsrc, { producer, rtx: true });
    this.#midId = mapping.extensionIds.get(EXTENSION.mid) ?? this.#midId;
    const transportCc = mapping.codec.rtcpFeedback?.some(({ type }) => type === 'transport-cc');
    if (transportCc)
      this.#transportCcId = mapping.extensionIds.get(EXTENSION.transportCc) ?? this.#transportCcId;
    this.#router.addProducer(producer);
    this.#sendRemb();
    return producer;
  }

  consume(options: ConsumeOptions): WeriftConsumer {
    const producer = this.#router.producer(options.producerId);
    if (!producer) throw new VireoError('not-found', `no producer ${options.producerId} in this room`);
    const { mapping, kind } = producer;
    if (!canConsume(mapping, options.rtpCapabilities)) {
      throw new VireoError('unsupported', `the receiver cannot decode ${mapping.routerCodec.mimeType}`);
    }
    const mid = String(this.#nextMid++);
    const capabilities = this.#router.rtpCapabilities;
    let rtpParameters = consumerRtpParameters(mapping, kind, options.rtpCapabilities, capabilities, mid);
    const clashes = (): boolean =>
      (rtpParameters.encodings ?? []).some(
        ({ ssrc = 0, rtx }) =>
          this.#consumersBySsrc.has(ssrc) || (rtx !== undefined && this.#consumersBySsrc.has(rtx.ssrc)),
      );
    while (clashes()) {
      rtpParameters = consumerRtpParameters(mapping, kind, options.rtpCapabilities, capabilities, mid);
    }
    const path = this.#path;
    const consumer = new WeriftConsumer({
      producer,
      rtpParameters,
      paused: options.paused ?? true,
      host: {
        get ready() {
          return path.ready;
        },
        nextTransportSequence: (size, nowMs) => {
          this.#transportSequence = (this.#transportSequence + 1) & 0xffff;
          this.#downlink?.onSent(this.#transportSequence, size, nowMs);
          return this.#transportSequence;
        },
        sendRtp: (buffer, length, payloadOffset) => path.sendRtp(buffer, length, payloadOffset),
        sendRtcp: (packet) => this.#sendRtcp(packet),
        onConsumerClosed: (closed) => {
          this.#consumers.delete(closed.id);
          this.#consumersBySsrc.delete(closed.ssrc);
          if (closed.rtxSsrc !== undefined) this.#consumersBySsrc.delete(closed.rtxSsrc);
        },
      },
    });
    this.#consumers.set(consumer.id, consumer);
    this.#consumersBySsrc.set(consumer.ssrc, consumer);
    if (consumer.rtxSsrc !== undefined) this.#consumersBySsrc.set(consumer.rtxSsrc, consumer);
    producer.addConsumer(consumer);
    consumer.restart();
    return consumer;
  }

  /** The path has come up: video that was resumed before starts with a key frame now. */
  onReady(): void {
    for (const consumer of this.#consumers.values()) consumer.restart();
    for (const producer of this.#producers.values()) {
      if ([...producer.consumers].some((consumer) => !consumer.paused)) producer.requestKeyFrame();
    }
    this.#sendRemb();
  }

  /** A decrypted RTP packet; the buffer is ours from here on. */
  receiveRtp(packet: Buffer, nowMs: number): void {
    const view = this.#view;
    if (this.#closed || !view.parse(packet)) return;
    if (this.#transportCcId > 0) {
      const at = view.findExtension(this.#transportCcId);
      if (at >= 0 && view.foundLength >= 2) {
        this.#twcc.onPacket(packet.readUInt16BE(at), nowMs);
        this.#twccSsrc = view.ssrc;
      }
    }
    const stream = this.#streams.get(view.ssrc) ?? this.#adopt(view);
    if (!stream) return;
    const { producer, rtx } = stream;
    if (!rtx) {
      producer.receive(view, false, nowMs);
      return;
    }
    const payloadType = producer.mapping.rtxPayloadTypes.get(view.payloadType);
    if (payloadType === undefined || producer.ssrc === undefined) return;
    if (unwrapRtx(view, producer.ssrc, payloadType)) producer.receive(view, true, nowMs);
  }

  /** A decrypted RTCP compound packet. */
  receiveRtcp(compound: Buffer, nowMs: number): void {
    if (this.#closed) return;
    for (const message of parseRtcp(compound)) this.#onRtcp(message, nowMs);
  }

  /** Keeps the sender's whole bundle below this rate, by REMB. */
  setMaxIncomingBitrate(bitrateBps: number): void {
    this.#maxIncomingBps = bitrateBps;
    this.#sendRemb();
  }

  /** Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const timer of this.#timers) clearInterval(timer);
    for (const producer of [...this.#producers.values()]) producer.close();
    for (const consumer of [...this.#consumers.values()]) consumer.close();
    this.#streams.clear();
  }

  #announced(ssrc: number): boolean {
    const producer = this.#streams.get(ssrc)?.producer;
    return producer !== undefined && (producer.mapping.ssrc === ssrc || producer.mapping.rtxSsrc === ssrc);
  }

  #forget(producer: WeriftProducer): void {
    this.#producers.delete(producer.id);
    for (const [ssrc, stream] of this.#streams) if (stream.producer === producer) this.#streams.delete(ssrc);
    this.#router.removeProducer(producer);
  }

  /** An SSRC nobody announced: the MID extension says whose it is (RFC 8843, section 9.2). */
  #adopt(view: RtpView): Stream | undefined {
    if (this.#midId === 0 || this.#streams.size >= MAX_STREAMS) return undefined;
    const at = view.findExtension(this.#midId);
    if (at < 0) return undefined;
    const mid = view.buffer.toString('latin1', at, at + view.foundLength);
    for (const producer of this.#producers.values()) {
      const { mapping } = producer;
      if (mapping.mid !== mid) continue;
      const rtx = mapping.rtxPayloadTypes.has(view.payloadType);
      if (!rtx && view.payloadType !== mapping.codec.payloadType) return undefined;
      // An announced media SSRC stands; only what was left open is learnt from the packets.
      if (rtx ? mapping.rtxSsrc !== undefined : producer.ssrc !== undefined) return undefined;
      const stream = { producer, rtx };
      this.#streams.set(view.ssrc, stream);
      return stream;
    }
    return undefined;
  }

  #onRtcp(message: RtcpMessage, nowMs: number): void {
    switch (message.type) {
      case 'sr': {
        const stream = this.#streams.get(message.ssrc);
        if (stream && !stream.rtx) stream.producer.onSenderReport(message.info, nowMs);
        this.#onReports(message.reports, nowMs);
        return;
      }
      case 'rr':
        this.#onReports(message.reports, nowMs);
        return;
      case 'nack': {
        const consumer = this.#consumersBySsrc.get(message.mediaSsrc);
        if (consumer?.ssrc === message.mediaSsrc) consumer.onNack(message.sequenceNumbers, nowMs);
        return;
      }
      case 'pli':
        this.#consumersBySsrc.get(message.mediaSsrc)?.onKeyFrameRequest();
        return;
      case 'fir':
        for (const ssrc of message.ssrcs) this.#consumersBySsrc.get(ssrc)?.onKeyFrameRequest();
        return;
      case 'remb':
        // Where the receiver reports arrivals, we know better.
        if ([...this.#consumers.values()].some((consumer) => consumer.transportFeedback)) return;
        this.#downlink?.onRemb(message.bitrateBps, this.sendingBps(nowMs), nowMs);
        return;
      case 'twcc':
        this.#downlink?.onFeedback(message, nowMs);
        return;
    }
  }

  #onReports(reports: readonly ReportBlock[], nowMs: number): void {
    for (const report of reports) {
      const consumer = this.#consumersBySsrc.get(report.ssrc);
      if (consumer?.ssrc === report.ssrc) consumer.onReport(report, nowMs);
    }
  }

  #sendReports(nowMs: number): void {
    if (!this.#path.ready) return;
    const reports: ReportBlock[] = [];
    for (const producer of this.#producers.values()) {
      if (producer.ssrc !== undefined && producer.statistics.started) {
        reports.push(producer.statistics.report(producer.ssrc, nowMs));
      }
    }
    for (let at = 0; at < reports.length; at += MAX_REPORTS) {
      const report = buildReceiverReport(this.feedbackSsrc, reports.slice(at, at + MAX_REPORTS));
      this.#sendRtcp(Buffer.concat([report, buildSdes(this.feedbackSsrc, this.#cname)]));
    }
    this.#sendRemb();
    for (const consumer of this.#consumers.values()) consumer.sendSenderReport(nowMs);
  }

  #sendRemb(): void {
    if (this.#maxIncomingBps === undefined || !this.#path.ready) return;
    const ssrcs: number[] = [];
    for (const { ssrc } of this.#producers.values()) if (ssrc !== undefined) ssrcs.push(ssrc);
    if (ssrcs.length > 0)
      this.#sendRtcp(buildRemb(this.feedbackSsrc, this.#maxIncomingBps, ssrcs.slice(0, 255)));
  }

  #sendTransportFeedback(): void {
    if (this.#twcc.pendingCount === 0 || !this.#path.ready) return;
    for (const packet of this.#twcc.build(this.#twccSsrc)) this.#sendRtcp(packet);
  }

  #sendRtcp(packet: Buffer): void {
    if (!this.#closed && this.#path.ready) this.#path.sendRtcp(packet);
  }
}
