import { EventEmitter } from 'node:events';
import type { PlainTransport } from 'mediasoup/types';
import type {
  ConsumeOptions,
  ProduceOptions,
  SfuConsumer,
  SfuPlainTransport,
  SfuProducer,
  SfuTransportStats,
} from '../types.js';
import { translated } from './errors.js';
import { consumeOn, produceOn, type RouterMedia } from './transportMedia.js';

export class MediasoupPlainTransport extends EventEmitter<{ close: [] }> implements SfuPlainTransport {
  readonly #transport: PlainTransport;
  readonly #media: RouterMedia;

  constructor(transport: PlainTransport, media: RouterMedia) {
    super();
    this.#transport = transport;
    this.#media = media;
    transport.observer.once('close', () => this.emit('close'));
  }

  get id(): string {
    return this.#transport.id;
  }

  get closed(): boolean {
    return this.#transport.closed;
  }

  get localAddress(): { ip: string; port: number } {
    const { localAddress, localPort } = this.#transport.tuple;
    return { ip: localAddress, port: localPort };
  }

  async connect(remote: { ip: string; port: number }): Promise<void> {
    await translated('connect a plain transport', this.#transport.connect(remote));
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
      downlinkEstimateBps: null,
    };
  }

  close(): void {
    this.#transport.close();
  }
}
