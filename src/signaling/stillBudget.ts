/**
 * How large a sharp still of a camera may be, and how it is made to fit: what the page does, and what `vireo evaluate` does
 * in its place.
 */

/**
 * What a still may take on an uplink of 60 kbit/s and less, and from 250 kbit/s on. Bytes: four people at a table gain 0.6 dB from
 * 30 kB instead of 20 at 60 kbit/s; scenes that need less gain nothing. Quality: of WebP, in hundredths (of AVIF see below); at 60 kbit/s, hands before a soft
 * background gain 0.01 dB from 72 instead of 34 and pay half as much again, a man in his kitchen 0.08.
 */
const SMALL = { bitrateBps: 60_000, maxBytes: 30_000, maxQuality: 34 };
const LARGE = { bitrateBps: 250_000, maxBytes: 50_000, maxQuality: 72 };
/** Of WebP, in hundredths, best first. */
const QUALITIES = [72, 67, 62, 57, 52, 46, 40, 34, 28] as const;
/**
 * On an uplink below this, a still of a picture of which less than that share stands from one second to the next costs more than it
 * brings: at 60 kbit/s a camera that moves lost 0.2 dB, at 120 it gained nothing, at 240 0.3 dB.
 */
const THIN = { bitrateBps: 150_000, standingShare: 0.35 };
/** Where the lowest quality is still too large. */
const SCALES = [1, 0.75, 0.5] as const;

/**
 * The quantizer of AV1 (base_q_idx, 0 to 255) for a still that would have this quality as WebP. At 72 it looks about as good in three quarters
 * to half of the bytes, at 34 better (as WebP of 46) in still fewer: at 60 kbit/s four people at a table gain 0.14 dB from that, others
 * 0.03, for 0.5 kbit/s. Steps of libaom as Chromium has it.
 */
export function avifQuantizer(quality: number): number {
  return Math.round(180 - 0.61 * quality);
}

/** What a still should not exceed. */
export interface StillBudget {
  maxBytes: number;
  /** Of WebP, 0 to 100. */
  maxQuality: number;
}

/** What a still may be on an uplink of this budget (null: no limit). */
export function stillBudget(budgetBps: number | null): StillBudget {
  const beyond = ((budgetBps ?? LARGE.bitrateBps) - SMALL.bitrateBps) / (LARGE.bitrateBps - SMALL.bitrateBps);
  const share = Math.min(1, Math.max(0, beyond));
  const between = (small: number, large: number) => Math.round(small + share * (large - small));
  return {
    maxBytes: between(SMALL.maxBytes, LARGE.maxBytes),
    maxQuality: between(SMALL.maxQuality, LARGE.maxQuality),
  };
}

/** Whether a still is worth its bytes on an uplink of this budget (null: no limit) while that share of the picture stands still. */
export function worthAStill(budgetBps: number | null, standingShare: number): boolean {
  return budgetBps === null || budgetBps >= THIN.bitrateBps || standingShare >= THIN.standingShare;
}

/**
 * The largest picture at the best quality that fits into the budget; null: none does. `encode` takes the factor of the
 * sides and the quality from 0 to 100; what it gives null for ends the search.
 */
export async function fittingStill<Coded extends { byteLength: number }>(
  { maxBytes, maxQuality }: StillBudget,
  encode: (scale: number, quality: number) => Promise<Coded | null>,
): Promise<{ coded: Coded; scale: number } | null> {
  const qualities = QUALITIES.filter((quality) => quality <= maxQuality);
  for (const scale of SCALES) {
    let best: Coded | null = null;
    let from = 0;
    let to = qualities.length;
    while (from < to) {
      const middle = (from + to) >> 1;
      const coded = await encode(scale, qualities[middle] ?? 0);
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
