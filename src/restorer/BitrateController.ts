/** What receivers' reports said since the last update. */
export interface BitrateFeedback {
  /** Share of packets lost, 0 to 1, by the last receiver report. */
  fractionLost: number;
  /** REMB, bits per second; null before any. */
  remoteEstimateBps: number | null;
}

export const MIN_BITRATE_BPS = 100_000;
/** As in loss-based congestion control (Carlucci et al., "Analysis and Design of the Google Congestion Control", §4.4). */
const LOSS_HIGH = 0.1;
const LOSS_LOW = 0.02;
const DECREASE_INTERVAL_MS = 1_000;
const INCREASE_PER_SECOND = 1.08;
/** The encoder is bothered only by changes that matter. */
const NOTICEABLE = 0.05;

/**
 * The encoder's target: starts at the ceiling, falls with loss (multiplicatively), grows back slowly, and never
 * exceeds the ceiling or the receivers' own estimate. The hop to the SFU is loopback; loss there means that the
 * far side could not take what it was sent.
 */
export class BitrateController {
  #maxBps: number;
  #estimateBps: number;
  #remoteEstimateBps: number | null = null;
  #appliedBps: number;
  #lastUpdateMs: number | null = null;
  #lastDecreaseMs = Number.NEGATIVE_INFINITY;

  constructor(maxBps: number) {
    this.#maxBps = Math.max(MIN_BITRATE_BPS, maxBps);
    this.#estimateBps = this.#maxBps;
    this.#appliedBps = this.#maxBps;
  }

  /** Bits per second the encoder should be set to. */
  get targetBps(): number {
    const limit = Math.min(this.#maxBps, this.#remoteEstimateBps ?? Number.POSITIVE_INFINITY);
    return Math.round(Math.max(MIN_BITRATE_BPS, Math.min(limit, this.#estimateBps)));
  }

  setMax(maxBps: number): void {
    const raised = maxBps > this.#maxBps;
    const unhindered = this.#estimateBps >= this.#maxBps;
    this.#maxBps = Math.max(MIN_BITRATE_BPS, maxBps);
    // The ceiling comes from downlink estimates: without loss of our own there is nothing to grow back from.
    if (!raised || unhindered)
      this.#estimateBps = raised ? this.#maxBps : Math.min(this.#estimateBps, this.#maxBps);
  }

  /** Call about once a second, and after `setMax`. Returns the new target when the encoder should be told, else null. */
  update(feedback: BitrateFeedback, nowMs: number): number | null {
    const elapsedMs = this.#lastUpdateMs === null ? 0 : Math.min(2_000, nowMs - this.#lastUpdateMs);
    this.#lastUpdateMs = nowMs;
    this.#remoteEstimateBps = feedback.remoteEstimateBps;
    const loss = feedback.fractionLost;
    if (loss > LOSS_HIGH) {
      if (nowMs - this.#lastDecreaseMs >= DECREASE_INTERVAL_MS) {
        this.#lastDecreaseMs = nowMs;
        this.#estimateBps = Math.max(MIN_BITRATE_BPS, this.targetBps * (1 - 0.5 * loss));
      }
    } else if (loss < LOSS_LOW) {
      this.#estimateBps = Math.min(
        this.#maxBps,
        this.#estimateBps * INCREASE_PER_SECOND ** (elapsedMs / 1_000),
      );
    }
    const target = this.targetBps;
    const change = Math.abs(target - this.#appliedBps) / this.#appliedBps;
    const atLimit = target === this.#maxBps || target === MIN_BITRATE_BPS;
    if (change === 0 || (change < NOTICEABLE && !atLimit)) return null;
    this.#appliedBps = target;
    return target;
  }
}
