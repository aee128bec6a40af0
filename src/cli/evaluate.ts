/** `vireo evaluate REF…`: what restoration is worth on clips of one's own. */
import { mkdir } from 'node:fs/promises';
import { basename } from 'node:path';
import { Command, Option } from 'commander';
import { VireoError } from '../errors.js';
import { type ClipSizes, DEFAULT_FPS, evaluateClip, sentFps } from '../evaluation/evaluateClip.js';
import { kernelMethod, type Method, modelMethod } from '../evaluation/methods.js';
import { EvaluatedModels } from '../evaluation/models.js';
import {
  type EvaluationReport,
  type EvaluationRow,
  RESTORED,
  reportOf,
  round,
} from '../evaluation/report.js';
import { UPLINK_CODECS } from '../evaluation/uplink.js';
import { chooseModel, PROVIDERS } from '../restoration/chooseModel.js';
import { DEFAULT_TARGET_SHORT_SIDE } from '../restoration/fit.js';
import { createInferenceDevice } from '../restoration/InferenceDevice.js';
import { mendsKeyFrames } from '../restoration/keyFrames.js';
import { ModelPackages } from '../restoration/ModelPackages.js';
import { strengthFor } from '../restoration/strength.js';
import type { InferenceDevice, ModelPackage } from '../restoration/types.js';
import { VideoFileReader } from '../restoration/VideoFileReader.js';
import {
  bitrates,
  bounded,
  checkFlags,
  type EvaluateFlags,
  KERNELS,
  methods,
  NOTES,
  UPLINK_HEIGHTS,
  uplinkHeights,
} from './evaluateFlags.js';
import { printTable } from './evaluateTable.js';
import { note, printJson, startProgress } from './progress.js';

export function evaluateCommand(): Command {
  return new Command('evaluate')
    .description('degrade reference clips as a call would, restore them, and measure the result')
    .argument('<ref...>', 'sharp reference clips')
    .addOption(
      new Option('--codec <name>', 'codec of the call; none: uncompressed')
        .choices([...UPLINK_CODECS])
        .default('vp8'),
    )
    .option(
      '--uplink-height <list>',
      `short side of the picture that is sent: ${UPLINK_HEIGHTS.join(', ')}, or several such as 180,360,720`,
      uplinkHeights,
      [180],
    )
    .option(
      '--bitrate <list>',
      'bitrates of the call, such as 60k,120k,240k',
      bitrates,
      [60_000, 120_000, 240_000],
    )
    .option('--fps <n>', 'pictures a second that are sent, at most about', bounded(1, 60), DEFAULT_FPS)
    .option('--blur <sigma>', 'Gaussian blur of the reference before it is sent, pixels', bounded(0, 20), 0)
    .option('--loss <percent>', 'RTP packets lost', bounded(0, 50), 0)
    .option(
      '--key-frames-every <seconds>',
      'force key frames, as people who join do; 0: none but the first',
      bounded(0, 3_600),
      0,
    )
    .option(
      '--inpaint <percent>',
      'pixels lost, with --codec none and --uplink-height 720',
      bounded(0, 95),
      0,
    )
    .addOption(
      new Option('--references <mode>', 'send a sharp still along').choices(['off', 'on']).default('off'),
    )
    .option(
      '--still-every <seconds>',
      'how long a still lasts, at least: its bytes are spread over that time',
      bounded(1, 3_600),
      30,
    )
    .option(
      '--against <list>',
      `methods to compare with: ${KERNELS.join(',')}, and names of model packages`,
      methods,
      [...KERNELS],
    )
    .option('--seconds <n>', 'only the first seconds of each clip, or after --start', bounded(0.05, 3_600))
    .option('--start <seconds>', 'what is left out of the beginning of each clip', bounded(0, 3_600), 0)
    .option('--pictures <folder>', 'write what the reference and every method show at one moment, as PNG')
    .option('--picture-at <seconds>', 'that moment', bounded(0, 3_600), 1)
    .option('--model <name>', 'model package')
    .option('--model-dir <folder...>', "folders with model packages, searched before Vireo's own")
    .addOption(
      new Option('--provider <name>', 'where the models run').choices([...PROVIDERS]).default('auto'),
    )
    .option('--threads <n>', 'CPU threads of a model; 0: one for each core', bounded(0, 256), 0)
    .option('--json', 'print one JSON document on stdout')
    .addHelpText('after', NOTES)
    .action(async (references: string[], flags: EvaluateFlags) => {
      const report = await evaluate(references, flags);
      if (flags.json === true) printJson(report);
      else printTable(report);
    });
}

export async function evaluate(paths: readonly string[], flags: EvaluateFlags): Promise<EvaluationReport> {
  checkFlags(flags);
  const { model } = await chooseModel({ ...flags, task: 'auto' });
  const references = flags.references === 'on';
  if (references && !model.manifest.variants.some((variant) => variant.references !== undefined)) {
    throw new VireoError(
      'unsupported',
      `--references on: model "${model.manifest.name}" takes no references`,
    );
  }
  const models = EvaluatedModels.choose({
    model,
    against: await packagesOf(flags),
    uplinkHeights: flags.uplinkHeight,
    codec: flags.codec,
    inpaint: flags.inpaint,
    references,
  });
  // Every clip is looked at before the first takes its minutes.
  const clips: Clip[] = [];
  for (const path of paths) clips.push(await clipOf(path, models.grid, flags));
  await makePicturesFolder(flags);
  for (const line of models.notes) note(line);
  const device = await createInferenceDevice({
    provider: flags.provider,
    threads: flags.threads,
    packages: models.packages,
    references,
    warmUpSizes: clips.flatMap((clip) =>
      models.scales.map((scale) => ({ scale, width: clip.width / scale, height: clip.height / scale })),
    ),
  });
  try {
    const rows: EvaluationRow[] = [];
    for (const clip of clips) {
      for (const uplinkHeight of flags.uplinkHeight) {
        for (const bitrate of flags.codec === 'none' ? [0] : flags.bitrate) {
          rows.push(...(await evaluateAt({ clip, uplinkHeight, bitrate }, device, models, flags)));
        }
      }
    }
    return reportOf(rows);
  } finally {
    await device.close();
  }
}

interface Clip {
  path: string;
  /** Of the reference as it is compared. */
  width: number;
  height: number;
  frames: number | null;
  /** As it is sent. */
  fps: number;
}

interface OperatingPoint {
  clip: Clip;
  uplinkHeight: number;
  bitrate: number;
}

async function evaluateAt(
  { clip, uplinkHeight, bitrate }: OperatingPoint,
  device: InferenceDevice,
  models: EvaluatedModels,
  flags: EvaluateFlags,
): Promise<EvaluationRow[]> {
  const { codec } = flags;
  const name = basename(clip.path);
  const how = codec === 'none' ? 'uncompressed' : `at ${bitrate / 1_000} kbit/s`;
  const progress = startProgress(`${name} ${uplinkHeight}p ${how}`, clip.frames);
  const sizes = sizesAt(clip, uplinkHeight);
  const label = codec === 'none' ? `${uplinkHeight}p` : `${uplinkHeight}p-${bitrate / 1_000}k`;
  try {
    const result = await evaluateClip({
      path: clip.path,
      sizes,
      codec,
      bitrateBps: bitrate,
      wantedFps: flags.fps,
      blurSigma: flags.blur,
      lossPercent: flags.loss,
      keyFramesEveryS: flags.keyFramesEvery,
      inpaintPercent: flags.inpaint,
      startSeconds: flags.start,
      seconds: flags.seconds ?? null,
      pictures:
        flags.pictures === undefined ? null : { folder: flags.pictures, label, atSeconds: flags.pictureAt },
      references: flags.references === 'on',
      openMethods: (sendsStill) => openMethods(device, models, uplinkHeight, sizes, { ...flags, sendsStill }),
      onFrame: (count) => progress.update(count),
    });
    const { actualBitrateBps, stillBytes, stillRestedShare, frames } = result;
    const seconds = Math.max(flags.stillEvery, frames / clip.fps);
    const stillBitrateBps = Math.round((stillBytes * 8) / seconds);
    return result.methods.map(({ method, referred, psnrY, ssimY, warpError, tOF, msPerFrame }) => ({
      clip: name,
      codec,
      uplinkHeight,
      fps: round(clip.fps, 2),
      bitrate,
      // What the still takes of the uplink is not there for pictures.
      actualBitrate: actualBitrateBps + (referred ? stillBitrateBps : 0),
      ...(referred ? { stillBytes, stillRestedShare: Number(stillRestedShare.toFixed(3)) } : {}),
      method,
      psnrY: round(psnrY, 3),
      ssimY: round(ssimY, 4),
      warpError: warpError === null ? null : round(warpError, 2),
      tOF: tOF === null ? null : round(tOF, 3),
      msPerFrame: round(msPerFrame, 2),
    }));
  } finally {
    progress.stop();
  }
}

/** The restored one first, then those of --against in their order. */
async function openMethods(
  device: InferenceDevice,
  models: EvaluatedModels,
  uplinkHeight: number,
  { reference }: ClipSizes,
  flags: EvaluateFlags & { sendsStill: boolean },
): Promise<Method[]> {
  const opened: Method[] = [];
  for (const wanted of [RESTORED, ...flags.against]) {
    const kernel = KERNELS.find((name) => name === wanted);
    const used = models.at(uplinkHeight).find(({ method }) => method === wanted);
    if (kernel !== undefined) opened.push(kernelMethod(kernel, reference, flags.inpaint));
    else if (used !== undefined) {
      const { packageName } = used;
      const variant = flags.sendsStill ? used.withStill : used.variant;
      const [width, height] = [reference.width / variant.scale, reference.height / variant.scale];
      const stream = await device.openStream({ packageName, variant, width, height });
      stream.strength = strengthFor(variant, flags.codec);
      const references = flags.references === 'on' && wanted === RESTORED;
      opened.push(
        modelMethod(wanted, stream, {
          references,
          mends: mendsKeyFrames(flags.codec) && wanted === RESTORED,
        }),
      );
    }
  }
  return opened;
}

async function packagesOf({ against, modelDir }: EvaluateFlags): Promise<ModelPackage[]> {
  const packages = ModelPackages.create(modelDir);
  const loaded: ModelPackage[] = [];
  for (const name of against) {
    if (KERNELS.some((kernel) => kernel === name)) continue;
    const model = await packages.load(name).catch((thrown: unknown) => {
      const { code, message } = VireoError.from(thrown);
      throw new VireoError(code, `--against ${name}: ${message}`, { cause: thrown });
    });
    loaded.push(model);
  }
  return loaded;
}

async function clipOf(path: string, grid: number, flags: EvaluateFlags): Promise<Clip> {
  const reader = await VideoFileReader.open(path);
  const { width, height, frames, frameRate } = reader.info;
  await reader.close();
  const most = Math.min(width, height, DEFAULT_TARGET_SHORT_SIDE);
  // Smaller ones are scaled a little, as larger ones are to 720 lines.
  const short = most - (most % grid);
  const heights = `--uplink-height ${flags.uplinkHeight.join(',')}`;
  if (most === DEFAULT_TARGET_SHORT_SIDE && short < most) {
    throw new VireoError(
      'unsupported',
      `${heights}: ${most} lines are no multiple of ${grid}, the models' grid`,
    );
  }
  if (short === 0) {
    const needed = `the short side must be ${grid} at least (${heights})`;
    throw new VireoError('unsupported', `REF ${path} is ${width}x${height}: ${needed}`);
  }
  const aspect = Math.max(width, height) / Math.min(width, height);
  const long = Math.max(short, Math.round((short * aspect) / grid) * grid);
  const limit = flags.seconds === undefined ? Infinity : (flags.seconds * frameRate.num) / frameRate.den;
  return {
    path,
    ...(width >= height ? { width: long, height: short } : { width: short, height: long }),
    fps: sentFps(frameRate.num / frameRate.den, flags.fps),
    frames:
      frames === null
        ? null
        : Math.max(0, Math.round(Math.min(frames - flags.start * (frameRate.num / frameRate.den), limit))),
  };
}

function sizesAt({ width, height }: Clip, uplinkHeight: number): ClipSizes {
  const share = uplinkHeight / DEFAULT_TARGET_SHORT_SIDE;
  const even = (side: number): number => Math.max(2, Math.round((side * share) / 2) * 2);
  return { uplink: { width: even(width), height: even(height) }, reference: { width, height } };
}

async function makePicturesFolder({ pictures }: EvaluateFlags): Promise<void> {
  if (pictures === undefined) return;
  await mkdir(pictures, { recursive: true }).catch((thrown: unknown) => {
    throw new VireoError('bad-request', `--pictures ${pictures}: ${VireoError.from(thrown).message}`);
  });
}
