import { describe, expect, it } from 'vitest';
import type { Manifest } from '../../../src/restoration/manifest.js';
import type { ModelPackage } from '../../../src/restoration/types.js';
import { ModelChoice } from '../../../src/restorer/ModelChoice.js';
import type { VideoCodec } from '../../../src/restorer/types.js';
import { tinyManifest, tinyOnnx, tinyVariant } from '../../support/tinyModel.js';

const [x4, x2, x1] = [4, 2, 1].map((scale) => tinyVariant(scale as 1 | 2 | 4, tinyOnnx(scale)));
if (!x4 || !x2 || !x1) throw new Error('three variants');

const packageOf = (manifest: Manifest): ModelPackage => ({ directory: '', manifest, files: new Map() });
const careful = { ...x1, strength: 'strength', strengths: { vp9: 0.25, av1: 0 } };
const ladder = [
  packageOf(tinyManifest('full', [x4, x2, careful])),
  packageOf(tinyManifest('lighter', [x4, x2])),
] as const;

function choose(sameSize: boolean, width: number, height: number, codec: VideoCodec = 'VP8') {
  const models = new ModelChoice(ladder, { blockBudgetMs: 0, sameSize });
  const fit = models.fit(width, height, 720, codec, { still: false });
  if (!fit.fits) return fit.reason;
  return (['full', 'lighter'] as const).map((level) => {
    const target = models.targetAt(level, fit, codec);
    const applied = target && target.strength < 1 ? ` at ${target.strength}` : '';
    return (
      target && `${target.packageName} x${target.variant.scale} ${target.width}x${target.height}${applied}`
    );
  });
}

describe('the models of a call', () => {
  it('enlarge at every level, and leave alone what is too large for it', () => {
    expect(choose(false, 320, 180)).toEqual(['full x4 320x180', 'lighter x4 320x180']);
    expect(choose(false, 320, 240)).toEqual(['full x2 480x360', 'lighter x2 480x360']);
    expect(choose(false, 640, 480)).toBe('already-sharp');
    expect(choose(false, 1280, 720)).toBe('already-sharp');
  });

  it('take a step more where a still serves and the step has details of it', () => {
    const looking = { ...x4, references: { tablesFile: 'x4-tables.onnx' } } as typeof x4;
    const chosen = (variants: (typeof x4)[], width: number, height: number, still: boolean) => {
      const models = new ModelChoice([packageOf(tinyManifest('full', variants))], {
        blockBudgetMs: 0,
        sameSize: false,
      });
      const fit = models.fit(width, height, 720, 'VP8', { still });
      return fit.fits ? `x${fit.variant.scale} ${fit.inputWidth}x${fit.inputHeight}` : fit.reason;
    };
    expect(chosen([looking, x2], 480, 270, true)).toBe('x4 320x180');
    expect(chosen([looking, x2], 270, 480, true)).toBe('x4 180x320');
    expect(chosen([looking, x2], 480, 270, false)).toBe('x2 640x360');
    expect(chosen([x4, x2], 480, 270, true)).toBe('x2 640x360');
    expect(chosen([looking, x2], 512, 288, true)).toBe('x2 640x360');
    expect(chosen([looking, x2], 960, 540, true)).toBe('already-sharp');
  });

  it('deblur when told to, at the levels that can, and only what is as large as the target', () => {
    expect(choose(true, 704, 396)).toEqual(['full x2 640x360', 'lighter x2 640x360']);
    expect(choose(true, 640, 480)).toBe('already-sharp');
    expect(choose(true, 960, 540)).toBe('already-sharp');
    expect(choose(true, 1280, 720)).toEqual(['full x1 1280x720', null]);
    expect(choose(true, 720, 1280)).toEqual(['full x1 720x1280', null]);
    expect(choose(true, 1920, 1080)).toBe('already-sharp');
  });

  it('apply what the manifest says to pictures of a codec, and nothing where that is nothing', () => {
    expect(choose(true, 1280, 720, 'H264')).toEqual(['full x1 1280x720', null]);
    expect(choose(true, 1280, 720, 'VP9')).toEqual(['full x1 1280x720 at 0.25', null]);
    expect(choose(true, 1280, 720, 'AV1')).toBe('already-sharp');
    expect(choose(true, 320, 180, 'AV1')).toEqual(['full x4 320x180', 'lighter x4 320x180']);
  });

  it('have a plain step where the lightest one looks details up, and that one is named', () => {
    const looking = { ...x4, references: { tablesFile: 'x4-tables.onnx' } } as typeof x4;
    const targets = (lighter: Manifest | null) => {
      const full = packageOf(tinyManifest('full', [looking]));
      const models = new ModelChoice(lighter ? [full, packageOf(lighter)] : [full], {
        blockBudgetMs: 0,
        sameSize: false,
      });
      const fit = models.fit(320, 180, 720, 'VP8', { still: false });
      if (!fit.fits) throw new Error(fit.reason);
      return (['full', 'lighter', 'plain'] as const).map((level) => {
        const target = models.targetAt(level, fit, 'VP8');
        return target && `${target.packageName}${target.looksUp ? ' looks up' : ''}`;
      });
    };
    expect(targets(tinyManifest('lighter', [looking]))).toEqual([
      'full looks up',
      'lighter looks up',
      'lighter',
    ]);
    expect(targets(tinyManifest('lighter', [x4]))).toEqual(['full looks up', 'lighter', null]);
    expect(targets(null)).toEqual(['full looks up', null, 'full']);
  });
});
