/** FFmpeg filter chains that give one frame for each frame: scaling, turning, padding, masks, side by side. */
import { avGetPixFmtName, FilterAPI, FilterComplexAPI, Frame } from 'node-av';
import type { AVPixelFormat } from 'node-av/constants';
import { VireoError } from '../errors.js';
import type { Fit } from './fit.js';
import type { Rotation, VideoInfo } from './VideoFileReader.js';

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
  return new FrameFilter(upright(size, rotation, first));
}

/**
 * Likewise of a still, whose luma is looked up in that of a call: always of matrix 601, which is what browsers make of
 * cameras and of WebP. AVIF says which it has.
 */
export function stillFilter({ width, height }: PictureSize): FrameFilter {
  return new FrameFilter(
    `scale=${width}:${height}:flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp:out_range=limited:out_color_matrix=bt601,setsar=1,format=yuv420p`,
  );
}

function upright(size: PictureSize, rotation: Rotation, first: Frame): string {
  const matrix = isRgb(first) ? ':out_color_matrix=bt709' : '';
  return `${TURNS[rotation]}scale=${size.width}:${size.height}:flags=bicubic:out_range=limited${matrix},setsar=1,format=yuv420p`;
}

/** What the fit's variant takes, from the frames of a file: scaled, or as they are and padded. */
export function inputFilter(fit: Fit, info: VideoInfo, first: Frame): FrameFilter {
  if (fit.keepsSize) return new FrameFilter(`${upright(info, info.rotation, first)}${padding(fit)}`);
  return uprightFilter({ width: fit.pictureWidth, height: fit.pictureHeight }, info.rotation, first);
}

/** Lost pixels count from this luma on in a file of masks, and up to that one in a picture without. */
export const MASK_LUMA = 128;
export const BLANK_LUMA = 16;

/** Frames of a file of masks, of the size of the pictures: 255 where a pixel is lost, else 0, one byte each. */
export function maskFilter(fit: Fit, info: VideoInfo, first: Frame): FrameFilter {
  // Luma as it is coded, whatever its range; only RGB has none and is converted.
  const luma = isRgb(first) ? 'format=gray' : `format=${WITH_LUMA},extractplanes=y`;
  const size = `scale=${info.width}:${info.height}:flags=neighbor`;
  return new FrameFilter(
    `${TURNS[info.rotation]}${luma},${lost(`gte(val,${MASK_LUMA})`)},${size}${padding(fit)}`,
  );
}

/** The mask of a picture from `inputFilter` whose lost pixels were blanked. */
export function blankFilter(): FrameFilter {
  return new FrameFilter(`extractplanes=y,${lost(`lte(val,${BLANK_LUMA})`)}`);
}

const WITH_LUMA = ['420', '422', '444'].reduce((list, s) => `${list}|yuv${s}p|yuvj${s}p`, 'gray');

function lost(condition: string): string {
  return `lut=c0='if(${condition},255,0)'`;
}

/** Cuts an odd column and row, and repeats the last ones up to the variant's grid. */
function padding({ pictureWidth, pictureHeight, inputWidth, inputHeight }: Fit): string {
  const [right, bottom] = [inputWidth - pictureWidth, inputHeight - pictureHeight];
  const cut = `,crop=${pictureWidth}:${pictureHeight}:0:0`;
  if (right === 0 && bottom === 0) return cut;
  return `${cut},pad=${inputWidth}:${inputHeight}:0:0,fillborders=right=${right}:bottom=${bottom}:mode=smear`;
}

/** What is shown of the variant's output; null: all of it. */
export function outputFilter({ variant, outputWidth, outputHeight, ...fit }: Fit): FrameFilter | null {
  const { scale } = variant;
  if (fit.inputWidth * scale === outputWidth && fit.inputHeight * scale === outputHeight) return null;
  return new FrameFilter(`crop=${outputWidth}:${outputHeight}:0:0`);
}

/** What the variant was given, without its padding, in the size of what it made of it. */
export function originalFilter(fit: Fit): FrameFilter {
  const picture = `crop=${fit.pictureWidth}:${fit.pictureHeight}:0:0`;
  return new FrameFilter(`${picture},scale=${fit.outputWidth}:${fit.outputHeight}:flags=bilinear,setsar=1`);
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
