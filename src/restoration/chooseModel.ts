/** Which installed package and tasks a command works with, from its flags. */
import { VireoError } from '../errors.js';
import { CPU_MODEL } from './autoModel.js';
import type { Task } from './fit.js';
import { ModelPackages } from './ModelPackages.js';
import type { ModelPackage } from './types.js';

export const TASKS = ['auto', 'sr', 'deblur', 'inpaint'] as const;
export const PROVIDERS = ['auto', 'cpu', 'webgpu', 'cuda', 'tensorrt'] as const;
export type TaskFlag = (typeof TASKS)[number];
export type ProviderFlag = (typeof PROVIDERS)[number];

export interface ModelFlags {
  model?: string | undefined;
  task: TaskFlag;
  modelDir?: string[] | undefined;
}

export interface ChosenModel {
  model: ModelPackage;
  /** What to try on a picture, in this order; at least one. */
  tasks: readonly Task[];
}

/** What `auto` stands for: whichever the picture's size has a use for. */
const AUTO_TASKS: readonly Task[] = ['sr', 'deblur'];

/**
 * `--model`, else CPU_MODEL, else any package that has the task. `auto` is super-resolution or,
 * for pictures that are too large for it, deblurring; in a package with neither, the first task it has.
 */
export async function chooseModel(flags: ModelFlags): Promise<ChosenModel> {
  const packages = ModelPackages.create(flags.modelDir);
  const { task } = flags;
  if (flags.model !== undefined) {
    const model = await packages.load(flags.model);
    const tasks = wantedOf(model, task);
    if (tasks.length > 0) return { model, tasks };
    const there = tasksOf(model).join(', ');
    throw new VireoError('unsupported', `--task ${task}: model "${flags.model}" has ${there} only`);
  }
  const usable = (await packages.list()).filter((entry) => entry.manifest !== null);
  usable.sort((a, b) => Number(b.name === CPU_MODEL) - Number(a.name === CPU_MODEL));
  const wanted = usable.find(
    (entry) => task === 'auto' || entry.manifest?.variants.some((variant) => variant.task === task),
  );
  if (wanted === undefined) {
    const there = usable.map(
      (entry) => `${entry.name} (${[...new Set(entry.manifest?.variants.map((v) => v.task))].join(', ')})`,
    );
    const list = there.length > 0 ? there.join(', ') : 'none';
    const flag = task === 'auto' ? '--model' : '--task';
    throw new VireoError('unsupported', `${flag} ${task}: no installed model has it; installed: ${list}`);
  }
  const model = await packages.load(wanted.name);
  return { model, tasks: wantedOf(model, task) };
}

function tasksOf(model: ModelPackage): Task[] {
  return [...new Set(model.manifest.variants.map((variant) => variant.task))];
}

function wantedOf(model: ModelPackage, flag: TaskFlag): readonly Task[] {
  const tasks = tasksOf(model);
  if (flag !== 'auto') return tasks.filter((task) => task === flag);
  const wanted = AUTO_TASKS.filter((task) => tasks.includes(task));
  return wanted.length > 0 ? wanted : tasks.slice(0, 1);
}
