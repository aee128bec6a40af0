import { sequenceDelta } from './sequence.js';

export interface NackTrackerOptions {
  /** Requests for one packet before it is given up. */
  maxRetries: number;
  /** Packets older than this are given up. */
  maxAgeMs: number;
  /** A jump of more than this many numbers is a restart of the stream, not loss. */
  maxGap: number;
}

export const NACK_DEFAULTS: NackTrackerOptions = { maxRetries: 8, maxAgeMs: 1000, maxGap: 400 };

/** Round-trip time assumed before a recovered packet has shown it. */
const INITIAL_RTT_MS = 80;
const MIN_INTERVAL_MS = 20;

interface Missing {
  firstMissedMs: number;
  lastRequestMs: number;
  requests: number;
}

export type Arrival = 'new' | 'recovered' | 'duplicate' | 'reset';

/**
 * Finds what is missing in a stream of sequence numbers and says when to ask for it (RFC 4585,
 * section 6.2.1): at once when a gap shows, then once a round trip, a bounded number of times.
 */
export class NackTracker {
  readonly #options: NackTrackerOptions;
  readonly #missing = new Map<number, Missing>();
  #highest = -1;
  #rttMs = INITIAL_RTT_MS;

  constructor(options: Partial<NackTrackerOptions> = {}) {
    this.#options = { ...NACK_DEFAULTS, ...options };
  }

  get missingCount(): number {
    return this.#missing.size;
  }

  /** Smoothed time from a request to the packet; an upper bound of the round trip. */
  get rttMs(): number {
    return this.#rttMs;
  }

  onPacket(sequenceNumber: number, nowMs: number): Arrival {
    if (this.#highest < 0) {
      this.#highest = sequenceNumber;
      return 'new';
    }
    const delta = sequenceDelta(sequenceNumber, this.#highest);
    if (delta > 0) {
      if (delta > this.#options.maxGap) {
        this.#missing.clear();
        this.#highest = sequenceNumber;
        return 'reset';
      }
      for (let step = 1; step < delta; step++) {
        this.#missing.set((this.#highest + step) & 0xffff, {
          firstMissedMs: nowMs,
          lastRequestMs: 0,
          requests: 0,
        });
      }
      this.#highest = sequenceNumber;
      return 'new';
    }
    const missing = this.#missing.get(sequenceNumber);
    if (!missing) {
      if (delta < -this.#options.maxGap * 8) {
        this.#missing.clear();
        this.#highest = sequenceNumber;
        return 'reset';
      }
      return 'duplicate';
    }
    this.#missing.delete(sequenceNumber);
    if (missing.requests === 1) {
      const sampleMs = nowMs - missing.lastRequestMs;
      if (sampleMs > 0) this.#rttMs += (Math.min(sampleMs, 1000) - this.#rttMs) / 8;
    }
    return 'recovered';
  }

  /** What to request now; `givenUp` counts packets that will not be asked for again. */
  due(nowMs: number): { sequenceNumbers: number[]; givenUp: number } {
    const sequenceNumbers: number[] = [];
    let givenUp = 0;
    const intervalMs = Math.max(MIN_INTERVAL_MS, this.#rttMs);
    for (const [sequenceNumber, missing] of this.#missing) {
      if (missing.requests === 0 || nowMs - missing.lastRequestMs >= intervalMs) {
        if (
          missing.requests >= this.#options.maxRetries ||
          nowMs - missing.firstMissedMs >= this.#options.maxAgeMs
        ) {
          this.#missing.delete(sequenceNumber);
          givenUp++;
          continue;
        }
        missing.requests++;
        missing.lastRequestMs = nowMs;
        sequenceNumbers.push(sequenceNumber);
      }
    }
    return { sequenceNumbers, givenUp };
  }

  /** A key frame makes everything before it dispensable. */
  forgetBefore(sequenceNumber: number): void {
    for (const missing of this.#missing.keys()) {
      if (sequenceDelta(missing, sequenceNumber) < 0) this.#missing.delete(missing);
    }
  }
}
