import type { Frame } from 'node-av';
import { lumaOf } from '../restoration/ffmpeg.js';
import { FrameFilter } from '../restoration/filters.js';
import { DETAIL_GAIN, DETAIL_SIZE, stillRests } from '../signaling/focus.js';
import { THUMBNAIL_HEIGHT, THUMBNAIL_WIDTH, type Thumbnail } from '../signaling/thumbnail.js';

/** What the page draws of its camera: DETAIL_GAIN times what a half of DETAIL_SIZE lacks of it, as a thumbnail. */
function detailGraph({ width, height }: typeof DETAIL_SIZE): string {
  return [
    `scale=${width}:${height}:flags=area,format=gray,split[fine][whole]`,
    `[whole]scale=${width / 2}:${height / 2}:flags=area,scale=${width}:${height}:flags=bilinear[coarse]`,
    `[fine][coarse]blend=all_mode=difference,lut=c0='min(255,val*${DETAIL_GAIN})',scale=${THUMBNAIL_WIDTH}:${THUMBNAIL_HEIGHT}:flags=area`,
  ].join(';');
}

/** Tells of a clip, seen now and then as the page sees its camera, whether its still shows sharply what is soft now. */
export class StillFocus {
  readonly #detail = new FrameFilter(detailGraph(DETAIL_SIZE));
  #still: Thumbnail | null = null;
  #resting = false;

  /** Whether the still, which is the first picture that was looked at, should rest from this one on, which stays the caller's. */
  async look(frame: Frame): Promise<boolean> {
    const small = await this.#detail.apply(frame);
    try {
      const detail = Uint8Array.from(lumaOf(small));
      this.#still ??= detail;
      this.#resting = stillRests(detail, this.#still, this.#resting);
      return this.#resting;
    } finally {
      small.free();
    }
  }

  close(): void {
    this.#detail.close();
  }
}
