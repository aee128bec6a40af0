/**
 * How a frame carries its number: black or white cells along the bottom edge, large enough to survive 180p
 * VP8 at 60 kbit/s. Cell 0 is always white and cell 1 always black (reference levels), ten bits follow.
 * Shared with the page's probe, so it imports nothing.
 */
export const CELLS = 12;
/** Height of the strip as a share of the picture's height. */
export const STRIP_SHARE = 40 / 720;
