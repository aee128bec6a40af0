/** Rate of a growing counter over the last seconds, from samples taken about once a second. */
export class RateWindow {
  readonly #windowMs: number;
  #samples: { atMs: number; value: number }[] = [];

  constructor(windowMs = 4_000) {
    this.#windowMs = windowMs;
  }

  /** `atMs` and `value` never go back; a smaller value (a new stream) starts over. */
  add(atMs: number, value: number): void {
    const last = this.#samples.at(-1);
    if (last && (value < last.value || atMs <= last.atMs)) this.#samples = [];
    this.#samples.push({ atMs, value });
    // One sample older than the window stays: the rate is over the whole window.
    while (this.#samples.length > 2 && (this.#samples[1]?.atMs ?? 0) <= atMs - this.#windowMs)
      this.#samples.shift();
  }

  /** Per second; 0 until there are two samples. */
  get perSecond(): number {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (!first || !last || last.atMs === first.atMs) return 0;
    return ((last.value - first.value) * 1_000) / (last.atMs - first.atMs);
  }
}
