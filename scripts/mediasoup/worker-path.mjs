import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';

/**
 * Where the mediasoup worker for one mediasoup version is kept on this machine: outside the clone, so
 * that `git clean` and `npm ci` leave it alone and all clones share it. The file need not exist.
 *
 * mediasoup takes the path only from `MEDIASOUP_WORKER_BIN`, and reads it once when the module loads:
 * set it before the first `import('mediasoup')`.
 *
 * @param {string} version mediasoup's version, such as `3.19.2`
 * @param {Record<string, string | undefined>} [env] where `VIREO_CACHE_DIR` and `XDG_CACHE_HOME` are read
 * @returns {string} an absolute path
 */
export function mediasoupWorkerCachePath(version, env = process.env) {
  const target = `${version}-${process.platform}-${process.arch}`;
  const file = process.platform === 'win32' ? 'mediasoup-worker.exe' : 'mediasoup-worker';
  return join(cacheRoot(env), 'vireo', 'mediasoup-worker', target, file);
}

/** @param {Record<string, string | undefined>} env */
function cacheRoot(env) {
  if (env.VIREO_CACHE_DIR) return resolve(env.VIREO_CACHE_DIR);
  // The XDG specification has relative paths ignored.
  if (env.XDG_CACHE_HOME && isAbsolute(env.XDG_CACHE_HOME)) return env.XDG_CACHE_HOME;
  return join(homedir(), '.cache');
}
