import { describe, expect, it } from 'vitest';
import type { FitResult } from '../../../src/restoration/fit.js';
import type { LadderDecision } from '../../../src/restorer/LoadLadder.js';
import { TrackCondition } from '../../../src/restorer/TrackCondition.js';

const full: LadderDecision = { level: 'full', frameRatio: 1, demand: 0.5 };
const original: LadderDecision = { level: 'original', frameRatio: 1, demand: 0 };
const fits = { fits: true } as FitResult;
const sharp: FitResult = { fits: false, reason: 'already-sharp', detail: '' };

/** Receives, and knows the size of what it receives. */
function receiving(fit = fits): TrackCondition {
  const condition = new TrackCondition(0);
  condition.received(0);
  condition.input = { width: 320, height: 180, still: false, fit };
  return condition;
}

describe('condition of a track', () => {
  it('is starting until a restored frame left, whatever was decided', () => {
    const condition = new TrackCondition(0);
    expect(condition.reason(0)).toBe('starting');
    condition.received(0);
    expect(condition.reason(0)).toBe('starting');
    condition.input = { width: 320, height: 180, still: false, fit: fits };
    condition.decide(full, true);
    expect([condition.level, condition.reason(0)]).toEqual(['original', 'starting']);
    condition.flowing = true;
    expect([condition.level, condition.reason(0)]).toEqual(['full', null]);
  });

  it('is overloaded when there is something to restore and it is not to be', () => {
    const condition = receiving();
    condition.decide(original, true);
    expect(condition.reason(0)).toBe('overloaded');
    condition.decide(full, false);
    expect(condition.reason(0)).toBe('overloaded');
    expect(condition.idle(0)).toBe(true);
  });

  it('stops flowing when the original is decided on', () => {
    const condition = receiving();
    condition.decide(full, true);
    condition.flowing = true;
    condition.decide(original, true);
    condition.decide(full, true);
    expect(condition.level).toBe('original');
  });

  it('names what stands in the way, the lasting things first', () => {
    const condition = receiving(sharp);
    expect(condition.reason(100)).toBe('already-sharp');
    expect(condition.reason(6_000)).toBe('no-input');
    expect(condition.idle(6_000)).toBe(false);
    condition.unsupported = true;
    expect(condition.reason(6_000)).toBe('unsupported-codec');
  });

  it('leaves a failing model alone for longer each time, until it works', () => {
    const condition = receiving();
    condition.received(20_000);
    expect([0, 1, 2].map(() => condition.modelFailed(20_000))).toEqual([5_000, 10_000, 20_000]);
    expect(condition.hindrance(20_000)).toBe('model-failed');
    condition.received(41_000);
    expect(condition.hindrance(41_000)).toBeNull();
    condition.modelWorked();
    expect(condition.modelFailed(41_000)).toBe(5_000);
  });
});
