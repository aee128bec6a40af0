/** Hands items from one stage to the next; the producer waits while it is full. One producer, one consumer. */
export class BoundedQueue<T> {
  readonly #capacity: number;
  readonly #dispose: (item: T) => void;
  readonly #items: T[] = [];
  #wake: (() => void)[] = [];
  #ended = false;
  #failure: unknown;
  #failed = false;

  constructor(capacity: number, dispose: (item: T) => void) {
    this.#capacity = capacity;
    this.#dispose = dispose;
  }

  /** Resolves once there was room. Rejects, and frees the item, when the queue has failed. */
  async push(item: T): Promise<void> {
    while (this.#items.length >= this.#capacity && !this.#failed) await this.#change();
    if (this.#failed) {
      this.#dispose(item);
      throw this.#failure;
    }
    this.#items.push(item);
    this.#notify();
  }

  /** Resolves to undefined after the last item. */
  async next(): Promise<T | undefined> {
    while (this.#items.length === 0 && !this.#ended && !this.#failed) await this.#change();
    if (this.#failed) throw this.#failure;
    const item = this.#items.shift();
    this.#notify();
    return item;
  }

  end(): void {
    this.#ended = true;
    this.#notify();
  }

  /** Frees what is queued; both sides get the error. */
  fail(error: unknown): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#failure = error;
    for (const item of this.#items.splice(0)) this.#dispose(item);
    this.#notify();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve));
  }

  #notify(): void {
    const waiting = this.#wake;
    this.#wake = [];
    for (const wake of waiting) wake();
  }
}
