import { psnrY, readLuma, type Y4mFile } from './frameNumberClip.js';
import type { CapturedFrame } from './pageProbe.js';

/**
 * PSNR-Y against the source of each captured frame, by frame number. Which matrix a browser decodes with
 * depends on codec and size; the one that fits better is the one it used.
 */
export function shownPsnrY(clip: Y4mFile, captured: readonly CapturedFrame[]): Map<number, number> {
  const result = new Map<number, number>();
  for (const { frameNumber, lumaBt601, lumaBt709 } of captured) {
    if (frameNumber >= clip.frames) continue;
    const source = readLuma(clip, frameNumber);
    const values = [lumaBt601, lumaBt709].map((luma) =>
      psnrY(source, Buffer.from(luma, 'base64'), clip.width, clip.height),
    );
    result.set(frameNumber, Math.max(...values));
  }
  return result;
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
