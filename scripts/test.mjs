#!/usr/bin/env node
// `npm test`: lint, types, then every test project; the last line counts the tests.
// Arguments are passed on to vitest (`npm test -- --project unit`).
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findPyTorch } from './pytorch.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));

/** @param {string} command @param {string[]} args */
function run(command, args) {
  return spawnSync(command, args, { cwd: root, stdio: 'inherit' }).status ?? 1;
}

/** @param {string[]} args */
const node = (args) => run(process.execPath, args);

/** @type {[string, string[]][]} */
const checks = [
  ['lint and format', ['node_modules/@biomejs/biome/bin/biome', 'check', '--error-on-warnings', '.']],
  ['types of the tests', ['node_modules/typescript/bin/tsc', '-p', 'test', '--noEmit']],
  ['types of the web client', ['node_modules/typescript/bin/tsc', '-p', 'web-client', '--noEmit']],
];
let [checksPassed, checksFailed, checksSkipped] = [0, 0, 0];
/** Exit status of a check that lacks something it needs. */
const SKIPPED = 77;
/** @param {string} name @param {number} status */
function count(name, status) {
  console.log(`${status === 0 ? 'ok  ' : status === SKIPPED ? 'skip' : 'FAIL'} ${name}`);
  if (status === 0) checksPassed += 1;
  else if (status === SKIPPED) checksSkipped += 1;
  else checksFailed += 1;
}
for (const [name, args] of checks) count(name, node(args));

// Who asks for some of the tests (`npm test -- --project unit`) does not ask for these.
if (process.argv.length === 2) {
  const python = findPyTorch();
  /** @type {[string, string[]][]} */
  const trainings = [
    ['smoke training lowers its loss', ['models/training/train.py', '--smoke']],
    ['stills are matched as they should be', ['models/training/test_matching.py']],
    ['crops on a GPU are those of the files', ['models/training/test_resident.py']],
    ['flicker is measured along the motion', ['models/training/test_motion.py']],
    ['what stands still is steadied, what moves is not', ['models/training/test_steady.py']],
    ['what stands still is mended after key frames, what moves is not', ['models/training/test_mend.py']],
    ['integers do what floats do', ['models/training/test_rounding.py']],
    ['calls degrade pictures as they should', ['models/training/test_degrade.py']],
  ];
  for (const [name, args] of trainings) {
    if (python) count(name, run(python, args));
    else {
      console.log(`skip ${name}: no python3 with PyTorch`);
      checksSkipped += 1;
    }
  }
}

const folder = mkdtempSync(join(tmpdir(), 'vireo-test-'));
const report = join(folder, 'report.json');
const status = node([
  'node_modules/vitest/vitest.mjs',
  'run',
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${report}`,
  ...process.argv.slice(2),
]);
let counts = { numPassedTests: 0, numFailedTests: 0, numPendingTests: 0 };
try {
  counts = JSON.parse(readFileSync(report, 'utf8'));
} catch {
  console.error('no test report was written');
}
rmSync(folder, { recursive: true, force: true });

const failed = counts.numFailedTests + checksFailed;
const passed = counts.numPassedTests + checksPassed;
console.log(`${passed} passed, ${failed} failed, ${counts.numPendingTests + checksSkipped} skipped`);
process.exit(status !== 0 || failed > 0 || counts.numPassedTests === 0 ? 1 : 0);
