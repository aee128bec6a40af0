/** Keeps picture buffers for reuse, so that a running stream allocates nothing. Bounded per size. */
export class BufferPool {
  readonly #free = new Map<number, ArrayBuffer[]>();
  readonly #perSize: number;

  constructor(perSize: number) {
    this.#perSize = perSize;
  }

  take(byteLength: number): ArrayBuffer {
    return this.#free.get(byteLength)?.pop() ?? new ArrayBuffer(byteLength);
  }

  /** Detached buffers (transferred elsewhere) and more than the pool holds are dropped. */
  give(buffer: ArrayBuffer): void {
    if (buffer.byteLength === 0) return;
    const free = this.#free.get(buffer.byteLength);
    if (free === undefined) this.#free.set(buffer.byteLength, [buffer]);
    else if (free.length < this.#perSize && !free.includes(buffer)) free.push(buffer);
  }

  clear(): void {
    this.#free.clear();
  }
}
