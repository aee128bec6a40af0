import type { AudioLevel } from '../types.js';

export const AUDIO_LEVEL_INTERVAL_MS = 300;
/** Quieter than this is silence. */
const ACTIVE_ABOVE_DBOV = -60;
/** Weight of the old level while it falls: speech has gaps that should not flicker. */
const RELEASE = 0.5;

interface Meter {
  sum: number;
  count: number;
  level: number;
}

/** Collects RFC 6464 levels per producer and says who is loud, loudest first. */
export class AudioLevelObserver {
  readonly #meters = new Map<string, Meter>();
  readonly #emit: (levels: AudioLevel[]) => void;
  #timer: NodeJS.Timeout | undefined;
  #wasActive = false;

  constructor(emit: (levels: AudioLevel[]) => void) {
    this.#emit = emit;
  }

  add(producerId: string): void {
    this.#meters.set(producerId, { sum: 0, count: 0, level: -127 });
    if (!this.#timer) {
      this.#timer = setInterval(() => this.tick(), AUDIO_LEVEL_INTERVAL_MS);
      this.#timer.unref();
    }
  }

  remove(producerId: string): void {
    this.#meters.delete(producerId);
    if (this.#meters.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
  }

  /** `levelDbov`: −127 to 0. */
  onLevel(producerId: string, levelDbov: number): void {
    const meter = this.#meters.get(producerId);
    if (!meter) return;
    meter.sum += levelDbov;
    meter.count++;
  }

  /** One interval is over; an empty list is told once, when the last one fell silent. */
  tick(): void {
    const levels: AudioLevel[] = [];
    for (const [producerId, meter] of this.#meters) {
      const current = meter.count > 0 ? meter.sum / meter.count : -127;
      meter.level = current >= meter.level ? current : meter.level * RELEASE + current * (1 - RELEASE);
      meter.sum = 0;
      meter.count = 0;
      if (meter.level > ACTIVE_ABOVE_DBOV) levels.push({ producerId, volumeDbov: Math.round(meter.level) });
    }
    if (levels.length === 0 && !this.#wasActive) return;
    this.#wasActive = levels.length > 0;
    this.#emit(levels.sort((a, b) => b.volumeDbov - a.volumeDbov));
  }

  close(): void {
    this.#meters.clear();
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
