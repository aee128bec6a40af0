import { KEY_FRAME_IGNORED_MS } from '../keyFrameRequests.js';

/** At most one request in this time goes to a producer. */
export const KEY_FRAME_MIN_INTERVAL_MS = 500;
/**
 * As often, one goes out sooner when all before were answered: as soon as a browser heeds it. Somebody may see nothing until then, and
 * who falls back from the restored picture right after it began must not wait the interval out.
 */
const EARLY_INTERVAL_MS = 2_000;
/** A request that was not answered by then is repeated. */
const REPEAT_AFTER_MS = 1000;
const MAX_REPEATS = 5;

/**
 * Passes key-frame requests on, throttled: the first goes out at once, those that come too early are
 * merged into one when the interval ends, or now and then sooner. Unanswered requests are repeated a few times.
 */
export class KeyFrameRequester {
  readonly #send: () => void;
  readonly #minIntervalMs: number;
  #lastSentMs = Number.NEGATIVE_INFINITY;
  #lastEarlyMs = Number.NEGATIVE_INFINITY;
  #waiting = false;
  #repeats = 0;
  #timer: NodeJS.Timeout | undefined;
  #dueMs = 0;

  constructor(send: () => void, minIntervalMs: number = KEY_FRAME_MIN_INTERVAL_MS) {
    this.#send = send;
    this.#minIntervalMs = minIntervalMs;
  }

  /** Whether a requested key frame has not arrived yet. */
  get waiting(): boolean {
    return this.#waiting;
  }

  request(): void {
    this.#repeats = 0;
    const nowMs = performance.now();
    let waitMs = this.#lastSentMs + this.#minIntervalMs - nowMs;
    if (waitMs > 0 && !this.#waiting && nowMs - this.#lastEarlyMs >= EARLY_INTERVAL_MS) {
      this.#lastEarlyMs = nowMs;
      waitMs = Math.min(waitMs, this.#lastSentMs + KEY_FRAME_IGNORED_MS - nowMs);
    }
    if (waitMs <= 0) this.#fire(nowMs);
    // What is on its way answers requests from before it was sent only, so this one needs its own.
    else this.#schedule(this.#timer ? Math.min(waitMs, this.#dueMs - nowMs) : waitMs);
  }

  /** A key frame came; requests still on hold are answered by it, too. */
  onKeyFrame(): void {
    this.#waiting = false;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  close(): void {
    this.onKeyFrame();
  }

  #fire(nowMs: number): void {
    this.#lastSentMs = nowMs;
    this.#waiting = true;
    this.#send();
    if (this.#repeats < MAX_REPEATS) this.#schedule(Math.max(REPEAT_AFTER_MS, this.#minIntervalMs));
  }

  #schedule(delayMs: number): void {
    clearTimeout(this.#timer);
    this.#dueMs = performance.now() + delayMs;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#repeats++;
      this.#fire(performance.now());
    }, delayMs);
    this.#timer.unref();
  }
}
