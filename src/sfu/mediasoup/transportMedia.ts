import type { AudioLevelObserver, Router, Transport } from 'mediasoup/types';
import { VireoError } from '../../errors.js';
import { KEY_FRAME_IGNORED_MS } from '../keyFrameRequests.js';
import type { ConsumeOptions, ProduceOptions, SfuConsumer, SfuProducer } from '../types.js';
import { translated } from './errors.js';
import { MediasoupConsumer } from './MediasoupConsumer.js';
import { MediasoupProducer } from './MediasoupProducer.js';

/** What transports of one router share. */
export interface RouterMedia {
  readonly router: Router;
  readonly audioLevels: AudioLevelObserver;
  readonly producers: Map<string, SfuProducer>;
  readonly consumers: Map<string, SfuConsumer>;
}

function assertOpen(transport: Transport): void {
  if (transport.closed) throw new VireoError('not-found', 'the transport is closed');
}

export async function produceOn(
  transport: Transport,
  media: RouterMedia,
  options: ProduceOptions,
): Promise<SfuProducer> {
  assertOpen(transport);
  const created = await translated(
    `produce ${options.kind}`,
    transport.produce({
      kind: options.kind,
      rtpParameters: options.rtpParameters,
      paused: options.paused ?? false,
      keyFrameRequestDelay: KEY_FRAME_IGNORED_MS,
    }),
  );
  const producer = new MediasoupProducer(created);
  if (created.closed) throw new VireoError('not-found', 'the transport was closed meanwhile');
  media.producers.set(producer.id, producer);
  producer.once('close', () => media.producers.delete(producer.id));
  if (options.kind === 'audio') {
    // Gone with the producer; a failure means that it has closed meanwhile.
    await media.audioLevels.addProducer({ producerId: created.id }).catch(() => {});
  }
  return producer;
}

export async function consumeOn(
  transport: Transport,
  media: RouterMedia,
  options: ConsumeOptions,
): Promise<SfuConsumer> {
  assertOpen(transport);
  const { producerId, rtpCapabilities } = options;
  if (!media.producers.has(producerId)) {
    throw new VireoError('not-found', `consume: there is no producer '${producerId}' in this router`);
  }
  if (!canConsume(media, producerId, rtpCapabilities)) {
    throw new VireoError('unsupported', `consume: the receiver lacks the codec of producer '${producerId}'`);
  }
  const created = await translated(
    'consume',
    transport.consume({ producerId, rtpCapabilities, paused: options.paused ?? true }),
  );
  const consumer = new MediasoupConsumer(created);
  if (created.closed) throw new VireoError('not-found', 'the producer or the transport was closed meanwhile');
  media.consumers.set(consumer.id, consumer);
  consumer.once('close', () => media.consumers.delete(consumer.id));
  return consumer;
}

export function canConsume(
  media: RouterMedia,
  producerId: string,
  rtpCapabilities: ConsumeOptions['rtpCapabilities'],
): boolean {
  if (!media.producers.has(producerId)) return false;
  try {
    return media.router.canConsume({ producerId, rtpCapabilities });
  } catch {
    return false;
  }
}
