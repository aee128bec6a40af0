/** `vireo restore IN OUT`: restores a video file. */
import { Command, InvalidArgumentError, Option } from 'commander';
import { VireoError } from '../errors.js';
import {
  chooseModel,
  PROVIDERS,
  type ProviderFlag,
  TASKS,
  type TaskFlag,
} from '../restoration/chooseModel.js';
import { restoreFile } from '../restoration/FileRestorer.js';
import { DEFAULT_TARGET_SHORT_SIDE, type Fit, fitPicture, type Task } from '../restoration/fit.js';
import { createInferenceDevice } from '../restoration/InferenceDevice.js';
import type { InferenceDevice, ModelPackage } from '../restoration/types.js';
import { VideoFileReader } from '../restoration/VideoFileReader.js';
import { checkOutput, createVideoFileWriter, type VideoFileWriter } from '../restoration/VideoFileWriter.js';
import { note, printJson, startProgress } from './progress.js';

export interface RestoreFlags {
  task: TaskFlag;
  height: number;
  model?: string;
  modelDir?: string[];
  provider: ProviderFlag;
  threads: number;
  reference?: string[];
  compare?: boolean;
  json?: boolean;
}

/** What `--json` prints. Times are milliseconds a frame; stages overlap. */
export interface RestoreReport {
  frames: number;
  fps: number;
  model: string;
  provider: string;
  input: { width: number; height: number };
  output: { width: number; height: number };
  stageMs: { decode: number; restore: number; encode: number };
}

export function restoreCommand(): Command {
  return new Command('restore')
    .description('restore a video file: IN (anything FFmpeg reads) to OUT (.mp4, .mkv, .webm or .y4m)')
    .argument('<in>', 'video file to restore')
    .argument('<out>', 'file to write; .y4m is uncompressed, one frame for every frame of IN')
    .addOption(new Option('--task <task>', 'what to restore').choices([...TASKS]).default('auto'))
    .option('--height <lines>', 'short side of the restored picture', lines, DEFAULT_TARGET_SHORT_SIDE)
    .option('--model <name>', 'model package (default: swift, or one that has the task)')
    .option('--model-dir <folder...>', "folders with model packages, searched before Vireo's own")
    .addOption(
      new Option('--provider <name>', 'where the model runs').choices([...PROVIDERS]).default('auto'),
    )
    .option('--threads <n>', 'CPU threads of the model; 0: one for each core', wholeNumber, 0)
    .option('--reference <still...>', 'sharp stills of the same scene, for models that take them')
    .option('--compare', 'write original and restored side by side')
    .option('--json', 'print one JSON document on stdout')
    .action(async (input: string, output: string, flags: RestoreFlags) => {
      const report = await restore(input, output, flags);
      if (flags.json === true) printJson(report);
      else process.stdout.write(`${summary(output, report)}\n`);
    });
}

/** Rejects with a VireoError that names what was wrong; nothing is left at OUT then. */
export async function restore(input: string, output: string, flags: RestoreFlags): Promise<RestoreReport> {
  await checkOutput(output, input);
  const { model, task } = await chooseModel(flags);
  if (flags.reference !== undefined) {
    throw new VireoError('unsupported', `--reference: model "${model.manifest.name}" takes no references`);
  }
  let writer: VideoFileWriter | null = null;
  const reader = await VideoFileReader.open(input, {
    onAudio: async (packet) => await writer?.writeAudio(packet),
  });
  let device: InferenceDevice | null = null;
  try {
    const fitted = fitInput(input, reader, model, task, flags);
    device = await openDevice(model, fitted, flags);
    const stream = await device.openStream({
      packageName: model.manifest.name,
      variant: fitted.variant,
      width: fitted.inputWidth,
      height: fitted.inputHeight,
    });
    const { timeBase, frameRate, frames: expected, width, height } = reader.info;
    writer = createVideoFileWriter(output, { timeBase, frameRate, audio: reader.audio });
    if (writer.audioNote !== null) note(writer.audioNote);
    const progress = startProgress('restoring', expected);
    const interrupted = new AbortController();
    const interrupt = () => interrupted.abort();
    process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
    try {
      const { frames, elapsedMs, stageMs } = await restoreFile({
        reader,
        writer,
        stream,
        fit: fitted,
        compare: flags.compare === true,
        onFrame: (count) => progress.update(count),
        signal: interrupted.signal,
      });
      if (frames === 0) throw new VireoError('media-invalid', `IN ${input}: no frame could be decoded`);
      await writer.finish();
      if (reader.problem !== '') note(`${reader.problem}; ${frames} frames were restored`);
      return {
        frames,
        fps: round((frames * 1_000) / elapsedMs),
        model: model.manifest.name,
        provider: device.provider,
        input: { width, height },
        output: {
          width: fitted.outputWidth * (flags.compare === true ? 2 : 1),
          height: fitted.outputHeight,
        },
        stageMs: {
          decode: round(stageMs.decode),
          restore: round(stageMs.restore),
          encode: round(stageMs.encode),
        },
      };
    } finally {
      progress.stop();
      process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
    }
  } finally {
    await writer?.abort();
    await reader.close();
    await device?.close();
  }
}

function fitInput(
  input: string,
  reader: VideoFileReader,
  model: ModelPackage,
  task: Task,
  flags: RestoreFlags,
): Fit {
  const { width, height } = reader.info;
  const fitted = fitPicture(model.manifest, width, height, { targetShortSide: flags.height, task });
  if (fitted.fits) return fitted;
  if (fitted.reason === 'already-sharp') {
    const lines = Math.floor((flags.height * 2) / 3);
    throw new VireoError(
      'unsupported',
      `IN ${input} is ${width}x${height}: to ${flags.height} lines (--height), ${task} restores pictures of up to ${lines}`,
    );
  }
  throw new VireoError('unsupported', `IN ${input}: ${fitted.detail}`);
}

/** Only the variant that is used is loaded and warmed up. */
async function openDevice(model: ModelPackage, fitted: Fit, flags: RestoreFlags): Promise<InferenceDevice> {
  const manifest = { ...model.manifest, variants: [fitted.variant] };
  const { scale } = fitted.variant;
  return await createInferenceDevice({
    provider: flags.provider,
    threads: flags.threads,
    packages: [{ ...model, manifest }],
    warmUpSizes: [{ scale, width: fitted.inputWidth, height: fitted.inputHeight }],
  });
}

function summary(output: string, report: RestoreReport): string {
  const { frames, fps, model, provider, stageMs } = report;
  const stages = `decode ${stageMs.decode}, restore ${stageMs.restore}, encode ${stageMs.encode} ms a frame`;
  return `${output}: ${frames} frames of ${report.output.width}x${report.output.height}, ${model} on ${provider}, ${fps} fps (${stages})`;
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

function wholeNumber(text: string): number {
  if (!/^\d{1,3}$/.test(text)) throw new InvalidArgumentError('It must be a whole number from 0 to 999.');
  return Number(text);
}

function lines(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 128 || value > 2_160 || value % 16 !== 0) {
    throw new InvalidArgumentError('It must be a multiple of 16 from 128 to 2160, such as 720.');
  }
  return value;
}
