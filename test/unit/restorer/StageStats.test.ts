import { describe, expect, it } from 'vitest';
import { CostModel } from '../../../src/restorer/CostModel.js';
import { RateMeter } from '../../../src/restorer/RateMeter.js';
import { percentile, StageStats } from '../../../src/restorer/StageStats.js';

describe('stage statistics', () => {
  it('gives nearest-rank percentiles', () => {
    const values = Float64Array.from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    expect(percentile(values, 0.5)).toBe(5);
    expect(percentile(values, 0.95)).toBe(10);
    expect(percentile(new Float64Array(0), 0.5)).toBe(0);
  });

  it('covers the last five seconds only', () => {
    const stats = new StageStats();
    for (let frame = 0; frame < 300; frame++) stats.record('total', frame < 150 ? 100 : 10, frame * 33);
    expect(stats.snapshot(300 * 33)?.total).toEqual({ p50Ms: 10, p95Ms: 10 });
  });

  it('has nothing to say before the first frame, and again when frames stopped', () => {
    const stats = new StageStats();
    expect(stats.snapshot(0)).toBeNull();
    stats.record('total', 5, 0);
    expect(stats.snapshot(1_000)).not.toBeNull();
    expect(stats.snapshot(6_000)).toBeNull();
  });

  it('keeps at most its capacity, and never a negative time', () => {
    const stats = new StageStats();
    for (let frame = 0; frame < 10_000; frame++) stats.record('decode', -1, frame);
    expect(stats.times('decode', 10_000)).toEqual({ p50Ms: 0, p95Ms: 0 });
  });
});

describe('rate meter', () => {
  it('measures events a second over the window', () => {
    const meter = new RateMeter();
    for (let ms = 0; ms < 10_000; ms += 40) meter.add(ms);
    expect(meter.perSecond(10_000)).toBeGreaterThan(24);
    expect(meter.perSecond(10_000)).toBeLessThan(26);
  });

  it('is not misled by its start, and falls to nothing when events stop', () => {
    const meter = new RateMeter();
    expect(meter.perSecond(0)).toBe(0);
    for (let ms = 0; ms < 1_000; ms += 50) meter.add(ms, 100);
    expect(meter.perSecond(1_000)).toBeGreaterThan(1_900);
    expect(meter.perSecond(1_000)).toBeLessThan(2_200);
    expect(meter.perSecond(4_000)).toBe(0);
  });
});

describe('cost model', () => {
  it('gives the median of the last runs once there are a few', () => {
    const costs = new CostModel();
    costs.record('swift', false, 500);
    costs.record('swift', false, 20);
    expect(costs.costMs('swift', false)).toBeNull();
    costs.record('swift', false, 21);
    expect(costs.costMs('swift', false)).toBe(21);
    for (let run = 0; run < 16; run++) costs.record('swift', false, 40);
    expect(costs.costMs('swift', false)).toBe(40);
    expect(costs.costMs('swift-lite', false)).toBeNull();
  });

  it('knows what a still adds, and takes it for nothing before', () => {
    const costs = new CostModel();
    expect(costs.costMs('swift', true)).toBeNull();
    for (let run = 0; run < 3; run++) costs.record('swift', false, 20);
    expect(costs.costMs('swift', true)).toBe(20);
    for (let run = 0; run < 3; run++) costs.record('swift', true, 28);
    expect([true, false].map((looksUp) => costs.costMs('swift', looksUp))).toEqual([28, 20]);
  });
});
