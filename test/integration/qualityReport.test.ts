/** `npm run quality`, as it is run, on a clip that is made here. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { naturalClip } from '../support/naturalClip.js';

const script = fileURLToPath(new URL('../../scripts/quality.mjs', import.meta.url));
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vireo-quality-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function quality(...args: string[]): Promise<{ code: number; stderr: string }> {
  const env = { ...process.env, VIREO_CACHE_DIR: join(folder, 'cache') };
  return new Promise((resolve) => {
    execFile(process.execPath, [script, ...args], { env, timeout: 250_000 }, (error, _stdout, stderr) => {
      resolve({ code: error ? Number(error.code ?? -1) : 0, stderr });
    });
  });
}

describe('the quality report', () => {
  it('is written from evaluations, which are kept for the next time', async () => {
    const data = join(folder, 'data');
    await mkdir(data);
    await symlink(await naturalClip({ seconds: 0.2 }), join(data, 'pan.y4m'));
    const args = ['--data', data, '--seconds', '0.2', '--model', 'swift-lite'];
    args.push('--baselines', 'none', '--codecs', 'h264');
    const first = await quality(...args, '--out', join(folder, 'docs'));
    expect(first).toMatchObject({ code: 0 });
    const report = await readFile(join(folder, 'docs', 'quality.md'), 'utf8');
    for (const heading of [
      'In short',
      'The best against the best',
      'Method by method',
      'Other encoders',
      '10 pictures a second',
      'Sizes in between',
      'What others reach',
    ]) {
      expect(report).toContain(`\n## ${heading}\n`);
    }
    expect(report).toMatch(/\| 60 \| bilinear \| [\d.]+ \| 0\.00 \| 0\.\d+ \| [\d.]+ \| [\d.]+ \| [\d.]+ \|/);
    expect(report).toMatch(/\| \*\*swift-lite\*\* \| \*\*[\d.]+\*\* \| [+−][\d.]+ \|/);
    expect(report).not.toMatch(/NaN|undefined|Infinity/);
    // Nothing of the machine it was made on but its processor.
    expect(report).not.toContain(folder);
    const images = await readdir(join(folder, 'docs', 'images', 'quality'));
    expect(images).toEqual(['curve-pan.svg']);
    const curve = await readFile(join(folder, 'docs', 'images', 'quality', 'curve-pan.svg'), 'utf8');
    expect(curve).toMatch(/^<svg .*<\/svg>\n$/s);
    expect(curve).not.toContain('NaN');

    const again = await quality(...args, '--out', join(folder, 'again'));
    expect(again.stderr).not.toContain('pan: 180');
    expect(await readFile(join(folder, 'again', 'quality.md'), 'utf8')).toBe(report);
    // Some twenty evaluations, each a process of its own: two cores without AVX-512 take two minutes.
  }, 300_000);

  it('says in one line what is missing', async () => {
    const said = async (...args: string[]) => {
      const { code, stderr } = await quality(...args);
      expect(code).toBe(1);
      return stderr.trim();
    };
    expect(await said()).toMatch(/^quality: --data DIR: the folder with the clips is missing$/);
    const empty = join(folder, 'nothing');
    expect(await said('--data', empty)).toMatch(/^quality: --data .*nothing: there is no clip in it$/);
    const why = await said('--data', join(folder, 'data'), '--baselines', 'none', '--model', 'swoft');
    expect(why).toMatch(/^quality: model "swoft" was not found/);
  });
});
