/** Arithmetic on 16-bit RTP sequence numbers and 32-bit timestamps that wrap (RFC 3550, section A.1). */

/** Signed distance from `b` to `a`, −32768 to 32767: positive when `a` is newer. */
export function sequenceDelta(a: number, b: number): number {
  return ((a - b) << 16) >> 16;
}

/** Whether `a` comes after `b`. */
export function isNewerSequence(a: number, b: number): boolean {
  return sequenceDelta(a, b) > 0;
}

/** Signed distance between two 32-bit timestamps. */
export function timestampDelta(a: number, b: number): number {
  return (a - b) | 0;
}
