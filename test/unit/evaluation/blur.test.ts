import { describe, expect, it } from 'vitest';
import { blurChain, gaussianTaps } from '../../../src/evaluation/blur.js';

describe('blur', () => {
  it.each([0.4, 1, 2, 3, 6.8])('is a Gaussian of sigma %d, and keeps brightness', (sigma) => {
    const taps = gaussianTaps(sigma);
    const middle = (taps.length - 1) / 2;
    const total = taps.reduce((sum, value) => sum + value, 0);
    expect(total).toBe(65_536);
    expect([...taps].reverse()).toEqual(taps);
    const variance = taps.reduce((sum, value, at) => sum + (value / total) * (at - middle) ** 2, 0);
    // At small sigmas the samples of the Gaussian spread less than the Gaussian does.
    expect(Math.sqrt(variance) / sigma).toBeGreaterThan(sigma < 1 ? 0.7 : 0.99);
    expect(Math.sqrt(variance) / sigma).toBeLessThan(1.01);
  });

  it('is nothing without a sigma, and takes FFmpeg’s own filter beyond its taps', () => {
    expect(blurChain(0)).toBe('');
    expect(blurChain(2)).toMatch(/^convolution=0m='/);
    expect(blurChain(20)).toMatch(/^gblur=sigma=20/);
  });
});
