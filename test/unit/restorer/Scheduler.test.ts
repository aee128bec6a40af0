import { describe, expect, it } from 'vitest';
import type { LadderDecision } from '../../../src/restorer/LoadLadder.js';
import { type ScheduledTrack, Scheduler, type TrackLoad } from '../../../src/restorer/Scheduler.js';

class FakeTrack implements ScheduledTrack {
  decision: LadderDecision = { level: 'original', frameRatio: 1, demand: 0 };
  admitted = true;
  wants: TrackLoad = {
    wantsRestoring: true,
    inputFps: 30,
    costMs: { full: 20, lighter: 8 },
    stageMs: 5,
    dropShare: 0,
    stalledMs: 0,
  };
  constructor(
    readonly trackId: string,
    public priority = 0,
  ) {}
  load(): TrackLoad {
    return this.wants;
  }
  apply(decision: LadderDecision, admitted: boolean): void {
    this.decision = decision;
    this.admitted = admitted;
  }
}

function setUp(count: number, maxTracks = 8): { scheduler: Scheduler; tracks: FakeTrack[] } {
  const scheduler = new Scheduler({ maxTracks });
  const tracks = Array.from({ length: count }, (_, at) => new FakeTrack(`t${at}`));
  for (const track of tracks) scheduler.add(track);
  return { scheduler, tracks };
}

function run(scheduler: Scheduler, fromMs: number, toMs: number): void {
  for (let nowMs = fromMs; nowMs <= toMs; nowMs += 100) scheduler.plan(nowMs);
}

const levels = (tracks: FakeTrack[]): string[] => tracks.map(({ decision }) => decision.level);

describe('scheduler', () => {
  it('gives a single track the whole device', () => {
    const { scheduler, tracks } = setUp(1);
    scheduler.plan(0);
    expect(tracks[0]?.decision).toMatchObject({ level: 'full', frameRatio: 1 });
  });

  it('shares equally among equals, and leaves what one does not need to the next', () => {
    const { scheduler, tracks } = setUp(2);
    scheduler.plan(0);
    // Half of 0.95 is not enough for the full model (0.6): the first takes the lighter one and leaves the rest.
    expect(tracks[0]?.decision).toMatchObject({ level: 'lighter', frameRatio: 1 });
    expect(tracks[1]?.decision).toMatchObject({ level: 'full', frameRatio: 1 });
  });

  it('serves as many as can have a useful share rather than starving all', () => {
    const { scheduler, tracks } = setUp(8, 100);
    for (const track of tracks) track.wants.costMs = { full: 20 };
    scheduler.plan(0);
    // Half the frames of one take 0.3: three fit into 0.95, and the rest stays on the original.
    expect(levels(tracks).filter((level) => level === 'full')).toHaveLength(3);
    expect(tracks.every(({ admitted }) => admitted)).toBe(true);
  });

  it('steps lower priorities down first', () => {
    const { scheduler, tracks } = setUp(3);
    for (const track of tracks) track.wants.costMs = { full: 25 };
    const [, speaker, pinned] = tracks;
    if (!speaker || !pinned) throw new Error('three tracks');
    speaker.priority = 1;
    pinned.priority = 2;
    scheduler.plan(0);
    expect(levels(tracks)).toEqual(['original', 'original', 'full']);
  });

  it('turns tracks beyond maxTracks away, the latest of the lowest priority first', () => {
    const { scheduler, tracks } = setUp(3, 2);
    for (const track of tracks) track.wants.costMs = { full: 5 };
    scheduler.plan(0);
    expect(tracks.map(({ admitted }) => admitted)).toEqual([true, true, false]);
    const last = tracks[2];
    if (last) last.priority = 2;
    scheduler.plan(100);
    expect(tracks.map(({ admitted }) => admitted)).toEqual([true, false, true]);
    if (last) last.priority = 0;
    scheduler.plan(200);
    expect(tracks.map(({ admitted }) => admitted)).toEqual([true, false, true]);
  });

  it('spends nothing on tracks that have nothing to restore', () => {
    const { scheduler, tracks } = setUp(2);
    const [idle, busy] = tracks;
    if (!idle || !busy) throw new Error('two tracks');
    idle.wants.wantsRestoring = false;
    scheduler.plan(0);
    expect(idle.decision.level).toBe('original');
    expect(busy.decision).toMatchObject({ level: 'full', frameRatio: 1 });
  });

  it('restores every admitted track in full where load is not to be shed', () => {
    const scheduler = new Scheduler({ maxTracks: 2, loadShedding: false });
    const tracks = ['a', 'b', 'c'].map((trackId) => new FakeTrack(trackId));
    for (const track of tracks) {
      track.wants = { ...track.wants, costMs: { full: 400 }, stalledMs: 1_000 };
      scheduler.add(track);
    }
    scheduler.plan(0);
    expect(levels(tracks)).toEqual(['full', 'full', 'original']);
  });

  it('settles: with a constant load no level changes after the first seconds', () => {
    const { scheduler, tracks } = setUp(5, 100);
    run(scheduler, 0, 30_000);
    const settled = levels(tracks);
    for (let nowMs = 30_100; nowMs < 60_000; nowMs += 100) {
      scheduler.plan(nowMs);
      expect(levels(tracks)).toEqual(settled);
    }
  });

  it('gives the capacity of a stopped track to the others', () => {
    const { scheduler, tracks } = setUp(2);
    for (const track of tracks) track.wants.costMs = { full: 22 };
    run(scheduler, 0, 5_000);
    scheduler.remove('t0');
    run(scheduler, 5_100, 20_000);
    expect(tracks[1]?.decision).toMatchObject({ level: 'full', frameRatio: 1 });
  });
});
