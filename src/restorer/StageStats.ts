import type { Stage, StageTimes } from './types.js';

export const STAGES: readonly Stage[] = ['receive', 'decode', 'wait', 'restore', 'encode', 'total'];

/** Enough for the window at 60 frames a second, with room to spare. */
const CAPACITY = 512;
export const STAGE_WINDOW_MS = 5_000;

/** Samples of the last seconds in a ring; `record` allocates nothing. */
class SampleRing {
  readonly #values = new Float64Array(CAPACITY);
  readonly #timesMs = new Float64Array(CAPACITY);
  #next = 0;
  #size = 0;

  record(value: number, nowMs: number): void {
    this.#values[this.#next] = value;
    this.#timesMs[this.#next] = nowMs;
    this.#next = (this.#next + 1) % CAPACITY;
    if (this.#size < CAPACITY) this.#size += 1;
  }

  /** Copies what is not older than the window into `into`; returns how many there are. */
  collect(nowMs: number, windowMs: number, into: Float64Array): number {
    let found = 0;
    for (let back = 1; back <= this.#size; back++) {
      const at = (this.#next - back + CAPACITY) % CAPACITY;
      if (nowMs - (this.#timesMs[at] ?? 0) > windowMs) break;
      into[found] = this.#values[at] ?? 0;
      found += 1;
    }
    return found;
  }

  clear(): void {
    this.#size = 0;
  }
}

/** Nearest-rank percentile of ascending values; 0 of none. */
export function percentile(sorted: Float64Array, share: number): number {
  if (sorted.length === 0) return 0;
  const rank = Math.min(sorted.length, Math.max(1, Math.ceil(share * sorted.length)));
  return sorted[rank - 1] ?? 0;
}

/** Where the time of a track's frames goes: median and 95th percentile of each stage over the last 5 s. */
export class StageStats {
  readonly #rings: Record<Stage, SampleRing> = {
    receive: new SampleRing(),
    decode: new SampleRing(),
    wait: new SampleRing(),
    restore: new SampleRing(),
    encode: new SampleRing(),
    total: new SampleRing(),
  };
  readonly #scratch = new Float64Array(CAPACITY);

  record(stage: Stage, durationMs: number, nowMs: number): void {
    this.#rings[stage].record(Math.max(0, durationMs), nowMs);
  }

  times(stage: Stage, nowMs: number, windowMs = STAGE_WINDOW_MS): StageTimes {
    const found = this.#rings[stage].collect(nowMs, windowMs, this.#scratch);
    const sorted = this.#scratch.subarray(0, found).sort();
    return { p50Ms: percentile(sorted, 0.5), p95Ms: percentile(sorted, 0.95) };
  }

  /** Null while no restored frame left within the window. */
  snapshot(nowMs: number): Record<Stage, StageTimes> | null {
    if (this.#rings.total.collect(nowMs, STAGE_WINDOW_MS, this.#scratch) === 0) return null;
    return {
      receive: this.times('receive', nowMs),
      decode: this.times('decode', nowMs),
      wait: this.times('wait', nowMs),
      restore: this.times('restore', nowMs),
      encode: this.times('encode', nowMs),
      total: this.times('total', nowMs),
    };
  }

  clear(): void {
    for (const stage of STAGES) this.#rings[stage].clear();
  }
}
