// A Python with PyTorch for the training's smoke test: one that is there, else Debian's.
import { spawnSync } from 'node:child_process';

/** @returns {string | null} */
export function findPyTorch() {
  // /usr/bin/python3 is the one that Debian's packages are for; another one may come first on the path.
  for (const python of [process.env.VIREO_PYTHON, 'python3', '/usr/bin/python3']) {
    if (python && spawnSync(python, ['-c', 'import numpy, torch'], { stdio: 'ignore' }).status === 0)
      return python;
  }
  return null;
}

/** @param {(text: string) => void} say @returns {string | null} */
export function ensurePyTorch(say) {
  const found = findPyTorch();
  if (found || process.getuid?.() !== 0 || spawnSync('apt-get', ['--version']).status !== 0) return found;
  say('installing PyTorch from Debian packages (apt-get install python3-torch)');
  const install = ['-o', 'DPkg::Lock::Timeout=300', 'install', '-y', '-q', '--no-install-recommends'];
  spawnSync('apt-get', [...install, 'python3-torch', 'python3-numpy'], {
    stdio: ['ignore', 2, 2],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
  return findPyTorch();
}
