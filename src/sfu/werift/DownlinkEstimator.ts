import { ArrivalTrend } from './ArrivalTrend.js';
import { RateMeter } from './RateMeter.js';
import type { TransportFeedback } from './rtcp.js';

/** A REMB this much above what we send says nothing about the link: the receiver's estimate is capped near it. */
const APPLICATION_LIMITED_RATIO = 1.2;
/** Below this share of the estimate, what is sent does not test it. */
const TESTING_SHARE = 0.7;
const INCREASE_PER_SECOND = 0.08;
/** The estimate never runs further ahead of what has arrived than this. */
const MAX_AHEAD = 1.5;
const OVERUSE_FACTOR = 0.85;
const DECREASE_INTERVAL_MS = 300;
const LOSS_WINDOW_MS = 1000;
/** Loss up to here is taken for noise (as in draft-ietf-rmcat-gcc-02, section 6). */
const TOLERATED_LOSS = 0.1;
const MIN_BPS = 30_000;
const MIN_EVENT_INTERVAL_MS = 500;
const MIN_CHANGE = 0.05;

const SENT_SLOTS = 4096;

/**
 * What a receiver's downlink carries.
 *
 * With transport-wide feedback we estimate ourselves, after draft-ietf-rmcat-gcc-02: growing queues
 * (see {@link ArrivalTrend}) and heavy loss bring the estimate below what arrived, quiet times let it
 * grow. With REMB the receiver estimates; as its estimate never exceeds about 1.5 times what arrives,
 * only one near or below the sent rate shows a limit.
 *
 * While little is sent nothing tests the link: then the estimate keeps what was known, and climbs
 * slowly back to the initial assumption, so that a receiver that was congested once gets another try.
 */
export class DownlinkEstimator {
  readonly #initialBps: number;
  readonly #tell: (bitrateBps: number) => void;
  readonly #trend = new ArrivalTrend();
  readonly #acknowledged = new RateMeter();
  readonly #sentMs = new Float64Array(SENT_SLOTS);
  readonly #sentBytes = new Uint16Array(SENT_SLOTS);
  readonly #sentSequence = new Int32Array(SENT_SLOTS).fill(-1);
  #currentBps: number;
  #toldBps: number | null = null;
  #lastToldMs = Number.NEGATIVE_INFINITY;
  #lastUpdateMs = 0;
  #lastDecreaseMs = Number.NEGATIVE_INFINITY;
  #windowStartMs = 0;
  #windowReceived = 0;
  #windowLost = 0;

  constructor(initialBps: number, tell: (bitrateBps: number) => void) {
    this.#initialBps = initialBps;
    this.#currentBps = initialBps;
    this.#tell = tell;
  }

  /** As told last; null before any feedback. */
  get estimateBps(): number | null {
    return this.#toldBps;
  }

  onSent(sequenceNumber: number, bytes: number, nowMs: number): void {
    const slot = sequenceNumber & (SENT_SLOTS - 1);
    this.#sentSequence[slot] = sequenceNumber;
    this.#sentBytes[slot] = bytes;
    this.#sentMs[slot] = nowMs;
  }

  onFeedback(feedback: TransportFeedback, nowMs: number): void {
    let sequenceNumber = feedback.baseSequence;
    let known = false;
    for (const arrivalMs of feedback.arrivalsMs) {
      const slot = sequenceNumber & (SENT_SLOTS - 1);
      if (this.#sentSequence[slot] === sequenceNumber) {
        known = true;
        if (arrivalMs === null) {
          this.#windowLost++;
        } else {
          // Counted once, however often it is reported.
          this.#sentSequence[slot] = -1;
          this.#windowReceived++;
          this.#acknowledged.add(this.#sentBytes[slot] as number, nowMs);
          this.#trend.onPacket(this.#sentMs[slot] as number, arrivalMs);
        }
      }
      sequenceNumber = (sequenceNumber + 1) & 0xffff;
    }
    if (!known) return;
    const acknowledgedBps = this.#acknowledged.bitrateBps(nowMs);
    if (this.#trend.overused) {
      this.#decrease(Math.min(this.#currentBps, acknowledgedBps * OVERUSE_FACTOR), nowMs);
    } else {
      this.#grow(acknowledgedBps, nowMs);
    }
    this.#judgeLoss(nowMs);
    this.#lastUpdateMs = nowMs;
    this.#report(nowMs);
  }

  /** `sendingBps`: what goes to this receiver at present. */
  onRemb(rembBps: number, sendingBps: number, nowMs: number): void {
    if (rembBps > sendingBps * APPLICATION_LIMITED_RATIO) {
      this.#recover(nowMs);
      this.#currentBps = Math.max(this.#currentBps, rembBps);
    } else {
      this.#currentBps = rembBps;
    }
    this.#lastUpdateMs = nowMs;
    this.#report(nowMs);
  }

  #grow(acknowledgedBps: number, nowMs: number): void {
    if (acknowledgedBps < this.#currentBps * TESTING_SHARE) {
      this.#recover(nowMs);
      return;
    }
    const grown = this.#currentBps * (1 + INCREASE_PER_SECOND * this.#elapsedS(nowMs));
    this.#currentBps = Math.max(this.#currentBps, Math.min(grown, acknowledgedBps * MAX_AHEAD));
  }

  #recover(nowMs: number): void {
    const recovered = this.#currentBps * (1 + INCREASE_PER_SECOND * this.#elapsedS(nowMs));
    this.#currentBps = Math.max(this.#currentBps, Math.min(this.#initialBps, recovered));
  }

  #decrease(toBps: number, nowMs: number): void {
    if (nowMs - this.#lastDecreaseMs < DECREASE_INTERVAL_MS) return;
    this.#lastDecreaseMs = nowMs;
    this.#currentBps = Math.max(MIN_BPS, toBps);
  }

  #judgeLoss(nowMs: number): void {
    if (nowMs - this.#windowStartMs < LOSS_WINDOW_MS) return;
    const total = this.#windowReceived + this.#windowLost;
    const loss = total > 0 ? this.#windowLost / total : 0;
    if (total >= 10 && loss > TOLERATED_LOSS) this.#decrease(this.#currentBps * (1 - loss / 2), nowMs);
    this.#windowStartMs = nowMs;
    this.#windowReceived = 0;
    this.#windowLost = 0;
  }

  #elapsedS(nowMs: number): number {
    return this.#lastUpdateMs === 0 ? 0 : Math.min(1, (nowMs - this.#lastUpdateMs) / 1000);
  }

  #report(nowMs: number): void {
    const bitrateBps = Math.round(this.#currentBps);
    const told = this.#toldBps;
    if (told !== null && Math.abs(bitrateBps - told) <= told * MIN_CHANGE) return;
    if (nowMs - this.#lastToldMs < MIN_EVENT_INTERVAL_MS) return;
    this.#lastToldMs = nowMs;
    this.#toldBps = bitrateBps;
    this.#tell(bitrateBps);
  }
}
