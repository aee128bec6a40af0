#!/usr/bin/env node
// Adds the optional packages of other platforms that `npm install` left out of package-lock.json because the
// registry it asked does not carry them. Without them `npm ci` refuses the lock file, here and elsewhere.
// Run it after every change of dependencies: `npm run lock`.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** @typedef {{version?: string, dev?: boolean, license?: string, optional?: boolean, os?: string[], cpu?: string[], libc?: string[], optionalDependencies?: Record<string, string>}} LockEntry */
/** @typedef {Record<string, LockEntry>} LockPackages */

const SYSTEMS = [
  'aix',
  'android',
  'darwin',
  'freebsd',
  'linux',
  'netbsd',
  'openbsd',
  'openharmony',
  'sunos',
  'win32',
];
const PROCESSORS = ['arm', 'arm64', 'ia32', 'loong64', 'mips64el', 'ppc64', 'riscv64', 's390x', 'x64'];

/** Whether Node would find `name` from the package at `from`. @param {LockPackages} packages @param {string} from @param {string} name */
function resolves(packages, from, name) {
  for (let folder = from; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')))) {
    if (packages[folder ? `${folder}/node_modules/${name}` : `node_modules/${name}`]) return true;
    if (folder === '') return false;
  }
}

/** What the lock file lacks. @param {LockPackages} packages @returns {{name: string, version: string, by: LockEntry}[]} */
export function missingOptionalPackages(packages) {
  return Object.entries(packages).flatMap(([at, by]) =>
    Object.entries(by.optionalDependencies ?? {})
      .filter(([name]) => !resolves(packages, at, name))
      .map(([name, version]) => ({ name, version, by })),
  );
}

/** @param {string} name @param {string} version @param {LockEntry} by @returns {LockEntry} */
function entryFor(name, version, by) {
  const words = (name.split('/').at(-1) ?? '').split('-');
  const system = SYSTEMS.find((word) => words.includes(word));
  const processor = PROCESSORS.find((word) => words.includes(word));
  if (!system || !processor || !/^\d+\.\d+\.\d+/.test(version)) {
    throw new Error(`${name}@${version}: no platform package of one version; add it by hand`);
  }
  const libc = words.some((word) => word.startsWith('musl')) ? 'musl' : 'glibc';
  return {
    version,
    cpu: [processor],
    ...(by.dev ? { dev: true } : {}),
    ...(system === 'linux' ? { libc: [libc] } : {}),
    ...(by.license ? { license: by.license } : {}),
    optional: true,
    os: [system],
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const file = fileURLToPath(new URL('../package-lock.json', import.meta.url));
  const lock = JSON.parse(readFileSync(file, 'utf8'));
  const missing = missingOptionalPackages(lock.packages);
  for (const { name, version, by } of missing)
    lock.packages[`node_modules/${name}`] = entryFor(name, version, by);
  lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(([a], [b]) => (a < b ? -1 : 1)));
  writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
  console.error(`package-lock.json: ${missing.length} optional packages added`);
}
