/** Clocks of RTP and NTP: counters that wrap, and the mapping between them (RFC 3550, sections 4 and 6.4.1). */

const NTP_EPOCH_OFFSET_S = 2_208_988_800;

/** Extends a counter of 16 or 32 bits (sequence number, RTP timestamp) to an integer that does not wrap. */
export class Unwrapper {
  readonly #range: number;
  #last: number | null = null;

  readonly #cycles: number;

  /** The first value is extended by `cycles` rounds, so that some before it still have a place above zero. */
  constructor(bits: 16 | 32, cycles = 0) {
    this.#range = 2 ** bits;
    this.#cycles = cycles;
  }

  /** The last value unwrapped, extended. */
  get last(): number | null {
    return this.#last;
  }

  /** The extended value nearest to the last one, never negative; becomes the last one. */
  unwrap(value: number): number {
    const extended = this.peek(value);
    this.#last = extended;
    return extended;
  }

  /** As `unwrap`, without remembering. */
  peek(value: number): number {
    if (this.#last === null) return value + this.#cycles * this.#range;
    const forward = this.#forward(value, this.#last);
    const extended = this.#last + (forward >= this.#range / 2 ? forward - this.#range : forward);
    return extended < 0 ? extended + this.#range : extended;
  }

  /** The smallest extended value that is not below the last one: for what must never go back. */
  unwrapForward(value: number): number {
    const extended = this.#last === null ? value : this.#last + this.#forward(value, this.#last);
    this.#last = extended;
    return extended;
  }

  reset(): void {
    this.#last = null;
  }

  #forward(value: number, last: number): number {
    return (value - (last % this.#range) + this.#range) % this.#range;
  }
}

/** 64-bit NTP timestamp (32.32 fixed point, seconds since 1900) of milliseconds since 1970. */
export function ntpFromUnixMs(unixMs: number): bigint {
  const seconds = Math.floor(unixMs / 1000);
  const fraction = Math.round(((unixMs - seconds * 1000) / 1000) * 2 ** 32);
  return (BigInt(seconds + NTP_EPOCH_OFFSET_S) << 32n) + BigInt(fraction);
}

/** Milliseconds since 1970 of a 64-bit NTP timestamp. */
export function unixMsFromNtp(ntp: bigint): number {
  const seconds = Number((ntp >> 32n) & 0xffff_ffffn) - NTP_EPOCH_OFFSET_S;
  return seconds * 1000 + (Number(ntp & 0xffff_ffffn) / 2 ** 32) * 1000;
}

/** A later (or earlier) NTP timestamp on the same clock. */
export function addMsToNtp(ntp: bigint, ms: number): bigint {
  return BigInt.asUintN(64, ntp + BigInt(Math.round((ms / 1000) * 2 ** 32)));
}

/** The middle 32 bits, in units of 1/65536 s, as LSR, DLSR and round-trip times use them. */
export function compactNtp(ntp: bigint): number {
  return Number((ntp >> 16n) & 0xffff_ffffn);
}

/** Wall clock of a `performance.now()` time of this process, milliseconds since 1970. */
export function unixMsFromMonotonicMs(atMs: number): number {
  return performance.timeOrigin + atMs;
}
