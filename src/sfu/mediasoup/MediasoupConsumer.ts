import { EventEmitter } from 'node:events';
import type { Consumer } from 'mediasoup/types';
import type { MediaKind, RtpParameters, SfuConsumer, SfuStreamStats } from '../types.js';
import { translated } from './errors.js';

export class MediasoupConsumer
  extends EventEmitter<{ close: []; producerPause: []; producerResume: [] }>
  implements SfuConsumer
{
  readonly #consumer: Consumer;

  constructor(consumer: Consumer) {
    super();
    this.#consumer = consumer;
    consumer.observer.once('close', () => this.emit('close'));
    consumer.on('producerpause', () => this.emit('producerPause'));
    consumer.on('producerresume', () => this.emit('producerResume'));
  }

  get id(): string {
    return this.#consumer.id;
  }

  get producerId(): string {
    return this.#consumer.producerId;
  }

  get kind(): MediaKind {
    return this.#consumer.kind;
  }

  get rtpParameters(): RtpParameters {
    return this.#consumer.rtpParameters;
  }

  get paused(): boolean {
    return this.#consumer.paused;
  }

  get producerPaused(): boolean {
    return this.#consumer.producerPaused;
  }

  get closed(): boolean {
    return this.#consumer.closed;
  }

  async pause(): Promise<void> {
    await translated('pause a consumer', this.#consumer.pause());
  }

  async resume(): Promise<void> {
    await translated('resume a consumer', this.#consumer.resume());
  }

  async requestKeyFrame(): Promise<void> {
    if (this.kind === 'video') await translated('request a key frame', this.#consumer.requestKeyFrame());
  }

  async stats(): Promise<SfuStreamStats> {
    const streams = await translated('read consumer statistics', this.#consumer.getStats());
    const out = streams.find(({ type }) => type === 'outbound-rtp');
    return {
      bitrateBps: out?.bitrate ?? 0,
      packetCount: out?.packetCount ?? 0,
      packetsLost: out?.packetsLost ?? 0,
      nackCount: out?.nackCount ?? 0,
      pliCount: out?.pliCount ?? 0,
      roundTripTimeMs: out?.roundTripTime ?? null,
    };
  }

  close(): void {
    this.#consumer.close();
  }
}
