import {
  DEFAULT_LADDER,
  type LadderDecision,
  type LadderObservation,
  LoadLadder,
  type LoadLadderOptions,
  type ModelLevel,
  reportedLevel,
} from './LoadLadder.js';
import type { RestorationLevel } from './types.js';

export interface SchedulerOptions {
  /** Most tracks restored at a time. */
  maxTracks: number;
  /** Share of the device's time that is planned for; the rest is for what cannot be foreseen. */
  capacity: number;
  /** False: every admitted track gets the full model. */
  loadShedding: boolean;
  ladder: LoadLadderOptions;
}

/** What the scheduler asks a track about at each round. */
export interface TrackLoad {
  /** False while there is nothing to restore (no input, size or codec not supported): takes no capacity. */
  wantsRestoring: boolean;
  inputFps: number;
  costMs: Partial<Record<ModelLevel, number | null>>;
  stageMs: number;
  dropShare: number;
  stalledMs: number;
}

export interface ScheduledTrack {
  readonly trackId: string;
  readonly priority: number;
  load(nowMs: number): TrackLoad;
  /** Called each round; `admitted` false: over `maxTracks`. */
  apply(decision: LadderDecision, admitted: boolean, nowMs: number): void;
}

interface Entry {
  track: ScheduledTrack;
  ladder: LoadLadder;
  startedOrder: number;
  admitted: boolean;
}

const ORIGINAL: LadderDecision = { level: 'original', frameRatio: 1, demand: 0 };
const FULL: LadderDecision = { level: 'full', frameRatio: 1, demand: 0 };

/**
 * Shares one device among tracks. Higher priorities are served first; within a priority the first few tracks
 * get equal shares, as many as can have a useful one, and a track keeps its place until a more important one
 * needs it. What a share buys is the track's own load ladder's to decide.
 */
export class Scheduler {
  readonly #options: SchedulerOptions;
  readonly #entries = new Map<string, Entry>();
  #started = 0;

  constructor(options: Partial<SchedulerOptions> & { maxTracks: number }) {
    this.#options = { capacity: 0.95, loadShedding: true, ladder: DEFAULT_LADDER, ...options };
  }

  get size(): number {
    return this.#entries.size;
  }

  add(track: ScheduledTrack): void {
    const ladder = new LoadLadder(this.#options.ladder);
    this.#entries.set(track.trackId, { track, ladder, startedOrder: this.#started++, admitted: false });
  }

  remove(trackId: string): void {
    this.#entries.delete(trackId);
  }

  levelOf(trackId: string): RestorationLevel | null {
    const entry = this.#entries.get(trackId);
    return entry ? reportedLevel(entry.ladder.level) : null;
  }

  /** One round: several times a second, and when a track's demand changes (started, stopped, other priority). */
  plan(nowMs: number): void {
    const wanting: { entry: Entry; load: TrackLoad }[] = [];
    for (const entry of this.#entries.values()) {
      const load = entry.track.load(nowMs);
      if (load.wantsRestoring) wanting.push({ entry, load });
      else this.#turnAway(entry, true, nowMs);
    }
    wanting.sort(
      (a, b) =>
        b.entry.track.priority - a.entry.track.priority ||
        Number(b.entry.admitted) - Number(a.entry.admitted) ||
        a.entry.startedOrder - b.entry.startedOrder,
    );
    for (const { entry } of wanting.splice(this.#options.maxTracks)) this.#turnAway(entry, false, nowMs);
    if (!this.#options.loadShedding) {
      for (const { entry } of wanting) {
        entry.admitted = true;
        entry.track.apply(FULL, true, nowMs);
      }
      return;
    }
    let left = this.#options.capacity;
    for (let at = 0; at < wanting.length; ) {
      const priority = wanting[at]?.entry.track.priority;
      const group = wanting.slice(at).filter((one) => one.entry.track.priority === priority);
      left -= this.#shareOut(group, left, nowMs);
      at += group.length;
    }
  }

  /** Gives a priority's tracks their shares; returns the capacity taken. */
  #shareOut(group: { entry: Entry; load: TrackLoad }[], capacity: number, nowMs: number): number {
    const { ladder: options } = this.#options;
    // Those on a model before those on the original: nobody is pushed down so that another can try its luck.
    group.sort((a, b) => Number(isRestored(b.entry)) - Number(isRestored(a.entry)));
    let served = 0;
    let least = 0;
    for (const { load } of group) {
      least = Math.max(least, LoadLadder.leastDemand(load.inputFps, load.costMs, options));
      if (served > 0 && least > capacity / (served + 1)) break;
      served += 1;
    }
    let left = capacity;
    group.forEach(({ entry, load }, at) => {
      const share = at < served ? left / (served - at) : left;
      const observation: LadderObservation = { nowMs, share: Math.max(0, share), ...load };
      const decision = entry.ladder.update(observation);
      entry.admitted = true;
      left -= decision.demand;
      entry.track.apply(decision, true, nowMs);
    });
    return capacity - left;
  }

  #turnAway(entry: Entry, admitted: boolean, nowMs: number): void {
    entry.ladder.suspend();
    entry.admitted = false;
    entry.track.apply(ORIGINAL, admitted, nowMs);
  }
}

function isRestored(entry: Entry): boolean {
  return entry.ladder.level !== 'original';
}
