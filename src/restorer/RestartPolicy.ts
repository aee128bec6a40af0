/** How long to wait before a child that went away is started again. */
export interface RestartPolicyOptions {
  /** Delay before the first, second, … restart in a row; the last one repeats. */
  delaysMs: readonly number[];
  /** Up to this share of the delay is added at random, so that several children do not start in step. */
  jitter: number;
  /** A child that was ready for this long starts the table from the top. */
  stableAfterMs: number;
}

/** The first restart is all but immediate: a crash is rare and people are waiting for their picture. */
export const DEFAULT_RESTART_POLICY: RestartPolicyOptions = {
  delaysMs: [50, 250, 1_000, 2_000, 5_000, 10_000, 30_000],
  jitter: 0.25,
  stableAfterMs: 30_000,
};

/** Exponential back-off from an explicit table. */
export class RestartPolicy {
  readonly #options: RestartPolicyOptions;
  readonly #random: () => number;
  #failuresInARow = 0;
  #readyAtMs: number | null = null;

  constructor(options: RestartPolicyOptions = DEFAULT_RESTART_POLICY, random: () => number = Math.random) {
    this.#options = options;
    this.#random = random;
  }

  get failuresInARow(): number {
    return this.#failuresInARow;
  }

  /** The child is up. */
  ready(nowMs: number): void {
    this.#readyAtMs = nowMs;
  }

  /** The child went away (or never came up): milliseconds to wait before the next start. */
  failed(nowMs: number): number {
    const { delaysMs, jitter, stableAfterMs } = this.#options;
    if (this.#readyAtMs !== null && nowMs - this.#readyAtMs >= stableAfterMs) this.#failuresInARow = 0;
    this.#readyAtMs = null;
    const delayMs = delaysMs[Math.min(this.#failuresInARow, delaysMs.length - 1)] ?? 0;
    this.#failuresInARow += 1;
    return delayMs * (1 + jitter * this.#random());
  }
}
