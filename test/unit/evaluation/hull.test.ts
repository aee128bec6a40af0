import { describe, expect, it } from 'vitest';
import { Hull, hullBdRate } from '../../../src/evaluation/hull.js';
import { type EvaluationRow, reportOf } from '../../../src/evaluation/report.js';

const points = (uplinkHeight: number, ...pairs: [rate: number, quality: number][]) =>
  pairs.map(([rate, quality]) => ({ uplinkHeight, rate, quality }));

// 180 lines: 1 dB a decade from 100 on. 360 lines: 4 dB a decade from 1000 on. They cross after 3 1/3 decades.
const small = points(180, [100, 30], [10_000, 32]);
const large = points(360, [1_000, 30], [10_000, 34]);
const both = new Hull([...large, ...small]);

describe('the hull over uplink heights', () => {
  it('takes the better height, and follows log-rate in between', () => {
    expect(both.at(100)).toEqual({ quality: 30, uplinkHeight: 180 });
    expect(both.at(1_000)).toEqual({ quality: 31, uplinkHeight: 180 });
    expect(both.at(10 ** 3.5)).toEqual({ quality: 32, uplinkHeight: 360 });
    expect(both.at(10_000)).toEqual({ quality: 34, uplinkHeight: 360 });
  });

  it('cannot send below its thriftiest encode, and keeps its best above the dearest', () => {
    expect(both.lowestRate).toBe(100);
    expect(both.at(99)).toBeNull();
    expect(both.at(1_000_000)).toEqual({ quality: 34, uplinkHeight: 360 });
    expect(new Hull([]).at(100)).toBeNull();
    expect(new Hull([]).lowestRate).toBeNull();
  });

  it('skips encodes that take more for no more, and those without a rate', () => {
    const hull = new Hull(points(180, [100, 30], [500, 29], [1_000, 31], [2_000, 31], [0, 50]));
    expect(hull.at(500)?.quality).toBeCloseTo(30 + Math.log10(5), 9);
    expect(hull.at(2_000)?.quality).toBe(31);
  });

  it('knows what a quality costs', () => {
    expect(both.logRateOf(31)).toBeCloseTo(3, 9);
    expect(both.logRateOf(32)).toBeCloseTo(3.5, 9);
    expect(both.logRateOf(20)).toBe(2);
    expect(both.logRateOf(34.1)).toBeNull();
  });

  it('adds up log-rate over quality, with the crossing', () => {
    // 2 to 3 1/3 over 4/3 dB, then 3 1/3 to 4 over 8/3 dB.
    expect(both.integral(30, 34)).toBeCloseTo((4 / 3) * (8 / 3) + (8 / 3) * (11 / 3), 4);
  });
});

describe('the BD-rate of hulls', () => {
  it('is the saving itself when every rate is the same share lower', () => {
    const cheaper = [...small, ...large].map((point) => ({ ...point, rate: point.rate * 0.8 }));
    expect(hullBdRate(both, new Hull(cheaper))).toBeCloseTo(-20, 6);
    expect(hullBdRate(new Hull(cheaper), both)).toBeCloseTo(25, 6);
    expect(hullBdRate(both, both)).toBeCloseTo(0, 9);
  });

  it('counts what a second height saves where it is the better one', () => {
    // From 30 to 32 dB one height takes 3 decades in the mean, both 35/12: a twelfth of a decade less.
    expect(hullBdRate(new Hull(small), both)).toBeCloseTo((10 ** (-1 / 12) - 1) * 100, 3);
  });

  it('is null where the qualities do not overlap', () => {
    expect(hullBdRate(new Hull(small), new Hull(points(180, [100, 40], [1_000, 41])))).toBeNull();
    expect(hullBdRate(new Hull([]), both)).toBeNull();
  });
});

const row = (
  uplinkHeight: number,
  bitrate: number,
  method: string,
  psnrY: number,
  more = {},
): EvaluationRow => ({
  clip: 'a.mp4',
  codec: 'vp8',
  uplinkHeight,
  fps: 30,
  bitrate,
  actualBitrate: bitrate,
  method,
  psnrY,
  ssimY: 0.9,
  warpError: 1,
  tOF: 0.25,
  msPerFrame: 1,
  ...more,
});

describe('the report on several uplink heights', () => {
  const sent = { actualBitrate: 65_000 };
  const rows = [
    row(180, 60_000, 'vireo', 32, sent),
    row(180, 60_000, 'bicubic', 31, sent),
    row(180, 240_000, 'vireo', 34),
    row(180, 240_000, 'bicubic', 33),
    row(360, 60_000, 'vireo', 33, { actualBitrate: 120_000 }),
    row(360, 60_000, 'bicubic', 32.6, { actualBitrate: 120_000 }),
    row(360, 240_000, 'vireo', 35.5),
    row(360, 240_000, 'bicubic', 35),
  ];

  it('compares the best of both sides at each bitrate', () => {
    const { hull } = reportOf(rows);
    expect(hull?.rows).toEqual([
      {
        clip: 'a.mp4',
        bitrate: 60_000,
        // No encode took less.
        rate: 65_000,
        against: 'bicubic',
        plain: { uplinkHeight: 180, psnrY: 31 },
        restored: { uplinkHeight: 180, psnrY: 32 },
        gain: 1,
      },
      {
        clip: 'a.mp4',
        bitrate: 240_000,
        rate: 240_000,
        against: 'bicubic',
        plain: { uplinkHeight: 360, psnrY: 35 },
        restored: { uplinkHeight: 360, psnrY: 35.5 },
        gain: 0.5,
      },
    ]);
    expect(hull?.bdRate['vireo hull vs bicubic hull']).toBeLessThan(0);
  });

  it('does not let a height count on the side that has no model for it', () => {
    const plainOnly = [...rows, row(720, 240_000, 'bicubic', 36)];
    const at240 = reportOf(plainOnly).hull?.rows.find(({ bitrate }) => bitrate === 240_000);
    expect(at240).toMatchObject({
      plain: { uplinkHeight: 720 },
      restored: { uplinkHeight: 360 },
      gain: -0.5,
    });
  });

  it('gives mean and least gain over the clips', () => {
    const other = rows.map((one) => ({
      ...one,
      clip: 'b.mp4',
      psnrY: one.psnrY + (one.method === 'vireo' ? 1 : 0),
    }));
    expect(reportOf([...rows, ...other]).hull?.summary).toEqual([
      { against: 'bicubic', bitrate: 60_000, clips: 2, gain: 1.5, minGain: 1 },
      { against: 'bicubic', bitrate: 240_000, clips: 2, gain: 1, minGain: 0.5 },
    ]);
  });

  it('keeps heights apart in summary and BD-rate', () => {
    const report = reportOf(rows);
    expect(report.summary.map((s) => [s.uplinkHeight, s.bitrate, s.method, s.psnrY, s.tOF])).toContainEqual([
      360,
      240_000,
      'vireo',
      35.5,
      0.25,
    ]);
    expect(report.summary).toHaveLength(8);
    expect(Object.keys(report.bdRate)).toEqual(['vireo vs bicubic, 180p', 'vireo vs bicubic, 360p']);
  });

  it('has no hull for one height, nor without bitrates', () => {
    const one = rows.filter(({ uplinkHeight }) => uplinkHeight === 180);
    expect(reportOf(one)).not.toHaveProperty('hull');
    expect(Object.keys(reportOf(one).bdRate)).toEqual(['vireo vs bicubic']);
    const raw = rows.map((r) => ({ ...r, codec: 'none', bitrate: 0, actualBitrate: 0 }));
    expect(reportOf(raw)).not.toHaveProperty('hull');
  });
});
