import type { RestorationLevel } from './types.js';

/** `plain`: the lighter model (or the only one) without looking anything up, where there is a still that it could use. */
export type ModelLevel = 'full' | 'lighter' | 'plain';
export type LadderLevel = ModelLevel | 'original';

/** What viewers are told. */
export function reportedLevel(level: LadderLevel): RestorationLevel {
  return level === 'plain' ? 'lighter' : level;
}

/** Every threshold of the ladder, in one place. */
export interface LoadLadderOptions {
  /** A model gives way to a lighter one rather than restore fewer frames than this: motion shows more than detail. */
  smoothFps: number;
  /** The lightest model's frame rate is reduced to this (or half of the input's, whichever is more) before it is given up. */
  minFps: number;
  /** A shortage must last this long before a level is given up. */
  downAfterMs: number;
  /** A higher level must look affordable for this long before it is taken; doubles after each failed attempt. */
  upAfterMs: number;
  upAfterMaxMs: number;
  /** A step down this soon after a step up means that the step up was a mistake. */
  failedWithinMs: number;
  /** Staying this long on a level after a step up forgives earlier mistakes. */
  stableAfterMs: number;
  /** A higher level must fit with this much to spare. */
  headroom: number;
  /** A higher frame rate must fit with this much to spare, for this long: it costs nothing to try. */
  rateHeadroom: number;
  rateUpAfterMs: number;
  /** A model whose runs take longer than this is of no use in a conversation. */
  maxRunMs: number;
  /** Window that `dropShare` is counted over. */
  dropWindowMs: number;
  /** Pictures were there but nothing was restored for this long: back to the original at once. */
  stallMs: number;
}

export const DEFAULT_LADDER: LoadLadderOptions = {
  smoothFps: 24,
  minFps: 15,
  downAfterMs: 750,
  upAfterMs: 4_000,
  upAfterMaxMs: 120_000,
  failedWithinMs: 10_000,
  stableAfterMs: 60_000,
  headroom: 1.35,
  rateHeadroom: 1.05,
  rateUpAfterMs: 500,
  maxRunMs: 250,
  dropWindowMs: 2_000,
  stallMs: 400,
};

/** Above this share of dropped pictures the figures are not believed. */
const MANY_DROPS = 0.2;

/** Share of the frames that are restored: every one, three of four, two of three, every second. */
const RATIOS = [1, 3 / 4, 2 / 3, 1 / 2] as const;

export interface LadderObservation {
  nowMs: number;
  /** Frames a second that come in. */
  inputFps: number;
  /** Device time this track may use, seconds a second (0 to 1). */
  share: number;
  /** Device time of one frame at each level the track has a model for, milliseconds; null: never measured. */
  costMs: Partial<Record<ModelLevel, number | null>>;
  /** The slowest of the track's other stages (decode, encode), milliseconds a frame. */
  stageMs: number;
  /** Of the frames that were to be restored lately, the share that was dropped as stale (0 to 1). */
  dropShare: number;
  /** How long pictures have been waiting with nothing restored. */
  stalledMs: number;
}

export interface LadderDecision {
  level: LadderLevel;
  /** Share of the frames to restore, ½ to 1. */
  frameRatio: number;
  /** Device time this will take, seconds a second. */
  demand: number;
}

export const MODEL_LEVELS: readonly ModelLevel[] = ['full', 'lighter', 'plain'];

/**
 * One track's way down and up: full model → lighter model → lighter model without its still → the same at a reduced frame rate → original. Pure logic. Rates follow the load at once; levels, which viewers see, change
 * down only when a shortage lasts (or nothing moves at all) and up only with headroom, after a wait that
 * doubles every time it turns out to have been a mistake.
 */
export class LoadLadder {
  readonly #options: LoadLadderOptions;
  #level: LadderLevel | null = null;
  #frameRatio = 1;
  #shortSinceMs: number | null = null;
  #fitsSinceMs: number | null = null;
  #rateFitsSinceMs: number | null = null;
  #steppedUpAtMs: number | null = null;
  #leftAtMs = Number.NEGATIVE_INFINITY;
  /** When the level or the rate last changed: drops counted before say nothing about what runs now. */
  #changedAtMs = Number.NEGATIVE_INFINITY;
  #upAfterMs: number;

  constructor(options: LoadLadderOptions = DEFAULT_LADDER) {
    this.#options = options;
    this.#upAfterMs = options.upAfterMs;
  }

  get level(): LadderLevel {
    return this.#level ?? 'original';
  }

  get frameRatio(): number {
    return this.#frameRatio;
  }

  /** Least device time a restored track needs at any level, for sharing out; 0 while a level is unmeasured. */
  static leastDemand(
    inputFps: number,
    costMs: LadderObservation['costMs'],
    options = DEFAULT_LADDER,
  ): number {
    let least = Number.POSITIVE_INFINITY;
    for (const level of MODEL_LEVELS) {
      const cost = costMs[level];
      if (cost === undefined) continue;
      const ratio = leastRatio(inputFps, fpsToKeep(level, costMs, options));
      least = Math.min(least, (inputFps * ratio * (cost ?? 0)) / 1_000);
    }
    return least;
  }

  /** Not restored for a reason of its own (no input, too large, not admitted): starts afresh afterwards. */
  suspend(): void {
    this.#level = null;
    this.#frameRatio = 1;
    this.#shortSinceMs = null;
    this.#fitsSinceMs = null;
    this.#rateFitsSinceMs = null;
    this.#steppedUpAtMs = null;
  }

  update(observation: LadderObservation): LadderDecision {
    const { nowMs } = observation;
    const before = { level: this.#level, frameRatio: this.#frameRatio };
    // The picture has another size now, and the level no model for it: waiting would show nothing.
    if (this.level !== 'original' && observation.costMs[this.level] === undefined) this.suspend();
    if (this.#level === null) this.#enter(observation);
    else if (this.#level !== 'original' && observation.stalledMs >= this.#options.stallMs) {
      this.#stepDown('original', nowMs);
    } else {
      this.#moveDown(observation);
      this.#moveUp(observation);
    }
    this.#forgive(nowMs);
    if (before.level !== this.#level || before.frameRatio !== this.#frameRatio) this.#changedAtMs = nowMs;
    return { level: this.level, frameRatio: this.#frameRatio, demand: this.#demand(observation) };
  }

  /** The best level that its measured cost permits; an unmeasured one is tried. */
  #enter(observation: LadderObservation): void {
    for (const level of MODEL_LEVELS) {
      const ratio = this.#affordableRatio(level, observation, 1);
      if (ratio === null) continue;
      this.#level = level;
      this.#frameRatio = ratio;
      this.#leftAtMs = observation.nowMs;
      return;
    }
    this.#level = 'original';
    this.#frameRatio = 1;
    this.#leftAtMs = observation.nowMs;
  }

  #moveDown(observation: LadderObservation): void {
    const level = this.#level;
    if (level === null || level === 'original') return;
    const ratio = this.#affordableRatio(level, observation, 1);
    if (ratio !== null) {
      this.#shortSinceMs = null;
      if (ratio < this.#frameRatio) this.#frameRatio = ratio;
      return;
    }
    // Fewer frames tide it over until it is clear that the shortage lasts.
    const { minFps } = this.#options;
    this.#frameRatio =
      this.#affordableRatio(level, observation, 1, minFps) ?? lowestRatio(observation.inputFps, minFps);
    this.#shortSinceMs ??= observation.nowMs;
    if (observation.nowMs - this.#shortSinceMs < this.#options.downAfterMs) return;
    const next = MODEL_LEVELS.slice(MODEL_LEVELS.indexOf(level) + 1).find(
      (lower) => this.#affordableRatio(lower, observation, 1) !== null,
    );
    this.#stepDown(next ?? 'original', observation.nowMs);
    if (next) this.#frameRatio = this.#affordableRatio(next, observation, 1) ?? 1;
  }

  #moveUp(observation: LadderObservation): void {
    const { nowMs } = observation;
    const { headroom, rateHeadroom, rateUpAfterMs } = this.#options;
    const level = this.#level;
    if (level === null) return;
    if (level !== 'original' && this.#frameRatio < 1) {
      const ratio = this.#affordableRatio(level, observation, rateHeadroom);
      const stale = observation.dropShare > MANY_DROPS;
      if (ratio === null || ratio <= this.#frameRatio || stale) this.#rateFitsSinceMs = null;
      else {
        this.#rateFitsSinceMs ??= nowMs;
        if (nowMs - this.#rateFitsSinceMs >= rateUpAfterMs) {
          this.#frameRatio = ratio;
          this.#rateFitsSinceMs = null;
        }
      }
      return;
    }
    const higher = level === 'original' ? MODEL_LEVELS : MODEL_LEVELS.slice(0, MODEL_LEVELS.indexOf(level));
    // What a level cost when it was left was measured under the load of that moment: after the wait it is tried
    // again even if it did not look affordable then, as long as there is anything to give.
    // A try that fails costs a second or two of jerky pictures: from a lighter model it is worth that seldom.
    const patience = level === 'original' ? 2 : 8;
    const probe = nowMs - this.#leftAtMs >= this.#upAfterMs * patience && observation.share > 0.05;
    const present = higher.filter((candidate) => observation.costMs[candidate] !== undefined);
    const fitting = present.find(
      (candidate) => this.#affordableRatio(candidate, observation, headroom) !== null,
    );
    const target = fitting ?? (probe ? present.at(-1) : undefined);
    if (target === undefined) {
      this.#fitsSinceMs = null;
      return;
    }
    this.#fitsSinceMs ??= nowMs;
    if (nowMs - this.#fitsSinceMs < (fitting ? this.#upAfterMs : 0)) return;
    this.#level = target;
    this.#frameRatio =
      this.#affordableRatio(target, observation, headroom) ??
      lowestRatio(observation.inputFps, this.#options.minFps);
    this.#steppedUpAtMs = nowMs;
    this.#fitsSinceMs = null;
    this.#shortSinceMs = null;
  }

  #stepDown(level: LadderLevel, nowMs: number): void {
    const { failedWithinMs, upAfterMaxMs } = this.#options;
    if (this.#steppedUpAtMs !== null && nowMs - this.#steppedUpAtMs < failedWithinMs) {
      this.#upAfterMs = Math.min(upAfterMaxMs, this.#upAfterMs * 2);
    }
    this.#level = level;
    this.#frameRatio = 1;
    this.#leftAtMs = nowMs;
    this.#steppedUpAtMs = null;
    this.#shortSinceMs = null;
    this.#fitsSinceMs = null;
    this.#rateFitsSinceMs = null;
  }

  #forgive(nowMs: number): void {
    if (this.#steppedUpAtMs === null || nowMs - this.#steppedUpAtMs < this.#options.stableAfterMs) return;
    this.#upAfterMs = this.#options.upAfterMs;
    this.#steppedUpAtMs = null;
  }

  /** The largest share of frames a level can carry with `margin` to spare; null: fewer than may be. */
  #affordableRatio(
    level: ModelLevel,
    observation: LadderObservation,
    margin: number,
    keepFps = fpsToKeep(level, observation.costMs, this.#options),
  ): number | null {
    const { inputFps, share, stageMs, dropShare } = observation;
    const cost = observation.costMs[level];
    if (cost === undefined) return null;
    if (cost !== null && cost * margin > this.#options.maxRunMs) return null;
    const perFrame = (inputFps * margin) / 1_000;
    // Never measured: worth a try wherever there is anything to give.
    let affordable = cost === null ? (share > 0 ? 1 : 0) : share / Math.max(1e-9, cost * perFrame);
    affordable = Math.min(affordable, 0.9 / Math.max(1e-9, stageMs * perFrame));
    // Pictures go stale although the figures say it should work: something else is short. Believe the drops.
    const settled = observation.nowMs - this.#changedAtMs >= this.#options.dropWindowMs;
    if (level === this.#level && settled && dropShare > MANY_DROPS)
      affordable = Math.min(affordable, this.#frameRatio * (1 - dropShare));
    const least = leastRatio(inputFps, keepFps);
    for (const ratio of RATIOS) if (ratio <= affordable + 1e-9 && ratio >= least - 0.03) return ratio;
    return null;
  }

  #demand(observation: LadderObservation): number {
    if (this.#level === null || this.#level === 'original') return 0;
    return (observation.inputFps * this.#frameRatio * (observation.costMs[this.#level] ?? 0)) / 1_000;
  }
}

function fpsToKeep(
  level: ModelLevel,
  costMs: LadderObservation['costMs'],
  { smoothFps, minFps }: LoadLadderOptions,
): number {
  const hasLighter = MODEL_LEVELS.slice(MODEL_LEVELS.indexOf(level) + 1).some(
    (lower) => costMs[lower] !== undefined,
  );
  return hasLighter ? smoothFps : minFps;
}

function leastRatio(inputFps: number, minFps: number): number {
  return inputFps <= minFps ? 1 : Math.max(0.5, minFps / inputFps);
}

function lowestRatio(inputFps: number, minFps: number): number {
  const least = leastRatio(inputFps, minFps);
  return RATIOS.findLast((ratio) => ratio >= least - 0.03) ?? 1;
}
