import { describe, expect, it } from 'vitest';
import {
  chooseProvider,
  executionProviders,
  type ProbeReply,
  type ProbeRequest,
} from '../../../src/restoration/providers.js';
import type { ProviderName } from '../../../src/restoration/types.js';
import { tinyManifest, tinyOnnx, tinyVariant } from '../../support/tinyModel.js';

const manifest = tinyManifest('tiny', [tinyVariant(4, tinyOnnx(4))]);
const trial = {
  threads: 1,
  model: { directory: '/nowhere', manifest, files: new Map() },
  variantIndex: 0,
  width: 32,
  height: 32,
};

function choose(
  requested: 'auto' | ProviderName,
  missing: Partial<Record<ProviderName, string>>,
  replies: Partial<Record<ProviderName, ProbeReply>>,
) {
  const tried: ProviderName[] = [];
  const choice = chooseProvider(requested, trial, {
    missing: (provider) => missing[provider] ?? null,
    probe: async (request: ProbeRequest) => {
      tried.push(request.provider);
      return replies[request.provider] ?? { error: 'no answer' };
    },
  });
  return { choice, tried };
}

describe('the execution provider', () => {
  it('is told which nodes stay on the processor, and never of none: onnxruntime refuses an empty list', () => {
    expect(executionProviders('webgpu')).toEqual(['webgpu', 'cpu']);
    expect(executionProviders('webgpu', ['host_0', 'host_1'])).toEqual([
      { name: 'webgpu', forceCpuNodeNames: ['host_0', 'host_1'] },
      'cpu',
    ]);
    expect(executionProviders('cpu', ['host_0'])).toEqual(['cpu']);
    expect(executionProviders('cuda', ['host_0'])).toEqual(['cuda', 'cpu']);
  });

  it('auto takes CUDA first, then WebGPU, and tries nothing after the first that works', async () => {
    const fast: ProbeReply = { providerMs: 2, cpuMs: 20 };
    const cuda = choose('auto', {}, { cuda: fast, webgpu: fast });
    expect(await cuda.choice).toEqual({ provider: 'cuda', notes: [], runMs: 2 });
    expect(cuda.tried).toEqual(['cuda']);
    const webgpu = choose('auto', { cuda: 'no NVIDIA driver' }, { webgpu: fast });
    expect(await webgpu.choice).toEqual({ provider: 'webgpu', notes: ['cuda: no NVIDIA driver'], runMs: 2 });
    expect(webgpu.tried).toEqual(['webgpu']);
  });

  it('auto ends at the CPU and says why not the others', async () => {
    const { choice } = choose(
      'auto',
      { cuda: 'no NVIDIA driver' },
      { webgpu: { error: 'its driver crashed (SIGSEGV)' } },
    );
    expect(await choice).toEqual({
      provider: 'cpu',
      notes: ['cuda: no NVIDIA driver', 'webgpu: its driver crashed (SIGSEGV)'],
    });
  });

  it('auto does not take a GPU that is slower than the CPU, such as a software adapter', async () => {
    const { choice } = choose(
      'auto',
      { cuda: 'no NVIDIA driver' },
      { webgpu: { providerMs: 5_500, cpuMs: 15 } },
    );
    const { provider, notes } = await choice;
    expect(provider).toBe('cpu');
    expect(notes[1]).toMatch(/webgpu: a block takes 5500\.0 ms, on the CPU 15\.0 ms \(a software adapter/);
  });

  it('one that is asked for is taken however slow, or refused by name', async () => {
    const slow = choose('webgpu', {}, { webgpu: { providerMs: 5_500, cpuMs: 15 } });
    expect(await slow.choice).toEqual({ provider: 'webgpu', notes: [], runMs: 5_500 });
    await expect(choose('cuda', { cuda: 'no library' }, {}).choice).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/provider cuda \(--provider\) cannot be used here: no library/),
    });
    await expect(choose('webgpu', {}, {}).choice).rejects.toThrow(/provider webgpu .*no answer/);
  });

  it('the CPU is never tried: it is always there', async () => {
    const { choice, tried } = choose('cpu', {}, {});
    expect(await choice).toEqual({ provider: 'cpu', notes: [] });
    expect(tried).toEqual([]);
  });
});
