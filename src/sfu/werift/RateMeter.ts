const BUCKETS = 10;
const BUCKET_MS = 100;
const MIN_WINDOW_MS = 200;

/** Bits per second over the last second, in constant memory. */
export class RateMeter {
  readonly #bytes = new Float64Array(BUCKETS);
  #bucket = 0;
  #total = 0;
  /** When the first bytes came after a second without any. */
  #startMs = 0;

  add(bytes: number, nowMs: number): void {
    this.#roll(nowMs);
    if (this.#total === 0) this.#startMs = nowMs;
    const slot = this.#bucket % BUCKETS;
    this.#bytes[slot] = (this.#bytes[slot] as number) + bytes;
    this.#total += bytes;
  }

  bitrateBps(nowMs: number): number {
    this.#roll(nowMs);
    const windowMs = Math.min(BUCKETS * BUCKET_MS, Math.max(MIN_WINDOW_MS, nowMs - this.#startMs));
    return Math.round((this.#total * 8 * 1000) / windowMs);
  }

  #roll(nowMs: number): void {
    const bucket = Math.floor(nowMs / BUCKET_MS);
    if (bucket <= this.#bucket) return;
    if (bucket - this.#bucket >= BUCKETS) {
      this.#bytes.fill(0);
      this.#total = 0;
    } else {
      for (let passed = this.#bucket + 1; passed <= bucket; passed++) {
        const slot = passed % BUCKETS;
        this.#total -= this.#bytes[slot] as number;
        this.#bytes[slot] = 0;
      }
    }
    this.#bucket = bucket;
  }
}
