/** The model packages of one evaluation: which variant of each restores what is sent at a height. */
import { VireoError } from '../errors.js';
import {
  chooseVariant,
  DEFAULT_TARGET_SHORT_SIDE,
  type Scale,
  type Task,
  variantForStill,
} from '../restoration/fit.js';
import type { Variant } from '../restoration/manifest.js';
import { strengthFor } from '../restoration/strength.js';
import type { ModelPackage } from '../restoration/types.js';
import { RESTORED } from './report.js';

export interface UsedModel {
  /** As rows name it: RESTORED for the package that is evaluated, else its own name. */
  method: string;
  packageName: string;
  variant: Variant;
  /** While a still is looked up in. */
  withStill: Variant;
}

/** What may restore a picture, the best first. */
const TASKS: readonly Task[] = ['sr', 'deblur', 'inpaint'];
const INPAINTING: readonly Task[] = ['inpaint', 'deblur'];

export class EvaluatedModels {
  /** With the used variants only, to be loaded on a device. */
  readonly packages: readonly ModelPackage[];
  /** What to tell the user about heights that a package leaves out. */
  readonly notes: readonly string[];
  readonly #used: ReadonlyMap<number, readonly UsedModel[]>;

  private constructor(packages: ModelPackage[], notes: string[], used: Map<number, UsedModel[]>) {
    this.packages = packages;
    this.notes = notes;
    this.#used = used;
  }

  /**
   * `against`: more packages to compare with. Throws, naming the flag, for a package that restores none of the
   * heights, or (`inpaint`: percent of lost pixels) that takes no mask.
   */
  static choose(options: {
    model: ModelPackage;
    against: readonly ModelPackage[];
    uplinkHeights: readonly number[];
    codec: string;
    inpaint: number;
    /** Whether `model` may get a still. */
    references: boolean;
  }): EvaluatedModels {
    const { model, against, uplinkHeights, inpaint } = options;
    const used = new Map<number, UsedModel[]>(uplinkHeights.map((height) => [height, []]));
    const packages = new Map<string, ModelPackage>();
    const notes: string[] = [];
    for (const [index, candidate] of [model, ...against].entries()) {
      const { name } = candidate.manifest;
      const variants = new Set<Variant>();
      for (const height of uplinkHeights) {
        const variant = variantFor(candidate, height, options);
        if (variant === undefined) continue;
        const { manifest } = candidate;
        const looking =
          options.references && index === 0
            ? variantForStill(manifest, height, DEFAULT_TARGET_SHORT_SIDE, TASKS)
            : undefined;
        const withStill = looking ?? variant;
        variants.add(variant).add(withStill);
        const method = index === 0 ? RESTORED : name;
        used.get(height)?.push({ method, packageName: name, variant, withStill });
      }
      const left = uplinkHeights.filter((height) => !used.get(height)?.some((m) => m.packageName === name));
      const heights = candidate.manifest.variants.map((variant) => DEFAULT_TARGET_SHORT_SIDE / variant.scale);
      const restores = `model "${name}" restores ${[...new Set(heights)].join(', ')}`;
      const flag =
        index === 0
          ? `--uplink-height ${left.join(',')}`
          : `--against ${name}: --uplink-height ${left.join(',')}`;
      if (variants.size === 0) throw new VireoError('unsupported', `${flag}: ${restores}`);
      if (left.length > 0) notes.push(`${flag}: ${restores} only`);
      const takesNone = [...variants].find((variant) => inpaint > 0 && variant.mask === undefined);
      if (takesNone !== undefined) {
        throw new VireoError(
          'unsupported',
          `--inpaint: model "${name}" (${takesNone.file}) takes no mask of lost pixels`,
        );
      }
      const manifest = { ...candidate.manifest, variants: [...variants] };
      if (!packages.has(name)) packages.set(name, { ...candidate, manifest });
    }
    return new EvaluatedModels([...packages.values()], notes, used);
  }

  /** The evaluated package first; without it where it does not restore that height. */
  at(uplinkHeight: number): readonly UsedModel[] {
    return this.#used.get(uplinkHeight) ?? [];
  }

  /** Of the used variants. */
  get scales(): Scale[] {
    const used = [...this.#used.values()].flat();
    return [...new Set(used.flatMap(({ variant, withStill }) => [variant.scale, withStill.scale]))];
  }

  /** What the reference's sides must be multiples of, so that every variant's input has even sides that fit its fold. */
  get grid(): number {
    const grids = [...this.#used.values()].flatMap((models) =>
      models.flatMap(({ variant, withStill }) =>
        [variant, withStill].map(({ fold, scale }) => 2 * fold * scale),
      ),
    );
    // Powers of two: the largest is a multiple of all others.
    return Math.max(2, ...grids);
  }
}

/** As the relay chooses; what it would not restore, because the codec's pictures are left alone, is measured at strength 0. */
export function variantFor(
  { manifest }: Pick<ModelPackage, 'manifest'>,
  height: number,
  { codec, inpaint }: { codec: string; inpaint: number },
): Variant | undefined {
  const tasks = inpaint > 0 ? INPAINTING : TASKS;
  const restored = manifest.variants.filter((variant) => strengthFor(variant, codec) > 0);
  const choose = (variants: Variant[]): Variant | undefined =>
    chooseVariant({ variants }, height, DEFAULT_TARGET_SHORT_SIDE, tasks);
  return choose(restored) ?? choose(manifest.variants);
}
