/**
 * Which variant restores a picture of a given size, and the size the decoder scales the picture to first, so
 * that the model's output has the wanted short side exactly.
 */
import type { Manifest, Variant } from './manifest.js';

export type Task = Variant['task'];
export type Scale = Variant['scale'];

export const DEFAULT_TARGET_SHORT_SIDE = 720;
const MIN_SHORT_SIDE = 32;
const MAX_ASPECT = 4;
/** A picture may be so many times as large as the variant's input. */
const MOST_SCALED_DOWN = 1.1;
/** With `mayShrink`: 240 lines for x4, 480 for x2, of 720. */
const MOST_SHRUNK = 4 / 3;
/** With `still`: 279 lines of 720 for x4. */
const MOST_SHRUNK_FOR_A_STILL = 1.55;

export interface Fit {
  variant: Variant;
  /** The picture is not scaled, only cut to even sizes and padded. */
  keepsSize: boolean;
  /** The picture as the model sees it: scaled, or cut. */
  pictureWidth: number;
  pictureHeight: number;
  /** The variant's input: the picture, and what it is padded with on its right and at its bottom. */
  inputWidth: number;
  inputHeight: number;
  /** What is shown of the variant's output: all but what the padding became. */
  outputWidth: number;
  outputHeight: number;
}

export type FitResult =
  | ({ fits: true } & Fit)
  | {
      fits: false;
      reason: 'already-sharp' | 'unsupported-size';
      detail: string;
      /** The target is to blame, not the picture. */
      ofTarget?: true;
    };

export interface FitOptions {
  /** Short side of the restored picture. */
  targetShortSide?: number;
  /** The first of them that has a use for the picture is taken. Super-resolution alone unless given. */
  tasks?: readonly Task[];
  /** The caller pads, and crops what comes out: a picture that has the target's size already is not scaled. */
  mayPad?: boolean;
  /**
   * Details are looked up in a still that shows much of the picture: x4 takes what is up to half as large again as its input. What that loses a still
   * has, and more of what x2 would have to guess (models/training/README.md, "Between 180 and 360 lines").
   */
  still?: boolean;
  /** Where nothing fits better, pictures of up to a third of the target may be scaled down for x4, of up to two thirds for x2. */
  mayShrink?: boolean;
}

/**
 * The variant whose input is next to the picture's size, and not much smaller: what is scaled down to an input loses more than restoration
 * brings back (docs/quality.md, "Sizes in between"). Of 720 lines `sr` has x4 up to 198 and x2 up to 396; `deblur` has x1 above that, and
 * takes what is smaller than the target enlarged by the decoder. `inpaint`: pictures that come out in the target's size without having been
 * scaled (which would mix lost pixels with known ones), and only for callers that pad. Width and height may come in any orientation.
 */
export function fitPicture(
  manifest: Manifest,
  width: number,
  height: number,
  options: FitOptions = {},
): FitResult {
  const {
    targetShortSide: target = DEFAULT_TARGET_SHORT_SIDE,
    tasks = ['sr'],
    mayPad = false,
    mayShrink = false,
    still = false,
  } = options;
  const shortSide = Math.min(width, height);
  const size = `${width}x${height}`;
  if (!Number.isInteger(width) || !Number.isInteger(height) || shortSide < MIN_SHORT_SIDE) {
    return no('unsupported-size', `${size} is smaller than ${MIN_SHORT_SIDE} pixels on its short side`);
  }
  if (Math.max(width, height) > MAX_ASPECT * shortSide) {
    return no('unsupported-size', `${size} is longer than ${MAX_ASPECT}:1`);
  }
  const variant =
    (still ? variantForStill(manifest, shortSide, target, tasks) : undefined) ??
    chooseVariant(manifest, shortSide, target, tasks) ??
    (mayShrink ? chooseVariant(manifest, shortSide, target, tasks, MOST_SHRUNK) : undefined);
  if (variant === undefined) {
    return no('already-sharp', `${size} has no use for a restored picture of ${target} lines`);
  }
  const mustPad = variant.task === 'inpaint';
  const pads =
    mayPad && (mustPad || variant.scale === 1) && evenBelow(shortSide) * variant.scale === evenBelow(target);
  if (mustPad && !pads) {
    return no('unsupported-size', `inpainting does not scale ${size} to ${target} lines`);
  }
  const sized = pads ? padToVariant(variant, width, height) : fitToVariant(variant, width, height, target);
  if (sized === undefined) {
    const detail = `${target} lines are no multiple of ${2 * variant.fold * variant.scale}`;
    return { fits: false, reason: 'unsupported-size', detail, ofTarget: true };
  }
  return { fits: true, ...sized };
}

/** Whether the package deblurs pictures that are too large for super-resolution. */
export function takesSameSize(manifest: Manifest): boolean {
  return manifest.variants.some(({ task, scale }) => task === 'deblur' && scale === 1);
}

/** Sizes for one variant, whatever the picture's own short side; undefined when the target is no multiple of its grid. */
export function fitToVariant(
  variant: Variant,
  width: number,
  height: number,
  targetShortSide: number = DEFAULT_TARGET_SHORT_SIDE,
): Fit | undefined {
  const grid = 2 * variant.fold;
  const short = targetShortSide / variant.scale;
  if (!Number.isInteger(short) || short % grid !== 0) return undefined;
  const aspect = Math.max(width, height) / Math.min(width, height);
  const long = Math.max(short, Math.round((short * aspect) / grid) * grid);
  const [inputWidth, inputHeight] = width >= height ? [long, short] : [short, long];
  return {
    variant,
    keepsSize: false,
    pictureWidth: inputWidth,
    pictureHeight: inputHeight,
    inputWidth,
    inputHeight,
    outputWidth: inputWidth * variant.scale,
    outputHeight: inputHeight * variant.scale,
  };
}

/** The picture as it is, padded to the variant's grid. 4:2:0 has no odd sizes: a last odd column or row is cut off. */
function padToVariant(variant: Variant, width: number, height: number): Fit {
  const grid = 2 * variant.fold;
  const [pictureWidth, pictureHeight] = [evenBelow(width), evenBelow(height)];
  return {
    variant,
    keepsSize: true,
    pictureWidth,
    pictureHeight,
    inputWidth: Math.ceil(pictureWidth / grid) * grid,
    inputHeight: Math.ceil(pictureHeight / grid) * grid,
    outputWidth: pictureWidth * variant.scale,
    outputHeight: pictureHeight * variant.scale,
  };
}

/** Of the scale that fits the size best, else of the next that the size allows; of several tasks that have it, the first one's. */
export function chooseVariant(
  manifest: Pick<Manifest, 'variants'>,
  shortSide: number,
  target: number,
  tasks: readonly Task[],
  mostScaledDown = MOST_SCALED_DOWN,
): Variant | undefined {
  if (shortSide > target) return undefined;
  for (const scale of [4, 2, 1] as const) {
    if (shortSide * scale > target * mostScaledDown) continue;
    for (const task of tasks) {
      // What keeps its size is not super-resolved.
      if (scale === 1 && task === 'sr') continue;
      const variant = manifest.variants.find(
        (candidate) => candidate.task === task && candidate.scale === scale,
      );
      if (variant !== undefined) return variant;
    }
  }
  return undefined;
}

/** With FitOptions.still; undefined: none but those that fit without it. */
export function variantForStill(
  { variants }: Pick<Manifest, 'variants'>,
  shortSide: number,
  target: number,
  tasks: readonly Task[],
): Variant | undefined {
  const looking = variants.filter(({ scale, references }) => scale === 4 && references !== undefined);
  return chooseVariant({ variants: looking }, shortSide, target, tasks, MOST_SHRUNK_FOR_A_STILL);
}

function evenBelow(size: number): number {
  return size - (size % 2);
}

function no(reason: 'already-sharp' | 'unsupported-size', detail: string): FitResult {
  return { fits: false, reason, detail };
}
