import { describe, expect, it } from 'vitest';
import { ActiveSpeakers } from '../../../src/rooms/ActiveSpeakers.js';
import { assignSlots } from '../../../src/rooms/capacity.js';
import { DownlinkGate, MIN_RESTORED_BPS } from '../../../src/rooms/DownlinkGate.js';
import { AUDIO_BPS, type DownlinkItem, shareDownlink } from '../../../src/rooms/downlinkShare.js';

describe('DownlinkGate', () => {
  /** One look a second; returns the verdict after the last. */
  function feed(gate: DownlinkGate, from: number, availableBps: number[], running = true): boolean {
    availableBps.forEach((bps, second) => {
      gate.update((from + second) * 1_000, bps, 500_000, running);
    });
    return gate.thin;
  }
  const low = (seconds: number) => Array<number>(seconds).fill(200_000);

  it('waits until an estimate is evidence: the stream runs, and it has stopped climbing', () => {
    const gate = new DownlinkGate();
    expect(feed(gate, 0, low(60), false)).toBe(false);
    expect(feed(gate, 60, low(2))).toBe(false);
    expect(feed(gate, 62, low(3))).toBe(true);
    const climbing = Array.from({ length: 12 }, (_, second) => 200_000 * 1.08 ** second);
    expect(feed(new DownlinkGate(), 0, [...climbing, 600_000])).toBe(false);
  });

  it('lets a single bad look pass', () => {
    const gate = new DownlinkGate();
    expect(feed(gate, 0, [800_000, 800_000, 200_000, 800_000, 200_000, 800_000])).toBe(false);
  });

  it('comes back only with a margin, held for a while', () => {
    const gate = new DownlinkGate();
    feed(gate, 0, low(5));
    expect(feed(gate, 5, [540_000, 540_000, 540_000, 540_000])).toBe(true);
    expect(feed(gate, 9, [600_000, 600_000])).toBe(true);
    expect(feed(gate, 11, [600_000, 600_000])).toBe(false);
  });

  it('tries again by itself, ever more seldom', () => {
    const gate = new DownlinkGate();
    const thinAt: number[] = [];
    let before = false;
    for (let second = 0; second < 400; second++) {
      const thin = gate.update(second * 1_000, 200_000, 500_000, true);
      if (thin && !before) thinAt.push(second);
      before = thin;
    }
    const pauses = thinAt.slice(1).map((at, i) => at - (thinAt[i] ?? 0));
    expect(pauses[0]).toBeLessThan(16);
    expect(pauses[1]).toBeGreaterThan(30);
    expect(pauses[2]).toBeGreaterThan(90);
  });
});

describe('shareDownlink', () => {
  const video = (publicationId: string, more: Partial<DownlinkItem> = {}): DownlinkItem => ({
    publicationId,
    kind: 'video',
    originalBps: 100_000,
    wantsRestored: true,
    split: false,
    priority: 0,
    restoredBps: 1_000_000,
    ...more,
  });

  it('reserves audio and originals first', () => {
    const items = [
      video('a', { wantsRestored: false }),
      video('b'),
      video('mic', { kind: 'audio', wantsRestored: false }),
    ];
    const left = 2_000_000 * 0.95 - 100_000 - AUDIO_BPS;
    expect(shareDownlink(2_000_000, items).get('b')?.availableBps).toBeCloseTo(left);
    expect(shareDownlink(2_000_000, items).has('a')).toBe(false);
  });

  it('serves higher priorities first and leaves the others their originals', () => {
    const shares = shareDownlink(1_500_000, [video('a'), video('b', { priority: 2 })]);
    expect(shares.get('b')?.availableBps).toBeCloseTo(1_425_000 - 100_000);
    expect(shares.get('a')?.availableBps).toBeCloseTo(1_425_000 - 1_000_000);
  });

  it('votes for a fair share, never below what is worth sending', () => {
    const shares = shareDownlink(2_000_000, [video('a'), video('b')]);
    expect(shares.get('a')?.voteBps).toBeCloseTo(1_900_000 * 0.5 * 0.85);
    expect(shareDownlink(100_000, [video('a')]).get('a')).toEqual({
      availableBps: 95_000,
      voteBps: MIN_RESTORED_BPS,
    });
  });

  it('counts both variants of a split view', () => {
    const available = shareDownlink(1_000_000, [video('a', { split: true })]).get('a')?.availableBps;
    expect(available).toBeCloseTo(950_000 - 100_000);
  });
});

describe('assignSlots', () => {
  const request = (publicationId: string, priority = 0, running = false, wantedSinceMs = 0) => ({
    publicationId,
    priority,
    running,
    wantedSinceMs,
  });

  it('takes the important, then those that run, then those that wait longest', () => {
    const requests = [
      request('late', 0, false, 20),
      request('early', 0, false, 10),
      request('running', 0, true, 30),
      request('speaker', 1, false, 40),
      request('pinned', 2, false, 50),
    ];
    const picks = (slots: number) => [...assignSlots(requests, slots)];
    expect(picks(1)).toEqual(['pinned']);
    expect(picks(2)).toEqual(['pinned', 'speaker']);
    expect(picks(3)).toEqual(['pinned', 'speaker', 'running']);
    expect(picks(4)).toEqual(['pinned', 'speaker', 'running', 'early']);
    expect(picks(9)).toHaveLength(5);
    expect(picks(0)).toEqual([]);
  });
});

describe('ActiveSpeakers', () => {
  const say = (speakers: ActiveSpeakers, atMs: number, levels: Record<string, number>) =>
    speakers.update(
      atMs,
      Object.entries(levels).map(([participantId, volumeDbov]) => ({ participantId, volumeDbov })),
    );

  it('lists who speaks, loudest first, and forgets them after a while', () => {
    const speakers = new ActiveSpeakers();
    expect(say(speakers, 0, { ann: -90 })).toBeNull();
    expect(say(speakers, 100, { ann: -30, ben: -20 })).toEqual(['ben', 'ann']);
    expect(say(speakers, 500, {})).toBeNull();
    let last: readonly string[] | null = null;
    for (let atMs = 600; atMs < 4_000; atMs += 100) last = say(speakers, atMs, {}) ?? last;
    expect(last).toEqual([]);
  });

  it('does not swap the first place for a little, nor too often', () => {
    const speakers = new ActiveSpeakers();
    say(speakers, 0, { ann: -30, ben: -33 });
    expect(speakers.current[0]).toBe('ann');
    for (let atMs = 100; atMs < 1_000; atMs += 100) say(speakers, atMs, { ann: -33, ben: -30 });
    expect(speakers.current[0]).toBe('ann');
    let changes = 0;
    for (let atMs = 1_000; atMs < 2_000; atMs += 50) {
      if (say(speakers, atMs, atMs % 100 === 0 ? { ann: -10 } : { ben: -10 })) changes++;
    }
    expect(changes).toBeLessThanOrEqual(4);
    for (let atMs = 2_000; atMs < 3_000; atMs += 100) say(speakers, atMs, { ben: -10, ann: -40 });
    expect(speakers.current[0]).toBe('ben');
  });

  it('forgets who left', () => {
    const speakers = new ActiveSpeakers();
    say(speakers, 0, { ann: -20, ben: -30 });
    speakers.remove('ann');
    expect(speakers.current).toEqual(['ben']);
  });
});
