/** Tiny grey pictures of a camera, by which the page and `vireo evaluate` judge how much of it moves. */

export const THUMBNAIL_WIDTH = 32;
export const THUMBNAIL_HEIGHT = 18;

/** THUMBNAIL_WIDTH × THUMBNAIL_HEIGHT grey levels, row by row. */
export type Thumbnail = Uint8Array;

/** Grey levels by which a cell may change that stands still: an average of hundreds of pixels has no noise to speak of. */
const STANDING_LEVELS = 4;

/** Share of the picture that stands where it did, 0 to 1. */
export function standingShare(one: Thumbnail, other: Thumbnail): number {
  const stands = (level: number, cell: number) => Math.abs(level - (other[cell] ?? 0)) < STANDING_LEVELS;
  return one.filter(stands).length / one.length;
}
