// Finds the browser that the end-to-end tests drive, or installs Debian's.
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

/** @returns {string | null} path of a Chromium or Chrome */
export function findChromium() {
  const explicit = process.env.VIREO_CHROMIUM;
  const candidates = explicit
    ? [explicit]
    : (process.env.PATH ?? '').split(delimiter).flatMap((folder) => NAMES.map((name) => join(folder, name)));
  for (const path of candidates) {
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {}
  }
  return null;
}

/** @param {(text: string) => void} say @returns {string | null} */
export function ensureChromium(say) {
  const found = findChromium();
  if (found || process.env.VIREO_CHROMIUM) return found;
  if (process.getuid?.() !== 0 || spawnSync('apt-get', ['--version']).status !== 0) return null;
  say('installing Chromium from Debian packages (apt-get install chromium)');
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  // Another apt-get on this machine is waited for, not collided with.
  const run = (/** @type {string[]} */ ...args) =>
    spawnSync('apt-get', ['-o', 'DPkg::Lock::Timeout=300', '-q', '-y', ...args], {
      stdio: ['ignore', 2, 2],
      env,
    }).status === 0;
  const install = () => run('install', '--no-install-recommends', 'chromium', 'fonts-dejavu-core');
  if (!run('update')) return null;
  // What an interrupted installation left half done stops every other one until it is mended.
  if (!install() && !(run('--fix-broken', 'install') && install())) return null;
  return findChromium();
}
