import { describe, expect, it } from 'vitest';
import { fitPicture, fitToVariant } from '../../../src/restoration/fit.js';
import { tinyManifest, tinyOnnx, tinyVariant } from '../../support/tinyModel.js';

const x4 = tinyVariant(4, tinyOnnx(4));
const x2 = tinyVariant(2, tinyOnnx(2));
const manifest = tinyManifest('tiny', [x4, x2]);

function fitted(width: number, height: number, options = {}): string {
  const result = fitPicture(manifest, width, height, options);
  if (!result.fits) return result.reason;
  const { variant, inputWidth, inputHeight, outputWidth, outputHeight } = result;
  return `x${variant.scale} ${inputWidth}x${inputHeight} -> ${outputWidth}x${outputHeight}`;
}

describe('the variant and input size for a decoded picture', () => {
  it.each([
    ['180p', 320, 180, 'x4 320x180 -> 1280x720'],
    ['360p', 640, 360, 'x2 640x360 -> 1280x720'],
    ['portrait 180p', 180, 320, 'x4 180x320 -> 720x1280'],
    ['portrait 360p', 360, 640, 'x2 360x640 -> 720x1280'],
    ['240p', 426, 240, 'x4 320x180 -> 1280x720'],
    ['just above 240 lines', 432, 244, 'x2 636x360 -> 1272x720'],
    ['480p 4:3', 640, 480, 'x2 480x360 -> 960x720'],
    ['QVGA', 320, 240, 'x4 240x180 -> 960x720'],
    ['QCIF', 176, 144, 'x4 220x180 -> 880x720'],
    ['CIF', 352, 288, 'x2 440x360 -> 880x720'],
    ['square', 160, 160, 'x4 180x180 -> 720x720'],
    ['odd sizes', 321, 181, 'x4 320x180 -> 1280x720'],
    ['a wide strip', 640, 160, 'x4 720x180 -> 2880x720'],
    ['the smallest', 32, 32, 'x4 180x180 -> 720x720'],
  ])('%s', (_name, width, height, expected) => {
    expect(fitted(width, height)).toBe(expected);
  });

  it.each([
    [960, 540, 'already-sharp'],
    [1280, 720, 'already-sharp'],
    [720, 1280, 'already-sharp'],
    [3840, 2160, 'already-sharp'],
    [854, 481, 'already-sharp'],
    [40, 30, 'unsupported-size'],
    [0, 0, 'unsupported-size'],
    [Number.NaN, 180, 'unsupported-size'],
    [645, 160, 'unsupported-size'],
  ])('%i x %i is %s', (width, height, reason) => {
    expect(fitted(width, height)).toBe(reason);
  });

  it('keeps the short side exact and every side a multiple of twice the fold, whatever comes in', () => {
    for (let width = 32; width <= 480; width += 7) {
      for (let height = 32; height <= 480; height += 11) {
        const result = fitPicture(manifest, width, height);
        if (!result.fits) continue;
        const grid = 2 * result.variant.fold;
        expect(Math.min(result.outputWidth, result.outputHeight)).toBe(720);
        expect([result.inputWidth % grid, result.inputHeight % grid]).toEqual([0, 0]);
        expect(result.inputWidth > result.inputHeight).toBe(
          result.inputWidth !== result.inputHeight && width > height,
        );
        const aspect = Math.max(width, height) / Math.min(width, height);
        const long = Math.max(result.inputWidth, result.inputHeight);
        expect(Math.abs(long - Math.min(result.inputWidth, result.inputHeight) * aspect)).toBeLessThanOrEqual(
          grid / 2,
        );
      }
    }
  });

  it('takes the next scale a package has when it lacks the best one', () => {
    const onlyX2 = tinyManifest('tiny', [x2]);
    expect(fitPicture(onlyX2, 320, 180)).toMatchObject({ fits: true, inputWidth: 640, inputHeight: 360 });
    const onlyX4 = tinyManifest('tiny', [x4]);
    expect(fitPicture(onlyX4, 640, 360)).toMatchObject({ fits: false, reason: 'already-sharp' });
  });

  it('works towards other heights, and refuses those the variant cannot make', () => {
    expect(fitted(160, 90, { targetShortSide: 360 })).toBe('x4 160x90 -> 640x360');
    expect(fitToVariant(x2, 352, 288, 288)).toMatchObject({ inputWidth: 176, inputHeight: 144 });
    expect(fitToVariant(x2, 352, 288, 290)).toBeUndefined();
  });
});
