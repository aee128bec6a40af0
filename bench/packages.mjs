#!/usr/bin/env node
/**
 * What a frame takes each variant of model packages, without and with a sharp still, and damaged: turn by turn in one process, on as many threads as told,
 * with the session options of the relay. 1280x720 out. Prints a table of medians and fastest frames, milliseconds.
 *
 * Run after `npm run build`.
 *
 *   node bench/packages.mjs models/swift OTHER/swift... [--threads 1] [--rounds 4] [--frames 20]
 *
 * (`git worktree add ../before HEAD~10` has a package as it was.)
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { resolveDimension } from '../dist/restoration/ModelSession.js';
import { sessionOptions } from '../dist/restoration/OnnxGraph.js';

const OUT = { h: 720, w: 1280 };
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '4' },
    frames: { type: 'string', default: '20' },
  },
});
const [threads, rounds, frames] = [values.threads, values.rounds, values.frames].map(Number);
if (positionals.length === 0 || !(threads > 0) || !(rounds > 0) || !(frames > 2)) {
  process.stderr.write('packages: FOLDER... [--threads 1] [--rounds 4] [--frames 20]\n');
  process.exit(1);
}
const options = sessionOptions({ provider: 'cpu', threads });
/** Frames as they mostly are, with a still of the same, and with a part lost. */
const WAYS = ['', 'with a still', 'damaged'];

/** Waves with some noise, limited range: no part of the graph takes a short cut. */
function picture(height, width) {
  let seed = 1;
  const luma = Uint8Array.from({ length: height * width }, (_, at) => {
    seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff;
    const [x, y] = [at % width, Math.floor(at / width)];
    const value = 128 + 60 * Math.sin(x / 9 + y / 17) + 30 * Math.sin(x / 3.1) + ((seed >> 16) % 9);
    return Math.max(16, Math.min(235, value));
  });
  return new Tensor('uint8', luma, [1, 1, height, width]);
}

function zeros(dtype, dims) {
  const length = dims.reduce((product, size) => product * size, 1);
  return new Tensor(dtype, dtype === 'uint8' ? new Uint8Array(length) : new Float32Array(length), dims);
}

async function opened(folder, variant, way) {
  const { references } = variant;
  const still = way === 'with a still';
  const at = { h: OUT.h / variant.scale, w: OUT.w / variant.scale };
  const session = await InferenceSession.create(
    join(folder, still ? references.file : variant.file),
    options,
  );
  const feeds = {
    [variant.luma]: picture(at.h, at.w),
    [variant.chroma]: zeros('uint8', [1, 2, at.h / 2, at.w / 2]),
    [variant.strength]: new Tensor('float32', Float32Array.of(1), [1]),
  };
  if (variant.mask !== undefined) {
    feeds[variant.mask] = zeros('uint8', [1, 1, at.h, at.w]);
    if (way === 'damaged') feeds[variant.mask].data.fill(255, 0, 16 * at.w);
  }
  for (const { input, dtype, shape } of variant.state)
    feeds[input] = zeros(
      dtype,
      shape.map((part) => resolveDimension(part, at.w, at.h, input)),
    );
  if (still) {
    const tables = await InferenceSession.create(join(folder, references.tablesFile), options);
    const made = await tables.run({ [references.still]: picture(OUT.h, OUT.w) });
    for (const { input, output } of references.tables) feeds[input] = made[output];
  }
  const name = `${variant.file} ${way}`.trim();
  return { folder, name, variant, session, feeds, ms: [] };
}

const runs = [];
for (const folder of positionals) {
  const { variants } = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8'));
  for (const variant of variants) {
    const { references, mask } = variant;
    for (const way of WAYS) {
      if (way === 'with a still' && references === undefined) continue;
      if (way === 'damaged' && mask === undefined) continue;
      runs.push(await opened(folder, variant, way));
    }
  }
}
for (let round = 0; round < rounds; round++) {
  for (const run of runs) {
    for (let frame = 0; frame < frames; frame++) {
      const start = performance.now();
      const out = await run.session.run(run.feeds);
      // The first ones find the caches full of the other's.
      if (frame > 1) run.ms.push(performance.now() - start);
      for (const { input, output } of run.variant.state) run.feeds[input] = out[output];
    }
  }
}
console.log('| package | variant | median | fastest |\n| --- | --- | --- | --- |');
for (const { folder, name, ms } of runs) {
  ms.sort((one, other) => one - other);
  console.log(`| ${folder} | ${name} | ${ms[ms.length >> 1].toFixed(2)} | ${ms[0].toFixed(2)} |`);
}
