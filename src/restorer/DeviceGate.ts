/** A track that wants to run one block on the device. */
export interface GateWaiter {
  readonly priority: number;
  /** Its turn: must end in `release`, now or later. The newest pictures are taken now, not when it asked. */
  granted(): void;
}

/**
 * Lets a few blocks onto the device at a time, by priority, and first come first served within one: so a
 * block waits for its turn here, where newer pictures can still replace stale ones, and not in the Worker.
 */
export class DeviceGate {
  readonly #slots: number;
  readonly #waiting: GateWaiter[] = [];
  #running = 0;

  /** Two slots: one block runs, the next is on its way, and the device does not idle in between. */
  constructor(slots = 2) {
    this.#slots = slots;
  }

  get running(): number {
    return this.#running;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Calls `granted` at once if there is room. Asking twice counts once. */
  request(waiter: GateWaiter): void {
    if (this.#waiting.includes(waiter)) return;
    this.#waiting.push(waiter);
    this.#grant();
  }

  cancel(waiter: GateWaiter): void {
    const at = this.#waiting.indexOf(waiter);
    if (at >= 0) this.#waiting.splice(at, 1);
  }

  release(): void {
    this.#running -= 1;
    this.#grant();
  }

  #grant(): void {
    while (this.#running < this.#slots) {
      let best = 0;
      for (let at = 1; at < this.#waiting.length; at++) {
        if ((this.#waiting[at]?.priority ?? 0) > (this.#waiting[best]?.priority ?? 0)) best = at;
      }
      const [next] = this.#waiting.splice(best, 1);
      if (next === undefined) return;
      this.#running += 1;
      next.granted();
    }
  }
}
