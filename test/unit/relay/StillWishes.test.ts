import { beforeEach, describe, expect, it } from 'vitest';
import { StillWishes } from '../../../src/relay/StillWishes.js';

let nowMs = 0;
let wishes: StillWishes;

beforeEach(() => {
  nowMs = 0;
  wishes = new StillWishes(10_000, () => nowMs);
});

/** One report a second, `found` each time; returns what was asked for. */
function report(seconds: number, found: number | null, ageMs = 60_000, id: string | null = 'a') {
  const asked: unknown[] = [];
  for (let second = 0; second < seconds; second += 1) {
    nowMs += 1_000;
    const reason = wishes.reported({ id, ageMs, found });
    if (reason) asked.push(reason);
  }
  return asked;
}

describe('StillWishes', () => {
  it('asks when a restored stream begins without a still, and once', () => {
    expect(wishes.started()).toBe('start');
    expect(wishes.wanted).toBe('start');
    expect(wishes.started()).toBeNull();
    wishes.came('a');
    expect(wishes.wanted).toBeNull();
    expect(wishes.started()).toBeNull();
  });

  it('says that it was lost when the restorer died and none is left', () => {
    wishes.restorerDied();
    expect(wishes.started()).toBe('start');
    wishes.came('a');
    wishes.forgotten('a');
    wishes.restorerDied();
    expect(wishes.started()).toBe('lost');
  });

  it('asks when much less is found than after the still took effect, and that lasts', () => {
    wishes.started();
    wishes.came('a');
    expect(report(8, 0.8, 5_000)).toEqual([]);
    expect(report(30, 0.6)).toEqual([]);
    expect(report(3, 0.3)).toEqual([]);
    expect(report(1, 0.7)).toEqual([]);
    expect(report(3, 0.3)).toEqual([]);
    expect(report(5, 0.3)).toEqual(['scene']);
    wishes.came('b');
    expect(report(20, 0.3)).toEqual([]);
  });

  it('does not ask before the next one may come', () => {
    wishes.came('a');
    report(2, 0.8, 2_000);
    expect(report(6, 0.1)).toEqual([]);
    expect(report(3, 0.1)).toEqual(['scene']);
  });

  it('makes nothing of a still that was never found, of another one, or of none', () => {
    wishes.came('a');
    report(5, 0.05, 2_000);
    expect(report(20, 0)).toEqual([]);
    report(5, 0.9, 2_000, 'another');
    expect(report(20, 0, 60_000, 'another')).toEqual([]);
    expect(report(20, null)).toEqual([]);
    expect(wishes.reported(null)).toBeNull();
  });

  it("makes nothing of a stream's own picture, also without a still", () => {
    wishes.started();
    wishes.forgotten();
    report(5, 0.9, 2_000, null);
    expect(report(20, 0.1, 60_000, null)).toEqual([]);
  });

  it('leaves a sender alone who declined, until one begins', () => {
    wishes.started();
    wishes.decline();
    expect(wishes.wanted).toBeNull();
    expect(wishes.started()).toBeNull();
    wishes.begun();
    expect(wishes.started()).toBe('start');
  });

  it('asks again after what it had was forgotten', () => {
    wishes.came('a');
    wishes.forgotten('an older one');
    expect(wishes.started()).toBeNull();
    wishes.forgotten();
    expect(wishes.started()).toBe('start');
  });
});
