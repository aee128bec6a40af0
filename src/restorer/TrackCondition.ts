import type { FitResult } from '../restoration/fit.js';
import { type LadderDecision, reportedLevel } from './LoadLadder.js';
import type { NotRestoredReason, RestorationLevel } from './types.js';

/** Longer than a slow screen share's pause between frames. */
const NO_INPUT_MS = 5_000;
const FIRST_RETRY_MS = 5_000;
const LAST_RETRY_MS = 120_000;

/** What the decoded pictures look like, and what that means for restoring them. */
export interface InputPicture {
  width: number;
  height: number;
  /** Whether `fit` is that of pictures with a still. */
  still: boolean;
  fit: FitResult;
}

/**
 * What state a track is in, as its viewers are told: the level it is restored at, or why it is not. A level
 * counts from the first frame that left, not from the decision to restore.
 */
export class TrackCondition {
  /** Null before the first picture. */
  input: InputPicture | null = null;
  /** Restored frames have been leaving since the track last came from the original. */
  flowing = false;
  /** This machine has no codec for the track. */
  unsupported = false;
  #decision: LadderDecision = { level: 'original', frameRatio: 1, demand: 0 };
  #admitted = true;
  #lastInputAtMs: number;
  #everReceived = false;
  #failedUntilMs = Number.NEGATIVE_INFINITY;
  #retryMs = FIRST_RETRY_MS;

  constructor(nowMs: number) {
    this.#lastInputAtMs = nowMs;
  }

  get decision(): LadderDecision {
    return this.#decision;
  }

  get level(): RestorationLevel {
    return this.flowing ? reportedLevel(this.#decision.level) : 'original';
  }

  received(atMs: number): void {
    this.#everReceived = true;
    this.#lastInputAtMs = atMs;
  }

  decide(decision: LadderDecision, admitted: boolean): void {
    this.#decision = decision;
    this.#admitted = admitted;
    if (decision.level === 'original') this.flowing = false;
  }

  /** The model failed: not tried again for a while, which doubles as long as it keeps failing. Returns that while. */
  modelFailed(nowMs: number): number {
    const retryMs = this.#retryMs;
    this.#failedUntilMs = nowMs + retryMs;
    this.#retryMs = Math.min(LAST_RETRY_MS, retryMs * 2);
    return retryMs;
  }

  modelWorked(): void {
    this.#retryMs = FIRST_RETRY_MS;
  }

  /** Why the track cannot be restored whatever the load; null: it can. */
  hindrance(nowMs: number): NotRestoredReason | null {
    if (this.unsupported) return 'unsupported-codec';
    if (nowMs - this.#lastInputAtMs > NO_INPUT_MS) return 'no-input';
    if (this.input !== null && !this.input.fit.fits) return this.input.fit.reason;
    if (nowMs < this.#failedUntilMs) return 'model-failed';
    return null;
  }

  /** Null while it is restored. */
  reason(nowMs: number): NotRestoredReason | null {
    if (this.level !== 'original') return null;
    const hindrance = this.hindrance(nowMs);
    if (hindrance !== null) return hindrance;
    if (!this.#everReceived || this.input === null) return 'starting';
    return this.#admitted && this.#decision.level !== 'original' ? 'starting' : 'overloaded';
  }

  /** Nobody will look at its pictures for now, whatever they show; their size may change that. */
  idle(nowMs: number): boolean {
    const reason = this.reason(nowMs);
    return reason !== null && reason !== 'starting' && reason !== 'no-input';
  }
}
