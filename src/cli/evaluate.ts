/** `vireo evaluate REF…`: what restoration is worth on clips of one's own. */
import { basename } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { VireoError } from '../errors.js';
import { CALL_CODECS, type CallCodecName } from '../evaluation/CallCodec.js';
import { type ClipSizes, evaluateClip } from '../evaluation/evaluateClip.js';
import { type EvaluationReport, type EvaluationRow, reportOf, round } from '../evaluation/report.js';
import { chooseModel, PROVIDERS, type ProviderFlag } from '../restoration/chooseModel.js';
import type { Kernel } from '../restoration/filters.js';
import { DEFAULT_TARGET_SHORT_SIDE, fitToVariant } from '../restoration/fit.js';
import { createInferenceDevice } from '../restoration/InferenceDevice.js';
import type { Variant } from '../restoration/manifest.js';
import type { InferenceDevice } from '../restoration/types.js';
import { VideoFileReader } from '../restoration/VideoFileReader.js';
import { printJson, startProgress } from './progress.js';

const KERNELS: readonly Kernel[] = ['bilinear', 'bicubic', 'lanczos'];
const UPLINK_HEIGHTS = ['180', '360', '720'] as const;

export interface EvaluateFlags {
  codec: CallCodecName;
  uplinkHeight: (typeof UPLINK_HEIGHTS)[number];
  bitrate: number[];
  blur: number;
  loss: number;
  references: 'off' | 'on';
  against: Kernel[];
  seconds?: number;
  model?: string;
  modelDir?: string[];
  provider: ProviderFlag;
  threads: number;
  json?: boolean;
}

const NOTES = `
Each reference is scaled so that its short side is 720, then to the uplink height (box filter), encoded in real
time at a constant bitrate (libvpx cpu-used -6 for VP8 and 7 for VP9, x264 ultrafast zerolatency, SVT-AV1 preset 12; one thread),
decoded and restored. Clips of fewer than 720 lines are compared at their own size, with the same ratio to the
uplink, if their short side divides evenly. References above 30 fps are thinned out.

psnrY and ssimY are means over the frames (FFmpeg's psnr and ssim). bitrate is what was asked for, actualBitrate
what the encoder sent; bdRate compares at actualBitrate, from two bitrates on, and is left out where the
qualities do not overlap. VMAF is left out: this FFmpeg is built without libvmaf.

warpError is flicker: how far a method's frame is from its predecessor carried along by the reference's optical
flow, as the mean squared difference of luma code values where the flow holds, over one pair of frames in five.

--loss drops RTP packets of 1200 bytes at random (always the same ones): a frame that lacks one is lost whole,
and the receiver shows the last picture until a key frame comes, sent 150 ms later. There is no retransmission.`;

export function evaluateCommand(): Command {
  return new Command('evaluate')
    .description('degrade reference clips as a call would, restore them, and measure the result')
    .argument('<ref...>', 'sharp reference clips')
    .addOption(new Option('--codec <name>', 'codec of the call').choices([...CALL_CODECS]).default('vp8'))
    .addOption(
      new Option('--uplink-height <lines>', 'short side of the picture that is sent')
        .choices([...UPLINK_HEIGHTS])
        .default('180'),
    )
    .option(
      '--bitrate <list>',
      'bitrates of the call, such as 60k,120k,240k',
      bitrates,
      [60_000, 120_000, 240_000],
    )
    .option('--blur <sigma>', 'Gaussian blur of the reference before it is sent, pixels', bounded(0, 20), 0)
    .option('--loss <percent>', 'RTP packets lost', bounded(0, 50), 0)
    .addOption(
      new Option('--references <mode>', 'send sharp stills along').choices(['off', 'on']).default('off'),
    )
    .option('--against <list>', `methods to compare with: ${KERNELS.join(',')}`, kernels, [...KERNELS])
    .option('--seconds <n>', 'only the first seconds of each clip', bounded(0.05, 3_600))
    .option('--model <name>', 'model package')
    .option('--model-dir <folder...>', "folders with model packages, searched before Vireo's own")
    .addOption(
      new Option('--provider <name>', 'where the model runs').choices([...PROVIDERS]).default('auto'),
    )
    .option('--threads <n>', 'CPU threads of the model; 0: one for each core', bounded(0, 256), 0)
    .option('--json', 'print one JSON document on stdout')
    .addHelpText('after', NOTES)
    .action(async (references: string[], flags: EvaluateFlags) => {
      const report = await evaluate(references, flags);
      if (flags.json === true) printJson(report);
      else printTable(report);
    });
}

export async function evaluate(
  references: readonly string[],
  flags: EvaluateFlags,
): Promise<EvaluationReport> {
  const { model } = await chooseModel({ ...flags, task: 'auto' });
  const { name } = model.manifest;
  if (flags.references === 'on') {
    throw new VireoError('unsupported', `--references on: model "${name}" takes no references`);
  }
  const uplinkHeight = Number(flags.uplinkHeight);
  const scale = DEFAULT_TARGET_SHORT_SIDE / uplinkHeight;
  const variant = model.manifest.variants.find((candidate) => candidate.scale === scale);
  if (variant === undefined || variant.T !== 1) {
    const scales = model.manifest.variants.map((v) => DEFAULT_TARGET_SHORT_SIDE / v.scale).join(', ');
    throw new VireoError(
      'unsupported',
      `--uplink-height ${uplinkHeight}: model "${name}" restores ${scales}`,
    );
  }
  // Every clip is looked at before the first takes its minutes.
  const clips: { path: string; sizes: ClipSizes; frames: number | null }[] = [];
  for (const path of references) clips.push({ path, ...(await sizesOf(path, variant, flags)) });
  const device = await createInferenceDevice({
    provider: flags.provider,
    threads: flags.threads,
    packages: [{ ...model, manifest: { ...model.manifest, variants: [variant] } }],
    warmUpSizes: clips.map(({ sizes }) => ({ scale: variant.scale, ...sizes.uplink })),
  });
  try {
    const rows: EvaluationRow[] = [];
    for (const { path, sizes, frames } of clips) {
      for (const bitrate of flags.bitrate) {
        rows.push(...(await evaluateAt(path, sizes, frames, bitrate, device, name, variant, flags)));
      }
    }
    return reportOf(rows);
  } finally {
    await device.close();
  }
}

async function evaluateAt(
  path: string,
  sizes: ClipSizes,
  frames: number | null,
  bitrateBps: number,
  device: InferenceDevice,
  packageName: string,
  variant: Variant,
  flags: EvaluateFlags,
): Promise<EvaluationRow[]> {
  const clip = basename(path);
  const progress = startProgress(`${clip} at ${bitrateBps / 1_000} kbit/s`, frames);
  try {
    const result = await evaluateClip({
      path,
      sizes,
      codec: flags.codec,
      bitrateBps,
      blurSigma: flags.blur,
      lossPercent: flags.loss,
      against: flags.against,
      seconds: flags.seconds ?? null,
      openStream: () => device.openStream({ packageName, variant, ...sizes.uplink }),
      onFrame: (count) => progress.update(count),
    });
    return result.methods.map(({ method, psnrY, ssimY, warpError, msPerFrame }) => ({
      clip,
      codec: flags.codec,
      uplinkHeight: Number(flags.uplinkHeight),
      bitrate: bitrateBps,
      actualBitrate: result.actualBitrateBps,
      method,
      psnrY: round(psnrY, 3),
      ssimY: round(ssimY, 4),
      warpError: warpError === null ? null : round(warpError, 2),
      msPerFrame: round(msPerFrame, 2),
    }));
  } finally {
    progress.stop();
  }
}

async function sizesOf(
  path: string,
  variant: Variant,
  flags: EvaluateFlags,
): Promise<{ sizes: ClipSizes; frames: number | null }> {
  const reader = await VideoFileReader.open(path);
  const { width, height, frames, frameRate } = reader.info;
  await reader.close();
  const shortSide = Math.min(width, height);
  const fitted = fitToVariant(variant, width, height, Math.min(shortSide, DEFAULT_TARGET_SHORT_SIDE));
  if (fitted === undefined) {
    const multiple = 2 * variant.fold * variant.scale;
    throw new VireoError(
      'unsupported',
      `REF ${path} is ${width}x${height}: below 720 lines the short side must be a multiple of ${multiple} (--uplink-height ${flags.uplinkHeight})`,
    );
  }
  const limit = flags.seconds === undefined ? Infinity : (flags.seconds * frameRate.num) / frameRate.den;
  return {
    sizes: {
      uplink: { width: fitted.inputWidth, height: fitted.inputHeight },
      reference: { width: fitted.outputWidth, height: fitted.outputHeight },
    },
    frames: frames === null ? null : Math.round(Math.min(frames, limit)),
  };
}

function printTable(report: EvaluationReport): void {
  const line = (cells: (string | number)[]) =>
    cells.map((cell, index) => String(cell).padEnd([28, 9, 10, 9, 8, 9, 8][index] ?? 8)).join(' ');
  const lines = [line(['clip', 'kbit/s', 'method', 'PSNR-Y', 'SSIM-Y', 'flicker', 'ms/frame'])];
  for (const row of report.rows) {
    const kbps = round(row.actualBitrate / 1_000, 1);
    lines.push(
      line([
        row.clip,
        kbps,
        row.method,
        row.psnrY.toFixed(2),
        row.ssimY.toFixed(4),
        row.warpError ?? '',
        row.msPerFrame,
      ]),
    );
  }
  for (const row of report.summary) {
    const { bitrate, method, psnrY, ssimY, warpError } = row;
    lines.push(
      line(['mean', `${bitrate / 1_000}`, method, psnrY.toFixed(2), ssimY.toFixed(4), warpError ?? '', '']),
    );
  }
  for (const [pair, percent] of Object.entries(report.bdRate)) lines.push(`BD-rate ${pair}: ${percent} %`);
  process.stdout.write(`${lines.join('\n')}\n`);
}

function bitrates(text: string): number[] {
  return text.split(',').map((part) => {
    const match = /^(\d+(?:\.\d+)?)([kM]?)$/.exec(part.trim());
    const value = Number(match?.[1]) * { '': 1, k: 1_000, M: 1_000_000 }[match?.[2] as '' | 'k' | 'M'];
    if (match === null || !(value >= 5_000 && value <= 50_000_000)) {
      throw new InvalidArgumentError('It must be a list of bitrates from 5k to 50M, such as 60k,120k,1.5M.');
    }
    return value;
  });
}

function kernels(text: string): Kernel[] {
  return text.split(',').map((part) => {
    const kernel = KERNELS.find((name) => name === part.trim());
    if (kernel === undefined) throw new InvalidArgumentError(`It must be a list of ${KERNELS.join(', ')}.`);
    return kernel;
  });
}

function bounded(low: number, high: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !(value >= low && value <= high)) {
      throw new InvalidArgumentError(`It must be a number from ${low} to ${high}.`);
    }
    return value;
  };
}
