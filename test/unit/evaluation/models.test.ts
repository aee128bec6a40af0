import { describe, expect, it } from 'vitest';
import { EvaluatedModels } from '../../../src/evaluation/models.js';
import { tinyManifest, tinyOnnx, tinyVariant } from '../../support/tinyModel.js';

const x4 = tinyVariant(4, tinyOnnx(4));
const x2 = tinyVariant(2, tinyOnnx(2));
const looking = { ...x4, references: { tablesFile: 'x4-tables.onnx' } } as typeof x4;

function scalesAt(height: number, references: boolean, variants = [looking, x2]): (number | undefined)[] {
  const model = { directory: '', manifest: tinyManifest('tiny', variants), files: new Map() };
  const options = { uplinkHeights: [height], codec: 'vp8', inpaint: 0, references };
  const [used] = EvaluatedModels.choose({ model, against: [], ...options }).at(height);
  return [used?.variant.scale, used?.withStill.scale];
}

describe('the variants of an evaluation', () => {
  it('are those of calls, with a still, too', () => {
    expect(scalesAt(180, true)).toEqual([4, 4]);
    expect(scalesAt(270, true)).toEqual([2, 4]);
    expect(scalesAt(360, true)).toEqual([2, 2]);
    expect(scalesAt(270, false)).toEqual([2, 2]);
    expect(scalesAt(270, true, [x4, x2])).toEqual([2, 2]);
  });
});
