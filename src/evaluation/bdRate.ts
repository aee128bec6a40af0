/**
 * Bjøntegaard's delta rate (ITU-T VCEG-M33): how many percent more or fewer bits one method needs for the same
 * quality as another, averaged over the qualities both reach. Log-rate over quality is interpolated with
 * monotone piecewise cubics (PCHIP, Fritsch and Butland 1984), which do not overshoot as one cubic does.
 */
export interface RatePoint {
  /** Bits per second. */
  rate: number;
  /** Such as PSNR in dB. */
  quality: number;
}

/** Percent; negative: `test` needs fewer bits than `anchor`. Null without two points each or an overlap. */
export function bdRate(anchor: readonly RatePoint[], test: readonly RatePoint[]): number | null {
  const [a, b] = [curve(anchor), curve(test)];
  if (a === null || b === null) return null;
  const low = Math.max(a.from, b.from);
  const high = Math.min(a.to, b.to);
  if (!(high > low)) return null;
  const meanLogRatio = (b.integral(low, high) - a.integral(low, high)) / (high - low);
  return (10 ** meanLogRatio - 1) * 100;
}

interface Curve {
  from: number;
  to: number;
  integral(low: number, high: number): number;
}

/** log10(rate) over quality. Points that a better one dominates (more bits, no more quality) are left out. */
function curve(points: readonly RatePoint[]): Curve | null {
  const sorted = points
    .filter((point) => point.rate > 0 && Number.isFinite(point.quality))
    .sort((p, q) => p.rate - q.rate);
  const xs: number[] = [];
  const ys: number[] = [];
  for (const { rate, quality } of sorted) {
    const last = xs.at(-1);
    if (last !== undefined && quality <= last) continue;
    xs.push(quality);
    ys.push(Math.log10(rate));
  }
  const [from, to] = [xs[0], xs.at(-1)];
  if (from === undefined || to === undefined || xs.length < 2) return null;
  const slopes = pchipSlopes(xs, ys);
  const integral = (low: number, high: number) => {
    let sum = 0;
    for (let k = 0; k + 1 < xs.length; k++) sum += segmentIntegral(xs, ys, slopes, k, low, high);
    return sum;
  };
  return { from, to, integral };
}

function at(values: readonly number[], index: number): number {
  return values[index] ?? 0;
}

/** Derivatives at the points, as in PCHIM: weighted harmonic means inside, one-sided formulas at the ends. */
export function pchipSlopes(xs: readonly number[], ys: readonly number[]): number[] {
  const n = xs.length;
  const h = xs.slice(1).map((x, k) => x - at(xs, k));
  const d = ys.slice(1).map((y, k) => (y - at(ys, k)) / at(h, k));
  if (n === 2) return [at(d, 0), at(d, 0)];
  const slopes = new Array<number>(n).fill(0);
  for (let k = 1; k < n - 1; k++) {
    const [d0, d1, h0, h1] = [at(d, k - 1), at(d, k), at(h, k - 1), at(h, k)];
    if (d0 * d1 <= 0) continue;
    const [w0, w1] = [2 * h1 + h0, h1 + 2 * h0];
    slopes[k] = (w0 + w1) / (w0 / d0 + w1 / d1);
  }
  slopes[0] = endSlope(at(h, 0), at(h, 1), at(d, 0), at(d, 1));
  slopes[n - 1] = endSlope(at(h, n - 2), at(h, n - 3), at(d, n - 2), at(d, n - 3));
  return slopes;
}

function endSlope(h0: number, h1: number, d0: number, d1: number): number {
  const slope = ((2 * h0 + h1) * d0 - h0 * d1) / (h0 + h1);
  if (slope * d0 <= 0) return 0;
  return d0 * d1 <= 0 && Math.abs(slope) > Math.abs(3 * d0) ? 3 * d0 : slope;
}

/** Integral of the Hermite cubic between points k and k + 1, clipped to [low, high]. */
function segmentIntegral(
  xs: readonly number[],
  ys: readonly number[],
  slopes: readonly number[],
  k: number,
  low: number,
  high: number,
): number {
  const [x0, x1] = [at(xs, k), at(xs, k + 1)];
  const h = x1 - x0;
  const start = Math.max(low, x0);
  const end = Math.min(high, x1);
  if (end <= start) return 0;
  const [y0, y1, m0, m1] = [at(ys, k), at(ys, k + 1), at(slopes, k) * h, at(slopes, k + 1) * h];
  // Antiderivative in t = (x - x0) / h of y0 h00 + m0 h10 + y1 h01 + m1 h11.
  const c3 = 2 * y0 + m0 - 2 * y1 + m1;
  const c2 = -3 * y0 - 2 * m0 + 3 * y1 - m1;
  const primitive = (t: number) => ((c3 / 4) * t + c2 / 3) * t ** 3 + (m0 / 2) * t ** 2 + y0 * t;
  return h * (primitive((end - x0) / h) - primitive((start - x0) / h));
}
