import { EventEmitter } from 'node:events';
import type { Producer } from 'mediasoup/types';
import type { MediaKind, RtpParameters, SfuProducer, SfuStreamStats } from '../types.js';
import { translated } from './errors.js';

export class MediasoupProducer extends EventEmitter<{ close: [] }> implements SfuProducer {
  readonly #producer: Producer;

  constructor(producer: Producer) {
    super();
    this.#producer = producer;
    producer.observer.once('close', () => this.emit('close'));
  }

  get id(): string {
    return this.#producer.id;
  }

  get kind(): MediaKind {
    return this.#producer.kind;
  }

  get rtpParameters(): RtpParameters {
    return this.#producer.rtpParameters;
  }

  get paused(): boolean {
    return this.#producer.paused;
  }

  get closed(): boolean {
    return this.#producer.closed;
  }

  async pause(): Promise<void> {
    await translated('pause a producer', this.#producer.pause());
  }

  async resume(): Promise<void> {
    await translated('resume a producer', this.#producer.resume());
  }

  async stats(): Promise<SfuStreamStats> {
    const streams = await translated('read producer statistics', this.#producer.getStats());
    const total: SfuStreamStats = {
      bitrateBps: 0,
      packetCount: 0,
      packetsLost: 0,
      nackCount: 0,
      pliCount: 0,
      roundTripTimeMs: null,
    };
    for (const stream of streams) {
      total.bitrateBps += stream.bitrate;
      total.packetCount += stream.packetCount;
      total.packetsLost += stream.packetsLost;
      total.nackCount += stream.nackCount;
      total.pliCount += stream.pliCount;
      total.roundTripTimeMs ??= stream.roundTripTime ?? null;
    }
    return total;
  }

  close(): void {
    this.#producer.close();
  }
}
