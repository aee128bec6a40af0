/** Averages a rate over a window: bursts pass as long as the window's total is not used up. */
export class TokenBucket {
  readonly #ratePerMs: number;
  readonly #capacity: number;
  #tokens: number;
  #atMs: number;

  constructor(ratePerSecond: number, windowSeconds: number, nowMs: number) {
    this.#ratePerMs = ratePerSecond / 1_000;
    this.#capacity = ratePerSecond * windowSeconds;
    this.#tokens = this.#capacity;
    this.#atMs = nowMs;
  }

  /** @returns whether there was a token to take */
  take(nowMs: number): boolean {
    this.#tokens = Math.min(this.#capacity, this.#tokens + (nowMs - this.#atMs) * this.#ratePerMs);
    this.#atMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}
