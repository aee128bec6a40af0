/**
 * How large a picture the encoder gets. The budget's height (uplinkPolicy) is what most cameras can be sent in; where more moves, the encoder drops frames
 * instead: at 120 kbit/s a class of children came to 11 pictures a second of 360 lines, and comes to 21 of 270 (bench/uplink.mjs). The relay restores each of these heights but 720.
 */

/** Short sides that are sent, smallest first. From 397 lines on the relay leaves pictures alone, so 540 would be no step from 720. */
export const SENT_HEIGHTS = [144, 180, 270, 360, 720] as const;
export type SentHeight = (typeof SENT_HEIGHTS)[number];

/** What became of the camera's picture in the last second. */
export interface EncoderSample {
  /** Frames a second that the encoder should have sent. */
  wantedFps: number;
  encodedFps: number;
  /** Mean of VP8's quantizer index, 0 to 127. */
  quantizer: number;
}

/** Browsers' encoders quantize by 106 at most, and drop frames when that does not do. */
const COARSEST = 100;
/** With this much it still sends them all. */
const COARSEST_FULL = 103;
/** Of the frames: with fewer, a smaller picture that moves is better. */
const STARVED_SHARE = 0.6;
/** With so few, two steps are taken at once. */
const STARVING_SHARE = 0.3;
/** Of so many samples all but one are starved before a step down. */
const STARVED_SAMPLES = 4;
/** Samples after a change that say nothing: a key frame is paid for. */
const SETTLING_SAMPLES = 3;
/** Steps of the quantizer that twice as many pixels cost at the same bitrate: from 180 to 270 lines 26 to 29, from 270 to 360 21. */
const STEPS_A_DOUBLING = 25;
/** All frames, but for what timing takes. */
const FULL_SHARE = 0.9;
/** Samples in which a larger picture would have done. */
const EASY_SAMPLES = 8;
const MOST_EASY_SAMPLES = 240;
/** A step up that lasts so long was none too many. */
const LASTING_SAMPLES = 30;

/** Decides between the heights, from a sample a second. Without samples it stays where it is. */
export class ResolutionPolicy {
  #limit: SentHeight;
  #height: SentHeight;
  #starved: boolean[] = [];
  #starving = true;
  #easy = 0;
  /** Since the last change. */
  #samples = 0;
  #steppedUp = false;
  #easyWanted = EASY_SAMPLES;

  /** `limit`: the budget's height. */
  constructor(limit: SentHeight) {
    this.#limit = limit;
    this.#height = limit;
  }

  get height(): SentHeight {
    return this.#height;
  }

  /** Another budget, or another camera: begins anew. */
  restart(limit: SentHeight): void {
    this.#limit = limit;
    this.#easyWanted = EASY_SAMPLES;
    this.#change(limit);
    this.#steppedUp = false;
  }

  /** @returns whether the height is another now */
  sample(sample: EncoderSample): boolean {
    this.#samples += 1;
    if (this.#samples <= SETTLING_SAMPLES || sample.wantedFps <= 0) return false;
    if (this.#steppedUp && this.#samples >= LASTING_SAMPLES) this.#easyWanted = EASY_SAMPLES;
    return this.#stepDown(sample) || this.#stepUp(sample);
  }

  #stepDown({ wantedFps, encodedFps, quantizer }: EncoderSample): boolean {
    const share = encodedFps / wantedFps;
    // An encoder that has bits to spare is slow for other reasons, which a smaller picture is not the answer to.
    this.#starved.push(quantizer >= COARSEST && share < STARVED_SHARE);
    if (this.#starved.length > STARVED_SAMPLES) this.#starved.shift();
    if (!this.#starved.at(-1)) {
      this.#starving = true;
      return false;
    }
    this.#starving &&= share < STARVING_SHARE;
    if (this.#starved.filter((starved) => starved).length < STARVED_SAMPLES - 1) return false;
    const steps = this.#starving ? 2 : 1;
    const height = SENT_HEIGHTS[Math.max(0, SENT_HEIGHTS.indexOf(this.#height) - steps)] ?? this.#height;
    if (height === this.#height) return false;
    // It was tried, and did not do: not again so soon.
    if (this.#steppedUp) this.#easyWanted = Math.min(2 * this.#easyWanted, MOST_EASY_SAMPLES);
    this.#change(height);
    this.#steppedUp = false;
    return true;
  }

  #stepUp({ wantedFps, encodedFps, quantizer }: EncoderSample): boolean {
    const larger = SENT_HEIGHTS[SENT_HEIGHTS.indexOf(this.#height) + 1];
    if (larger === undefined || larger > this.#limit) return false;
    const then = quantizer + 2 * STEPS_A_DOUBLING * Math.log2(larger / this.#height);
    const easy = then < COARSEST_FULL && encodedFps >= FULL_SHARE * wantedFps;
    this.#easy = easy ? this.#easy + 1 : 0;
    if (this.#easy < this.#easyWanted) return false;
    this.#change(larger);
    this.#steppedUp = true;
    return true;
  }

  #change(height: SentHeight): void {
    this.#height = height;
    this.#starved = [];
    this.#starving = true;
    this.#easy = 0;
    this.#samples = 0;
  }
}
