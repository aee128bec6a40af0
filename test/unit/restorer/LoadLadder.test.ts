import { describe, expect, it } from 'vitest';
import {
  DEFAULT_LADDER,
  type LadderObservation,
  LoadLadder,
  reportedLevel,
} from '../../../src/restorer/LoadLadder.js';

const calm: LadderObservation = {
  nowMs: 0,
  inputFps: 30,
  share: 0.85,
  costMs: { full: 20, lighter: 8 },
  stageMs: 5,
  dropShare: 0,
  stalledMs: 0,
};

/** Runs the ladder for a while at 10 Hz; returns the levels in order, each once per change. */
function drive(
  ladder: LoadLadder,
  fromMs: number,
  toMs: number,
  observe: (level: string, nowMs: number) => Partial<LadderObservation>,
): string[] {
  const levels: string[] = [];
  for (let nowMs = fromMs; nowMs < toMs; nowMs += 100) {
    const { level } = ladder.update({ ...calm, nowMs, ...observe(ladder.level, nowMs) });
    if (levels.at(-1) !== level) levels.push(level);
  }
  return levels;
}

describe('load ladder', () => {
  it('starts on the full model when it fits, and tries it when its cost is not known', () => {
    expect(new LoadLadder().update(calm)).toMatchObject({ level: 'full', frameRatio: 1, demand: 0.6 });
    expect(new LoadLadder().update({ ...calm, costMs: { full: null, lighter: null } }).level).toBe('full');
  });

  it('starts lower when the full model is known to be too expensive', () => {
    expect(new LoadLadder().update({ ...calm, costMs: { full: 90, lighter: 8 } }).level).toBe('lighter');
    expect(new LoadLadder().update({ ...calm, costMs: { full: 90, lighter: 80 } }).level).toBe('original');
    expect(new LoadLadder().update({ ...calm, costMs: { full: 90 } }).level).toBe('original');
  });

  it('restores fewer frames, evenly, before it gives the lightest model up', () => {
    const ladder = new LoadLadder();
    ladder.update({ ...calm, costMs: { full: 20 } });
    const ratios = [30, 40, 50].map((full, step) => {
      const decision = ladder.update({ ...calm, nowMs: 100 * (step + 1), costMs: { full } });
      expect(decision.level).toBe('full');
      return decision.frameRatio;
    });
    expect(ratios).toEqual([3 / 4, 2 / 3, 1 / 2]);
  });

  it('takes a lighter model rather than fewer frames', () => {
    const ladder = new LoadLadder();
    ladder.update(calm);
    const dear = { costMs: { full: 36, lighter: 12 } };
    expect(drive(ladder, 100, 3_000, () => dear)).toEqual(['full', 'lighter']);
    expect(ladder.update({ ...calm, ...dear, nowMs: 3_100 })).toMatchObject({
      level: 'lighter',
      frameRatio: 1,
    });
    // 60 frames a second are more than motion needs.
    const fast = new LoadLadder();
    fast.update({ ...calm, inputFps: 60, costMs: { full: 12, lighter: 6 } });
    const halved = { ...calm, inputFps: 60, nowMs: 100, costMs: { full: 25, lighter: 6 } };
    expect(fast.update(halved)).toMatchObject({ level: 'full', frameRatio: 1 / 2 });
  });

  it('looks nothing up rather than restore fewer frames, and does again when there is room', () => {
    const ladder = new LoadLadder();
    const dear = { costMs: { full: 60, lighter: 36, plain: 26 } };
    expect(drive(ladder, 0, 3_000, () => dear)).toEqual(['plain']);
    expect(drive(ladder, 3_000, 10_000, () => ({ costMs: { full: 60, lighter: 20, plain: 12 } }))).toEqual([
      'plain',
      'lighter',
    ]);
    expect(drive(ladder, 10_000, 13_000, () => dear)).toEqual(['lighter', 'plain']);
    // Still fewer frames are better than none restored.
    const dearer = { ...calm, nowMs: 13_000, costMs: { full: 99, lighter: 70, plain: 50 } };
    expect(ladder.update(dearer)).toMatchObject({ level: 'plain', frameRatio: 1 / 2 });
    // Without a still it is the lighter model, which is as plain.
    expect(ladder.update({ ...calm, nowMs: 13_100, costMs: { full: 60, lighter: 26 } }).level).toBe(
      'lighter',
    );
    expect((['full', 'lighter', 'plain', 'original'] as const).map(reportedLevel)).toEqual([
      'full',
      'lighter',
      'lighter',
      'original',
    ]);
  });

  it('never restores fewer than 15 frames a second of a 20 fps stream, nor fewer than all of a 12 fps one', () => {
    const slow = { ...calm, costMs: { full: 70 } };
    expect(new LoadLadder().update({ ...slow, inputFps: 20, share: 0.6 }).level).toBe('original');
    expect(new LoadLadder().update({ ...slow, inputFps: 12, share: 0.6 }).level).toBe('original');
    expect(new LoadLadder().update({ ...slow, inputFps: 12, share: 0.85 })).toMatchObject({ frameRatio: 1 });
  });

  it('steps down when a shortage lasts, and not for a moment’s hiccup', () => {
    const ladder = new LoadLadder();
    const hiccup = drive(ladder, 0, 3_000, (_level, nowMs) =>
      nowMs >= 1_000 && nowMs < 1_500 ? { costMs: { full: 100, lighter: 40 } } : {},
    );
    expect(hiccup).toEqual(['full']);
    const lasting = drive(ladder, 3_000, 6_000, () => ({ costMs: { full: 100, lighter: 20 } }));
    expect(lasting).toEqual(['full', 'lighter']);
  });

  it('goes to the original at once when nothing moves', () => {
    const ladder = new LoadLadder();
    ladder.update(calm);
    expect(ladder.update({ ...calm, nowMs: 100, stalledMs: 400 }).level).toBe('original');
  });

  it('believes dropped pictures over figures that look fine', () => {
    const ladder = new LoadLadder();
    expect(drive(ladder, 0, 2_000, () => ({}))).toEqual(['full']);
    expect(drive(ladder, 2_000, 5_000, () => ({ dropShare: 0.7 }))).toEqual(['full', 'lighter']);
  });

  it('climbs back one step after the load is gone, with headroom and after a wait', () => {
    const ladder = new LoadLadder();
    drive(ladder, 0, 2_000, () => ({ costMs: { full: 100, lighter: 20 } }));
    expect(ladder.level).toBe('lighter');
    expect(drive(ladder, 2_000, 5_000, () => ({}))).toEqual(['lighter']);
    expect(drive(ladder, 5_000, 8_000, () => ({}))).toEqual(['lighter', 'full']);
  });

  it('does not flap when the full model fits only while it is not running', () => {
    const ladder = new LoadLadder();
    const levels = drive(ladder, 0, 600_000, (level) => ({
      costMs: { full: level === 'full' ? 100 : 20, lighter: 10 },
    }));
    // Ten minutes: the waits between attempts double up to two minutes.
    expect(levels.filter((level) => level === 'full').length).toBeLessThanOrEqual(12);
    const later = drive(ladder, 600_000, 900_000, (level) => ({
      costMs: { full: level === 'full' ? 100 : 20, lighter: 10 },
    }));
    expect(later.filter((level) => level === 'full').length).toBeLessThanOrEqual(3);
  });

  it('probes again from the original, with growing pauses, what was too expensive when it was left', () => {
    const ladder = new LoadLadder();
    const levels = drive(ladder, 0, 300_000, () => ({ costMs: { full: 200, lighter: 150 } }));
    const attempts = levels.filter((level) => level !== 'original').length;
    expect(attempts).toBeGreaterThanOrEqual(2);
    expect(attempts).toBeLessThanOrEqual(8);
  });

  it('forgives earlier mistakes once a level has held', () => {
    const ladder = new LoadLadder();
    drive(ladder, 0, 120_000, (level) => ({ costMs: { full: level === 'full' ? 100 : 20, lighter: 10 } }));
    drive(ladder, 120_000, 400_000, () => ({}));
    expect(ladder.level).toBe('full');
    drive(ladder, 400_000, 402_000, () => ({ costMs: { full: 100, lighter: 10 } }));
    expect(ladder.level).toBe('lighter');
    drive(ladder, 402_000, 402_000 + DEFAULT_LADDER.upAfterMs + 500, () => ({}));
    expect(ladder.level).toBe('full');
  });

  it('leaves a level at once that has no model for the picture any more', () => {
    const dear = { costMs: { full: 100, lighter: 20 } };
    const ladder = new LoadLadder();
    drive(ladder, 0, 2_000, () => dear);
    expect(ladder.level).toBe('lighter');
    expect(ladder.update({ ...calm, nowMs: 2_000, costMs: { full: 20 } }).level).toBe('full');
    const busy = new LoadLadder();
    drive(busy, 0, 2_000, () => dear);
    expect(busy.update({ ...calm, nowMs: 2_000, costMs: { full: 100 } }).level).toBe('original');
    expect(busy.update({ ...calm, nowMs: 2_100, costMs: {} }).level).toBe('original');
  });

  it('goes from the full model to the original where there is no lighter one', () => {
    const ladder = new LoadLadder();
    expect(drive(ladder, 0, 1_000, () => ({ costMs: { full: 20 } }))).toEqual(['full']);
    expect(drive(ladder, 1_000, 4_000, () => ({ costMs: { full: 100 } }))).toEqual(['full', 'original']);
  });

  it('starts afresh after it was suspended', () => {
    const ladder = new LoadLadder();
    drive(ladder, 0, 2_000, () => ({ costMs: { full: 100, lighter: 80 } }));
    expect(ladder.level).toBe('original');
    ladder.suspend();
    expect(ladder.update({ ...calm, nowMs: 2_100 }).level).toBe('full');
  });
});
