/**
 * How large a sharp still of a camera may be, and how it is made to fit: what the page does, and what `vireo evaluate` does
 * in its place.
 */

/**
 * Stills as large as this at 60 kbit/s at most, and that large from 250 kbit/s on: what four people at a table take. They gain
 * 0.6 dB from 30 kB instead of 20 at 60 kbit/s, where scenes that need less gain nothing.
 */
const SMALL = { bitrateBps: 60_000, bytes: 30_000 };
const LARGE = { bitrateBps: 250_000, bytes: 50_000 };
/** Of WebP, in hundredths, best first: better ones cost bits that the video makes more of. */
const QUALITIES = [72, 67, 62, 57, 52, 46, 40, 34, 28] as const;
/** Where the lowest quality is still too large. */
const SCALES = [1, 0.75, 0.5] as const;

/** How large a still should be on an uplink of this budget (null: no limit). */
export function stillBytes(budgetBps: number | null): number {
  const share = ((budgetBps ?? LARGE.bitrateBps) - SMALL.bitrateBps) / (LARGE.bitrateBps - SMALL.bitrateBps);
  return Math.round(SMALL.bytes + Math.min(1, Math.max(0, share)) * (LARGE.bytes - SMALL.bytes));
}

/**
 * The largest picture at the best quality that fits into `maxBytes`; null: none does. `encode` takes the factor of the
 * sides and the quality from 0 to 100; what it gives null for ends the search.
 */
export async function fittingStill<Coded extends { byteLength: number }>(
  maxBytes: number,
  encode: (scale: number, quality: number) => Promise<Coded | null>,
): Promise<{ coded: Coded; scale: number } | null> {
  for (const scale of SCALES) {
    let best: Coded | null = null;
    let from = 0;
    let to: number = QUALITIES.length;
    while (from < to) {
      const middle = (from + to) >> 1;
      const coded = await encode(scale, QUALITIES[middle] ?? 0);
      if (coded === null) return null;
      if (coded.byteLength <= maxBytes) {
        best = coded;
        to = middle;
      } else from = middle + 1;
    }
    if (best !== null) return { coded: best, scale };
  }
  return null;
}
