import { describe, expect, it } from 'vitest';
import { type FitOptions, fitPicture, fitToVariant } from '../../../src/restoration/fit.js';
import { tinyManifest, tinyOnnx, tinyVariant } from '../../support/tinyModel.js';

const x4 = tinyVariant(4, tinyOnnx(4));
const x2 = tinyVariant(2, tinyOnnx(2));
const deblur = tinyVariant(1, tinyOnnx(1));
const inpaint = tinyVariant(1, tinyOnnx(1), 1, { mask: true }, 'inpaint');
const manifest = tinyManifest('tiny', [x4, x2]);
const complete = tinyManifest('tiny', [x4, x2, deblur, inpaint]);

function fitted(width: number, height: number, options: FitOptions = {}, model = manifest): string {
  const result = fitPicture(model, width, height, options);
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
    ['a little more than 180p', 352, 198, 'x4 320x180 -> 1280x720'],
    ['more than that is not scaled down by a tenth', 356, 200, 'x2 640x360 -> 1280x720'],
    ['240p', 426, 240, 'x2 640x360 -> 1280x720'],
    ['QVGA', 320, 240, 'x2 480x360 -> 960x720'],
    ['270p', 480, 270, 'x2 640x360 -> 1280x720'],
    ['a tenth more than 360p', 704, 396, 'x2 640x360 -> 1280x720'],
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
    [712, 400, 'already-sharp'],
    [640, 480, 'already-sharp'],
    [960, 540, 'already-sharp'],
    [1280, 720, 'already-sharp'],
    [720, 1280, 'already-sharp'],
    [3840, 2160, 'already-sharp'],
    [40, 30, 'unsupported-size'],
    [0, 0, 'unsupported-size'],
    [Number.NaN, 180, 'unsupported-size'],
    [645, 160, 'unsupported-size'],
  ])('%i x %i is %s', (width, height, reason) => {
    expect(fitted(width, height)).toBe(reason);
  });

  it('keeps the short side exact and every side a multiple of twice the fold, whatever comes in', () => {
    for (let width = 32; width <= 396; width += 7) {
      for (let height = 32; height <= 396; height += 11) {
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
    expect(fitPicture(onlyX4, 320, 240)).toMatchObject({ fits: false, reason: 'already-sharp' });
    expect(fitPicture(onlyX4, 640, 360)).toMatchObject({ fits: false, reason: 'already-sharp' });
  });

  it('scales down more than a little for callers that want it, where nothing fits better', () => {
    const shrunk = (width: number, height: number, model = manifest) =>
      fitted(width, height, { mayShrink: true }, model);
    expect(shrunk(640, 480)).toBe('x2 480x360 -> 960x720');
    expect(shrunk(854, 481)).toBe('already-sharp');
    expect(shrunk(320, 240)).toBe('x2 480x360 -> 960x720');
    expect(shrunk(320, 240, tinyManifest('tiny', [x4]))).toBe('x4 240x180 -> 960x720');
    expect(fitted(640, 480, { mayShrink: true, tasks: ['sr', 'deblur'] }, complete)).toBe(
      'x1 960x720 -> 960x720',
    );
  });

  it('works towards other heights, and refuses those the variant cannot make', () => {
    expect(fitted(160, 90, { targetShortSide: 360 })).toBe('x4 160x90 -> 640x360');
    expect(fitToVariant(x2, 352, 288, 288)).toMatchObject({ inputWidth: 176, inputHeight: 144 });
    expect(fitToVariant(x2, 352, 288, 290)).toBeUndefined();
  });
});

describe('pictures that are not enlarged by the model', () => {
  const deblurred = (width: number, height: number, options: FitOptions = {}) =>
    fitted(width, height, { tasks: ['deblur'], ...options }, complete);

  it.each([
    ['720p as it is', 1280, 720, 'x1 1280x720 -> 1280x720'],
    ['portrait', 720, 1280, 'x1 720x1280 -> 720x1280'],
    ['540p, enlarged by the decoder', 960, 540, 'x1 1280x720 -> 1280x720'],
    ['360p, enlarged by the decoder', 640, 360, 'x1 1280x720 -> 1280x720'],
    ['180p, enlarged by the decoder', 320, 180, 'x1 1280x720 -> 1280x720'],
    ['a width off the grid', 1284, 720, 'x1 1288x720 -> 1288x720'],
    ['more than the target', 1920, 1080, 'already-sharp'],
    ['just more than the target', 1284, 722, 'already-sharp'],
  ])('are deblurred at the target’s size: %s', (_name, width, height, expected) => {
    expect(deblurred(width, height)).toBe(expected);
  });

  it('take a variant that enlarges where the package has one for the task', () => {
    const blurred = tinyManifest('tiny', [{ ...x2, task: 'deblur' }, deblur]);
    expect(fitted(640, 360, { tasks: ['deblur'] }, blurred)).toBe('x2 640x360 -> 1280x720');
    expect(fitted(960, 540, { tasks: ['deblur'] }, blurred)).toBe('x1 1280x720 -> 1280x720');
  });

  it('are padded and not scaled where the caller does that and the size is the target’s', () => {
    const padded = (width: number, height: number, targetShortSide: number) =>
      fitPicture(complete, width, height, { tasks: ['deblur'], targetShortSide, mayPad: true });
    expect(padded(854, 480, 480)).toMatchObject({
      keepsSize: true,
      pictureWidth: 854,
      pictureHeight: 480,
      inputWidth: 856,
      inputHeight: 480,
      outputWidth: 854,
      outputHeight: 480,
    });
    expect(padded(481, 855, 481)).toMatchObject({
      pictureWidth: 480,
      pictureHeight: 854,
      inputWidth: 480,
      inputHeight: 856,
      outputWidth: 480,
    });
    expect(padded(1280, 720, 720)).toMatchObject({ keepsSize: true, inputWidth: 1280, inputHeight: 720 });
    expect(padded(960, 540, 720)).toMatchObject({ keepsSize: false, inputWidth: 1280, outputHeight: 720 });
  });

  it('are inpainted in their own size only, and only by a caller that pads', () => {
    const inpainted = (width: number, height: number, targetShortSide: number, mayPad = true) =>
      fitted(width, height, { tasks: ['inpaint'], targetShortSide, mayPad }, complete);
    expect(inpainted(1280, 720, 720)).toBe('x1 1280x720 -> 1280x720');
    expect(inpainted(640, 361, 361)).toBe('x1 640x360 -> 640x360');
    expect(inpainted(640, 360, 720)).toBe('unsupported-size');
    expect(inpainted(1280, 720, 720, false)).toBe('unsupported-size');
    expect(inpainted(1280, 720, 360)).toBe('already-sharp');
  });

  it('go to the variant that fits best, of the first task that has it', () => {
    const options: FitOptions = { tasks: ['sr', 'deblur'] };
    expect(fitted(704, 396, options, complete)).toBe('x2 640x360 -> 1280x720');
    expect(fitted(640, 480, options, complete)).toBe('x1 960x720 -> 960x720');
    expect(fitted(854, 481, options, complete)).toBe('x1 1280x720 -> 1280x720');
    expect(fitted(1280, 720, options, complete)).toBe('x1 1280x720 -> 1280x720');
    expect(fitted(1920, 1080, options, complete)).toBe('already-sharp');
    expect(fitted(1280, 720, options)).toBe('already-sharp');
    expect(fitted(640, 160, options, complete)).toBe('x4 720x180 -> 2880x720');
  });
});
