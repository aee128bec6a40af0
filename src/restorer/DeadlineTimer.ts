/**
 * One timer for everything that has a deadline. Deadlines move with every packet; the timer is armed again
 * only when the next one is earlier than what it waits for, so a packet costs a comparison and no timer.
 */
export class DeadlineTimer {
  readonly #nextDeadlineMs: () => number;
  readonly #run: (nowMs: number) => void;
  #timer: NodeJS.Timeout | null = null;
  #armedForMs = Number.POSITIVE_INFINITY;
  #closed = false;

  /** `run` does what is due; afterwards `nextDeadlineMs` says when it is needed next (Infinity: not). */
  constructor(nextDeadlineMs: () => number, run: (nowMs: number) => void) {
    this.#nextDeadlineMs = nextDeadlineMs;
    this.#run = run;
  }

  /** Call after anything that may have moved a deadline. */
  update(): void {
    if (this.#closed) return;
    const deadlineMs = this.#nextDeadlineMs();
    if (deadlineMs >= this.#armedForMs || deadlineMs === Number.POSITIVE_INFINITY) return;
    if (this.#timer) clearTimeout(this.#timer);
    this.#armedForMs = deadlineMs;
    this.#timer = setTimeout(() => this.#fire(), Math.max(0, deadlineMs - performance.now()));
  }

  close(): void {
    this.#closed = true;
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #fire(): void {
    this.#timer = null;
    this.#armedForMs = Number.POSITIVE_INFINITY;
    const nowMs = performance.now();
    if (this.#nextDeadlineMs() <= nowMs) this.#run(nowMs);
    this.update();
  }
}
