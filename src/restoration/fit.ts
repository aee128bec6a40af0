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

export interface Fit {
  variant: Variant;
  /** What the decoder scales the picture to: the variant's input. */
  inputWidth: number;
  inputHeight: number;
  outputWidth: number;
  outputHeight: number;
}

export type FitResult =
  | ({ fits: true } & Fit)
  | { fits: false; reason: 'already-sharp' | 'unsupported-size'; detail: string };

export interface FitOptions {
  /** Short side of the restored picture. */
  targetShortSide?: number;
  task?: Task;
}

/**
 * ×4 up to a third of the target's short side (240 for 720), ×2 up to two thirds (480); above it the picture
 * is sharp enough. Width and height may come in any orientation.
 */
export function fitPicture(
  manifest: Manifest,
  width: number,
  height: number,
  options: FitOptions = {},
): FitResult {
  const target = options.targetShortSide ?? DEFAULT_TARGET_SHORT_SIDE;
  const shortSide = Math.min(width, height);
  const size = `${width}x${height}`;
  if (!Number.isInteger(width) || !Number.isInteger(height) || shortSide < MIN_SHORT_SIDE) {
    return no('unsupported-size', `${size} is smaller than ${MIN_SHORT_SIDE} pixels on its short side`);
  }
  if (Math.max(width, height) > MAX_ASPECT * shortSide) {
    return no('unsupported-size', `${size} is longer than ${MAX_ASPECT}:1`);
  }
  const variant = chooseVariant(manifest, shortSide, target, options.task ?? 'sr');
  if (variant === undefined) {
    return no('already-sharp', `${size} has no use for a restored picture of ${target} lines`);
  }
  const sized = fitToVariant(variant, width, height, target);
  if (sized === undefined) {
    return no('unsupported-size', `${target} lines are no multiple of ${2 * variant.fold * variant.scale}`);
  }
  return { fits: true, ...sized };
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
    inputWidth,
    inputHeight,
    outputWidth: inputWidth * variant.scale,
    outputHeight: inputHeight * variant.scale,
  };
}

/** The scale that fits the size best, else (a package without it) the next that the size allows. */
function chooseVariant(
  manifest: Manifest,
  shortSide: number,
  target: number,
  task: Task,
): Variant | undefined {
  const wanted = preferredScales(shortSide, target, task);
  for (const scale of wanted) {
    const variant = manifest.variants.find(
      (candidate) => candidate.task === task && candidate.scale === scale,
    );
    if (variant !== undefined) return variant;
  }
  return undefined;
}

function preferredScales(shortSide: number, target: number, task: Task): Scale[] {
  const sameSize: Scale[] = task === 'sr' ? [] : [1];
  if (shortSide * 3 <= target) return [4, 2, ...sameSize];
  if (shortSide * 3 <= target * 2) return [2, ...sameSize];
  return shortSide <= target ? sameSize : [];
}

function no(reason: 'already-sharp' | 'unsupported-size', detail: string): FitResult {
  return { fits: false, reason, detail };
}
