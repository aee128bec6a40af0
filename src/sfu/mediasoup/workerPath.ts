import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { dirname, isAbsolute, join, resolve } from 'node:path';

export interface MediasoupWorkerPlace {
  path: string;
  /** Where the path comes from, for `vireo doctor` and error messages. */
  source: 'option' | 'environment' | 'cache' | 'package';
}

const WORKER_FILE = process.platform === 'win32' ? 'mediasoup-worker.exe' : 'mediasoup-worker';

function mediasoupPackage(): { directory: string; version: string } | null {
  try {
    const entry = createRequire(import.meta.url).resolve('mediasoup');
    const directory = join(dirname(entry), '..', '..');
    const { version } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8')) as {
      version: string;
    };
    return { directory, version };
  } catch {
    return null;
  }
}

/** Where `npm run setup:mediasoup` puts the worker; the same lines as scripts/mediasoup/worker-path.mjs. */
export function mediasoupWorkerCachePath(version: string, env: NodeJS.ProcessEnv = process.env): string {
  const xdgCache = env.XDG_CACHE_HOME;
  const base = env.VIREO_CACHE_DIR
    ? resolve(env.VIREO_CACHE_DIR)
    : xdgCache && isAbsolute(xdgCache)
      ? xdgCache
      : join(homedir(), '.cache');
  return join(
    base,
    'vireo',
    'mediasoup-worker',
    `${version}-${process.platform}-${process.arch}`,
    WORKER_FILE,
  );
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** All places looked at, in order; a place that was named explicitly is the only one. */
export function mediasoupWorkerPlaces(
  explicitPath?: string,
  env: NodeJS.ProcessEnv = process.env,
): MediasoupWorkerPlace[] {
  if (explicitPath) return [{ path: resolve(explicitPath), source: 'option' }];
  if (env.MEDIASOUP_WORKER_BIN) return [{ path: resolve(env.MEDIASOUP_WORKER_BIN), source: 'environment' }];
  const installed = mediasoupPackage();
  if (!installed) return [];
  return [
    { path: mediasoupWorkerCachePath(installed.version, env), source: 'cache' },
    { path: join(installed.directory, 'worker', 'out', 'Release', WORKER_FILE), source: 'package' },
  ];
}

/** The worker binary that `engine: auto` would run, or null. */
export function findMediasoupWorker(
  explicitPath?: string,
  env: NodeJS.ProcessEnv = process.env,
): MediasoupWorkerPlace | null {
  return mediasoupWorkerPlaces(explicitPath, env).find(({ path }) => isExecutable(path)) ?? null;
}
