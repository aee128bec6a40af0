#!/usr/bin/env node
// `npm run quality -- --data DIR`: runs every evaluation of the quality report and writes docs/quality.md with
// its pictures and curves. Nothing in them is edited by hand. What was measured is kept in the cache, by the
// model's checksums, so that a second run costs seconds and a new model only its own part.
//
//   --data DIR        folder with the clips of scripts/quality/clips.mjs; without any of them, all clips in it
//   --quick           2 seconds of each clip instead of 5, and one published network
//   --seconds N       another length
//   --clips A,B       only clips whose names contain one of these
//   --model NAME      package to judge (default: swift); --model-dir FOLDER where to look for packages first
//   --baselines A,B   published networks to compare with (default: websr-m,websr-l,esrgan-slim, or with --quick websr-m; none),
//                     built by models/baselines/build.py when they are not in the cache
//   --codecs A,B      what calls are sent with besides VP8 (default: h264,vp9,av1; with --quick none)
//   --out FOLDER      where docs go (default: docs)
//   --threads N       CPU threads of a model; 0: one for each core
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { buildBaselines } from './quality/baselines.mjs';
import { findClips } from './quality/clips.mjs';
import { drawCurves } from './quality/curves.mjs';
import { writeReport } from './quality/report.mjs';
import { evaluateAll, loadPackages, OTHER_CODECS } from './quality/runs.mjs';
import { makeStrips } from './quality/strips.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
/** @param {string} reason @returns {never} */
function fail(reason) {
  process.stderr.write(`quality: ${reason}\n`);
  process.exit(1);
}

function readFlags() {
  try {
    return parseArgs({
      options: {
        data: { type: 'string' },
        quick: { type: 'boolean', default: false },
        seconds: { type: 'string' },
        clips: { type: 'string' },
        model: { type: 'string', default: 'swift' },
        'model-dir': { type: 'string', multiple: true, default: [] },
        baselines: { type: 'string' },
        codecs: { type: 'string' },
        out: { type: 'string', default: join(root, 'docs') },
        threads: { type: 'string', default: '0' },
      },
    }).values;
  } catch (error) {
    fail(error instanceof Error ? error.message : String(error));
  }
}

const flags = readFlags();
const say = (/** @type {string} */ text) => process.stderr.write(`quality: ${text}\n`);

if (flags.data === undefined) fail('--data DIR: the folder with the clips is missing');
const seconds = Number(flags.seconds ?? (flags.quick ? 2 : 5));
if (!(seconds >= 0.2)) fail(`--seconds ${flags.seconds}: it must be a number from 0.2 on`);
const clips = await findClips(flags.data, flags.clips?.split(',') ?? []);
if (clips.length === 0)
  fail(`--data ${flags.data}: there is no clip in it${flags.clips ? ` for --clips ${flags.clips}` : ''}`);

const names = flags.baselines ?? (flags.quick ? 'websr-m' : 'websr-m,websr-l,esrgan-slim');
const wanted = names === 'none' ? [] : names.split(',');
const codecNames = flags.codecs ?? (flags.quick ? 'none' : OTHER_CODECS.join(','));
const codecs = codecNames === 'none' ? [] : codecNames.split(',');
const baselines = buildBaselines(wanted, say);
const packages = await loadPackages(flags.model, flags['model-dir'], baselines).catch((error) =>
  fail(error.message),
);
say(
  `${clips.length} clips, ${seconds} s each; ${packages.model.name}${packages.tiers.map(({ name }) => `, ${name}`).join('')}; ${baselines.map(({ name }) => name).join(', ') || 'no baselines'}`,
);

const measured = await evaluateAll({
  clips,
  seconds,
  packages,
  codecs,
  threads: Number(flags.threads),
  say,
}).catch((error) => fail(error.message));

const out = resolve(flags.out);
const images = join(out, 'images', 'quality');
await rm(images, { recursive: true, force: true });
await mkdir(images, { recursive: true });
const curves = await drawCurves(clips, measured, images);
const strips = await makeStrips(clips, measured, images);
const machine = `${cpus()[0]?.model.trim() ?? 'unknown processor'}, ${cpus().length} cores`;
const text = await writeReport({ clips, seconds, packages, measured, curves, strips, machine });
await writeFile(join(out, 'quality.md'), text);
say(`wrote ${join(out, 'quality.md')}`);
