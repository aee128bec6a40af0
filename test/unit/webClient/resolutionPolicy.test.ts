/** Which size of picture the page sends, from what its encoder makes of it. */
import { beforeEach, describe, expect, it } from 'vitest';
import { ResolutionPolicy, SENT_HEIGHTS } from '../../../web-client/src/session/ResolutionPolicy.js';

/**
 * An encoder at a constant bitrate: `effort` is the quantizer at which a scene would fit at 180 lines with all frames. Each doubling of the pixels takes 25 steps more; what is
 * beyond 106 it pays with frames.
 */
function encoded(height: number, effort: number, wantedFps = 30) {
  const needed = effort + 50 * Math.log2(height / 180);
  const lacking = Math.max(0, needed - 106);
  return {
    wantedFps,
    encodedFps: wantedFps * 2 ** (-lacking / 12),
    quantizer: Math.min(106, Math.max(4, needed)),
  };
}

let policy: ResolutionPolicy;
beforeEach(() => {
  policy = new ResolutionPolicy(360);
});

/** Heights after each change, one a sample. */
function run(seconds: number, effort: number | ((second: number) => number), wantedFps = 30): number[] {
  const heights: number[] = [];
  for (let second = 0; second < seconds; second += 1) {
    const now = typeof effort === 'number' ? effort : effort(second);
    if (policy.sample(encoded(policy.height, now, wantedFps))) heights.push(policy.height);
  }
  return heights;
}

describe('the height that is sent', () => {
  it('is the budget’s while the encoder sends most frames', () => {
    expect(run(300, 60)).toEqual([]);
    // Seven of ten frames, as sharp as that: still better than a smaller picture.
    expect(run(300, 62)).toEqual([]);
    expect(policy.height).toBe(360);
  });

  it('goes down where frames are dropped, at once by two steps where nearly all are', () => {
    expect(run(60, 75)).toEqual([270]);
    policy.restart(360);
    expect(run(8, 95)).toEqual([180]);
    expect(run(60, 95)).toEqual([]);
    policy.restart(720);
    expect(run(60, 125)).toEqual([270, 144]);
  });

  it('goes up again when the scene is calm, and no further than the budget', () => {
    run(30, 100);
    expect(policy.height).toBe(180);
    expect(run(200, 40)).toEqual([270, 360]);
    expect(run(200, 4)).toEqual([]);
    policy.restart(720);
    expect(policy.height).toBe(720);
  });

  it('does not go up where the larger picture would not fit', () => {
    run(30, 100);
    expect(run(600, 78)).toEqual([]);
    expect(policy.height).toBe(180);
  });

  it('tries ever more seldom what did not do', () => {
    // Easy as long as it is small: what is told of it is wrong.
    const misleading = () => (policy.height === 180 ? 40 : 95);
    run(30, 100);
    const changes = run(600, misleading);
    expect(changes.length).toBeLessThanOrEqual(12);
    expect(new Set(changes)).toEqual(new Set([270, 180]));
    // And forgets that once a step has lasted.
    expect(run(300, 40).at(-1)).toBe(360);
  });

  it('is not that of an encoder that is slow with bits to spare, nor of a camera in the dark', () => {
    for (let second = 0; second < 60; second += 1)
      policy.sample({ wantedFps: 30, encodedFps: 5, quantizer: 50 });
    expect(policy.height).toBe(360);
    expect(run(60, 60, 8)).toEqual([]);
    for (let second = 0; second < 60; second += 1)
      policy.sample({ wantedFps: 0, encodedFps: 0, quantizer: 106 });
    expect(policy.height).toBe(360);
  });

  it('stands a moment of motion', () => {
    expect(run(120, (second) => (second % 20 < 2 ? 110 : 50))).toEqual([]);
  });

  it('is one that the relay restores, or the whole', () => {
    expect(SENT_HEIGHTS.filter((height) => height > 396)).toEqual([720]);
  });
});
