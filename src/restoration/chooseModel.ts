/** Which installed package and task a command works with, from its flags. */
import { configSchema } from '../config/schema.js';
import { VireoError } from '../errors.js';
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
  task: Task;
}

/**
 * `--model`, else the configuration's default, else any package that has the task. `auto` is super-resolution
 * where the package has it, else the first task it has.
 */
export async function chooseModel(flags: ModelFlags): Promise<ChosenModel> {
  const packages = ModelPackages.create(flags.modelDir);
  const { task } = flags;
  if (flags.model !== undefined) {
    const model = await packages.load(flags.model);
    const chosen = taskOf(model, task);
    if (chosen !== null) return { model, task: chosen };
    const tasks = tasksOf(model).join(', ');
    throw new VireoError('unsupported', `--task ${task}: model "${flags.model}" has ${tasks} only`);
  }
  const usable = (await packages.list()).filter((entry) => entry.manifest !== null);
  const preferred = configSchema.parse({}).restoration.model;
  usable.sort((a, b) => Number(b.name === preferred) - Number(a.name === preferred));
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
  return { model, task: taskOf(model, task) ?? 'sr' };
}

function tasksOf(model: ModelPackage): Task[] {
  return [...new Set(model.manifest.variants.map((variant) => variant.task))];
}

function taskOf(model: ModelPackage, flag: TaskFlag): Task | null {
  const tasks = tasksOf(model);
  if (flag === 'auto') return tasks.includes('sr') ? 'sr' : (tasks[0] ?? null);
  return tasks.includes(flag) ? flag : null;
}
