/**
 * A sender may not heed a second key-frame request within this time, milliseconds. libwebrtc drops those that reach it
 * within 300 of the last one that it served, and networks do not keep requests apart as they were sent; who asked would
 * then wait for the next repetition, a second later. Engines send no two within it: nor must 50 viewers that join or lose
 * packets at once make a sender on a thin uplink send nothing but key frames. Who falls back to the original sees it
 * within half a second all the same.
 */
export const KEY_FRAME_IGNORED_MS = 380;
