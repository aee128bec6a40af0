import type { Page } from 'playwright-core';
import type { VideoCounters } from './pageProbe.js';

const WINDOW_MS = 1_000;
const MAX_WINDOWS = 120;

/** How one person's video went to another over some seconds. */
export interface FollowedVideo {
  fpsSent: number;
  fpsReceived: number;
  /** Packets that were missed, of the frames sent. */
  lostShare: number;
  keyFrames: number;
  /** The middle one of the sender's round trips, milliseconds. */
  roundTripMs: number;
  longestRoundTripMs: number;
}

const counters = (page: Page) => page.evaluate(() => globalThis.vireoProbe.videoCounters());

/** Until `done`, at least for `leastWindows` seconds. */
export async function followVideo(
  from: Page,
  to: Page,
  done: () => Promise<boolean>,
  leastWindows = 6,
): Promise<FollowedVideo> {
  const both = () => Promise.all([counters(from), counters(to)]);
  const first = await both();
  const roundTrips: number[] = [];
  let last = first;
  for (let window = 1; window <= MAX_WINDOWS; window += 1) {
    await from.waitForTimeout(WINDOW_MS);
    last = await both();
    if (last[0].roundTripMs !== null) roundTrips.push(last[0].roundTripMs);
    if (window >= leastWindows && (await done())) break;
  }
  const perSecond = (index: 0 | 1, key: keyof VideoCounters & `frames${string}`) =>
    ((last[index][key] - first[index][key]) * 1_000) / (last[index].atMs - first[index].atMs);
  const frames = Math.max(1, last[0].framesSent - first[0].framesSent);
  roundTrips.sort((a, b) => a - b);
  return {
    fpsSent: perSecond(0, 'framesSent'),
    fpsReceived: perSecond(1, 'framesDecoded'),
    lostShare: (last[1].packetsMissed - first[1].packetsMissed) / frames,
    keyFrames: last[0].keyFramesSent - first[0].keyFramesSent,
    roundTripMs: roundTrips[roundTrips.length >> 1] ?? Number.NaN,
    longestRoundTripMs: roundTrips.at(-1) ?? Number.NaN,
  };
}
