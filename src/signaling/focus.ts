/** How sharp a camera's picture is, by tiny pictures of its detail: how the page and `vireo evaluate` see that it focuses on something else. */
import type { Thumbnail } from './thumbnail.js';

/** Detail is what a picture of this size has and a half of it lacks. */
export const DETAIL_SIZE = { width: 640, height: 360 };
/** Detail is a few grey levels, and would be rounded to nothing much: thumbnails have this many times as much. */
export const DETAIL_GAIN = 8;
/**
 * Octaves of sharpness (`focusChange`) from which on the camera focuses on something else: what a still shows sharply is to be blurred now, or
 * the other way round. A hand held before a face came to 0.8 and more; people who talk and move, and a head that turns away, to 0.3 of softness.
 */
export const REFOCUSED_OCTAVES = 0.4;
/** Of a picture that was softer by REFOCUSED_OCTAVES, when it is as it was. */
const BACK_OCTAVES = 0.25;
/** A mean difference of one level: cells with less have no edges to go by, or noise alone. */
const DETAILED = DETAIL_GAIN;
/** Of so few cells no more is said than of none. */
const LEAST_SHARE = 0.08;

/**
 * By how many octaves a picture is sharper than it was, or softer, below 0: the median over the cells that have detail in one of the two, of
 * thumbnails of detail. Whoever moves carries detail from cell to cell and hardly changes that.
 */
export function focusChange(now: Thumbnail, before: Thumbnail): number {
  const octaves: number[] = [];
  for (const [cell, detail] of now.entries()) {
    const was = before[cell] ?? 0;
    if (Math.max(detail, was) >= DETAILED) octaves.push(Math.log2((detail + 1) / (was + 1)));
  }
  if (octaves.length < LEAST_SHARE * now.length) return 0;
  octaves.sort((a, b) => a - b);
  return octaves[octaves.length >> 1] ?? 0;
}

/**
 * Whether a still should rest: the camera shows softly now what the still shows sharply, and would be given detail that is not there (0.05 to 0.25 dB
 * less than without a still). A picture that became sharper keeps what its still has (0.04 to 0.2 dB). `rested`: whether it rests already.
 */
export function stillRests(now: Thumbnail, still: Thumbnail, rested: boolean): boolean {
  return focusChange(now, still) <= -(rested ? BACK_OCTAVES : REFOCUSED_OCTAVES);
}
