import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { missingOptionalPackages } from '../../../scripts/complete-lockfile.mjs';

describe('package-lock.json', () => {
  const text = readFileSync(new URL('../../../package-lock.json', import.meta.url), 'utf8');

  it('is one that npm ci takes on every platform (npm run lock)', () => {
    expect(missingOptionalPackages(JSON.parse(text).packages).map(({ name }) => name)).toEqual([]);
  });

  it('names no registry', () => {
    expect(text).not.toContain('"resolved"');
  });
});
