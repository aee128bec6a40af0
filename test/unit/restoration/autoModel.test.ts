import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { chooseLadder } from '../../../src/restoration/autoModel.js';
import { ModelPackages } from '../../../src/restoration/ModelPackages.js';
import type { ProbeReply, ProbeRequest } from '../../../src/restoration/providers.js';
import type { ProviderName } from '../../../src/restoration/types.js';
import { writeTinyPackage } from '../../support/tinyModel.js';

let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'vireo-auto-'));
  await writeTinyPackage(root, 'clear', { extra: { lighter: 'swift' } });
  await writeTinyPackage(root, 'swift', { extra: { lighter: 'swift-lite' } });
  await writeTinyPackage(root, 'swift-lite');
});

afterEach(async () => await rm(root, { recursive: true, force: true }));

async function choose(
  provider: 'auto' | ProviderName,
  replies: Partial<Record<ProviderName, ProbeReply>>,
  model = 'auto',
) {
  const tried: string[] = [];
  const { packages, choice } = await chooseLadder(
    { model, provider, threads: 1, warmUpSizes: [{ scale: 4, width: 32, height: 32 }] },
    ModelPackages.create([root]),
    {
      missing: (name) => (replies[name] === undefined ? 'not here' : null),
      probe: async (request: ProbeRequest) => {
        tried.push(`${request.model.manifest.name} on ${request.provider}`);
        return replies[request.provider] ?? { error: 'no answer' };
      },
    },
  );
  return { ladder: packages.map(({ manifest }) => manifest.name), choice, tried };
}

describe('restoration.model: auto', () => {
  it('is clear where a GPU runs it, tried once', async () => {
    const { ladder, choice, tried } = await choose('auto', { cuda: { providerMs: 4, cpuMs: 90 } });
    expect(ladder).toEqual(['clear', 'swift', 'swift-lite']);
    expect(choice).toMatchObject({ provider: 'cuda', runMs: 4 });
    expect(tried).toEqual(['clear on cuda']);
  });

  it('is swift where there is no GPU, and says why', async () => {
    const { ladder, choice } = await choose('auto', {});
    expect(ladder).toEqual(['swift', 'swift-lite']);
    expect(choice).toEqual({ provider: 'cpu', notes: ['cuda: not here', 'webgpu: not here'] });
  });

  it('is swift on the CPU where the GPU is too slow for clear, though faster than the CPU', async () => {
    const { ladder, choice } = await choose('auto', { webgpu: { providerMs: 40, cpuMs: 90 } });
    expect(ladder).toEqual(['swift', 'swift-lite']);
    expect(choice?.provider).toBe('cpu');
    expect(choice?.notes.at(-1)).toBe('webgpu: model clear takes 40.0 ms a frame');
  });

  it('leaves a provider that was named to the one who named it', async () => {
    expect((await choose('webgpu', { webgpu: { providerMs: 40, cpuMs: 90 } })).ladder[0]).toBe('swift');
    expect((await choose('cpu', { cuda: { providerMs: 1, cpuMs: 90 } })).tried).toEqual([]);
    await expect(choose('cuda', {})).rejects.toThrow(/provider cuda .*not here/);
  });

  it('does without clear where it is not installed', async () => {
    const installed = ModelPackages.create([root]);
    const { packages } = await chooseLadder(
      { model: 'auto', provider: 'auto', threads: 1, warmUpSizes: [{ scale: 4, width: 32, height: 32 }] },
      { loadLadder: (name) => installed.loadLadder(name === 'clear' ? 'clear-is-gone' : name) },
    );
    expect(packages.map(({ manifest }) => manifest.name)).toEqual(['swift', 'swift-lite']);
  });

  it('a model that is named is taken whatever there is', async () => {
    const { ladder, choice, tried } = await choose(
      'auto',
      { cuda: { providerMs: 1, cpuMs: 90 } },
      'swift-lite',
    );
    expect({ ladder, choice, tried }).toEqual({ ladder: ['swift-lite'], choice: undefined, tried: [] });
  });
});
