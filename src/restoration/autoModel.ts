/** What `restoration.model: auto` stands for on this machine. */
import { VireoError } from '../errors.js';
import type { ModelPackages } from './ModelPackages.js';
import { chooseProvider, type ProbeTools, type ProviderChoice, trialOf } from './providers.js';
import type { DeviceOptions, ModelPackage, ProviderName } from './types.js';

export const AUTO_MODEL = 'auto';
/** For processors: 8-bit integers. */
export const CPU_MODEL = 'swift';
/** For GPUs: floats, and several times the work. */
export const GPU_MODEL = 'clear';
/** Two tracks at 30 frames a second: a GPU that is slower is not worth the heavier model. */
const MOST_FRAME_MS = 1_000 / 30 / 2;

export interface LadderRequest {
  model: string;
  provider: 'auto' | ProviderName;
  threads: number;
  warmUpSizes: DeviceOptions['warmUpSizes'];
}

export interface Ladder {
  /** The heaviest first. */
  packages: ModelPackage[];
  /** Where the first one runs, when that had to be found out to choose it. */
  choice?: ProviderChoice;
}

/**
 * The load ladder below `model`. `auto` is GPU_MODEL where it is installed and a GPU runs it fast enough for calls, else
 * CPU_MODEL.
 * Rejects as ModelPackages.loadLadder and chooseProvider do.
 */
export async function chooseLadder(
  request: LadderRequest,
  packages: Pick<ModelPackages, 'loadLadder'>,
  tools?: ProbeTools,
): Promise<Ladder> {
  const { model, provider, threads, warmUpSizes } = request;
  if (model !== AUTO_MODEL) return { packages: await packages.loadLadder(model) };
  const light = await packages.loadLadder(CPU_MODEL);
  if (provider === 'cpu') return { packages: light };
  const heavy = await packages.loadLadder(GPU_MODEL).catch((thrown: unknown) => {
    if (VireoError.from(thrown).code === 'not-found') return [];
    throw thrown;
  });
  const trial = trialOf({ provider, threads, warmUpSizes, packages: heavy });
  if (trial === undefined) return { packages: light };
  const choice = await chooseProvider(provider, trial, tools);
  if (choice.provider === 'cpu') return { packages: light, choice };
  const { runMs = Number.POSITIVE_INFINITY } = choice;
  if (runMs <= MOST_FRAME_MS) return { packages: heavy, choice };
  // Who named the provider gets it; else integers are at home on the CPU.
  if (provider !== 'auto') return { packages: light };
  const reason = `model ${GPU_MODEL} takes ${runMs.toFixed(1)} ms a frame`;
  return {
    packages: light,
    choice: { provider: 'cpu', notes: [...choice.notes, `${choice.provider}: ${reason}`] },
  };
}
