import { describe, expect, it } from 'vitest';
import { bdRate, pchipSlopes } from '../../../src/evaluation/bdRate.js';

const points = (rates: number[], qualities: number[]) =>
  rates.map((rate, index) => ({ rate, quality: qualities[index] ?? Number.NaN }));

describe('Bjøntegaard delta rate', () => {
  const anchor = points([60_000, 120_000, 240_000, 480_000], [30, 33, 35.5, 37]);

  it('is the saving itself when every rate is the same share lower', () => {
    const cheaper = anchor.map(({ rate, quality }) => ({ rate: rate * 0.8, quality }));
    expect(bdRate(anchor, cheaper)).toBeCloseTo(-20, 6);
    expect(bdRate(cheaper, anchor)).toBeCloseTo(25, 6);
    expect(bdRate(anchor, anchor)).toBeCloseTo(0, 9);
  });

  it('follows log-rate linearly between two points', () => {
    const a = points([100, 1_000], [30, 40]);
    const b = points([100, 1_000], [32, 42]);
    // 2 dB are a fifth of a decade everywhere.
    expect(bdRate(a, b)).toBeCloseTo((10 ** -0.2 - 1) * 100, 6);
  });

  it('agrees with the single cubic of VCEG-M33 on its classic example', () => {
    const one = points([686.76, 309.58, 157.11, 85.95], [40.28, 37.18, 34.24, 31.42]);
    const two = points([893.34, 407.8, 204.93, 112.75], [40.39, 37.21, 34.17, 31.24]);
    expect(bdRate(one, two)).toBeCloseTo(31.4, 1);
  });

  it('does not depend on the order of the points', () => {
    const test = anchor.map(({ rate, quality }) => ({ rate: rate * 0.9, quality: quality + 0.2 }));
    expect(bdRate(anchor, [...test].reverse())).toBe(bdRate([...anchor].reverse(), test));
  });

  it('is null where nothing can be compared', () => {
    expect(bdRate(anchor, anchor.slice(0, 1))).toBeNull();
    expect(
      bdRate(
        anchor,
        anchor.map(({ rate, quality }) => ({ rate, quality: quality + 20 })),
      ),
    ).toBeNull();
    expect(bdRate([], anchor)).toBeNull();
  });
});

describe('PCHIP slopes', () => {
  it('match a straight line, and vanish at a turn', () => {
    expect(pchipSlopes([0, 1, 3], [0, 2, 6])).toEqual([2, 2, 2]);
    expect(pchipSlopes([0, 1, 2], [0, 1, 0])[1]).toBe(0);
  });

  it('are the weighted harmonic mean inside and the three-point formula at the ends', () => {
    // x³ at 0, 1, 2: secants 1 and 7, harmonic mean 1.75; ends (3·1 − 7)/2 < 0, so 0, and (3·7 − 1)/2.
    expect(pchipSlopes([0, 1, 2], [0, 1, 8])).toEqual([0, 1.75, 10]);
  });
});
