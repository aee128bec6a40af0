import { KEY_FRAME_IGNORED_MS } from '../keyFrameRequests.js';

/** A request that was not answered by then is repeated. */
const REPEAT_AFTER_MS = 1000;
const MAX_REPEATS = 5;

/**
 * Passes key-frame requests on, throttled: the first goes out at once, those that come too early are
 * merged into one when the interval ends. Unanswered requests are repeated a few times.
 */
export class KeyFrameRequester {
  readonly #send: () => void;
  readonly #minIntervalMs: number;
  #lastSentMs = Number.NEGATIVE_INFINITY;
  #waiting = false;
  #repeats = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(send: () => void, minIntervalMs: number = KEY_FRAME_IGNORED_MS) {
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
    const remainingMs = this.#lastSentMs + this.#minIntervalMs - nowMs;
    if (remainingMs <= 0) this.#fire(nowMs);
    // What is on its way answers requests from before it was sent only, so this one needs its own.
    else this.#schedule(remainingMs);
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
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#repeats++;
      this.#fire(performance.now());
    }, delayMs);
    this.#timer.unref();
  }
}
