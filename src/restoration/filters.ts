/** FFmpeg filter chains that give one frame for each frame: scaling, turning, side by side. */
import { avGetPixFmtName, FilterAPI, FilterComplexAPI, Frame } from 'node-av';
import type { AVPixelFormat } from 'node-av/constants';
import { VireoError } from '../errors.js';
import type { Rotation } from './VideoFileReader.js';

const TURNS: Readonly<Record<Rotation, string>> = {
  0: '',
  90: 'transpose=clock,',
  180: 'hflip,vflip,',
  270: 'transpose=cclock,',
};

/** A chain with one frame in, one frame out, whatever changes in the input's size or format on the way. */
export class FrameFilter {
  readonly #filter: FilterAPI;

  constructor(description: string) {
    this.#filter = FilterAPI.create(description);
  }

  /** The input stays the caller's; the result is the caller's, too. */
  async apply(frame: Frame): Promise<Frame> {
    await this.#filter.process(frame);
    const result = await this.#filter.receive();
    if (!(result instanceof Frame)) throw new VireoError('internal', 'the filter gave no frame');
    return result;
  }

  close(): void {
    this.#filter.close();
  }
}

export interface PictureSize {
  width: number;
  height: number;
}

/**
 * Upright 8-bit 4:2:0 in limited range and square pixels, scaled to the size. YUV keeps its matrix (601 stays
 * 601); RGB becomes 709.
 */
export function uprightFilter(size: PictureSize, rotation: Rotation, first: Frame): FrameFilter {
  const matrix = isRgb(first) ? ':out_color_matrix=bt709' : '';
  return new FrameFilter(
    `${TURNS[rotation]}scale=${size.width}:${size.height}:flags=bicubic:out_range=limited${matrix},setsar=1,format=yuv420p`,
  );
}

function isRgb(frame: Frame): boolean {
  return /rgb|bgr|^gbr|^pal8/.test(avGetPixFmtName(frame.format as AVPixelFormat) ?? '');
}

export type Kernel = 'bilinear' | 'bicubic' | 'lanczos';

/** What plain players do with a small picture. */
export function scaleFilter(size: PictureSize, kernel: Kernel): FrameFilter {
  return new FrameFilter(`scale=${size.width}:${size.height}:flags=${kernel},setsar=1,format=yuv420p`);
}

/** Two inputs with the same timestamps, `[a]` and `[b]`, one output `[out]`. */
export class PairFilter {
  readonly #filter: FilterComplexAPI;

  constructor(description: string) {
    this.#filter = FilterComplexAPI.create(description, {
      inputs: [{ label: 'a' }, { label: 'b' }],
      outputs: [{ label: 'out' }],
    });
  }

  async apply(a: Frame, b: Frame): Promise<Frame> {
    await this.#filter.process('a', a);
    await this.#filter.process('b', b);
    const result = await this.#filter.receive('out');
    if (!(result instanceof Frame)) throw new VireoError('internal', 'the filter gave no frame');
    return result;
  }

  close(): void {
    this.#filter.close();
  }
}
