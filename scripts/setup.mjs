#!/usr/bin/env node
// Sets up whatever a clone is missing: dependencies, compiled code, the web client, the models' presence
// and (with --test) what the tests need. Idempotent; quick when there is nothing to do.
//
//   node scripts/setup.mjs            what `npm start` needs
//   node scripts/setup.mjs --test     and what `npm test` needs (Chromium, the mediasoup worker, PyTorch)
//
// It uses nothing but Node itself, because it runs before there is a node_modules.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureChromium } from './chromium.mjs';
import { ensurePyTorch } from './pytorch.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const forTests = process.argv.includes('--test');
const stampFile = join(root, 'node_modules', '.vireo-setup.json');

/** @param {string} text */
const say = (text) => process.stderr.write(`setup: ${text}\n`);

/** @param {string} reason @returns {never} */
function fail(reason) {
  say(reason);
  process.exit(1);
}

/** @param {string} what @param {string} command @param {string[]} args */
function run(what, command, args) {
  say(what);
  const startedAt = Date.now();
  // What the steps print goes to stderr: `npm start` and the CLI own stdout.
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2] });
  if (error || status !== 0) fail(`${what}: failed (${error ? error.message : `exit code ${status}`})`);
  say(`${what}: done in ${((Date.now() - startedAt) / 1000).toFixed(1)} s`);
}

/** Hash over names, sizes and contents of files, so that a stamp is right whatever the clock says. */
function digest(/** @type {string[]} */ paths) {
  const hash = createHash('sha256');
  /** @param {string} path */
  const visit = (path) => {
    if (!existsSync(path)) return;
    if (statSync(path).isDirectory()) {
      for (const name of readdirSync(path).sort())
        if (name !== 'dist' && name !== 'node_modules') visit(join(path, name));
    } else hash.update(path.slice(root.length)).update('\0').update(readFileSync(path)).update('\0');
  };
  for (const path of paths) visit(join(root, path));
  return hash.digest('hex');
}

function readStamp() {
  try {
    return JSON.parse(readFileSync(stampFile, 'utf8'));
  } catch {
    return {};
  }
}

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19))
  fail(`Node ${process.versions.node} is too old: Vireo needs 20.19 or later`);

let stamp = readStamp();
const save = (/** @type {Record<string, string>} */ part) => {
  stamp = { ...stamp, ...part };
  mkdirSync(join(root, 'node_modules'), { recursive: true });
  writeFileSync(stampFile, `${JSON.stringify(stamp, null, 2)}\n`);
};

const dependencies = digest(['package-lock.json', '.npmrc']) + process.versions.modules;
if (stamp.dependencies !== dependencies) {
  run('installing dependencies (npm ci, install scripts off)', 'npm', [
    'ci',
    '--no-progress',
    '--loglevel=error',
  ]);
  stamp = {};
  save({ dependencies });
}

const relay = digest(['src', 'tsconfig.json']);
if (stamp.relay !== relay || !existsSync(join(root, 'dist', 'cli', 'main.js'))) {
  run('compiling the relay', process.execPath, ['node_modules/typescript/bin/tsc', '-p', '.']);
  save({ relay });
}

const client = digest(['web-client', 'src/signaling', 'src/restorer/types.ts', 'src/errors.ts']);
if (stamp.client !== client || !existsSync(join(root, 'web-client', 'dist', 'index.html'))) {
  run('building the web client', process.execPath, [
    'node_modules/vite/bin/vite.js',
    'build',
    'web-client',
    '--logLevel',
    'warn',
  ]);
  save({ client });
}

// The mediasoup worker is optional: the werift engine serves where there is none. `npm start` takes one
// that is there or can be downloaded, and asks only once; compiling is `npm run setup:mediasoup`.
const mediasoupArgs = forTests ? ['--install-deps'] : ['--no-build'];
if (forTests || stamp.mediasoup !== dependencies) {
  run('mediasoup worker', process.execPath, ['scripts/setup-mediasoup.mjs', ...mediasoupArgs]);
  save({ mediasoup: dependencies });
}

if (forTests) {
  const chromium = ensureChromium(say);
  if (!chromium) fail('no Chromium found and none could be installed; set VIREO_CHROMIUM to one');
  say(`Chromium: ${chromium}`);
  const python = ensurePyTorch(say);
  say(python ? `PyTorch: ${python}` : 'no PyTorch: the tests of the training are left out');
}
