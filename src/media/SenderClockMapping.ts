import { addMsToNtp, ntpFromUnixMs, unixMsFromMonotonicMs } from './clocks.js';
import type { SenderClock } from './RtpVideoReceiver.js';

/** Frames over which the least delayed arrival is taken; about two seconds, within which clocks do not drift apart. */
const WINDOW_FRAMES = 64;

/**
 * Maps the media clock of a restored stream to wall-clock time. With the input's sender reports it is their
 * mapping, so that the restored video plays in step with the untouched audio; before there are any, it is the
 * arrival of the original frames, which leaves out what restoration took.
 */
export class SenderClockMapping {
  #clock: SenderClock | null = null;
  /** Arrival minus media time of the last frames, milliseconds. */
  readonly #offsetsMs: number[] = [];

  setSenderClock(clock: SenderClock): void {
    this.#clock = clock;
  }

  noteArrival(rtpTimestamp90k: number, originalArrivalAtMs: number): void {
    if (this.#clock) return;
    const offsetMs = originalArrivalAtMs - rtpTimestamp90k / 90;
    // A new media timeline: what was learned on the old one does not hold.
    if (Math.abs(offsetMs - (this.#offsetsMs[0] ?? offsetMs)) > 10_000) this.#offsetsMs.length = 0;
    this.#offsetsMs.push(offsetMs);
    if (this.#offsetsMs.length > WINDOW_FRAMES) this.#offsetsMs.shift();
  }

  /** NTP and RTP time of one instant; null before the first frame. */
  at(nowMs: number): { ntpTimestamp: bigint; rtpTimestamp90k: number } | null {
    if (this.#clock) {
      const elapsedMs = nowMs - this.#clock.arrivalAtMs;
      return {
        ntpTimestamp: addMsToNtp(this.#clock.ntpTimestamp, elapsedMs),
        rtpTimestamp90k: Math.round(this.#clock.rtpTimestamp90k + elapsedMs * 90),
      };
    }
    if (this.#offsetsMs.length === 0) return null;
    return {
      ntpTimestamp: ntpFromUnixMs(unixMsFromMonotonicMs(nowMs)),
      rtpTimestamp90k: Math.round((nowMs - Math.min(...this.#offsetsMs)) * 90),
    };
  }
}
