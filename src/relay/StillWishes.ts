import type { ReferenceReport } from '../restorer/types.js';
import type { StillWantedReason } from '../signaling/messages.js';

/** What is found of the picture moves for some seconds after a still took effect: its best is looked for in these. */
const SETTLE_MS = 10_000;
/** What is found falls clearly when it is below this share of its best … */
const FALLEN_SHARE = 0.6;
/** … for this long: somebody who leans forward comes back. */
const FALLEN_MS = 3_000;
/** A still in which so little was found at its best says nothing when that becomes less. */
const LEAST_BEST = 0.1;

/** Decides when a publication's sender should be asked for a still: when there is none, or the scene is another. */
export class StillWishes {
  readonly #minIntervalMs: number;
  readonly #now: () => number;
  #wanted: StillWantedReason | null = null;
  #declined = false;
  #hasStarted = false;
  #restorerLost = false;
  #stillId: string | null = null;
  #stillAtMs = Number.NEGATIVE_INFINITY;
  #best = 0;
  #fallenSinceMs: number | null = null;

  /** `now`: milliseconds of a clock that does not go back. */
  constructor(minIntervalMs: number, now: () => number) {
    this.#minIntervalMs = minIntervalMs;
    this.#now = now;
  }

  /** What the sender was asked for and has not sent yet. */
  get wanted(): StillWantedReason | null {
    return this.#wanted;
  }

  /** The restorer died, and with it what it knew. */
  restorerDied(): void {
    this.#restorerLost = this.#hasStarted;
    this.#resetFound();
  }

  /** A restored stream began. @returns why a still should be asked for now; null: it should not */
  started(): StillWantedReason | null {
    const reason = this.#restorerLost ? 'lost' : 'start';
    this.#restorerLost = false;
    this.#hasStarted = true;
    this.#resetFound();
    return this.#stillId === null ? this.#ask(reason) : null;
  }

  /** The sender has begun to send one: whatever it declined before, it takes part again. */
  begun(): void {
    this.#declined = false;
  }

  came(stillId: string): void {
    this.#stillId = stillId;
    this.#stillAtMs = this.#now();
    this.#wanted = null;
    this.#resetFound();
  }

  /** The still that is known is forgotten, and so is what was asked for; null: whichever it is. */
  forgotten(stillId: string | null = null): void {
    if (stillId !== null && this.#stillId !== stillId) return;
    this.#stillId = null;
    this.#wanted = null;
  }

  /** The sender wants none to be used. */
  decline(): void {
    this.#declined = true;
    this.forgotten();
  }

  /** @returns why a still should be asked for now; null: it should not */
  reported(reference: ReferenceReport | null): StillWantedReason | null {
    // The stream's own picture, of no id, is nobody's to renew.
    if (reference === null || reference.id === null || reference.id !== this.#stillId) return null;
    if (reference.found === null) return null;
    const { found, ageMs } = reference;
    if (ageMs <= SETTLE_MS) this.#best = Math.max(this.#best, found);
    const fallen = this.#best >= LEAST_BEST && found < this.#best * FALLEN_SHARE;
    if (!fallen) {
      this.#fallenSinceMs = null;
      return null;
    }
    const nowMs = this.#now();
    this.#fallenSinceMs ??= nowMs;
    const lasts = nowMs - this.#fallenSinceMs >= FALLEN_MS;
    const due = nowMs - this.#stillAtMs >= this.#minIntervalMs;
    return lasts && due ? this.#ask('scene') : null;
  }

  #ask(reason: StillWantedReason): StillWantedReason | null {
    // Once: the sender remembers until it can send one.
    if (this.#declined || this.#wanted !== null) return null;
    this.#wanted = reason;
    return reason;
  }

  #resetFound(): void {
    this.#best = 0;
    this.#fallenSinceMs = null;
  }
}
