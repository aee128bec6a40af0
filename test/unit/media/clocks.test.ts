import { describe, expect, it } from 'vitest';
import {
  addMsToNtp,
  compactNtp,
  ntpFromUnixMs,
  Unwrapper,
  unixMsFromNtp,
} from '../../../src/media/clocks.js';

describe('Unwrapper', () => {
  it('counts on over the end of the range, and back again', () => {
    const unwrapper = new Unwrapper(16, 1);
    expect([65_534, 65_535, 0, 65_535, 3].map((value) => unwrapper.unwrap(value))).toEqual([
      131_070, 131_071, 131_072, 131_071, 131_075,
    ]);
  });

  it('is never negative', () => {
    const unwrapper = new Unwrapper(32);
    unwrapper.unwrap(5);
    expect(unwrapper.peek(2 ** 32 - 5)).toBe(2 ** 32 - 5);
  });

  it('goes forward only where asked to, and stays congruent', () => {
    const unwrapper = new Unwrapper(32);
    expect([1000, 4000, 500, 3500].map((value) => unwrapper.unwrapForward(value))).toEqual([
      1000,
      4000,
      2 ** 32 + 500,
      2 ** 32 + 3500,
    ]);
  });
});

describe('NTP time', () => {
  it('is wall-clock time and back', () => {
    const unixMs = Date.UTC(2026, 10, 23, 12, 0, 0, 250);
    expect(unixMsFromNtp(ntpFromUnixMs(unixMs))).toBeCloseTo(unixMs, 3);
    expect(ntpFromUnixMs(0)).toBe(2_208_988_800n << 32n);
    expect(unixMsFromNtp(addMsToNtp(ntpFromUnixMs(unixMs), -1500))).toBeCloseTo(unixMs - 1500, 3);
    expect(compactNtp(0x1122_3344_5566_7788n)).toBe(0x3344_5566);
  });
});
