import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';

/** A folder of this machine's cache, as for everything else that Vireo keeps: VIREO_CACHE_DIR, XDG_CACHE_HOME or ~/.cache.
 * @param {string} name */
export function cacheFolder(name) {
  const { VIREO_CACHE_DIR, XDG_CACHE_HOME } = process.env;
  // The XDG specification has relative paths ignored.
  const xdg = XDG_CACHE_HOME && isAbsolute(XDG_CACHE_HOME) ? XDG_CACHE_HOME : join(homedir(), '.cache');
  return join(VIREO_CACHE_DIR ? resolve(VIREO_CACHE_DIR) : xdg, 'vireo', name);
}
