// What is evaluated for the report: `vireo evaluate` by clip and experiment, each result kept in the cache.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { variantFor } from '../../dist/evaluation/models.js';
import { ModelPackages } from '../../dist/restoration/ModelPackages.js';
import { strengthFor } from '../../dist/restoration/strength.js';
import { VideoFileReader } from '../../dist/restoration/VideoFileReader.js';
import { cacheFolder } from './cache.mjs';

/** To be raised when what evaluations measure changes. */
const CACHE_VERSION = 4;
/** The moment that is shown, seconds into each clip; shorter ones show their middle. */
const PICTURE_AT = 1.5;
const KERNELS = ['bilinear', 'bicubic', 'lanczos'];
const vireo = fileURLToPath(new URL('../../bin/vireo.js', import.meta.url));

/**
 * By height the rates that make sense there; together they cover the hulls. 720 goes with 360, which every model
 * restores: one that lacks 720 still has it sent plainly.
 */
const CALLS = [
  { id: '180', heights: [180], rates: [60, 120, 240] },
  { id: '360-low', heights: [360], rates: [120] },
  { id: '360-720', heights: [360, 720], rates: [250, 500] },
];
/** What calls are sent with besides VP8; `vireo evaluate` says how. */
export const OTHER_CODECS = ['h264', 'vp9', 'av1'];
/** Pictures a second that are left of a call when its uplink is thin. */
export const FEW = 10;
const FEW_CALLS = [
  { id: '180', heights: [180], rates: [60, 120, 240] },
  { id: '360', heights: [360], rates: [120, 250] },
];
/** What browsers come to between the sizes of the variants, by themselves or for cameras of few pixels, and the codecs it is looked at with. */
const BETWEEN_CALLS = [
  { id: '144', heights: [144], rates: [40, 60] },
  { id: '240-270', heights: [240, 270], rates: [90, 180] },
  { id: '540', heights: [540], rates: [350, 700] },
];
const BETWEEN_CODECS = ['vp8', 'h264'];
/** As in a call whose scene stays: seconds that one still serves. */
export const STILL_EVERY_S = 30;
/** Seconds that a still is old when a call is looked at; clips that are too short for one are left out of it. */
export const AGES_S = [2, 5, 7.5, 15];
export const AGED_CALL = { height: 180, rates: [60, 120] };
export const BLUR = 2;
export const LOST_PERCENT = 50;
const SAME_SIZE = [
  { id: 'deblur', task: 'deblur', args: ['--blur', `${BLUR}`] },
  { id: 'inpaint', task: 'inpaint', args: ['--inpaint', `${LOST_PERCENT}`] },
];
/** What a published network may cost a frame before it is left to the smallest pictures, weights at 180 lines. */
const SMALL_ONLY = 100_000;

/**
 * @typedef {import('../../dist/restoration/manifest.js').Manifest} Manifest
 * @typedef {import('../../dist/evaluation/report.js').EvaluationRow} Row
 * @typedef {{ name: string, manifest: Manifest, folders: string[] }} Package
 * @typedef {{ model: Package, tiers: Package[], baselines: Package[] }} Packages
 * @typedef {object} Measured
 * @property {Row[]} calls rows of all clips, the judged model under its own name
 * @property {Row[]} codecs the judged model and what browsers and plain methods make of the other codecs
 * @property {Row[]} few the judged model and what browsers and plain methods make of calls with few pictures a second
 * @property {Row[]} between the judged model and what browsers and plain methods make of sizes between those of the variants
 * @property {Row[] | null} stills the judged model with a sharp still, under its name with that; null: it takes none
 * @property {{ startS: number, sharp: boolean, row: Row }[]} aged the judged model later in a clip, without its first picture as a still and with it
 * @property {Row[] | null} deblur null: the package has no such variant
 * @property {Row[] | null} inpaint
 * @property {Map<string, string>} pictures folder of PNGs by clip and experiment
 */

/**
 * @param {string} name @param {string[]} folders @param {{ name: string, folder: string }[]} baselines
 * @returns {Promise<Packages>}
 */
export async function loadPackages(name, folders, baselines) {
  const packages = ModelPackages.create(folders);
  const of = async (/** @type {string} */ one, /** @type {string[]} */ from) => {
    const { manifest } = await ModelPackages.create(from).load(one);
    return { name: one, manifest, folders: from };
  };
  const model = await of(name, folders);
  const others = (await packages.list()).filter((entry) => entry.manifest !== null && entry.name !== name);
  return {
    model,
    tiers: await Promise.all(others.map((entry) => of(entry.name, folders))),
    baselines: await Promise.all(baselines.map((one) => of(one.name, [one.folder]))),
  };
}

/**
 * @param {{ clips: import('./clips.mjs').Clip[], seconds: number, packages: Packages, codecs: string[], threads: number, say: (text: string) => void }} options
 * @returns {Promise<Measured>}
 */
export async function evaluateAll({ clips, seconds, packages, codecs, threads, say }) {
  const { model, tiers, baselines } = packages;
  /** @type {Measured} */
  const measured = {
    calls: [],
    codecs: [],
    few: [],
    between: [],
    stills: null,
    aged: [],
    deblur: null,
    inpaint: null,
    pictures: new Map(),
  };
  const common = ['--threads', `${threads}`, '--provider', 'cpu'];
  for (const clip of clips) {
    const run = async (
      /** @type {string} */ id,
      /** @type {Package} */ judged,
      /** @type {Package[]} */ against,
      /** @type {string[]} */ plain,
      /** @type {string[]} */ args,
      pictures = judged === model,
    ) => {
      const length = args.includes('--seconds') ? [] : ['--seconds', `${seconds}`];
      const job = { clip, id, judged, against, args: [...args, ...length, ...common], plain, pictures, say };
      const { rows, shown } = await cachedRun(job);
      if (shown !== null) measured.pictures.set(`${clip.file} ${id}`, shown);
      return rows.map((row) => (row.method === 'vireo' ? { ...row, method: judged.name } : row));
    };
    for (const { id, heights, rates } of CALLS) {
      const args = callFlags(heights, rates);
      const restores = (/** @type {Package} */ one) =>
        heights.some((height) => scalesOf(one).has(720 / height));
      measured.calls.push(...(await run(id, model, tiers.filter(restores), KERNELS, args)));
      // Apart from the model, so that a new model does not have them measured again.
      for (const height of heights) {
        const usable = baselines.filter(
          (one) => scalesOf(one).has(720 / height) && (height === 180 || one.manifest.weights < SMALL_ONLY),
        );
        const [first, ...rest] = usable;
        const single = ['--uplink-height', `${height}`, ...args.slice(2)];
        if (first !== undefined)
          measured.calls.push(...(await run(`${id}-${height}`, first, rest, [], single)));
      }
    }
    for (const { id, heights, rates } of CALLS) {
      for (const codec of codecs) {
        const rows = await run(
          `${id}-${codec}`,
          model,
          [],
          ['bilinear', 'bicubic'],
          ['--codec', codec, ...callFlags(heights, rates)],
          false,
        );
        measured.codecs.push(...rows);
      }
    }
    for (const { id, heights, rates } of FEW_CALLS) {
      // Fewer pictures take less time: flicker is a mean over more of them so.
      const args = [...callFlags(heights, rates), '--fps', `${FEW}`, '--seconds', `${2 * seconds}`];
      measured.few.push(...(await run(`${id}-few`, model, [], ['bilinear', 'bicubic'], args, false)));
    }
    for (const codec of BETWEEN_CODECS.filter((one) => one === 'vp8' || codecs.includes(one))) {
      for (const { id, heights, rates } of BETWEEN_CALLS) {
        const restored = heights.filter((height) => variantFor(model, height, { codec, inpaint: 0 }));
        if (restored.length === 0) continue;
        const args = ['--codec', codec, ...callFlags(restored, rates)];
        const rows = await run(`${id}-${codec}`, model, [], ['bilinear', 'bicubic'], args, false);
        measured.between.push(...rows);
      }
    }
    for (const { id, heights, rates } of CALLS) {
      const sharpened = heights.filter((height) => takesStills(model, 720 / height));
      if (sharpened.length === 0) continue;
      const args = ['--references', 'on', '--still-every', `${STILL_EVERY_S}`];
      const rows = await run(`${id}-stills`, model, [], [], [...callFlags(sharpened, rates), ...args]);
      const named = rows.map((row) => ({ ...row, method: `${model.name} with a still` }));
      measured.stills = [...(measured.stills ?? []), ...named];
    }
    const { height, rates } = AGED_CALL;
    const long = takesStills(model, 720 / height) ? await secondsOf(clip.path) : 0;
    for (const startS of AGES_S.filter((age) => age + seconds <= long)) {
      for (const sharp of [false, true]) {
        const later = ['--start', `${startS}`, ...(sharp ? ['--references', 'on'] : [])];
        const args = [...callFlags([height], rates), ...later];
        const rows = await run(`${height}-${startS}s${sharp ? '-still' : ''}`, model, [], [], args, false);
        measured.aged.push(...rows.map((row) => ({ startS, sharp, row })));
      }
    }
    for (const { id, task, args } of SAME_SIZE) {
      const has = (/** @type {Package} */ one) => {
        return one.manifest.variants.some(
          (variant) => variant.scale === 1 && (variant.task === task || task === 'deblur'),
        );
      };
      if (!has(model)) continue;
      const key = /** @type {'deblur' | 'inpaint'} */ (id);
      const rows = await run(
        id,
        model,
        tiers.filter(has),
        ['bicubic'],
        ['--codec', 'none', '--uplink-height', '720', ...args],
      );
      measured[key] = [...(measured[key] ?? []), ...rows];
    }
  }
  return measured;
}

/** @param {string} path */
async function secondsOf(path) {
  const reader = await VideoFileReader.open(path);
  const { frames, frameRate } = reader.info;
  await reader.close();
  return ((frames ?? 0) * frameRate.den) / frameRate.num;
}

/** @param {number[]} heights @param {number[]} rates kbit/s */
function callFlags(heights, rates) {
  return ['--uplink-height', heights.join(','), '--bitrate', rates.map((rate) => `${rate}k`).join(',')];
}

/** @param {Package} one @param {number} scale */
function takesStills({ manifest }, scale) {
  return manifest.variants.some((variant) => variant.scale === scale && variant.references !== undefined);
}

/** @param {Package} one */
function scalesOf({ manifest }) {
  return new Set(manifest.variants.map((variant) => /** @type {number} */ (variant.scale)));
}

/**
 * @param {{ clip: import('./clips.mjs').Clip, id: string, judged: Package, against: Package[], args: string[], plain: string[], pictures: boolean, say: (text: string) => void }} job
 * @returns {Promise<{ rows: Row[], shown: string | null }>} its rows, and the folder of its PNGs
 */
async function cachedRun({ clip, id, judged, against, args, plain, pictures, say }) {
  const folders = [...new Set([judged, ...against].flatMap((one) => one.folders))];
  const methods = [...plain, ...against.map((one) => one.name)];
  const [content, graph, ...stills] = await Promise.all(
    [
      clip.path,
      ...[
        '../../models/metrics/warp-error.onnx',
        '../../dist/signaling/stillBudget.js',
        '../../dist/evaluation/still.js',
        '../../dist/signaling/thumbnail.js',
        '../../dist/evaluation/StillFocus.js',
        '../../dist/signaling/focus.js',
      ].map((path) => new URL(path, import.meta.url)),
    ].map(async (path) =>
      createHash('sha256')
        .update(await readFile(path))
        .digest('hex'),
    ),
  );
  // Variants for other sizes than are sent have no part in it, nor what other codecs' pictures take.
  const codec = (args.includes('--codec') && args[args.indexOf('--codec') + 1]) || 'vp8';
  const heights = (args[args.indexOf('--uplink-height') + 1] ?? '').split(',');
  const inpaint = args.includes('--inpaint') ? 1 : 0;
  const checksums = [judged, ...against].map((one) =>
    heights.map((height) => {
      const variant = variantFor(one, Number(height), { codec, inpaint });
      if (variant === undefined) return null;
      const { sha256, references } = variant;
      const share = strengthFor(variant, codec);
      const how = share === 1 ? sha256 : [sha256, share];
      return args.includes('--references') ? [how, references, ...stills] : how;
    }),
  );
  const key = createHash('sha256')
    .update(JSON.stringify([CACHE_VERSION, clip.file, content, judged.name, checksums, args, methods, graph]))
    .digest('hex')
    .slice(0, 24);
  const folder = join(
    cacheFolder('quality'),
    `${basename(clip.file, extname(clip.file))}-${id}-${judged.name}-${key}`,
  );
  const result = join(folder, 'report.json');
  if (!existsSync(result)) {
    say(`${clip.title}: ${id}, ${judged.name}`);
    const unfinished = `${folder}.${process.pid}`;
    await mkdir(unfinished, { recursive: true });
    const all = ['evaluate', clip.path, '--json', '--model', judged.name, ...args];
    // Something to compare with is always there: the flag takes no empty list.
    all.push('--against', methods.length > 0 ? methods.join(',') : 'bicubic');
    if (folders.length > 0) all.push('--model-dir', ...folders);
    if (pictures) all.push('--pictures', unfinished, '--picture-at', `${pictureAt(args)}`);
    await writeFile(join(unfinished, 'report.json'), await output(all));
    await rm(folder, { recursive: true, force: true });
    await rename(unfinished, folder);
  }
  const { rows } = JSON.parse(await readFile(result, 'utf8'));
  const kept = rows.filter((/** @type {Row} */ row) => row.method !== 'bicubic' || plain.includes('bicubic'));
  return { rows: kept, shown: pictures ? folder : null };
}

/** @param {string[]} args */
function pictureAt(args) {
  const seconds = Number(args[args.indexOf('--seconds') + 1]);
  return Math.min(PICTURE_AT, seconds / 2);
}

/** @param {string[]} args */
async function output(args) {
  const child = spawn(process.execPath, [vireo, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const [out, problems] = await Promise.all([textOf(child.stdout), textOf(child.stderr)]);
  const code = child.exitCode ?? (await new Promise((resolve) => child.once('close', resolve)));
  if (code !== 0) throw new Error(`vireo ${args.join(' ')}: ${problems.trim() || `exit code ${code}`}`);
  return out;
}

/** @param {import('node:stream').Readable} stream */
async function textOf(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts).toString('utf8');
}
