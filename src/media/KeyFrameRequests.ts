const FIRST_RETRY_MS = 250;
const MAX_RETRY_MS = 2000;
/** However often something breaks, no more than one request in this time. */
const MIN_INTERVAL_MS = 150;

/** When to ask for a key frame: at once, then again with back-off until one came. */
export class KeyFrameRequests {
  #nextMs = Number.POSITIVE_INFINITY;
  #lastMs = Number.NEGATIVE_INFINITY;
  #retryMs = FIRST_RETRY_MS;

  /** When `takeDue` next says yes; Infinity while no key frame is wanted. */
  get nextDueMs(): number {
    return this.#nextMs;
  }

  /** A key frame is needed from `atMs` on; while one is wanted already this changes nothing. */
  want(atMs: number): void {
    if (this.#nextMs !== Number.POSITIVE_INFINITY) return;
    this.#retryMs = FIRST_RETRY_MS;
    this.#nextMs = Math.max(atMs, this.#lastMs + MIN_INTERVAL_MS);
  }

  satisfied(): void {
    this.#nextMs = Number.POSITIVE_INFINITY;
  }

  /** True when a request is to be sent now; it counts as sent. */
  takeDue(nowMs: number): boolean {
    if (nowMs < this.#nextMs) return false;
    this.#lastMs = nowMs;
    this.#nextMs = nowMs + this.#retryMs;
    this.#retryMs = Math.min(MAX_RETRY_MS, this.#retryMs * 2);
    return true;
  }
}
