/** `vireo bench`: what this machine can restore. */
import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { VireoError } from '../errors.js';
import { type BenchResult, PipelineBench } from '../evaluation/benchPipeline.js';
import { syntheticClipGraph } from '../evaluation/syntheticClip.js';
import { CPU_MODEL } from '../restoration/autoModel.js';
import { PROVIDERS, type ProviderFlag } from '../restoration/chooseModel.js';
import { type Fit, fitPicture, type Task } from '../restoration/fit.js';
import { createInferenceDevice } from '../restoration/InferenceDevice.js';
import { ModelPackages } from '../restoration/ModelPackages.js';
import type { InferenceDevice, ModelPackage } from '../restoration/types.js';
import { VideoFileReader } from '../restoration/VideoFileReader.js';
import { createVideoFileWriter } from '../restoration/VideoFileWriter.js';
import { note, printJson } from './progress.js';

const CLIP_SIZES = [
  { width: 320, height: 180 },
  { width: 640, height: 360 },
] as const;
const CLIP = { fps: 30, seconds: 2, pans: true } as const;

export interface BenchFlags {
  provider: ProviderFlag;
  model?: string;
  modelDir?: string[];
  input?: string;
  frames: number;
  threads: number;
  json?: boolean;
}

export interface BenchReport {
  machine: { cpu: string; cores: number };
  provider: string;
  /** Why the providers before it were not taken. */
  providerNotes: string[];
  results: ({
    model: string;
    version: string;
    input: { width: number; height: number };
    output: { width: number; height: number };
  } & BenchResult)[];
}

/** What a call's pictures can be restored for, by their size. */
const TASKS: readonly Task[] = ['sr', 'deblur'];

export function benchCommand(): Command {
  return new Command('bench')
    .description('time the stages of restoration on this machine: tracks per device, added latency')
    .addOption(new Option('--provider <name>', 'where models run').choices([...PROVIDERS]).default('auto'))
    .option('--model <name>', 'top of the load ladder to time (default: swift); its lighter ones follow')
    .option('--model-dir <folder...>', "folders with model packages, searched before Vireo's own")
    .option('--input <file>', 'time this clip instead of generated ones of 180 and 360 lines')
    .option('--frames <n>', 'frames to time for each model and size', frameCount, 60)
    .option('--threads <n>', 'CPU threads of a model; 0: one for each core', threadCount, 0)
    .option('--json', 'print one JSON document on stdout')
    .action(async (flags: BenchFlags) => {
      const report = await bench(flags);
      if (flags.json === true) printJson(report);
      else printReport(report);
    });
}

export async function bench(flags: BenchFlags): Promise<BenchReport> {
  const name = flags.model ?? CPU_MODEL;
  const ladder = await ModelPackages.create(flags.modelDir).loadLadder(name);
  const folder = await mkdtemp(join(tmpdir(), 'vireo-bench-'));
  let device: InferenceDevice | null = null;
  try {
    const clips = flags.input === undefined ? await makeClips(folder) : [flags.input];
    const jobs: { clip: string; model: ModelPackage; fit: Fit }[] = [];
    for (const clip of clips) {
      const { width, height } = await sizeOf(clip);
      for (const [step, model] of ladder.entries()) {
        const fit = fitPicture(model.manifest, width, height, { tasks: TASKS });
        if (fit.fits) jobs.push({ clip, model, fit });
        else if (flags.input !== undefined && step === 0)
          throw new VireoError('unsupported', `--input ${clip}: ${fit.detail}`);
      }
    }
    device = await createInferenceDevice({
      provider: flags.provider,
      threads: flags.threads,
      packages: ladder.map((model) => {
        const variants = model.manifest.variants.filter(({ task }) => TASKS.includes(task));
        return { ...model, manifest: { ...model.manifest, variants } };
      }),
      warmUpSizes: jobs.map(({ fit }) => ({
        scale: fit.variant.scale,
        width: fit.inputWidth,
        height: fit.inputHeight,
      })),
      references: true,
    });
    const results: BenchReport['results'] = [];
    for (const { clip, model, fit } of jobs) {
      note(`timing ${model.manifest.name} at ${fit.inputWidth}x${fit.inputHeight} …`);
      results.push({
        model: model.manifest.name,
        version: model.manifest.version,
        input: { width: fit.inputWidth, height: fit.inputHeight },
        output: { width: fit.outputWidth, height: fit.outputHeight },
        ...(await time(device, clip, model, fit, flags.frames)),
      });
    }
    const [cpu] = cpus();
    return {
      machine: { cpu: cpu?.model.trim() ?? 'unknown', cores: cpus().length },
      provider: device.provider,
      providerNotes: [...device.providerNotes],
      results,
    };
  } finally {
    await device?.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function time(
  device: InferenceDevice,
  clip: string,
  model: ModelPackage,
  fit: Fit,
  frames: number,
): Promise<BenchResult> {
  if (fit.variant.T !== 1) {
    throw new VireoError('unsupported', `--model ${model.manifest.name}: blocks of ${fit.variant.T} frames`);
  }
  const stream = await device.openStream({
    packageName: model.manifest.name,
    variant: fit.variant,
    width: fit.inputWidth,
    height: fit.inputHeight,
  });
  const pipeline = await PipelineBench.create(clip, stream, fit);
  try {
    return await pipeline.run(frames);
  } finally {
    await pipeline.close();
    stream.close();
  }
}

async function makeClips(folder: string): Promise<string[]> {
  const paths: string[] = [];
  for (const size of CLIP_SIZES) {
    const path = join(folder, `${size.height}.webm`);
    const reader = await VideoFileReader.open(syntheticClipGraph({ ...size, ...CLIP }), { format: 'lavfi' });
    const { timeBase } = reader.info;
    const frameRate = { num: CLIP.fps, den: 1 };
    const writer = createVideoFileWriter(path, { timeBase, frameRate, audio: null });
    try {
      for (let frame = await reader.next(); frame !== null; frame = await reader.next()) {
        await writer.write(frame);
        frame.free();
      }
      await writer.finish();
    } finally {
      await writer.abort();
      await reader.close();
    }
    paths.push(path);
  }
  return paths;
}

async function sizeOf(path: string): Promise<{ width: number; height: number }> {
  const reader = await VideoFileReader.open(path);
  await reader.close();
  return reader.info;
}

function printReport(report: BenchReport): void {
  const { machine, provider, providerNotes, results } = report;
  const lines = [`${machine.cpu}, ${machine.cores} cores; models run on ${provider}`];
  for (const reason of providerNotes) lines.push(`  not ${reason}`);
  for (const result of results) {
    const { decode, restore, encode, overhead } = result.stageMs;
    lines.push(
      `${result.model} ${result.version}, ${result.input.width}x${result.input.height} to ${result.output.width}x${result.output.height}:`,
      `  ms a frame (median, 95th percentile): decode ${decode.p50} ${decode.p95}, restore ${restore.p50} ${restore.p95}, encode ${encode.p50} ${encode.p95}, the rest ${overhead.p50} ${overhead.p95}`,
      `  ${result.sustainedFps} frames/s sustained: ${result.tracks} tracks at 30 frames/s (${result.tracksByInference} by inference alone); added latency ${result.addedLatencyMs.p50} ms, 95th percentile ${result.addedLatencyMs.p95} ms`,
    );
    const { withStill } = result;
    if (withStill === null) continue;
    const { restoreMs } = withStill;
    lines.push(
      `  with a sharp still to look details up in: restore ${restoreMs.p50} ${restoreMs.p95}; ${withStill.sustainedFps} frames/s sustained: ${withStill.tracks} tracks (${withStill.tracksByInference} by inference alone)`,
    );
  }
  process.stdout.write(`${lines.join('\n')}\n`);
}

function frameCount(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 2 || value > 100_000) {
    throw new InvalidArgumentError('It must be a whole number from 2 to 100000.');
  }
  return value;
}

function threadCount(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0 || value > 256) {
    throw new InvalidArgumentError('It must be a whole number from 0 to 256.');
  }
  return value;
}
