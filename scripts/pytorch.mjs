// A Python with PyTorch for the training's tests, and the ffmpeg command that they encode with: what is there, else Debian's.
import { spawnSync } from 'node:child_process';

/** What Debian calls it, by what Python calls it. */
const MODULES = { torch: 'python3-torch', numpy: 'python3-numpy', PIL: 'python3-pil' };

/** @returns {string | null} */
export function findPyTorch() {
  // /usr/bin/python3 is the one that Debian's packages are for; another one may come first on the path.
  for (const python of [process.env.VIREO_PYTHON, 'python3', '/usr/bin/python3']) {
    if (python && imports(python, ['torch', 'numpy'])) return python;
  }
  return null;
}

/** @param {string} python @param {string[]} modules */
function imports(python, modules) {
  return spawnSync(python, ['-c', `import ${modules.join(', ')}`], { stdio: 'ignore' }).status === 0;
}

function missingPackages() {
  const python = findPyTorch();
  const there = (/** @type {string} */ module) => python !== null && imports(python, [module]);
  const packages = Object.entries(MODULES).flatMap(([module, name]) => (there(module) ? [] : [name]));
  const encodes = spawnSync('ffmpeg', ['-version'], { stdio: 'ignore' }).status === 0;
  return encodes ? packages : [...packages, 'ffmpeg'];
}

/** @param {(text: string) => void} say @returns {string | null} */
export function ensurePyTorch(say) {
  const packages = missingPackages();
  if (packages.length > 0 && process.getuid?.() === 0 && spawnSync('apt-get', ['--version']).status === 0) {
    say(`installing Debian packages for the training's tests (apt-get install ${packages.join(' ')})`);
    const install = ['-o', 'DPkg::Lock::Timeout=300', 'install', '-y', '-q', '--no-install-recommends'];
    spawnSync('apt-get', [...install, ...packages], {
      stdio: ['ignore', 2, 2],
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
    });
  }
  return findPyTorch();
}
