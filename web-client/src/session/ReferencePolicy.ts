import { focusChange, REFOCUSED_OCTAVES, stillRests } from '../../../src/signaling/focus.js';
import type { ReferenceLimits, StillWantedReason } from '../../../src/signaling/messages.js';
import { type StillBudget, stillBudget, worthAStill } from '../../../src/signaling/stillBudget.js';
import { standingShare } from '../../../src/signaling/thumbnail.js';
import { type Look, sceneDifference } from './sceneChange.js';
import { UNLIMITED_VIDEO_BPS } from './uplinkPolicy.js';

/**
 * Difference from the last still, in grey levels (`sceneDifference`), from which on the scene is another. Measured on
 * recorded calls: people who talk and gesture stay between 1 and 6, a camera that moves on comes to 9 and more.
 */
const CHANGED_LEVELS = 8;
/** Between two samples, below which the picture stands still enough to be sharp; people who talk: 1 to 4. */
const CALM_LEVELS = 3;
const CALM_SAMPLES = 2;
/** Where there is no still at all, one that may be a little blurred is better than none for longer. */
const PATIENCE_MS = 4_000;
/** The relay's own count begins when the still is complete there, which we learn a little later. */
const INTERVAL_MARGIN_MS = 500;
const FIRST_RETRY_MS = 20_000;
const LAST_RETRY_MS = 300_000;
const RETRY_JITTER = 0.3;
/** Slower than this the relay takes the sender for gone; faster than that a still is no better for it. */
const MIN_PACE_BPS = 4_000;
const MAX_PACE_BPS = 120_000;
/** Budget that is saved up, in stills. */
const SAVED_STILLS = 2;

export interface StillRequest {
  reason: StillWantedReason;
  budget: StillBudget;
}

/** How fast its parts may go, bits per second. */
export function stillPaceBps(budgetBps: number | null, uplinkShare: number): number {
  const shareBps = (budgetBps ?? UNLIMITED_VIDEO_BPS) * uplinkShare;
  return Math.min(Math.max(shareBps, MIN_PACE_BPS), MAX_PACE_BPS);
}

export interface ReferencePolicyOptions {
  limits: ReferenceLimits;
  /** Null: no limit. */
  budgetBps: number | null;
  /** Milliseconds of a clock that does not go back. */
  now: () => number;
  /** 0 to 1. */
  random: () => number;
}

/**
 * Decides when a sharp still is worth its bytes: when somebody watches the picture restored and there is none,
 * when the scene or the camera's focus has changed and is calm again, when the relay asks; within a share of the uplink's budget, and on a thin uplink
 * only while much of the picture stands still.
 *
 * Nothing is wanted before the relay has restored something, so the live video runs by then.
 */
export class ReferencePolicy {
  readonly #options: ReferencePolicyOptions;
  #budgetBps: number | null;
  /** Bytes that may be sent; below zero after a still that cost more than it should. */
  #credit: number;
  #creditAtMs: number;
  #watched = false;
  #wish: { reason: StillWantedReason; sinceMs: number; own: boolean } | null = null;
  #sending = false;
  /** Of the last still that the relay has. */
  #still: Look | null = null;
  #hasStill = false;
  #resting = false;
  #last: Look | null = null;
  #calmSamples = 0;
  /** Of the picture, from the last sample but one to the last. */
  #standingShare = 0;
  #notBeforeMs = 0;
  #failures = 0;
  /** Counted apart: each of them follows on a still that was sent without failure. */
  #refusals = 0;

  constructor(options: ReferencePolicyOptions) {
    this.#options = options;
    this.#budgetBps = options.budgetBps;
    this.#creditAtMs = options.now();
    // The first still of a call need not be saved up for.
    this.#credit = this.#budget().maxBytes;
  }

  setBudget(budgetBps: number | null): void {
    this.#earn();
    this.#budgetBps = budgetBps;
  }

  /** Whether somebody watches the picture restored now. */
  setWatched(watched: boolean): void {
    this.#watched = watched;
    if (!watched && this.#wish?.own) this.#wish = null;
  }

  /** The relay asks for a still. */
  wanted(reason: StillWantedReason): void {
    if (reason !== 'scene') this.#hasStill = false;
    this.#wish = { reason, sinceMs: this.#options.now(), own: false };
  }

  /** The picture now, about once a second. */
  sample(look: Look): void {
    const last = this.#last;
    const calm =
      last !== null &&
      sceneDifference(look.levels, last.levels) < CALM_LEVELS &&
      Math.abs(focusChange(look.detail, last.detail)) < REFOCUSED_OCTAVES / 2;
    this.#calmSamples = calm ? this.#calmSamples + 1 : 0;
    this.#standingShare = last === null ? 0 : standingShare(look.levels, last.levels);
    this.#last = look;
    this.#resting = this.#still !== null && stillRests(look.detail, this.#still.detail, this.#resting);
    if (!this.#watched || this.#sending) return;
    if (!this.#hasStill) {
      this.#wish ??= { reason: 'start', sinceMs: this.#options.now(), own: true };
      return;
    }
    if (this.#still !== null && isAnother(look, this.#still))
      this.#wish ??= { reason: 'scene', sinceMs: this.#options.now(), own: true };
    // Whoever walked through the picture is gone again.
    else if (this.#wish?.own && this.#wish.reason === 'scene') this.#wish = null;
  }

  /** Whether the last still shows sharply what the camera does not: it should not be used while that lasts. */
  get resting(): boolean {
    return this.#resting;
  }

  /** Whether one is wanted that will not pay before the camera stands still. */
  get waitsForCamera(): boolean {
    return this.#wish !== null && !this.#sending && !worthAStill(this.#budgetBps, this.#standingShare);
  }

  /** The still that should be taken now; null: none. */
  next(): StillRequest | null {
    const nowMs = this.#options.now();
    if (!this.#wish || this.#sending || nowMs < this.#notBeforeMs) return null;
    const { reason, sinceMs } = this.#wish;
    const patient = reason === 'scene' || nowMs - sinceMs < PATIENCE_MS;
    if (patient && this.#calmSamples < CALM_SAMPLES) return null;
    if (!worthAStill(this.#budgetBps, this.#standingShare)) return null;
    this.#earn();
    const budget = this.#budget();
    return this.#credit >= budget.maxBytes ? { reason, budget } : null;
  }

  /** A still is on its way: `next` has none until `sent` or `failed`. */
  begun(): void {
    this.#sending = true;
  }

  /** Bytes went out for a still. */
  spent(bytes: number): void {
    this.#earn();
    this.#credit -= bytes;
  }

  /** The relay has the whole still; what the camera showed then. */
  sent(look: Look): void {
    this.#sending = false;
    this.#still = look;
    this.#hasStill = true;
    this.#resting = false;
    this.#wish = null;
    this.#failures = 0;
    this.#notBeforeMs = this.#options.now() + this.#options.limits.minIntervalMs + INTERVAL_MARGIN_MS;
  }

  /** It could not be taken, or not be sent: again later, ever more seldom. */
  failed(): void {
    this.#sending = false;
    this.#failures += 1;
    this.#backOff(this.#failures);
  }

  /** The restorer could not use what was sent. */
  refused(): void {
    this.#still = null;
    this.#hasStill = false;
    this.#resting = false;
    this.#refusals += 1;
    this.#backOff(this.#refusals);
  }

  /** It was stopped, through nobody's fault: the publication ended, or the connection. */
  stopped(): void {
    this.#sending = false;
  }

  /** The relay has no still any more: another publication, or the person opted out. Budget and pauses stay. */
  reset(): void {
    this.#wish = null;
    this.#still = null;
    this.#hasStill = false;
    this.#resting = false;
    this.#watched = false;
    this.#last = null;
    this.#calmSamples = 0;
    this.#standingShare = 0;
    this.#refusals = 0;
  }

  #backOff(times: number): void {
    const delayMs = Math.min(FIRST_RETRY_MS * 2 ** (times - 1), LAST_RETRY_MS);
    const jitter = 1 + RETRY_JITTER * (2 * this.#options.random() - 1);
    this.#notBeforeMs = Math.max(this.#notBeforeMs, this.#options.now() + delayMs * jitter);
  }

  #budget(): StillBudget {
    const { maxBytes, maxQuality } = stillBudget(this.#budgetBps);
    return { maxBytes: Math.min(maxBytes, this.#options.limits.maxBytes), maxQuality };
  }

  #earn(): void {
    const nowMs = this.#options.now();
    const earnedBps = (this.#budgetBps ?? UNLIMITED_VIDEO_BPS) * this.#options.limits.uplinkShare;
    const earned = (earnedBps / 8) * ((nowMs - this.#creditAtMs) / 1_000);
    // Saved up at a larger budget, it stays.
    const most = Math.max(this.#credit, SAVED_STILLS * this.#budget().maxBytes);
    this.#credit = Math.min(this.#credit + earned, most);
    this.#creditAtMs = nowMs;
  }
}

/** Whether the scene is another than that of a still, or in another focus. */
function isAnother(look: Look, still: Look): boolean {
  return (
    sceneDifference(look.levels, still.levels) >= CHANGED_LEVELS ||
    Math.abs(focusChange(look.detail, still.detail)) >= REFOCUSED_OCTAVES
  );
}
