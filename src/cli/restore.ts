/** `vireo restore IN OUT`: restores a video file. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
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
import { BLANK_LUMA, MASK_LUMA } from '../restoration/filters.js';
import {
  DEFAULT_TARGET_SHORT_SIDE,
  type Fit,
  type FitResult,
  fitPicture,
  type Task,
} from '../restoration/fit.js';
import { createInferenceDevice } from '../restoration/InferenceDevice.js';
import type { Manifest } from '../restoration/manifest.js';
import { BlankedPixels, MaskFile, type MaskSource } from '../restoration/masks.js';
import { decodeStill } from '../restoration/stills.js';
import type { InferenceDevice, ModelPackage } from '../restoration/types.js';
import { VideoFileReader } from '../restoration/VideoFileReader.js';
import { checkOutput, createVideoFileWriter, type VideoFileWriter } from '../restoration/VideoFileWriter.js';
import { note, printJson, startProgress } from './progress.js';

export interface RestoreFlags {
  task: TaskFlag;
  /** The task's own unless given. */
  height?: number;
  /** 1 unless given. */
  strength?: number;
  mask?: string;
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

const TASK_HELP = `
Tasks:
  auto     sr for pictures of up to two thirds of --height, deblur for those above it
           (where the model has it); inpaint when there is a --mask
  sr       enlarges to --height and removes coding artefacts
  deblur   sharpens and removes noise and coding artefacts at --height; what is
           smaller is enlarged to it first, by a plain filter
  inpaint  fills in lost pixels; keeps the picture's size. Lost is where --mask has a
           luma of ${MASK_LUMA} or more, frame by frame (the last one holds for the rest); without
           --mask, where IN has a luma of ${BLANK_LUMA} or less (lost pixels that were blanked)`;

export function restoreCommand(): Command {
  return new Command('restore')
    .description('restore a video file: IN (anything FFmpeg reads) to OUT (.mp4, .mkv, .webm or .y4m)')
    .argument('<in>', 'video file to restore')
    .argument('<out>', 'file to write; .y4m is uncompressed, one frame for every frame of IN')
    .addOption(new Option('--task <task>', 'what to restore').choices([...TASKS]).default('auto'))
    .option(
      '--height <lines>',
      `short side of the restored picture (default: ${DEFAULT_TARGET_SHORT_SIDE}; for inpaint that of IN)`,
      lines,
    )
    .option('--strength <share>', 'how much of the restoration to apply, from 0 to 1', share, 1)
    .option('--mask <file>', 'for inpaint: image or video of the size of IN that shows what is lost')
    .option('--model <name>', 'model package (default: swift, or one that has the task)')
    .option('--model-dir <folder...>', "folders with model packages, searched before Vireo's own")
    .addOption(
      new Option('--provider <name>', 'where the model runs').choices([...PROVIDERS]).default('auto'),
    )
    .option('--threads <n>', 'CPU threads of the model; 0: one for each core', wholeNumber, 0)
    .option(
      '--reference <still...>',
      'sharp stills of the same scene (WebP or AVIF), for models that take some',
    )
    .option('--compare', 'write original and restored side by side')
    .option('--json', 'print one JSON document on stdout')
    .addHelpText('after', TASK_HELP)
    .action(async (input: string, output: string, flags: RestoreFlags) => {
      const report = await restore(input, output, flags);
      if (flags.json === true) printJson(report);
      else process.stdout.write(`${summary(output, report)}\n`);
    });
}

/** Rejects with a VireoError that names what was wrong; nothing is left at OUT then. */
export async function restore(input: string, output: string, flags: RestoreFlags): Promise<RestoreReport> {
  await checkOutput(output, input);
  const { mask, strength = 1 } = flags;
  const task = flags.task === 'auto' && mask !== undefined ? 'inpaint' : flags.task;
  if (mask !== undefined && task !== 'inpaint') {
    throw new VireoError('bad-request', `--mask ${mask}: --task ${task} takes none, only inpaint does`);
  }
  if (mask !== undefined && resolve(mask) === resolve(output)) {
    throw new VireoError('bad-request', `OUT ${output} is the same file as --mask`);
  }
  const { model, tasks } = await chooseModel({ ...flags, task });
  let writer: VideoFileWriter | null = null;
  const reader = await VideoFileReader.open(input, {
    onAudio: async (packet) => await writer?.writeAudio(packet),
  });
  let device: InferenceDevice | null = null;
  let masks: MaskSource | null = null;
  try {
    const fitted = fitInput(reader, model, tasks, flags);
    checkInputs(fitted, model, { strength, mask });
    if (fitted.variant.task === 'inpaint') masks = await openMasks(reader, fitted, mask);
    const stills = await readStills(flags.reference ?? [], model, fitted);
    device = await openDevice(model, fitted, flags);
    const stream = await device.openStream({
      packageName: model.manifest.name,
      variant: fitted.variant,
      width: fitted.inputWidth,
      height: fitted.inputHeight,
    });
    stream.strength = strength;
    if (stills.length > 0) await stream.setReferences(stills);
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
        masks,
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
    await masks?.close();
    await reader.close();
    await device?.close();
  }
}

function fitInput(
  reader: VideoFileReader,
  model: ModelPackage,
  tasks: readonly Task[],
  flags: RestoreFlags,
): Fit {
  const { width, height } = reader.info;
  const shortSide = Math.min(width, height);
  const inpaints = tasks[0] === 'inpaint';
  const ownSize = { targetShortSide: shortSide, tasks, mayPad: true, mayShrink: true };
  const target = flags.height ?? (inpaints ? shortSide : DEFAULT_TARGET_SHORT_SIDE);
  const fitOf = (manifest: Manifest): FitResult =>
    fitPicture(manifest, width, height, { ...ownSize, targetShortSide: target });
  if (flags.reference !== undefined) {
    // A variant that looks details up is worth more than one whose input is nearer.
    const variants = model.manifest.variants.filter(({ references }) => references !== undefined);
    const looksUp = fitOf({ ...model.manifest, variants });
    if (looksUp.fits) return looksUp;
  }
  const fitted = fitOf(model.manifest);
  const what = `IN ${reader.path} is ${width}x${height}`;
  if (fitted.fits) {
    const { keepsSize, variant } = fitted;
    if (flags.task === 'deblur' && variant.scale === 1 && !keepsSize) {
      const bySr = fitPicture(model.manifest, width, height, {
        targetShortSide: target,
        mayShrink: true,
      }).fits;
      const hint = bySr ? '; --task sr is made for such pictures' : '';
      note(`${what}: enlarged to ${target} lines (--height) before it is deblurred${hint}`);
    }
    return fitted;
  }
  if (inpaints && fitPicture(model.manifest, width, height, ownSize).fits) {
    throw new VireoError('unsupported', `${what}: inpaint keeps that size, --height ${target} would not`);
  }
  if (fitted.reason === 'already-sharp') {
    const most = tasks.every((task) => task === 'sr') ? Math.floor((target * 2) / 3) : target;
    throw new VireoError(
      'unsupported',
      `${what}: to ${target} lines (--height), ${tasks.join(' or ')} restores pictures of up to ${most}`,
    );
  }
  const flag = fitted.ofTarget ? '--height: ' : '';
  throw new VireoError('unsupported', `IN ${reader.path}: ${flag}${fitted.detail}`);
}

/** Refuses flags that the variant has no input for. */
function checkInputs(
  { variant }: Fit,
  { manifest }: ModelPackage,
  { strength, mask }: { strength: number; mask: string | undefined },
): void {
  const lacks = (flag: string) =>
    new VireoError('unsupported', `${flag}: model "${manifest.name}" (${variant.file}) takes none`);
  if (strength !== 1 && variant.strength === undefined) throw lacks('--strength');
  if (mask !== undefined && variant.mask === undefined) throw lacks('--mask');
}

/** Luma of the stills for the variant's output. */
async function readStills(
  paths: readonly string[],
  { manifest }: ModelPackage,
  { variant, inputWidth, inputHeight }: Fit,
): Promise<ArrayBuffer[]> {
  if (paths.length === 0) return [];
  const { max } = variant.references ?? {};
  if (max === undefined || paths.length > max) {
    const what = max === undefined ? 'no references' : `${max} stills at most`;
    throw new VireoError(
      'unsupported',
      `--reference: model "${manifest.name}" (${variant.file}) takes ${what}`,
    );
  }
  const size = { width: inputWidth * variant.scale, height: inputHeight * variant.scale };
  const lumas: ArrayBuffer[] = [];
  for (const path of paths) {
    try {
      lumas.push(await decodeStill(await readFile(path), size));
    } catch (thrown) {
      throw new VireoError('media-invalid', `--reference ${path}: ${VireoError.from(thrown).message}`, {
        cause: thrown,
      });
    }
  }
  return lumas;
}

/** Null: the variant finds out by itself what is lost. */
async function openMasks(
  reader: VideoFileReader,
  fitted: Fit,
  path: string | undefined,
): Promise<MaskSource | null> {
  const { info } = reader;
  if (info.pixelAspect !== 1) {
    throw new VireoError(
      'unsupported',
      `IN ${reader.path}: its pixels are not square, and inpaint cannot scale it before lost ones are filled in`,
    );
  }
  if (fitted.variant.mask === undefined) return null;
  return path === undefined ? new BlankedPixels() : await MaskFile.open(path, info, fitted);
}

/** Only the variant that is used is loaded and warmed up. */
async function openDevice(model: ModelPackage, fitted: Fit, flags: RestoreFlags): Promise<InferenceDevice> {
  const manifest = { ...model.manifest, variants: [fitted.variant] };
  const { scale } = fitted.variant;
  return await createInferenceDevice({
    provider: flags.provider,
    threads: flags.threads,
    packages: [{ ...model, manifest }],
    references: flags.reference !== undefined,
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
  // The grid that it must be a multiple of is the variant's own.
  if (!Number.isInteger(value) || value < 128 || value > 2_160 || value % 2 !== 0) {
    throw new InvalidArgumentError('It must be an even number from 128 to 2160, such as 720.');
  }
  return value;
}

function share(text: string): number {
  const value = /^\d*\.?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value <= 1)) throw new InvalidArgumentError('It must be a number from 0 to 1, such as 0.5.');
  return value;
}
