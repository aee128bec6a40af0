const MAX_TRIES = 10;
const MAX_MISSING = 512;
/** A packet this late helps nobody: a key frame will have come. */
const MAX_AGE_MS = 1000;
const MIN_RETRY_MS = 10;
const MAX_REORDERING_MS = 20;
/** Before anything was measured: a round trip of a call across a continent. */
const INITIAL_RTT_MS = 50;

interface Missing {
  sinceMs: number;
  tries: number;
  lastAskedAtMs: number;
}

/**
 * The packets that a stream lacks: when to ask for each (again), and, learned from those that did come, how
 * long waiting for one makes sense.
 */
export class MissingPackets {
  readonly #missing = new Map<number, Missing>();
  #rttMs = INITIAL_RTT_MS;
  #reorderingMs = 0;
  /** Time from noticing to arrival: mean and mean deviation as RFC 6298 keeps them. */
  #recoveryMs = INITIAL_RTT_MS;
  #deviationMs = INITIAL_RTT_MS / 4;
  /** Falls while asking is in vain, so that waiting in vain ends. */
  #hope = 1;

  get size(): number {
    return this.#missing.size;
  }

  /** How long a missing packet is worth waiting for, before bounds. */
  get plausibleWaitMs(): number {
    return Math.max(this.#reorderingMs * 1.5, (this.#recoveryMs + 4 * this.#deviationMs) * this.#hope);
  }

  setRoundTripMs(rttMs: number): void {
    this.#rttMs = Math.min(Math.max(rttMs, 1), 1000);
  }

  /** Notes the gap [from, to); false when it is too wide to be filled. */
  noteGap(from: number, to: number, nowMs: number): boolean {
    if (to - from + this.#missing.size > MAX_MISSING) return false;
    for (let sequence = from; sequence < to; sequence += 1) {
      this.#missing.set(sequence, { sinceMs: nowMs, tries: 0, lastAskedAtMs: Number.NEGATIVE_INFINITY });
    }
    return true;
  }

  /** A packet came that was missing; true when it had been asked for. `retransmitted`: null when unknown. */
  found(sequence: number, retransmitted: boolean | null, nowMs: number): boolean {
    const missing = this.#missing.get(sequence);
    if (!missing) return false;
    this.#missing.delete(sequence);
    const tookMs = nowMs - missing.sinceMs;
    if (!(retransmitted ?? missing.tries > 0)) {
      this.#reorderingMs = Math.min(MAX_REORDERING_MS, Math.max(tookMs, this.#reorderingMs * 0.99));
      return false;
    }
    // Of several requests it is unknown which one was answered (Karn's algorithm).
    if (missing.tries === 1) {
      const sample = Math.max(1, nowMs - missing.lastAskedAtMs);
      this.#rttMs += (sample - this.#rttMs) / 8;
    }
    this.#deviationMs += (Math.abs(tookMs - this.#recoveryMs) - this.#deviationMs) / 4;
    this.#recoveryMs += (tookMs - this.#recoveryMs) / 8;
    this.#hope = Math.min(1, this.#hope * 1.5);
    return true;
  }

  sinceMs(sequence: number): number | null {
    return this.#missing.get(sequence)?.sinceMs ?? null;
  }

  /** Forgets everything before `sequence`; returns how many were never found. */
  forgetBefore(sequence: number): number {
    let forgotten = 0;
    for (const missing of this.#missing.keys()) {
      if (missing >= sequence) continue;
      this.#missing.delete(missing);
      forgotten += 1;
    }
    return forgotten;
  }

  /** Waiting was in vain: the next wait is shorter. */
  gaveUp(): void {
    this.#hope = Math.max(0.1, this.#hope * 0.8);
  }

  /** The packets to ask for now, in ascending order; they count as asked for. */
  takeDue(nowMs: number): number[] {
    const due: number[] = [];
    for (const [sequence, missing] of this.#missing) {
      if (this.#nextAskMs(missing) > nowMs) continue;
      missing.tries += 1;
      missing.lastAskedAtMs = nowMs;
      due.push(sequence);
    }
    return due.sort((a, b) => a - b);
  }

  /** When `takeDue` next has something. */
  get nextDueMs(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const missing of this.#missing.values()) next = Math.min(next, this.#nextAskMs(missing));
    return next;
  }

  clear(): void {
    this.#missing.clear();
  }

  #nextAskMs(missing: Missing): number {
    if (missing.tries === 0) return missing.sinceMs + this.#reorderingMs * 1.2;
    const next = missing.lastAskedAtMs + Math.max(MIN_RETRY_MS, this.#rttMs * 1.2 ** missing.tries);
    return missing.tries >= MAX_TRIES || next > missing.sinceMs + MAX_AGE_MS
      ? Number.POSITIVE_INFINITY
      : next;
  }
}
