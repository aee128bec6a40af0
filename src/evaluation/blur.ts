/** A Gaussian blur as an FFmpeg filter chain, exact to rounding: `gblur`'s recursive filter is not (its kernel is peaked). */

/** Taps on each side that FFmpeg's `convolution` takes in a row or a column. */
const MAX_RADIUS = 24;
/** Sigmas on each side until what is left out no longer shows. */
const REACH = 3.5;
/** Weights are whole numbers that add up to this. */
const TOTAL = 65_536;

/** `sigma` in luma pixels of 4:2:0; chroma, of half the size, is blurred by half of it. Empty for 0. */
export function blurChain(sigma: number): string {
  if (sigma <= 0) return '';
  if (sigma * REACH > MAX_RADIUS) {
    // The wide ones: six passes come close.
    return `gblur=sigma=${sigma}:steps=6:planes=1,gblur=sigma=${sigma / 2}:steps=6:planes=6`;
  }
  const planes = [sigma, sigma / 2, sigma / 2].map((value) => gaussianTaps(value).join(' '));
  const pass = (mode: 'row' | 'column') =>
    `convolution=${planes.map((taps, plane) => `${plane}m='${taps}':${plane}mode=${mode}:${plane}rdiv=1/${TOTAL}`).join(':')}`;
  return `${pass('row')},${pass('column')}`;
}

export function gaussianTaps(sigma: number): number[] {
  const radius = Math.max(1, Math.ceil(REACH * sigma));
  const exact = Array.from({ length: 2 * radius + 1 }, (_, at) =>
    Math.exp(-((at - radius) ** 2) / (2 * sigma * sigma)),
  );
  const sum = exact.reduce((total, value) => total + value, 0);
  const whole = exact.map((value) => Math.round((value / sum) * TOTAL));
  // Flat pictures keep their brightness: the middle takes what rounding left.
  const lack = TOTAL - whole.reduce((total, value) => total + value, 0);
  return whole.map((value, at) => (at === radius ? value + lack : value));
}
