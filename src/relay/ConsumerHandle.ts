import type { Logger } from '../log.js';
import type { SfuConsumer } from '../sfu/types.js';
import type { ConsumerDescription, VariantName } from '../signaling/messages.js';

/** One consumer of one subscriber: runs when it should and once the receiver has set it up. */
export class ConsumerHandle {
  readonly consumer: SfuConsumer;
  readonly variant: VariantName;
  readonly #publicationId: string;
  readonly #logger: Logger;
  #ready = false;
  #wanted = false;
  #applying = false;

  constructor(consumer: SfuConsumer, publicationId: string, variant: VariantName, logger: Logger) {
    this.consumer = consumer;
    this.variant = variant;
    this.#publicationId = publicationId;
    this.#logger = logger;
  }

  /** The receiver has set it up. */
  setReady(): void {
    this.#ready = true;
    void this.#apply();
  }

  setWanted(wanted: boolean): void {
    this.#wanted = wanted;
    void this.#apply();
  }

  describe(): ConsumerDescription {
    const { id, producerId, kind, rtpParameters, producerPaused } = this.consumer;
    return {
      consumerId: id,
      producerId,
      publicationId: this.#publicationId,
      variant: this.variant,
      kind,
      rtpParameters,
      producerPaused,
    };
  }

  close(): void {
    this.consumer.close();
  }

  /** One engine call at a time; whatever was wanted last wins. */
  async #apply(): Promise<void> {
    if (this.#applying) return;
    this.#applying = true;
    try {
      while (!this.consumer.closed && this.consumer.paused === (this.#wanted && this.#ready)) {
        if (this.#wanted && this.#ready) await this.consumer.resume();
        else await this.consumer.pause();
      }
    } catch (error) {
      if (!this.consumer.closed)
        this.#logger.warn({ err: error, consumerId: this.consumer.id }, 'consumer failed');
    } finally {
      this.#applying = false;
    }
  }
}
