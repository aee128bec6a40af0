import { readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

const POLL_MS = 500;
const HEARTBEAT_MS = 5_000;
/** A holder that has not touched its lock for this long is taken for dead. */
const STALE_MS = 60_000;

/**
 * Takes a lock file, waiting while a live process holds it. It only saves work: whoever takes a lock
 * from a holder wrongly taken for dead does the same work twice, and nothing worse.
 *
 * @param {string} path
 * @param {(holderPid: number) => void} onWait called once, if there is need to wait
 * @param {AbortSignal} [signal] ends the waiting
 * @returns {Promise<() => Promise<void>>} releases the lock
 */
export async function takeLock(path, onWait, signal) {
  const mine = JSON.stringify({ pid: process.pid, host: hostname(), at: Date.now() });
  for (let waited = false; ; ) {
    try {
      await writeFile(path, mine, { flag: 'wx' });
      break;
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'EEXIST') throw error;
    }
    const holder = await readHolder(path);
    if (holder?.isStale) {
      // Of several that find it stale, rename lets one through.
      const aside = `${path}.stale-${process.pid}`;
      await rename(path, aside).catch(() => {});
      await rm(aside, { force: true });
      continue;
    }
    if (holder && !waited) {
      onWait(holder.pid);
      waited = true;
    }
    await sleep(POLL_MS, undefined, signal ? { signal } : {});
  }

  const heartbeat = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => {});
  }, HEARTBEAT_MS);
  heartbeat.unref();

  return async () => {
    clearInterval(heartbeat);
    const current = await readFile(path, 'utf8').catch(() => null);
    if (current === mine) await rm(path, { force: true });
  };
}

/** @param {string} path */
async function readHolder(path) {
  try {
    const { mtimeMs } = await stat(path);
    const text = await readFile(path, 'utf8');
    const isOld = Date.now() - mtimeMs > STALE_MS;
    /** @type {{pid: number, host: string}} */
    let holder;
    try {
      holder = JSON.parse(text);
    } catch {
      // Being written this instant, or left half-written by a crash.
      return { pid: 0, isStale: isOld };
    }
    const isDead = holder.host === hostname() && !isAlive(holder.pid);
    return { pid: holder.pid, isStale: isOld || isDead };
  } catch {
    return undefined; // released meanwhile
  }
}

/** @param {number} pid */
function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'EPERM';
  }
}
