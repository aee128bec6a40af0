#!/usr/bin/env node
// `npm test`: lint, types, then every test project; the last line counts the tests.
// Arguments are passed on to vitest (`npm test -- --project unit`).
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));

/** @param {string[]} args @param {Record<string, string>} [env] */
function node(args, env = {}) {
  const { status } = spawnSync(process.execPath, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, ...env },
  });
  return status ?? 1;
}

const checks = [
  ['lint and format', ['node_modules/@biomejs/biome/bin/biome', 'check', '--error-on-warnings', '.']],
  ['types of the tests', ['node_modules/typescript/bin/tsc', '-p', 'test', '--noEmit']],
  ['types of the web client', ['node_modules/typescript/bin/tsc', '-p', 'web-client', '--noEmit']],
];
let checksFailed = 0;
for (const [name, args] of checks) {
  const status = node(/** @type {string[]} */ (args));
  console.log(`${status === 0 ? 'ok  ' : 'FAIL'} ${name}`);
  if (status !== 0) checksFailed += 1;
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
const passed = counts.numPassedTests + (checks.length - checksFailed);
console.log(`${passed} passed, ${failed} failed, ${counts.numPendingTests} skipped`);
process.exit(status !== 0 || failed > 0 || counts.numPassedTests === 0 ? 1 : 0);
