import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, createWriteStream } from 'node:fs';
import { copyFile, cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, freemem, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Raised whenever a worker built before must not be used any more, so that it is built anew. */
export const BUILD_RECIPE = 2;

const STAND_INS = fileURLToPath(new URL('subprojects/', import.meta.url));
const PRECOMPILED_HEADER = fileURLToPath(new URL('precompiled.hpp', import.meta.url));
/** A command that says nothing for this long is taken to hang. */
const SILENCE_TIMEOUT_MS = 20 * 60_000;
const PROGRESS_EVERY_MS = 15_000;
/** What one compiler process takes at most, in bytes. */
const COMPILER_MEMORY = 1.2e9;
const LOG_TAIL_CHARS = 4_000;
const APT_OPTIONS = [
  'DPkg::Lock::Timeout=120',
  'Acquire::Retries=1',
  'Acquire::http::Timeout=20',
  'Acquire::https::Timeout=20',
].flatMap((option) => ['-o', option]);

/** What the build needs: a Debian package, and the tool or pkg-config module that shows it is there. */
const REQUIREMENTS = [
  { debian: 'g++', tools: ['c++', 'g++', 'clang++'] },
  { debian: 'pkg-config', tools: ['pkg-config', 'pkgconf'] },
  { debian: 'meson', tools: ['meson'] },
  { debian: 'ninja-build', tools: ['ninja'] },
  { debian: 'flatbuffers-compiler', tools: ['flatc'] },
  { debian: 'libflatbuffers-dev', module: 'flatbuffers' },
  { debian: 'libabsl-dev', module: 'absl_flat_hash_map' },
  { debian: 'libsrtp2-dev', module: 'libsrtp2' },
  { debian: 'libssl-dev', module: 'openssl' },
  { debian: 'libusrsctp-dev', module: 'usrsctp' },
  { debian: 'libuv1-dev', module: 'libuv' },
];

/** @returns {string[]} the Debian packages that are wanting */
export function missingPackages() {
  return REQUIREMENTS.filter(({ tools, module }) =>
    tools ? !tools.some((tool) => onPath(tool)) : !moduleVersion(module),
  ).map(({ debian }) => debian);
}

/** @returns {Record<string, string>} the libraries' versions by pkg-config module */
export function libraryVersions() {
  /** @type {Record<string, string>} */
  const versions = {};
  for (const { module } of REQUIREMENTS) {
    const version = module && moduleVersion(module);
    if (module && version) versions[module] = version;
  }
  return versions;
}

/** @returns {string | null} why packages cannot be installed here; null when they can */
export function whyNoInstall() {
  if (process.platform !== 'linux' || !onPath('apt-get')) return 'there is no apt-get';
  return process.geteuid?.() === 0 ? null : 'installing them takes root';
}

/**
 * Installs Debian packages, refreshing apt's lists once if that is what it takes.
 *
 * @param {string[]} packages
 * @param {string} logFile
 * @throws {Error} whose message says in one line what failed
 */
export async function installPackages(packages, logFile) {
  const install = [...APT_OPTIONS, 'install', '-y', '--no-install-recommends', ...packages];
  const options = { logFile, env: { DEBIAN_FRONTEND: 'noninteractive' } };
  await writeFile(logFile, '');
  try {
    await runCommand('apt-get', install, options);
  } catch {
    // Lists that are empty or out of date name packages that cannot be found or fetched. An update in
    // which one source failed may still have brought what is needed, so only the install decides.
    await runCommand('apt-get', [...APT_OPTIONS, 'update'], options).catch(() => {});
    await runCommand('apt-get', install, options);
  }
}

/**
 * Builds the worker from mediasoup's npm package against the system's libraries, in a temporary folder.
 *
 * mediasoup's build fetches the source of each library it uses and compiles that too. Here every such
 * subproject is replaced by a stand-in that names the system's library, so nothing is downloaded.
 *
 * @param {object} options
 * @param {string} options.mediasoupDir mediasoup's package; only read
 * @param {string} options.outFile where the worker is put
 * @param {string} options.logFile
 * @param {(line: string) => void} options.say
 * @param {AbortSignal} [options.signal]
 * @throws {Error} whose message says in one line what failed
 */
export async function buildWorker({ mediasoupDir, outFile, logFile, say, signal }) {
  const workDir = await mkdtemp(join(tmpdir(), 'vireo-mediasoup-'));
  try {
    await writeFile(logFile, '');
    const sourceDir = join(workDir, 'worker');
    const buildDir = join(workDir, 'build');
    await cp(join(mediasoupDir, 'worker'), sourceDir, { recursive: true });
    await useSystemLibraries(sourceDir);
    await mendBioCallback(sourceDir);
    await precompileHeaders(sourceDir);

    const options = { logFile, signal, env: { LC_ALL: 'C' } };
    say('configuring with meson');
    // The options mediasoup builds its releases with; io_uring would want one more library.
    const setup = ['setup', '--buildtype=release', '-Db_ndebug=true', '-Dms_disable_liburing=true'];
    await runCommand('meson', [...setup, buildDir, sourceDir], options);
    // The worker's build leaves out that its sources include what flatc generates.
    await runCommand('ninja', ['-C', buildDir, 'fbs/FBS'], options);
    const jobs = Math.max(1, Math.min(availableParallelism(), Math.floor(freemem() / COMPILER_MEMORY)));
    say(`compiling, ${jobs} at a time`);
    const onOutput = progressReporter(say);
    await runCommand('ninja', ['-C', buildDir, `-j${jobs}`, 'mediasoup-worker'], { ...options, onOutput });
    await copyFile(join(buildDir, 'mediasoup-worker'), outFile);
  } finally {
    await rm(workDir, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** @param {string} sourceDir a copy of the worker's source */
async function useSystemLibraries(sourceDir) {
  const subprojects = join(sourceDir, 'subprojects');
  for (const name of await readdir(subprojects)) {
    if (name.endsWith('.wrap')) await rm(join(subprojects, name));
  }
  await cp(STAND_INS, subprojects, { recursive: true });

  // Nothing the build uses came after meson 1.0, which is what Debian 12 has.
  await edit(join(sourceDir, 'meson.build'), /meson_version: *'[^']*'/g, "meson_version: '>= 1.0.0'");
  // The stand-ins have none of the options that the libraries' own builds take.
  const options = /(subproject\(\s*'[^']+',)\s*default_options: *\[[^\]]*\],?/g;
  await edit(join(sourceDir, 'meson.build'), options, '$1');
  await edit(join(sourceDir, 'deps', 'libwebrtc', 'meson.build'), options, '$1');
}

/**
 * The worker watches a BIO through a callback that answers every control request with 1. An OpenSSL with
 * kernel TLS, as Debian's, thus takes it that the kernel encrypts on that BIO, allocates no buffer to
 * write to, and crashes in the first DTLS handshake.
 *
 * @param {string} sourceDir
 */
async function mendBioCallback(sourceDir) {
  const file = join(sourceDir, 'src', 'RTC', 'DtlsTransport.cpp');
  await edit(file, /\(operationType == BIO_CB_RETURN\)/, '(operationType & BIO_CB_RETURN)');
}

/**
 * Half of what the compiler does is to read the same headers again for each of 180 files.
 *
 * @param {string} sourceDir
 */
async function precompileHeaders(sourceDir) {
  await cp(PRECOMPILED_HEADER, join(sourceDir, 'pch', 'precompiled.hpp'));
  const executable = /executable\(\s*'mediasoup-worker',/;
  await edit(join(sourceDir, 'meson.build'), executable, "$&\n  cpp_pch: 'pch/precompiled.hpp',");
}

/**
 * @param {string} file
 * @param {RegExp} pattern
 * @param {string} replacement
 */
async function edit(file, pattern, replacement) {
  const before = await readFile(file, 'utf8');
  const after = before.replace(pattern, replacement);
  if (after === before) throw new Error(`${file} is not as expected: nothing in it matches ${pattern}`);
  await writeFile(file, after);
}

/** @param {(line: string) => void} say */
function progressReporter(say) {
  const start = Date.now();
  let saidAt = start;
  /** @param {string} text */
  return (text) => {
    const [step, done, total] = text.match(/\[(\d+)\/(\d+)\](?![\s\S]*\[\d+\/\d+\])/) ?? [];
    const now = Date.now();
    if (!step || now - saidAt < PROGRESS_EVERY_MS) return;
    saidAt = now;
    say(`compiled ${done} of ${total} in ${Math.round((now - start) / 1000)} s`);
  };
}

/**
 * @typedef {object} RunOptions
 * @property {string} logFile what the command says is appended to it
 * @property {Record<string, string>} env added to this process's
 * @property {AbortSignal | undefined} [signal]
 * @property {(text: string) => void} [onOutput]
 */

/**
 * @param {string} command
 * @param {string[]} args
 * @param {RunOptions} options
 * @returns {Promise<void>}
 */
function runCommand(command, args, { logFile, env, signal, onOutput }) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const log = createWriteStream(logFile, { flags: 'a' });
    log.on('error', () => {});
    log.write(`$ ${command} ${args.join(' ')}\n`);
    // A process group of its own, so that the compilers end with their parent.
    const child = spawn(command, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    let tail = '';
    let isSilent = false;
    const stop = () => {
      try {
        if (child.pid) process.kill(-child.pid, 'SIGTERM');
      } catch {
        // ended meanwhile
      }
    };
    const timer = setTimeout(() => {
      isSilent = true;
      stop();
    }, SILENCE_TIMEOUT_MS);
    signal?.addEventListener('abort', stop);

    /** @param {Buffer} chunk */
    const onData = (chunk) => {
      timer.refresh();
      log.write(chunk);
      const text = chunk.toString();
      tail = (tail + text).slice(-LOG_TAIL_CHARS);
      onOutput?.(text);
    };
    child.stdout.on('data', onData);
    child.stderr.on('data', onData);

    /** @param {string | null} failure */
    const finish = (failure) => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', stop);
      log.end(() => (failure ? reject(new Error(failure)) : resolve()));
    };
    child.on('error', (error) => finish(`${command} does not start (${error.message})`));
    child.on('close', (code, killedBy) => {
      if (code === 0) finish(null);
      else if (isSilent) finish(`${command} said nothing for ${SILENCE_TIMEOUT_MS / 60_000} minutes`);
      else finish(`${command} failed: ${errorLine(tail) ?? `it ended with ${killedBy ?? `code ${code}`}`}`);
    });
  });
}

/** @param {string} output */
function errorLine(output) {
  const lines = output.split('\n').map((line) => line.trim());
  return lines.find((line) => /\berror\b|^E: /i.test(line))?.slice(0, 300);
}

/** @param {string} tool */
function onPath(tool) {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    if (!folder) return false;
    try {
      accessSync(join(folder, tool), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** @param {string} module a pkg-config module */
function moduleVersion(module) {
  const { status, stdout } = spawnSync(
    onPath('pkg-config') ? 'pkg-config' : 'pkgconf',
    ['--modversion', module],
    {
      encoding: 'utf8',
    },
  );
  return status === 0 ? stdout.trim() : undefined;
}
