/** Packets sent within this time count as one group. */
const GROUP_MS = 5;
const WINDOW = 20;
const SMOOTHING = 0.9;
const GAIN = 4;
const MAX_DELTAS = 60;
const INITIAL_THRESHOLD_MS = 12.5;
const MIN_THRESHOLD_MS = 6;
const MAX_THRESHOLD_MS = 600;
const THRESHOLD_UP = 0.0087;
const THRESHOLD_DOWN = 0.039;
/** The trend must stay above the threshold for this long. */
const OVERUSE_TIME_MS = 10;
/** A gap like this ends what can be compared. */
const RESET_MS = 3000;

/**
 * Tells from departure and arrival times whether a queue grows on the way: the slope of the
 * accumulated delay over the last groups of packets against an adaptive threshold
 * (draft-ietf-rmcat-gcc-02, sections 5.2 to 5.4, with the trendline filter that browsers use).
 */
export class ArrivalTrend {
  #group: { firstSentMs: number; lastSentMs: number; arrivedMs: number } | undefined;
  #previous: { sentMs: number; arrivedMs: number } | undefined;
  #points: { arrivedMs: number; delayMs: number }[] = [];
  #accumulatedMs = 0;
  #smoothedMs = 0;
  #deltas = 0;
  #thresholdMs = INITIAL_THRESHOLD_MS;
  #overusingMs = 0;
  #lastTrend = 0;
  #lastArrivedMs = 0;
  #overused = false;

  /** Whether the queue was growing when the last group arrived. */
  get overused(): boolean {
    return this.#overused;
  }

  /** Times on two clocks that need not agree; packets in the order of sending. */
  onPacket(sentMs: number, arrivedMs: number): void {
    const group = this.#group;
    if (!group) {
      this.#group = { firstSentMs: sentMs, lastSentMs: sentMs, arrivedMs };
      return;
    }
    if (sentMs < group.firstSentMs) return;
    if (sentMs - group.firstSentMs <= GROUP_MS) {
      group.lastSentMs = sentMs;
      group.arrivedMs = Math.max(group.arrivedMs, arrivedMs);
      return;
    }
    const previous = this.#previous;
    if (previous) {
      const sentDeltaMs = group.lastSentMs - previous.sentMs;
      const arrivalDeltaMs = group.arrivedMs - previous.arrivedMs;
      if (sentDeltaMs > RESET_MS || Math.abs(arrivalDeltaMs) > RESET_MS) this.#reset();
      else this.#onGroup(arrivalDeltaMs - sentDeltaMs, sentDeltaMs, group.arrivedMs);
    }
    this.#previous = { sentMs: group.lastSentMs, arrivedMs: group.arrivedMs };
    this.#group = { firstSentMs: sentMs, lastSentMs: sentMs, arrivedMs };
  }

  #onGroup(variationMs: number, sentDeltaMs: number, arrivedMs: number): void {
    this.#deltas = Math.min(this.#deltas + 1, MAX_DELTAS);
    this.#accumulatedMs += variationMs;
    this.#smoothedMs = SMOOTHING * this.#smoothedMs + (1 - SMOOTHING) * this.#accumulatedMs;
    this.#points.push({ arrivedMs, delayMs: this.#smoothedMs });
    if (this.#points.length > WINDOW) this.#points.shift();
    const slope = this.#points.length === WINDOW ? this.#slope() : 0;
    const trendMs = slope * this.#deltas * GAIN;
    if (trendMs > this.#thresholdMs) {
      this.#overusingMs += sentDeltaMs;
      this.#overused = this.#overusingMs > OVERUSE_TIME_MS && slope >= this.#lastTrend;
    } else {
      this.#overusingMs = 0;
      this.#overused = false;
    }
    this.#lastTrend = slope;
    this.#adaptThreshold(Math.abs(trendMs), arrivedMs);
  }

  #slope(): number {
    const points = this.#points;
    let meanX = 0;
    let meanY = 0;
    for (const { arrivedMs, delayMs } of points) {
      meanX += arrivedMs / points.length;
      meanY += delayMs / points.length;
    }
    let numerator = 0;
    let denominator = 0;
    for (const { arrivedMs, delayMs } of points) {
      numerator += (arrivedMs - meanX) * (delayMs - meanY);
      denominator += (arrivedMs - meanX) ** 2;
    }
    return denominator === 0 ? 0 : numerator / denominator;
  }

  #adaptThreshold(trendMs: number, arrivedMs: number): void {
    const elapsedMs = Math.max(0, Math.min(100, arrivedMs - this.#lastArrivedMs));
    this.#lastArrivedMs = arrivedMs;
    // A sudden jump is an event of the network, not a level to get used to.
    if (trendMs > this.#thresholdMs + 15) return;
    const rate = trendMs < this.#thresholdMs ? THRESHOLD_DOWN : THRESHOLD_UP;
    const adapted = this.#thresholdMs + rate * (trendMs - this.#thresholdMs) * elapsedMs;
    this.#thresholdMs = Math.min(MAX_THRESHOLD_MS, Math.max(MIN_THRESHOLD_MS, adapted));
  }

  #reset(): void {
    this.#points = [];
    this.#accumulatedMs = 0;
    this.#smoothedMs = 0;
    this.#deltas = 0;
    this.#overusingMs = 0;
    this.#overused = false;
    this.#lastTrend = 0;
  }
}
