import { readFileSync } from 'node:fs';
import { packageRootUrl } from '../entrypoints.js';

/** Of package.json. */
export function readVersion(): string {
  const { version } = JSON.parse(readFileSync(new URL('package.json', packageRootUrl), 'utf8')) as {
    version: string;
  };
  return version;
}
