/** Sent at once whatever the rate: an ordinary frame. */
const BURST_BYTES = 12_000;
const RATE_FACTOR = 2.5;
const MIN_RATE_BPS = 1_000_000;
const MAX_RATE_BPS = 100_000_000;

/**
 * Spaces what is larger than a burst, so that a key frame does not overflow queues on its way: at 2.5 times
 * the target bitrate, or faster where a frame would otherwise take more than half a frame interval.
 */
export class Pacer<T extends { byteLength: number }> {
  readonly #halfIntervalMs: number;
  #bitrateBps: number;
  #queue: T[] = [];
  #at = 0;
  #bytes = 0;
  #rateBps = MIN_RATE_BPS;
  /** When the line is free again; before now by up to a burst. */
  #freeAtMs = Number.NEGATIVE_INFINITY;

  constructor(bitrateBps: number, fps: number) {
    this.#bitrateBps = bitrateBps;
    this.#halfIntervalMs = 500 / fps;
  }

  get packets(): number {
    return this.#queue.length - this.#at;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** When the next packet may leave; Infinity when none waits. */
  get nextDueMs(): number {
    return this.packets > 0 ? this.#freeAtMs : Number.POSITIVE_INFINITY;
  }

  setBitrate(bitrateBps: number): void {
    this.#bitrateBps = bitrateBps;
  }

  push(packets: readonly T[]): void {
    for (const packet of packets) {
      this.#queue.push(packet);
      this.#bytes += packet.byteLength;
    }
    const spread = (this.#bytes * 8000) / this.#halfIntervalMs;
    this.#rateBps = Math.min(Math.max(this.#bitrateBps * RATE_FACTOR, spread, MIN_RATE_BPS), MAX_RATE_BPS);
  }

  /** The next packet that may leave now; null when none may. */
  take(nowMs: number): T | null {
    const packet = this.#queue[this.#at];
    if (!packet || this.#freeAtMs > nowMs) return null;
    this.#at += 1;
    this.#bytes -= packet.byteLength;
    if (this.#at === this.#queue.length) {
      this.#queue = [];
      this.#at = 0;
    }
    this.account(packet.byteLength, nowMs);
    return packet;
  }

  /** Bytes that left past the queue, such as retransmissions. */
  account(bytes: number, nowMs: number): void {
    const burstMs = (BURST_BYTES * 8000) / this.#rateBps;
    this.#freeAtMs = Math.max(this.#freeAtMs, nowMs - burstMs) + (bytes * 8000) / this.#rateBps;
  }

  /** Drops all that waits. */
  clear(): T[] {
    const dropped = this.#queue.slice(this.#at);
    this.#queue = [];
    this.#at = 0;
    this.#bytes = 0;
    return dropped;
  }
}
