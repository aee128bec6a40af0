import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { renderReference } from '../../../src/config/render.js';

describe('docs/operate.md', () => {
  it('holds the reference that the schema gives (npm run docs writes it)', () => {
    const operate = readFileSync(new URL('../../../docs/operate.md', import.meta.url), 'utf8');
    expect(operate).toContain(renderReference().trim());
  });
});
