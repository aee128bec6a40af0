const BUCKETS = 20;

/** Events (or bytes) a second over a sliding window, in fixed buckets: nothing is allocated, nothing grows. */
export class RateMeter {
  readonly #bucketMs: number;
  readonly #sums = new Float64Array(BUCKETS);
  #newest = Number.NaN;
  #firstMs = Number.NaN;

  constructor(windowMs = 2_000) {
    this.#bucketMs = windowMs / BUCKETS;
  }

  add(nowMs: number, amount = 1): void {
    if (Number.isNaN(this.#firstMs)) this.#firstMs = nowMs;
    this.#advance(nowMs);
    const at = this.#newest % BUCKETS;
    this.#sums[at] = (this.#sums[at] ?? 0) + amount;
  }

  /** A second; while the window is not full yet, over the time since the first event. */
  perSecond(nowMs: number): number {
    if (Number.isNaN(this.#firstMs)) return 0;
    this.#advance(nowMs);
    const windowMs = this.#bucketMs * (BUCKETS - 1) + (nowMs - this.#newest * this.#bucketMs);
    const elapsedMs = Math.min(windowMs, Math.max(nowMs - this.#firstMs, this.#bucketMs * 4));
    return (this.total * 1_000) / elapsedMs;
  }

  /** Sum over the window as of the last call with a time. */
  get total(): number {
    let total = 0;
    for (const sum of this.#sums) total += sum;
    return total;
  }

  clear(): void {
    this.#sums.fill(0);
    this.#newest = Number.NaN;
    this.#firstMs = Number.NaN;
  }

  #advance(nowMs: number): void {
    const bucket = Math.floor(nowMs / this.#bucketMs);
    if (Number.isNaN(this.#newest) || bucket - this.#newest >= BUCKETS) {
      this.#sums.fill(0);
      this.#newest = bucket;
      return;
    }
    while (this.#newest < bucket) {
      this.#newest += 1;
      this.#sums[this.#newest % BUCKETS] = 0;
    }
  }
}
