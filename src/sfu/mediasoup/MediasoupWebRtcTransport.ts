import { EventEmitter } from 'node:events';
import type { WebRtcTransport } from 'mediasoup/types';
import { VireoError } from '../../errors.js';
import type {
  ConsumeOptions,
  DtlsParameters,
  IceCandidate,
  IceParameters,
  ProduceOptions,
  SfuConsumer,
  SfuProducer,
  SfuTransportStats,
  SfuWebRtcTransport,
  TransportState,
} from '../types.js';
import { translated } from './errors.js';
import { consumeOn, produceOn, type RouterMedia } from './transportMedia.js';

interface BweTrace {
  availableBitrate: number;
}

function isBweTrace(info: unknown): info is BweTrace {
  return typeof info === 'object' && info !== null && typeof (info as BweTrace).availableBitrate === 'number';
}

export class MediasoupWebRtcTransport
  extends EventEmitter<{ state: [state: TransportState]; downlinkEstimate: [bitrateBps: number]; close: [] }>
  implements SfuWebRtcTransport
{
  readonly #transport: WebRtcTransport;
  readonly #media: RouterMedia;
  #state: TransportState = 'new';
  #downlinkEstimateBps: number | null = null;

  private constructor(transport: WebRtcTransport, media: RouterMedia) {
    super();
    this.#transport = transport;
    this.#media = media;
    transport.on('icestatechange', () => this.#updateState());
    transport.on('dtlsstatechange', () => this.#updateState());
    transport.on('trace', ({ type, info }) => {
      if (type !== 'bwe' || !isBweTrace(info)) return;
      this.#downlinkEstimateBps = info.availableBitrate;
      this.emit('downlinkEstimate', info.availableBitrate);
    });
    transport.observer.once('close', () => {
      this.#updateState();
      this.emit('close');
    });
  }

  static async create(transport: WebRtcTransport, media: RouterMedia): Promise<MediasoupWebRtcTransport> {
    const created = new MediasoupWebRtcTransport(transport, media);
    await translated('create a WebRTC transport', transport.enableTraceEvent(['bwe']));
    return created;
  }

  get id(): string {
    return this.#transport.id;
  }

  get closed(): boolean {
    return this.#transport.closed;
  }

  get state(): TransportState {
    return this.#state;
  }

  get iceParameters(): IceParameters {
    return this.#transport.iceParameters;
  }

  get iceCandidates(): IceCandidate[] {
    return this.#transport.iceCandidates;
  }

  get dtlsParameters(): DtlsParameters {
    return this.#transport.dtlsParameters;
  }

  async connect({ dtlsParameters }: { dtlsParameters: DtlsParameters }): Promise<void> {
    if (dtlsParameters.fingerprints.length === 0) {
      throw new VireoError('bad-request', 'dtlsParameters.fingerprints: at least one is needed');
    }
    await translated('connect a WebRTC transport', this.#transport.connect({ dtlsParameters }));
  }

  restartIce(): Promise<IceParameters> {
    return translated('restart ICE', this.#transport.restartIce());
  }

  async setMaxIncomingBitrate(bitrateBps: number): Promise<void> {
    await translated('set the maximum incoming bitrate', this.#transport.setMaxIncomingBitrate(bitrateBps));
  }

  produce(options: ProduceOptions): Promise<SfuProducer> {
    return produceOn(this.#transport, this.#media, options);
  }

  consume(options: ConsumeOptions): Promise<SfuConsumer> {
    return consumeOn(this.#transport, this.#media, options);
  }

  async stats(): Promise<SfuTransportStats> {
    const [stats] = await translated('read transport statistics', this.#transport.getStats());
    return {
      bytesReceived: stats?.bytesReceived ?? 0,
      bytesSent: stats?.bytesSent ?? 0,
      downlinkEstimateBps: this.#downlinkEstimateBps,
    };
  }

  close(): void {
    this.#transport.close();
  }

  #updateState(): void {
    const state = this.#currentState();
    if (state === this.#state) return;
    this.#state = state;
    this.emit('state', state);
  }

  #currentState(): TransportState {
    const { closed, iceState, dtlsState } = this.#transport;
    if (closed) return 'closed';
    // A remote close_notify ends DTLS for good: nothing will ever arrive here again.
    if (dtlsState === 'failed' || dtlsState === 'closed') return 'failed';
    if (iceState === 'disconnected' || iceState === 'closed') return 'disconnected';
    if (iceState === 'new') return 'new';
    return dtlsState === 'connected' ? 'connected' : 'connecting';
  }
}
