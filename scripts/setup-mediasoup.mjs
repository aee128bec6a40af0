#!/usr/bin/env node
// Gets mediasoup's worker, the native process in which the production SFU engine runs: one that is
// named, cached, prebuilt, or built here against the system's libraries. Without one Vireo runs on
// werift, so that none can be had is no error unless it is asked for.
import { realpathSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import {
  BUILD_RECIPE,
  buildWorker,
  installPackages,
  libraryVersions,
  missingPackages,
  whyNoInstall,
} from './mediasoup/build.mjs';
import { downloadPrebuiltWorker, prebuiltWorkerUrl } from './mediasoup/download.mjs';
import { takeLock } from './mediasoup/lock.mjs';
import { whyWorkerFails } from './mediasoup/probe.mjs';
import { mediasoupWorkerCachePath } from './mediasoup/worker-path.mjs';

const HELP = `Usage: node scripts/setup-mediasoup.mjs [options]

Gets the mediasoup worker for the installed mediasoup: the one MEDIASOUP_WORKER_BIN names, else the
cached one, else a prebuilt one, else one built against the system's libraries.

  --install-deps  install the Debian packages the build needs (takes root)
  --no-download   do not look for a prebuilt worker
  --no-build      do not build
  --rebuild       set the cached worker aside and get a new one
  --retry         try again what failed not long ago
  --required      exit 1 when there is no worker in the end; implies --retry
  --json          print {status, path, reason} on stdout, all else on stderr
  --help          print this

The cache is VIREO_CACHE_DIR, else XDG_CACHE_HOME, else ~/.cache.`;

const HOUR_MS = 3_600_000;
/** How long a failed step is not tried again. What fails at once is tried every time. */
const RETRY_AFTER_MS = { download: HOUR_MS, install: HOUR_MS, build: 24 * HOUR_MS };
const WORTH_REMEMBERING_MS = 2_000;
const LEFTOVER_MS = 24 * HOUR_MS;
const INTERRUPTED = 'the setup was interrupted';

/** @typedef {keyof typeof RETRY_AFTER_MS} Step */
/** @typedef {{at: number, reason: string, recipe: number}} Failure */
/** @typedef {{status: 'downloaded' | 'built', reason: string, mediasoup: string, recipe: number, at: string}} Origin */
/** @typedef {{version: string, repository: {url: string}}} MediasoupPackage */

/**
 * @typedef {object} SetupOptions
 * @property {boolean} [installDeps]
 * @property {boolean} [download] default true
 * @property {boolean} [build] default true
 * @property {boolean} [rebuild]
 * @property {boolean} [retry]
 * @property {(line: string) => void} [say] told of every step
 * @property {AbortSignal} [signal]
 */

/**
 * @typedef {object} SetupResult
 * @property {'explicit' | 'cached' | 'downloaded' | 'built' | 'unavailable'} status
 * @property {string | null} path
 * @property {string} reason where the worker comes from, or why there is none
 */

/**
 * Gets a worker that has been seen running, if there is a way to.
 *
 * @param {SetupOptions} [options]
 * @returns {Promise<SetupResult>}
 */
export async function setupMediasoupWorker(options = {}) {
  const { say = () => {}, rebuild = false, signal } = options;
  const mediasoup = findMediasoup();
  if (!mediasoup) return unavailable('mediasoup is not installed; run npm ci first');
  const { version } = mediasoup.package;

  const explicit = process.env.MEDIASOUP_WORKER_BIN;
  if (explicit) {
    const failure = await whyWorkerFails(explicit, version);
    if (failure) return unavailable(`MEDIASOUP_WORKER_BIN names ${explicit}, but ${failure}`);
    return { status: 'explicit', path: explicit, reason: 'named by MEDIASOUP_WORKER_BIN' };
  }

  const path = mediasoupWorkerCachePath(version);
  const startedAt = Date.now();
  const cached = rebuild ? null : await useCached(path, version, say);
  if (cached) return cached;

  const folder = dirname(path);
  let release;
  try {
    await mkdir(folder, { recursive: true });
    const onWait = (/** @type {number} */ pid) =>
      say(`another setup is at work (process ${pid}); waiting for it`);
    release = await takeLock(join(folder, '.lock'), onWait, signal);
  } catch (error) {
    if (signal?.aborted) return unavailable(INTERRUPTED);
    return unavailable(`the cache cannot be written (${messageOf(error)}); set VIREO_CACHE_DIR`);
  }
  try {
    return await new WorkerSetup(mediasoup.dir, mediasoup.package, path, options, startedAt).run();
  } finally {
    await release();
  }
}

/** One attempt to fill the cache, made while holding its lock. */
class WorkerSetup {
  /**
   * @param {string} mediasoupDir
   * @param {MediasoupPackage} mediasoup
   * @param {string} path
   * @param {SetupOptions} options
   * @param {number} startedAt
   */
  constructor(mediasoupDir, mediasoup, path, options, startedAt) {
    this.mediasoupDir = mediasoupDir;
    this.mediasoup = mediasoup;
    this.path = path;
    this.folder = dirname(path);
    this.options = options;
    this.startedAt = startedAt;
    this.say = options.say ?? (() => {});
    this.tempFile = join(this.folder, `.new-${process.pid}-${startedAt}`);
    /** @type {string[]} */
    this.reasons = [];
    this.reasonsSaid = 0;
  }

  /** @returns {Promise<SetupResult>} */
  async run() {
    const { mediasoup, path } = this;
    await this.removeLeftovers();
    // The relay takes whatever worker it finds in the cache.
    if (isOutdated(await readOrigin(path))) await rm(path, { force: true });
    // Another process may have filled the cache while this one waited for the lock.
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: 0 }));
    if (!this.options.rebuild || mtimeMs > this.startedAt) {
      const cached = await useCached(path, mediasoup.version, () => {});
      if (cached) return cached;
    }
    try {
      return (await this.download()) ?? (await this.build()) ?? unavailable(this.reasons.join('; '));
    } catch (error) {
      // Nothing that another step would mend, such as a full disk.
      const reason = this.options.signal?.aborted ? INTERRUPTED : messageOf(error);
      return unavailable([...this.reasons, reason].join('; '));
    } finally {
      await rm(this.tempFile, { force: true });
    }
  }

  /** @returns {Promise<SetupResult | null>} */
  async download() {
    const { mediasoup, say } = this;
    const { signal } = this.options;
    if (this.options.download === false) return this.skip('not downloaded (--no-download)');
    if (process.env.MEDIASOUP_SKIP_WORKER_PREBUILT_DOWNLOAD) {
      return this.skip('not downloaded (MEDIASOUP_SKIP_WORKER_PREBUILT_DOWNLOAD is set)');
    }
    const earlier = await this.earlierFailure('download');
    if (earlier) return this.skip(`no prebuilt worker ${earlier}`);

    const url = prebuiltWorkerUrl(mediasoup);
    say(`downloading ${url}`);
    const begin = Date.now();
    try {
      await downloadPrebuiltWorker(url, this.tempFile, signal);
      const failure = await whyWorkerFails(this.tempFile, mediasoup.version);
      if (failure) throw new Error(`it does not run here: ${failure}`);
    } catch (error) {
      if (signal?.aborted) throw error;
      await this.remember('download', begin, messageOf(error));
      return this.skip(`no prebuilt worker: ${messageOf(error)}`);
    }
    return await this.keep('downloaded', `downloaded from ${url}`);
  }

  /** @returns {Promise<SetupResult | null>} */
  async build() {
    const { mediasoup, mediasoupDir, say, tempFile } = this;
    const { signal } = this.options;
    if (this.options.build === false) return this.skip('not built (--no-build)');
    if (process.platform !== 'linux') {
      return this.skip('cannot be built here: on Linux only, against Debian’s libraries');
    }
    const hadMissing = missingPackages().length > 0;
    if (!(await this.installMissing())) return null;
    if (hadMissing) {
      // A worker built on another day may only have lacked its libraries.
      const cached = await useCached(this.path, mediasoup.version, () => {});
      if (cached) return cached;
    }
    const earlier = await this.earlierFailure('build');
    if (earlier) return this.skip(`building failed ${earlier}`);

    const libraries = Object.entries(libraryVersions()).map(([name, version]) => `${name} ${version}`);
    this.sayWhyOn(`building from source, which takes some minutes, with ${libraries.join(', ')}`);
    const logFile = join(this.folder, 'build.log');
    const begin = Date.now();
    try {
      await buildWorker({ mediasoupDir, outFile: tempFile, logFile, say, ...(signal ? { signal } : {}) });
      const failure = await whyWorkerFails(tempFile, mediasoup.version);
      if (failure) throw new Error(`the worker built does not run: ${failure}`);
    } catch (error) {
      if (signal?.aborted) {
        await rm(logFile, { force: true });
        throw error;
      }
      const reason = `${messageOf(error)} (log: ${logFile})`;
      await this.remember('build', begin, reason);
      return this.skip(`building failed: ${reason}`);
    }
    await rm(logFile, { force: true });
    const seconds = Math.round((Date.now() - begin) / 1000);
    return await this.keep('built', `built in ${seconds} s with ${libraries.join(', ')}`);
  }

  /** Whether all packages that the build needs are there in the end. */
  async installMissing() {
    const missing = missingPackages();
    if (missing.length === 0) return true;
    const packages = missing.join(' ');
    const obstacle = whyNoInstall();
    if (!this.options.installDeps || obstacle) {
      const hint = this.options.installDeps ? obstacle : '--install-deps installs them, as root';
      this.skip(`cannot be built without the Debian packages ${packages} (${hint})`);
      return false;
    }
    const earlier = await this.earlierFailure('install');
    if (earlier) {
      this.skip(`installing the Debian packages it is built with failed ${earlier}`);
      return false;
    }

    this.sayWhyOn(`installing Debian packages: ${packages}`);
    const logFile = join(this.folder, 'install.log');
    const begin = Date.now();
    let failure;
    try {
      await installPackages(missing, logFile);
      const still = missingPackages();
      if (still.length > 0) failure = `${still.join(', ')} cannot be found even so`;
    } catch (error) {
      failure = messageOf(error);
    }
    if (failure) {
      const reason = `${failure} (log: ${logFile})`;
      await this.remember('install', begin, reason);
      this.skip(`installing the Debian packages it is built with failed: ${reason}`);
      return false;
    }
    await rm(logFile, { force: true });
    return true;
  }

  /**
   * @param {'downloaded' | 'built'} status
   * @param {string} reason
   * @returns {Promise<SetupResult>}
   */
  async keep(status, reason) {
    const at = new Date().toISOString();
    /** @type {Origin} */
    const origin = { status, reason, mediasoup: this.mediasoup.version, recipe: BUILD_RECIPE, at };
    // In this order no one ever finds a worker beside another one's origin.
    await rm(this.path, { force: true });
    await writeFile(originFile(this.path), `${JSON.stringify(origin, null, 2)}\n`);
    await rename(this.tempFile, this.path);
    await rm(this.failuresFile, { force: true });
    return { status, path: this.path, reason };
  }

  /** @param {string} reason why a step brought no worker */
  skip(reason) {
    this.reasons.push(reason);
    return null;
  }

  /**
   * Says what is done next, and before it what has not worked; the last line of a run that gets no
   * worker says all that anyway.
   *
   * @param {string} next
   */
  sayWhyOn(next) {
    for (const reason of this.reasons.slice(this.reasonsSaid)) this.say(reason);
    this.reasonsSaid = this.reasons.length;
    this.say(next);
  }

  get failuresFile() {
    return join(this.folder, 'failures.json');
  }

  /** @returns {Promise<Partial<Record<Step, Failure>>>} */
  async failures() {
    try {
      return JSON.parse(await readFile(this.failuresFile, 'utf8'));
    } catch {
      return {};
    }
  }

  /**
   * @param {Step} step
   * @param {number} begin when it was begun
   * @param {string} reason
   */
  async remember(step, begin, reason) {
    const now = Date.now();
    if (now - begin < WORTH_REMEMBERING_MS) return;
    const failures = { ...(await this.failures()), [step]: { at: now, reason, recipe: BUILD_RECIPE } };
    await writeFile(this.failuresFile, `${JSON.stringify(failures, null, 2)}\n`);
  }

  /**
   * @param {Step} step
   * @returns {Promise<string | null>} when and why, if it failed too recently to be tried again
   */
  async earlierFailure(step) {
    const failure = (await this.failures())[step];
    if (!failure || failure.recipe !== BUILD_RECIPE) return null;
    const ageMs = Date.now() - failure.at;
    const isTooOld = ageMs > RETRY_AFTER_MS[step];
    const isBeforeThisRun = failure.at < this.startedAt;
    if (isTooOld || (this.options.retry && isBeforeThisRun)) return null;
    return `${Math.round(ageMs / 60_000)} min ago (--retry tries again): ${failure.reason}`;
  }

  /** Removes what runs that were killed have left. */
  async removeLeftovers() {
    for (const name of await readdir(this.folder)) {
      if (!name.startsWith('.new-') && !name.startsWith('.lock.stale-')) continue;
      const file = join(this.folder, name);
      const { mtimeMs } = await stat(file).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }));
      if (Date.now() - mtimeMs > LEFTOVER_MS) await rm(file, { force: true });
    }
  }
}

/**
 * @param {string} path
 * @param {string} version
 * @param {(line: string) => void} say
 * @returns {Promise<SetupResult | null>}
 */
async function useCached(path, version, say) {
  try {
    await stat(path);
  } catch {
    return null;
  }
  const origin = await readOrigin(path);
  if (isOutdated(origin)) {
    say(`the cached worker ${path} was built in a way that has been mended since`);
    return null;
  }
  const failure = await whyWorkerFails(path, version);
  if (failure) {
    say(`the cached worker ${path} does not run: ${failure}`);
    return null;
  }
  return {
    status: 'cached',
    path,
    reason: origin ? `${origin.reason} on ${origin.at}` : 'found in the cache',
  };
}

/** @param {string} path the cached worker */
function originFile(path) {
  return join(dirname(path), 'origin.json');
}

/**
 * @param {string} path the cached worker
 * @returns {Promise<Origin | null>}
 */
async function readOrigin(path) {
  try {
    return JSON.parse(await readFile(originFile(path), 'utf8'));
  } catch {
    return null;
  }
}

/** @param {Origin | null} origin */
function isOutdated(origin) {
  return origin?.status === 'built' && !(origin.recipe >= BUILD_RECIPE);
}

/** @returns {{dir: string, package: MediasoupPackage} | null} */
function findMediasoup() {
  const require = createRequire(import.meta.url);
  try {
    // mediasoup exports no path to its package.json.
    let dir = dirname(require.resolve('mediasoup'));
    while (basename(dir) !== 'mediasoup') {
      if (dir === dirname(dir)) return null;
      dir = dirname(dir);
    }
    return { dir, package: require(join(dir, 'package.json')) };
  } catch {
    return null;
  }
}

/**
 * @param {string} reason
 * @returns {SetupResult}
 */
function unavailable(reason) {
  return { status: 'unavailable', path: null, reason };
}

/** @param {unknown} error */
function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}

/** @returns {Promise<number>} the exit code */
async function main() {
  let flags;
  try {
    flags = parseArgs({
      options: {
        'install-deps': { type: 'boolean' },
        'no-download': { type: 'boolean' },
        'no-build': { type: 'boolean' },
        rebuild: { type: 'boolean' },
        retry: { type: 'boolean' },
        required: { type: 'boolean' },
        json: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (error) {
    console.error(`setup-mediasoup: ${messageOf(error).split('\n')[0]}`);
    return 1;
  }
  if (flags.help) {
    console.log(HELP);
    return 0;
  }

  /** @param {string} line */
  const say = (line) => (flags.json ? console.error : console.log)(`mediasoup worker: ${line}`);
  const abort = new AbortController();
  /** @type {NodeJS.Signals | undefined} */
  let stoppedBy;
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
    process.once(signal, () => {
      stoppedBy = signal;
      abort.abort();
    });
  }

  const result = await setupMediasoupWorker({
    say,
    signal: abort.signal,
    installDeps: flags['install-deps'] ?? false,
    download: !flags['no-download'],
    build: !flags['no-build'],
    rebuild: flags.rebuild ?? false,
    retry: flags.retry || flags.required || flags.rebuild || false,
  });
  if (flags.json) console.log(JSON.stringify(result));
  if (result.path) say(`${result.path} (${result.reason})`);
  else if (stoppedBy) say(`stopped by ${stoppedBy}`);
  else if (flags.required) say(`none, and one is required: ${result.reason}`);
  else say(`none, so the werift engine will be used: ${result.reason}`);
  if (stoppedBy) return 130;
  return flags.required && !result.path ? 1 : 0;
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  process.exitCode = await main();
}
