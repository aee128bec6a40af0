import { appendFile, mkdtemp, rename, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ModelPackages } from '../../../src/restoration/ModelPackages.js';
import { writeTinyPackage } from '../../support/tinyModel.js';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'vireo-models-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

const load = (name = 'tiny') => ModelPackages.create([root]).load(name);
const refused = (message: RegExp) => ({ code: 'model-invalid', message: expect.stringMatching(message) });

describe('model packages', () => {
  it('are loaded with the bytes of every file', async () => {
    const directory = await writeTinyPackage(root);
    const model = await load();
    expect(model.directory).toBe(directory);
    expect(model.manifest.name).toBe('tiny');
    expect([...model.files.keys()].sort()).toEqual(['x2.onnx', 'x4.onnx']);
  });

  it('are taken from the first folder that has the name', async () => {
    const other = await mkdtemp(join(tmpdir(), 'vireo-models-'));
    await writeTinyPackage(root, 'tiny', { extra: { version: '1.0.0' } });
    await writeTinyPackage(other, 'tiny', { extra: { version: '2.0.0' } });
    const versions = async (...folders: string[]) =>
      (await ModelPackages.create(folders).load('tiny')).manifest.version;
    expect(await versions(root, other)).toBe('1.0.0');
    expect(await versions(other, root)).toBe('2.0.0');
    await rm(other, { recursive: true });
  });

  it('are listed with their problems, folders that are none of them left out', async () => {
    await writeTinyPackage(root);
    await writeTinyPackage(root, 'broken', { change: (manifest) => ({ ...manifest, version: 'new' }) });
    await writeFile(join(root, 'README.md'), 'not a package');
    const mine = (await ModelPackages.create([root, join(root, 'nothing-here')]).list()).filter((entry) =>
      entry.directory.startsWith(root),
    );
    expect(mine.map((entry) => entry.name)).toEqual(['broken', 'tiny']);
    expect(mine[0]?.problem).toMatch(/field version/);
    expect(mine[1]).toMatchObject({ problem: null, manifest: { name: 'tiny' } });
  });

  it('that are missing are named together with what is there', async () => {
    await writeTinyPackage(root);
    await expect(load('other')).rejects.toMatchObject({
      code: 'not-found',
      message: expect.stringMatching(/model "other" was not found in .*there is: .*tiny/),
    });
  });
});

describe('a package is refused by name', () => {
  it.each([['../tiny'], ['tiny/../../etc'], ['/etc'], ['..'], ['.'], [''], ['tiny\0'], ['Tiny']])(
    'when its name is %j',
    async (name) => {
      await writeTinyPackage(root);
      await expect(load(name)).rejects.toMatchObject(refused(/must be lower-case letters/));
    },
  );

  it('when a file was changed', async () => {
    const directory = await writeTinyPackage(root);
    await appendFile(join(directory, 'x2.onnx'), 'x');
    await expect(load()).rejects.toMatchObject(
      refused(/model "tiny": file x2\.onnx is refused: its SHA-256/),
    );
  });

  it('when a file was cut short or is gone', async () => {
    const directory = await writeTinyPackage(root);
    await truncate(join(directory, 'x4.onnx'), 100);
    await expect(load()).rejects.toMatchObject(refused(/"tiny": file x4\.onnx is refused/));
    await rm(join(directory, 'x4.onnx'));
    await expect(load()).rejects.toMatchObject(refused(/"tiny": file x4\.onnx is missing/));
  });

  it('when a file leads outside of the package', async () => {
    const directory = await writeTinyPackage(root);
    await rename(join(directory, 'x4.onnx'), join(root, 'elsewhere.onnx'));
    await symlink(join(root, 'elsewhere.onnx'), join(directory, 'x4.onnx'));
    await expect(load()).rejects.toMatchObject(
      refused(/file x4\.onnx is a link to .*outside of the package/),
    );
  });

  it.each([
    ['../x4.onnx', /field variants\.0\.file/],
    ['/etc/passwd', /field variants\.0\.file/],
    ['sub/x4.onnx', /field variants\.0\.file/],
  ])('when a file is called %s', async (file, message) => {
    await writeTinyPackage(root, 'tiny', {
      change: (manifest) => ({ ...manifest, variants: [{ ...manifest.variants[0], file }] }),
    });
    await expect(load()).rejects.toMatchObject(refused(message));
  });

  it.each([
    ['an unknown field', { surprise: 1 }, /manifest\.json: .*surprise/],
    ['a missing field', { licence: undefined }, /field licence/],
    ['another name than its folder', { name: 'other' }, /field name is "other" but its folder is "tiny"/],
    ['no variants', { variants: [] }, /field variants/],
  ])('when its manifest has %s', async (_what, change, message) => {
    await writeTinyPackage(root, 'tiny', { change: (manifest) => ({ ...manifest, ...change }) });
    await expect(load()).rejects.toMatchObject(refused(message));
  });

  it('when its manifest is not JSON, or far too large', async () => {
    const directory = await writeTinyPackage(root);
    await writeFile(join(directory, 'manifest.json'), '{');
    await expect(load()).rejects.toMatchObject(refused(/model "tiny": manifest\.json is not JSON/));
    await writeFile(join(directory, 'manifest.json'), ' '.repeat(2 << 20));
    await expect(load()).rejects.toMatchObject(refused(/manifest\.json is larger/));
  });
});

describe('mask and strength inputs', () => {
  it('may be named, and must be names', async () => {
    await writeTinyPackage(root, 'complete', { complete: true });
    const { manifest } = await load('complete');
    expect(manifest.variants.map(({ task, scale, mask }) => [task, scale, mask])).toEqual([
      ['sr', 4, 'mask'],
      ['sr', 2, 'mask'],
      ['deblur', 1, 'mask'],
      ['inpaint', 1, 'mask'],
    ]);
    await writeTinyPackage(root, 'tiny', {
      change: (given) => ({ ...given, variants: [{ ...given.variants[0], strength: 1 }] }),
    });
    await expect(load()).rejects.toMatchObject(refused(/field variants\.0\.strength/));
  });

  it.each([
    ['of an unknown codec', true, { vp10: 0.5 }, /field variants\.0\.strengths/],
    ['out of range', true, { av1: 1.5 }, /field variants\.0\.strengths\.av1/],
    ['without the input', false, { av1: 0 }, /field variants\.0\.strengths.*has no strength input/],
  ])('take no strengths %s', async (_what, complete, strengths, message) => {
    await writeTinyPackage(root, 'tiny', {
      complete,
      change: (manifest) => ({ ...manifest, variants: [{ ...manifest.variants[0], strengths }] }),
    });
    await expect(load()).rejects.toMatchObject(refused(message));
  });
});

describe('the load ladder', () => {
  const ladder = (name: string) => ModelPackages.create([root]).loadLadder(name);

  it('is the package and its lighter ones, the heaviest first', async () => {
    await writeTinyPackage(root, 'full', { extra: { lighter: 'lite' } });
    await writeTinyPackage(root, 'lite');
    expect((await ladder('full')).map((step) => step.manifest.name)).toEqual(['full', 'lite']);
    expect((await ladder('lite')).map((step) => step.manifest.name)).toEqual(['lite']);
  });

  it('need not deblur or inpaint at every step', async () => {
    await writeTinyPackage(root, 'full', { complete: true, extra: { lighter: 'lite' } });
    await writeTinyPackage(root, 'lite');
    expect((await ladder('full')).map((step) => step.manifest.name)).toEqual(['full', 'lite']);
  });

  it('must not go round, name what is not there, or lose a size it enlarges', async () => {
    await writeTinyPackage(root, 'full', { extra: { lighter: 'lite' } });
    await expect(ladder('full')).rejects.toMatchObject(
      refused(/model "full": field lighter: model "lite" was not found/),
    );
    await writeTinyPackage(root, 'lite', { extra: { lighter: 'full' } });
    await expect(ladder('full')).rejects.toMatchObject(
      refused(/field lighter: the chain comes back to "full"/),
    );
    await writeTinyPackage(root, 'lite', {
      change: (manifest) => ({ ...manifest, variants: manifest.variants.slice(0, 1) }),
    });
    await expect(ladder('full')).rejects.toMatchObject(
      refused(/model "full": field lighter: "lite" has no variant for task sr, scale 2 and fold 2/),
    );
  });
});
