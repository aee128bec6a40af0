import { type Fit, type FitResult, fitPicture, type Task } from '../restoration/fit.js';
import type { Manifest, Variant } from '../restoration/manifest.js';
import { strengthFor } from '../restoration/strength.js';
import type { ModelPackage } from '../restoration/types.js';
import type { ModelLevel } from './LoadLadder.js';
import type { RestoreTarget } from './RestoreStage.js';
import type { VideoCodec } from './types.js';

const TYPICAL_FRAME_MS = 1_000 / 30;

export interface ModelChoiceOptions {
  blockBudgetMs: number;
  /** Pictures of the target's size are deblurred. */
  sameSize: boolean;
}

/**
 * The packages of the load ladder, and which of their variants a picture of some size is restored with. A
 * variant with a longer block is preferred as long as its first frame need not wait longer than the budget.
 */
export class ModelChoice {
  readonly #manifests: { full?: Manifest; lighter?: Manifest } = {};
  readonly #sameSize: boolean;

  /** `ladder`: the heaviest first; a third and later package is not used. */
  constructor(ladder: readonly ModelPackage[], { blockBudgetMs, sameSize }: ModelChoiceOptions) {
    const [full, lighter] = ladder;
    if (full) this.#manifests.full = byPreference(full.manifest, blockBudgetMs);
    if (lighter) this.#manifests.lighter = byPreference(lighter.manifest, blockBudgetMs);
    this.#sameSize = sameSize;
  }

  /** What the codec's pictures of a size are restored to; `still`: with the details of one, of which much is found. */
  fit(
    width: number,
    height: number,
    targetHeight: number,
    codec: VideoCodec,
    { still }: { still: boolean },
  ): FitResult {
    const { full } = this.#manifests;
    if (full === undefined) return { fits: false, reason: 'unsupported-size', detail: 'no model is loaded' };
    const variants = full.variants.filter((variant) => strengthFor(variant, codec) > 0);
    // What is nearly as large would be enlarged first, and is no better for it afterwards (docs/quality.md, "Sizes in between").
    const isOfTarget = Math.min(width, height) === targetHeight;
    return fitPicture({ ...full, variants }, width, height, {
      targetShortSide: targetHeight,
      tasks: relayTasks(this.#sameSize && isOfTarget),
      still,
    });
  }

  /**
   * The same input and output size at every level, so that stepping never changes the picture's size. Null where
   * the level has no variant for the task: below it there is only the original then. `plain` is none where the model looks nothing up.
   */
  targetAt(level: ModelLevel, chosen: Fit, codec: VideoCodec): RestoreTarget | null {
    const manifest = this.#manifestAt(level);
    const { task, scale, fold } = chosen.variant;
    const variant = manifest?.variants.find(
      (candidate) => candidate.task === task && candidate.scale === scale && fold % candidate.fold === 0,
    );
    if (manifest === undefined || variant === undefined) return null;
    const strength = strengthFor(variant, codec);
    if (strength === 0) return null;
    const takesStills = variant.references !== undefined;
    if (level === 'plain' && !takesStills) return null;
    const size = { width: chosen.inputWidth, height: chosen.inputHeight };
    const looksUp = takesStills && level !== 'plain';
    return { packageName: manifest.name, variant, ...size, strength, looksUp };
  }

  #manifestAt(level: ModelLevel): Manifest | undefined {
    const { full, lighter } = this.#manifests;
    return { full, lighter, plain: lighter ?? full }[level];
  }
}

/** What a call's pictures are restored for, in order of preference. */
export function relayTasks(sameSize: boolean): readonly Task[] {
  return sameSize ? ['sr', 'deblur'] : ['sr'];
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
