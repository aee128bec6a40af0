import { RateMeter } from './RateMeter.js';
import { StageStats } from './StageStats.js';

/** Weight of a new sample in the running means. */
const WEIGHT = 0.1;

/** Everything that is measured about one track. */
export class TrackMeters {
  readonly stages = new StageStats();
  readonly framesIn = new RateMeter();
  readonly framesOut = new RateMeter();
  readonly bytesIn = new RateMeter();
  readonly bytesOut = new RateMeter();
  framesDropped = 0;
  readonly #kept = new RateMeter();
  readonly #stale = new RateMeter();
  #decodeMs = 0;
  #encodeMs = 0;

  /** The slower of decoding and encoding, milliseconds a frame. */
  get stageMs(): number {
    return Math.max(this.#decodeMs, this.#encodeMs);
  }

  decoded(decodeMs: number): void {
    this.#decodeMs += (decodeMs - this.#decodeMs) * WEIGHT;
  }

  encoded(encodeMs: number): void {
    this.#encodeMs += (encodeMs - this.#encodeMs) * WEIGHT;
  }

  /** A picture was handed on to be restored. */
  kept(nowMs: number): void {
    this.#kept.add(nowMs);
  }

  /** Pictures that were to be restored, or were, and came too late. */
  stale(frames: number, nowMs: number): void {
    this.framesDropped += frames;
    this.#stale.add(nowMs, frames);
  }

  /** Of the pictures that were to be restored in the last two seconds, the share that was dropped. */
  dropShare(nowMs: number): number {
    const kept = this.#kept.perSecond(nowMs);
    if (this.#kept.total < 8) return 0;
    return Math.min(1, this.#stale.perSecond(nowMs) / Math.max(kept, 1e-9));
  }

  /** The track went back to the original: what was measured under load says nothing about the next attempt. */
  stopped(): void {
    this.stages.clear();
    this.framesOut.clear();
    this.bytesOut.clear();
    this.#kept.clear();
    this.#stale.clear();
    this.#decodeMs = 0;
    this.#encodeMs = 0;
  }
}
