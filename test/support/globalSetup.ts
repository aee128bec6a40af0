import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Processes and Workers run compiled code: compile it once before any test. */
export default function setup(): void {
  const root = fileURLToPath(new URL('../../', import.meta.url));
  execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', '.'], {
    cwd: root,
    stdio: 'inherit',
  });
}
