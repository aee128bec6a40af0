import type { Frame } from 'node-av';
import { lumaOf } from '../restoration/ffmpeg.js';
import { FrameFilter } from '../restoration/filters.js';
import { VideoFileReader } from '../restoration/VideoFileReader.js';
import { standingShare, THUMBNAIL_HEIGHT, THUMBNAIL_WIDTH, type Thumbnail } from '../signaling/thumbnail.js';

/** What lies between two looks of the page at its camera. */
const APART_S = 1;

/** Share of a clip's picture that stands from its first frame to the one a second later, or its last: as the page sees its camera. */
export async function standingAtStart(path: string): Promise<number> {
  const reader = await VideoFileReader.open(path);
  const reduce = new FrameFilter(`scale=${THUMBNAIL_WIDTH}:${THUMBNAIL_HEIGHT}:flags=area,format=gray`);
  const thumbnail = async (frame: Frame): Promise<Thumbnail> => {
    const small = await reduce.apply(frame);
    try {
      return Uint8Array.from(lumaOf(small));
    } finally {
      small.free();
    }
  };
  let first: Thumbnail | null = null;
  let last: Frame | null = null;
  try {
    const { num, den } = reader.info.frameRate;
    const apart = Math.max(1, Math.round((APART_S * num) / den));
    for (let at = 0; at <= apart; at++) {
      const frame = await reader.next();
      if (frame === null) break;
      last?.free();
      last = frame;
      first ??= await thumbnail(frame);
    }
    return first === null || last === null ? 0 : standingShare(first, await thumbnail(last));
  } finally {
    last?.free();
    reduce.close();
    await reader.close();
  }
}
