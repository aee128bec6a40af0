/** What a missed sign of life means by now. */
export type Health = 'alive' | 'silent' | 'dead';

export interface HealthOptions {
  pingIntervalMs: number;
  pingTimeoutMs: number;
  /** Pings in a row without an answer after which the child counts as silent. */
  missedForSilent: number;
}

/**
 * Counts unanswered pings, not wall-clock time: when it is the relay itself that stood still (a suspended
 * laptop, a long garbage collection), at most one ping was missed and nothing is held against the child.
 */
export class HealthMonitor {
  readonly #options: HealthOptions;
  #missed = 0;
  #awaiting = false;

  constructor(options: HealthOptions) {
    this.#options = options;
  }

  get health(): Health {
    const { missedForSilent, pingIntervalMs, pingTimeoutMs } = this.#options;
    if (this.#missed >= missedForSilent && this.#missed * pingIntervalMs >= pingTimeoutMs) return 'dead';
    return this.#missed >= missedForSilent ? 'silent' : 'alive';
  }

  /** Once an interval, before the next ping is sent. */
  tick(): Health {
    if (this.#awaiting) this.#missed += 1;
    this.#awaiting = true;
    return this.health;
  }

  /** Anything the child says is a sign of life. */
  heard(): void {
    this.#awaiting = false;
    this.#missed = 0;
  }

  reset(): void {
    this.heard();
  }
}
