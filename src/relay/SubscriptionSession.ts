import type { Logger } from '../log.js';
import type { Subscription, VariantName, View } from '../rooms/types.js';
import type { SfuConsumer, SfuProducer, SfuRouter, SfuTransport } from '../sfu/types.js';
import type { ConsumerDescription, EventData, EventName } from '../signaling/messages.js';
import { ConsumerHandle } from './ConsumerHandle.js';
import type { PublicationSession } from './PublicationSession.js';

export type SendEvent = <N extends EventName>(name: N, data: EventData[N]) => void;

export interface SubscriptionSessionOptions {
  subscription: Subscription;
  publication: PublicationSession;
  router: SfuRouter;
  transport: SfuTransport;
  rtpCapabilities: Parameters<SfuRouter['canConsume']>[1];
  send: SendEvent;
  /** A consumer came or went: what is shown may have to be decided anew. */
  onChange: () => void;
  logger: Logger;
}

/** One subscriber's consumers of one publication, and what it was told about them. */
export class SubscriptionSession {
  readonly subscription: Subscription;
  readonly publication: PublicationSession;
  readonly #options: SubscriptionSessionOptions;
  readonly #handles: Partial<Record<VariantName, ConsumerHandle>> = {};
  #restoredFrom: SfuProducer | null = null;
  /** Nothing is sent before the answer to `subscribe` is. */
  #announced = false;
  #selected: { view: View; reason: string | null } | null = null;
  #closed = false;

  constructor(options: SubscriptionSessionOptions) {
    this.#options = options;
    this.subscription = options.subscription;
    this.publication = options.publication;
  }

  get consumers(): ConsumerHandle[] {
    return Object.values(this.#handles);
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Creates the original's consumer and, where there is one now, the restored stream's. */
  async open(): Promise<void> {
    await this.#consume(this.publication.source, 'original');
    await this.#followRestored(false);
  }

  describe(): ConsumerDescription[] {
    return this.consumers.map((handle) => handle.describe());
  }

  /** The answer to `subscribe` is out: from here on there are events. */
  announce(): void {
    this.#announced = true;
    this.apply();
  }

  /** After a `resume`: what the client may have missed. Known consumers are for it to ignore. */
  replay(): void {
    for (const description of this.describe()) this.#options.send('consumerAdded', description);
    this.#selected = null;
    this.apply();
  }

  find(consumerId: string): ConsumerHandle | undefined {
    return this.consumers.find(({ consumer }) => consumer.id === consumerId);
  }

  /** Makes the subscription's decision so: consumers run or not, and the client knows what to show. */
  apply(): void {
    if (this.#closed || !this.#announced) return;
    const { view, reason, run } = this.subscription.decision;
    this.#handles.original?.setWanted(run.original);
    this.#select(view, reason);
    this.#handles.restored?.setWanted(run.restored);
    if (this.publication.restored !== this.#restoredFrom) void this.#followRestored(true);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const handle of this.consumers) handle.close();
  }

  #select(view: View, reason: string | null): void {
    if (this.publication.publication.kind === 'audio') return;
    if (this.#selected?.view === view && this.#selected.reason === reason) return;
    this.#selected = { view, reason };
    this.#options.send('variantSelected', { publicationId: this.publication.publicationId, view, reason });
  }

  /** Gives the subscriber a consumer of the restored stream there is now, and takes that of an old one. */
  async #followRestored(notify: boolean): Promise<void> {
    const { subscription } = this;
    const producer = this.publication.restored;
    this.#restoredFrom = producer;
    this.#dropRestored();
    subscription.restoredConsumer = 'none';
    if (!producer || producer.closed) return;
    try {
      if (!this.#options.router.canConsume(producer.id, this.#options.rtpCapabilities)) {
        subscription.restoredConsumer = 'impossible';
      } else {
        await this.#consume(producer, 'restored');
        // The restored stream may have gone, and another come, meanwhile.
        if (this.#closed || this.#restoredFrom !== producer) return;
        subscription.restoredConsumer = 'held';
        const handle = this.#handles.restored;
        if (handle && notify) this.#options.send('consumerAdded', handle.describe());
      }
    } catch (error) {
      if (this.#closed || producer.closed || this.#options.transport.closed) return;
      this.#options.logger.warn({ err: error }, 'restored variant could not be subscribed to');
      subscription.restoredConsumer = 'impossible';
    }
    this.#options.onChange();
  }

  #dropRestored(): void {
    const handle = this.#handles.restored;
    if (!handle) return;
    delete this.#handles.restored;
    handle.close();
    this.#options.send('consumerRemoved', {
      consumerId: handle.consumer.id,
      publicationId: this.publication.publicationId,
      variant: 'restored',
    });
  }

  async #consume(producer: SfuProducer, variant: VariantName): Promise<void> {
    const { transport, rtpCapabilities, logger } = this.#options;
    const consumer: SfuConsumer = await transport.consume({
      producerId: producer.id,
      rtpCapabilities,
      paused: true,
    });
    const stale = variant === 'restored' && this.#restoredFrom !== producer;
    if (this.#closed || stale) {
      consumer.close();
      return;
    }
    this.#handles[variant] = new ConsumerHandle(consumer, this.publication.publicationId, variant, logger);
  }
}
