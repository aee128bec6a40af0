/**
 * The best that a method can do with a given rate when it may send at any of several heights. At each height
 * quality follows log-rate in straight lines between the points measured; a rate between two encodes is spent on
 * the better of what the heights reach with it. So every point of a hull can be had, at a height of its own.
 */
import type { RatePoint } from './bdRate.js';

export interface HeightPoint extends RatePoint {
  uplinkHeight: number;
}

export interface HullPoint {
  quality: number;
  uplinkHeight: number;
}

interface Line {
  uplinkHeight: number;
  /** Rising in both. */
  points: readonly RatePoint[];
}

export class Hull {
  readonly #lines: readonly Line[];

  /** Points without a rate are left out. */
  constructor(points: readonly HeightPoint[]) {
    const usable = points.filter(({ rate, quality }) => rate > 0 && Number.isFinite(quality));
    const heights = [...new Set(usable.map((point) => point.uplinkHeight))].sort((a, b) => a - b);
    this.#lines = heights.map((uplinkHeight) => ({
      uplinkHeight,
      points: rising(usable.filter((point) => point.uplinkHeight === uplinkHeight)),
    }));
  }

  /** Bits per second of the thriftiest encode; null without points. */
  get lowestRate(): number | null {
    const rates = this.#lines.flatMap(({ points }) => points[0]?.rate ?? []);
    return rates.length === 0 ? null : Math.min(...rates);
  }

  /** The best that `rate` buys, bits it does not need included; null where even the thriftiest encode needs more. */
  at(rate: number): HullPoint | null {
    let best: HullPoint | null = null;
    for (const { uplinkHeight, points } of this.#lines) {
      const quality = qualityAt(points, rate);
      if (quality !== null && (best === null || quality > best.quality)) best = { quality, uplinkHeight };
    }
    return best;
  }

  /** Lowest and highest quality reached. */
  get range(): { from: number; to: number } | null {
    const { lowestRate } = this;
    const from = lowestRate === null ? null : this.at(lowestRate);
    if (from === null) return null;
    return { from: from.quality, to: Math.max(...this.#qualities) };
  }

  /** log10 of the rate that `quality` takes; null where it is not reached. */
  logRateOf(quality: number): number | null {
    const rates = this.#lines.flatMap(({ points }) => logRateAt(points, quality) ?? []);
    return rates.length === 0 ? null : Math.min(...rates);
  }

  /** Integral of log10(rate) over the qualities from `low` to `high`, which must be reached. */
  integral(low: number, high: number): number {
    const stops = this.#stopsBetween(low, high);
    let sum = 0;
    for (let k = 0; k + 1 < stops.length; k++) {
      const [from, to] = [stops[k] ?? low, stops[k + 1] ?? high];
      // Straight in between: the middle stands for all of it.
      sum += (to - from) * (this.logRateOf((from + to) / 2) ?? 0);
    }
    return sum;
  }

  get #qualities(): number[] {
    return this.#lines.flatMap(({ points }) => points.map(({ quality }) => quality));
  }

  /** Qualities between which the hull is one straight line: the points measured, and where two heights' lines cross. */
  #stopsBetween(low: number, high: number): number[] {
    const measured = inside(this.#qualities, low, high);
    const crossings: number[] = [];
    for (let k = 0; k + 1 < measured.length; k++) {
      const [from, to] = [measured[k] ?? low, measured[k + 1] ?? high];
      for (const [index, a] of this.#lines.entries()) {
        for (const b of this.#lines.slice(index + 1)) {
          const crossing = crossingOf(a.points, b.points, from, to);
          if (crossing !== null) crossings.push(crossing);
        }
      }
    }
    return inside([...measured, ...crossings], low, high);
  }
}

/** Percent more (or, negative, fewer) bits that `test` needs for the same quality, mean over what both reach. */
export function hullBdRate(anchor: Hull, test: Hull): number | null {
  const [a, b] = [anchor.range, test.range];
  if (a === null || b === null) return null;
  const [low, high] = [Math.max(a.from, b.from), Math.min(a.to, b.to)];
  if (!(high > low)) return null;
  const meanLogRatio = (test.integral(low, high) - anchor.integral(low, high)) / (high - low);
  return (10 ** meanLogRatio - 1) * 100;
}

/** By rate, without points that a cheaper one equals or beats. */
function rising(points: readonly RatePoint[]): RatePoint[] {
  const sorted = [...points].sort((a, b) => a.rate - b.rate || b.quality - a.quality);
  const result: RatePoint[] = [];
  for (const { rate, quality } of sorted) {
    if (quality > (result.at(-1)?.quality ?? -Infinity)) result.push({ rate, quality });
  }
  return result;
}

function qualityAt(points: readonly RatePoint[], rate: number): number | null {
  const next = points.findIndex((point) => point.rate > rate);
  const before = next < 0 ? points.at(-1) : points[next - 1];
  if (before === undefined) return null;
  const after = points[next];
  if (after === undefined) return before.quality;
  const share = Math.log(rate / before.rate) / Math.log(after.rate / before.rate);
  return before.quality + share * (after.quality - before.quality);
}

function logRateAt(points: readonly RatePoint[], quality: number): number | null {
  const next = points.findIndex((point) => point.quality >= quality);
  const after = points[next];
  if (after === undefined) return null;
  const before = points[next - 1];
  // Less quality than the thriftiest encode gives costs as much as that one.
  if (before === undefined) return Math.log10(after.rate);
  const share = (quality - before.quality) / (after.quality - before.quality);
  return Math.log10(before.rate) + share * Math.log10(after.rate / before.rate);
}

/** Where the two lines, straight between `from` and `to`, cross. */
function crossingOf(
  a: readonly RatePoint[],
  b: readonly RatePoint[],
  from: number,
  to: number,
): number | null {
  const gap = (quality: number) => {
    const [x, y] = [logRateAt(a, quality), logRateAt(b, quality)];
    return x === null || y === null ? null : x - y;
  };
  // A little off the ends, where a line may jump.
  const margin = (to - from) * 1e-6;
  const [first, last] = [gap(from + margin), gap(to - margin)];
  if (first === null || last === null || first * last >= 0) return null;
  return from + margin + ((to - from - 2 * margin) * first) / (first - last);
}

/** Sorted, each once, with both ends. */
function inside(values: readonly number[], low: number, high: number): number[] {
  const between = values.filter((value) => value > low && value < high);
  return [...new Set([low, ...between, high])].sort((a, b) => a - b);
}
