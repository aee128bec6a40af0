import { type Fit, type FitResult, fitPicture } from '../restoration/fit.js';
import type { Manifest, Variant } from '../restoration/manifest.js';
import type { ModelPackage } from '../restoration/types.js';
import type { ModelLevel } from './LoadLadder.js';
import type { RestoreTarget } from './RestoreStage.js';

const TYPICAL_FRAME_MS = 1_000 / 30;

/**
 * The packages of the load ladder, and which of their variants a picture of some size is restored with. A
 * variant with a longer block is preferred as long as its first frame need not wait longer than the budget.
 */
export class ModelChoice {
  readonly #manifests: Partial<Record<ModelLevel, Manifest>> = {};

  /** `ladder`: the heaviest first; a third and later package is not used. */
  constructor(ladder: readonly ModelPackage[], blockBudgetMs: number) {
    const [full, lighter] = ladder;
    if (full) this.#manifests.full = byPreference(full.manifest, blockBudgetMs);
    if (lighter) this.#manifests.lighter = byPreference(lighter.manifest, blockBudgetMs);
  }

  /** Package at a level; undefined when the ladder has no such step. */
  nameAt(level: ModelLevel): string | undefined {
    return this.#manifests[level]?.name;
  }

  fit(width: number, height: number, targetHeight: number): FitResult {
    const { full } = this.#manifests;
    if (full === undefined) return { fits: false, reason: 'unsupported-size', detail: 'no model is loaded' };
    return fitPicture(full, width, height, { targetShortSide: targetHeight });
  }

  /** The same input and output size at every level, so that stepping never changes the picture's size. */
  targetAt(level: ModelLevel, chosen: Fit): RestoreTarget | null {
    const manifest = this.#manifests[level];
    const { task, scale, fold } = chosen.variant;
    const variant = manifest?.variants.find(
      (candidate) => candidate.task === task && candidate.scale === scale && fold % candidate.fold === 0,
    );
    if (manifest === undefined || variant === undefined) return null;
    return { packageName: manifest.name, variant, width: chosen.inputWidth, height: chosen.inputHeight };
  }
}

function byPreference(manifest: Manifest, blockBudgetMs: number): Manifest {
  const waitMs = (variant: Variant): number => (variant.T - 1) * TYPICAL_FRAME_MS;
  const inBudget = (variant: Variant): boolean => waitMs(variant) <= blockBudgetMs;
  const variants = [...manifest.variants].sort((a, b) => {
    if (inBudget(a) !== inBudget(b)) return inBudget(a) ? -1 : 1;
    return inBudget(a) ? b.T - a.T : a.T - b.T;
  });
  return { ...manifest, variants };
}
