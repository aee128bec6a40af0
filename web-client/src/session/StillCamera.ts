import { DETAIL_GAIN, DETAIL_SIZE } from '../../../src/signaling/focus.js';
import { fittingStill, type StillBudget } from '../../../src/signaling/stillBudget.js';
import { THUMBNAIL_HEIGHT, THUMBNAIL_WIDTH, type Thumbnail } from '../../../src/signaling/thumbnail.js';
import type { CodedStill } from './StillUploader.js';
import type { Look } from './sceneChange.js';
import type { StillCoding } from './stillCoding.js';

export interface TakenStill extends CodedStill {
  look: Look;
}

/** The restored picture is no larger. */
const MAX_SIDES = { long: 1_280, short: 720 };
const GRAB_TIMEOUT_MS = 2_000;

/** The size of a still of a camera's picture: its shape, not larger than it nor than is allowed, with even sides. */
export function stillSize(
  { width, height }: { width: number; height: number },
  maxSide: number,
): { width: number; height: number } {
  const long = Math.max(width, height);
  const short = Math.min(width, height);
  const scale = Math.min(1, Math.min(MAX_SIDES.long, maxSide) / long, MAX_SIDES.short / short);
  return scaled({ width, height }, scale);
}

/** Watches a camera's track: tiny pictures of it now and then, and sharp stills at its full size. */
export class StillCamera {
  readonly #video = document.createElement('video');
  /** Null: the browser has none. */
  readonly #grabber: ImageCapture | null;
  readonly #thumbnail = context(THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT);
  readonly #fine = context(DETAIL_SIZE.width, DETAIL_SIZE.height);
  readonly #coarse = context(DETAIL_SIZE.width / 2, DETAIL_SIZE.height / 2);

  constructor(track: MediaStreamTrack) {
    this.#grabber = 'ImageCapture' in globalThis ? new ImageCapture(track) : null;
    this.#video.muted = true;
    this.#video.playsInline = true;
    this.#video.srcObject = new MediaStream([track]);
    // Refused only together with autoplay of muted video: then there are no thumbnails.
    this.#video.play().catch(() => {});
  }

  /** Null: the camera has shown nothing yet. */
  look(): Look | null {
    return this.#hasPicture() ? this.#look(this.#video) : null;
  }

  /** The picture as it is now, as good as fits, in the first of the codings that does it; null: there is none, or none that fits. */
  async take(options: {
    budget: StillBudget;
    maxSide: number;
    codings: readonly StillCoding[];
  }): Promise<TakenStill | null> {
    const frame = await this.#grab();
    if (!frame) return null;
    try {
      const full = stillSize(sizeOf(frame), options.maxSide);
      const look = this.#look(frame);
      let drawn: { scale: number; canvas: HTMLCanvasElement } | null = null;
      for (const { mimeType, encode } of options.codings) {
        const fitting = await fittingStill(options.budget, async (scale, quality) => {
          if (drawn?.scale !== scale) drawn = { scale, canvas: draw(frame, full, scale) };
          return await encode(drawn.canvas, quality);
        });
        if (!fitting) continue;
        const { width, height } = scaled(full, fitting.scale);
        return { mimeType, bytes: fitting.coded, width, height, look };
      }
      return null;
    } finally {
      if (frame instanceof ImageBitmap) frame.close();
    }
  }

  close(): void {
    this.#video.pause();
    this.#video.srcObject = null;
  }

  /** A frame of its own where the browser has that, which also works while the page is hidden. */
  async #grab(): Promise<ImageBitmap | HTMLVideoElement | null> {
    const grabbed = this.#grabber?.grabFrame().catch(() => null);
    if (grabbed) {
      let late = false;
      let timer: ReturnType<typeof setTimeout> | undefined;
      const timeout = new Promise<null>((resolve) => {
        timer = setTimeout(() => {
          late = true;
          resolve(null);
        }, GRAB_TIMEOUT_MS);
      });
      void grabbed.then((bitmap) => late && bitmap?.close());
      const bitmap = await Promise.race([grabbed, timeout]);
      clearTimeout(timer);
      if (bitmap) return bitmap;
    }
    return this.#hasPicture() ? this.#video : null;
  }

  #hasPicture(): boolean {
    return this.#video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA && this.#video.videoWidth > 0;
  }

  #look(picture: CanvasImageSource): Look {
    return { levels: this.#reduce(picture), detail: this.#reduce(this.#details(picture)) };
  }

  /** DETAIL_GAIN times what of a picture its half lacks. */
  #details(picture: CanvasImageSource): CanvasImageSource {
    const [fine, coarse] = [this.#fine, this.#coarse];
    fine.globalCompositeOperation = 'source-over';
    fine.drawImage(picture, 0, 0, fine.canvas.width, fine.canvas.height);
    coarse.drawImage(fine.canvas, 0, 0, coarse.canvas.width, coarse.canvas.height);
    fine.globalCompositeOperation = 'difference';
    fine.drawImage(coarse.canvas, 0, 0, fine.canvas.width, fine.canvas.height);
    fine.globalCompositeOperation = 'lighter';
    for (let gain = 1; gain < DETAIL_GAIN; gain *= 2) fine.drawImage(fine.canvas, 0, 0);
    return fine.canvas;
  }

  #reduce(picture: CanvasImageSource): Thumbnail {
    this.#thumbnail.drawImage(picture, 0, 0, THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT);
    const { data } = this.#thumbnail.getImageData(0, 0, THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT);
    return Uint8Array.from({ length: THUMBNAIL_WIDTH * THUMBNAIL_HEIGHT }, (_, cell) => {
      const [red = 0, green = 0, blue = 0] = data.subarray(cell * 4, cell * 4 + 3);
      return 0.299 * red + 0.587 * green + 0.114 * blue;
    });
  }
}

function sizeOf(frame: ImageBitmap | HTMLVideoElement): { width: number; height: number } {
  if (frame instanceof ImageBitmap) return frame;
  return { width: frame.videoWidth, height: frame.videoHeight };
}

function context(width: number, height: number): CanvasRenderingContext2D {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const made = canvas.getContext('2d', { alpha: false, willReadFrequently: true });
  if (!made) throw new Error('this browser has no 2d canvas');
  // Averages what is made smaller, instead of picking pixels.
  made.imageSmoothingQuality = 'medium';
  return made;
}

function scaled({ width, height }: { width: number; height: number }, scale: number) {
  const even = (side: number) => Math.max(2, Math.round((side * scale) / 2) * 2);
  return { width: even(width), height: even(height) };
}

function draw(frame: CanvasImageSource, full: { width: number; height: number }, scale: number) {
  const { width, height } = scaled(full, scale);
  const picture = context(width, height);
  picture.drawImage(frame, 0, 0, width, height);
  return picture.canvas;
}
