/** Tells one scene from another by tiny pictures of the camera. */
import { THUMBNAIL_HEIGHT, THUMBNAIL_WIDTH, type Thumbnail } from '../../../src/signaling/thumbnail.js';

/** What is seen of the camera at one moment. */
export interface Look {
  levels: Thumbnail;
  /** How much of each cell a half of DETAIL_SIZE lacks: DETAIL_GAIN times its mean difference from that, in grey levels. */
  detail: Thumbnail;
}

/**
 * Mean difference of two thumbnails in grey levels, 0 to 255. Each cell is compared with the nearest level in the
 * other's 3×3 cells around it: what moves by less than a cell, as a head does that nods, hardly counts.
 */
export function sceneDifference(one: Thumbnail, other: Thumbnail): number {
  let sum = 0;
  for (let y = 0; y < THUMBNAIL_HEIGHT; y += 1) {
    for (let x = 0; x < THUMBNAIL_WIDTH; x += 1) {
      sum += leastDifference(one[y * THUMBNAIL_WIDTH + x] ?? 0, other, x, y);
    }
  }
  return sum / (THUMBNAIL_WIDTH * THUMBNAIL_HEIGHT);
}

function leastDifference(level: number, other: Thumbnail, x: number, y: number): number {
  let least = Number.POSITIVE_INFINITY;
  for (let row = Math.max(0, y - 1); row <= Math.min(THUMBNAIL_HEIGHT - 1, y + 1); row += 1) {
    for (let column = Math.max(0, x - 1); column <= Math.min(THUMBNAIL_WIDTH - 1, x + 1); column += 1) {
      least = Math.min(least, Math.abs(level - (other[row * THUMBNAIL_WIDTH + column] ?? 0)));
    }
  }
  return least;
}
