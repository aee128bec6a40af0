import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheFolder } from './cache.mjs';

const builder = fileURLToPath(new URL('../../models/baselines/build.py', import.meta.url));

/**
 * Published networks as packages in the cache, fetched and converted when they are missing. Those that cannot be had
 * are left out, and why is said.
 * @param {string[]} names @param {(text: string) => void} say
 * @returns {{ name: string, folder: string }[]}
 */
export function buildBaselines(names, say) {
  const folder = cacheFolder('baselines');
  return names.flatMap((name) => {
    if (!existsSync(join(folder, name, 'manifest.json'))) {
      say(`fetching ${name}`);
      const { status, error, stderr } = spawnSync('python3', [builder, '--out', folder, name], {
        encoding: 'utf8',
      });
      if (error || status !== 0) {
        const reason = error?.message ?? stderr.trim().split('\n').at(-1);
        say(`${name} is left out: ${reason} (needs npm, and Python with numpy and onnx)`);
        return [];
      }
    }
    return [{ name, folder }];
  });
}
