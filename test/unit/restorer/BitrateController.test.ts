import { describe, expect, it } from 'vitest';
import { BitrateController, MIN_BITRATE_BPS } from '../../../src/restorer/BitrateController.js';

const clean = { fractionLost: 0, remoteEstimateBps: null };
const lossy = { fractionLost: 0.2, remoteEstimateBps: null };

describe('bitrate controller', () => {
  it('starts at the ceiling and stays there without loss', () => {
    const controller = new BitrateController(2_500_000);
    expect(controller.targetBps).toBe(2_500_000);
    for (let second = 0; second < 10; second++) expect(controller.update(clean, second * 1_000)).toBeNull();
  });

  it('decreases in proportion to heavy loss, at most once a second', () => {
    const controller = new BitrateController(2_000_000);
    expect(controller.update(lossy, 0)).toBe(1_800_000);
    expect(controller.update(lossy, 100)).toBeNull();
    expect(controller.update(lossy, 1_000)).toBe(1_620_000);
  });

  it('holds between the thresholds and grows back by 8 % a second below them', () => {
    const controller = new BitrateController(2_000_000);
    for (let second = 0; second < 10; second++) controller.update(lossy, second * 1_000);
    const low = controller.targetBps;
    controller.update({ fractionLost: 0.05, remoteEstimateBps: null }, 10_000);
    expect(controller.targetBps).toBe(low);
    controller.update(clean, 11_000);
    expect(controller.targetBps).toBeCloseTo(low * 1.08, -1);
    for (let second = 12; second < 60; second++) controller.update(clean, second * 1_000);
    expect(controller.targetBps).toBe(2_000_000);
  });

  it('never falls below what a picture needs', () => {
    const controller = new BitrateController(500_000);
    for (let second = 0; second < 100; second++) {
      controller.update({ fractionLost: 1, remoteEstimateBps: null }, second * 1_000);
    }
    expect(controller.targetBps).toBe(MIN_BITRATE_BPS);
  });

  it('obeys the receivers’ estimate at once, both ways', () => {
    const controller = new BitrateController(2_000_000);
    expect(controller.update({ fractionLost: 0, remoteEstimateBps: 700_000 }, 0)).toBe(700_000);
    expect(controller.update({ fractionLost: 0, remoteEstimateBps: 3_000_000 }, 1_000)).toBe(2_000_000);
  });

  it('follows the ceiling down and, unless loss held it back, up again', () => {
    const controller = new BitrateController(2_000_000);
    controller.setMax(600_000);
    expect(controller.update(clean, 0)).toBe(600_000);
    controller.setMax(1_500_000);
    expect(controller.update(clean, 0)).toBe(1_500_000);
    controller.update(lossy, 1_000);
    controller.setMax(2_500_000);
    expect(controller.targetBps).toBeLessThan(1_500_000);
  });
});
