/** Below this the restored picture would look worse than the original: nobody is sent less. */
export const MIN_RESTORED_BPS = 300_000;

/** A receiver must have this much more than the stream's bit rate to keep it … */
const STAY_MARGIN = 1.05;
/** … and this much more to get it back. */
const RETURN_MARGIN = 1.15;
const RETURN_AFTER_MS = 3_000;
/** Estimates lag behind a new stream: this long after it began they are no evidence. */
const SETTLE_MS = 2_000;
/** An estimate that climbs at least this much between two looks has not found its limit yet. */
const CLIMB = 1.02;
const FIRST_TRIAL_AFTER_MS = 10_000;
const LAST_TRIAL_AFTER_MS = 270_000;
const TRIAL_BACKOFF = 3;
/** A stream that held for this long has proved its downlink: later trials start with the short delay. */
const PROVEN_AFTER_MS = 30_000;

/**
 * Decides whether one receiver's downlink is too thin for one restored stream, with hysteresis.
 *
 * An estimate is no more than what was tried: while only a 120 kbit/s original flows, a receiver's
 * feedback stays near it however much the line could carry. So a low estimate counts only while the
 * restored stream runs and once the estimate has stopped climbing; and a receiver found too thin is
 * given a trial now and then, ever more seldom.
 */
export class DownlinkGate {
  #thin = false;
  #runningSinceMs: number | null = null;
  #roomySinceMs: number | null = null;
  #lowSinceMs: number | null = null;
  #thinSinceMs = 0;
  #trialAfterMs = FIRST_TRIAL_AFTER_MS;
  #lastAvailableBps = 0;

  get thin(): boolean {
    return this.#thin;
  }

  /**
   * @param availableBps what this receiver has left for the stream
   * @param neededBps the stream's bit rate
   * @param running whether the restored stream is being sent to this receiver
   * @returns whether the downlink is too thin
   */
  update(nowMs: number, availableBps: number, neededBps: number, running: boolean): boolean {
    if (this.#thin) this.#considerReturn(nowMs, availableBps, neededBps);
    else this.#considerGivingUp(nowMs, availableBps, neededBps, running);
    this.#lastAvailableBps = availableBps;
    return this.#thin;
  }

  #considerGivingUp(nowMs: number, availableBps: number, neededBps: number, running: boolean): void {
    if (!running) {
      this.#runningSinceMs = null;
      this.#lowSinceMs = null;
      return;
    }
    this.#runningSinceMs ??= nowMs;
    const ranForMs = nowMs - this.#runningSinceMs;
    const low = availableBps < neededBps * STAY_MARGIN;
    if (!low) {
      this.#lowSinceMs = null;
      if (ranForMs >= PROVEN_AFTER_MS) this.#trialAfterMs = FIRST_TRIAL_AFTER_MS;
      return;
    }
    const climbing = this.#lowSinceMs !== null && availableBps > this.#lastAvailableBps * CLIMB;
    if (climbing) this.#lowSinceMs = nowMs;
    this.#lowSinceMs ??= nowMs;
    if (ranForMs < SETTLE_MS || nowMs - this.#lowSinceMs < SETTLE_MS) return;
    this.#thin = true;
    this.#thinSinceMs = nowMs;
    this.#runningSinceMs = null;
    this.#roomySinceMs = null;
    this.#lowSinceMs = null;
  }

  #considerReturn(nowMs: number, availableBps: number, neededBps: number): void {
    if (availableBps >= neededBps * RETURN_MARGIN) this.#roomySinceMs ??= nowMs;
    else this.#roomySinceMs = null;
    const roomy = this.#roomySinceMs !== null && nowMs - this.#roomySinceMs >= RETURN_AFTER_MS;
    const trial = nowMs - this.#thinSinceMs >= this.#trialAfterMs;
    if (!roomy && !trial) return;
    if (!roomy) this.#trialAfterMs = Math.min(this.#trialAfterMs * TRIAL_BACKOFF, LAST_TRIAL_AFTER_MS);
    this.#thin = false;
    this.#runningSinceMs = null;
    this.#lowSinceMs = null;
  }
}
