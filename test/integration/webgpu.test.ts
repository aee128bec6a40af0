/**
 * Models under WebGPU, on Chromium's software adapter: slow, and the same shaders as on a GPU. In a process of its own,
 * since Dawn may crash on its way out.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const DRIVERS = '/usr/lib/chromium';
const ICD = `${DRIVERS}/vk_swiftshader_icd.json`;
const FRAMES = 3;

/** Restores moving texture with and without a still, on both providers; prints how far they are apart. */
const script = `
import { ModelPackages } from './dist/restoration/ModelPackages.js';
import { ModelSession } from './dist/restoration/ModelSession.js';
const [w, h, scale] = [48, 32, 4];
const model = await ModelPackages.create([]).load('clear');
const index = model.manifest.variants.findIndex((v) => v.scale === scale);
const texture = (width, height, t) => Uint8Array.from({ length: width * height }, (_, i) => {
  const [x, y] = [((i % width) * w) / width + t, (Math.floor(i / width) * h) / height];
  return 128 + 60 * Math.sin(x / 5) * Math.cos(y / 7) + 25 * Math.sin(1.9 * x) * Math.sin(2.1 * y);
});
const inputs = Array.from({ length: ${FRAMES} }, (_, t) => {
  const picture = new Uint8Array(w * h * 1.5).fill(128);
  picture.set(texture(w, h, t));
  return picture.buffer;
});
const still = texture(w * scale, h * scale, 0).buffer;
async function restored(provider, references) {
  const session = await ModelSession.create(model, index, { provider, threads: 2, references });
  const state = session.createState(w, h);
  const reference = references ? await session.createReference(state, [still]) : null;
  let [found, out] = [null, null];
  for (const input of inputs) {
    out = new ArrayBuffer(w * h * 1.5 * scale ** 2);
    ({ found } = await session.run(state, [input], [out], { reference }));
  }
  return { found, pixels: new Uint8Array(out) };
}
const apart = (a, b) => a.pixels.reduce((most, v, i) => Math.max(most, Math.abs(v - b.pixels[i])), 0);
const [alone, aloneGpu] = [await restored('cpu', false), await restored('webgpu', false)];
const [told, toldGpu] = [await restored('cpu', true), await restored('webgpu', true)];
console.log(JSON.stringify({
  alone: apart(alone, aloneGpu), told: apart(told, toldGpu), still: apart(alone, told), found: told.found, foundGpu: toldGpu.found,
}));
process.kill(process.pid, 'SIGKILL');
`;

describe.skipIf(!existsSync(ICD))('WebGPU', () => {
  it('restores as the processor does, with a still and without', () => {
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
      timeout: 110_000,
      env: { ...process.env, VK_ICD_FILENAMES: ICD, XDG_RUNTIME_DIR: '/tmp', LD_LIBRARY_PATH: DRIVERS },
    });
    expect(stdout, stderr).toContain('alone');
    const { alone, told, still, found, foundGpu } = JSON.parse(stdout);
    expect(alone).toBeLessThanOrEqual(1);
    expect(told).toBeLessThanOrEqual(1);
    // A still that is found changes the picture, or nothing was compared.
    expect(still).toBeGreaterThan(4);
    expect(found).toBeGreaterThan(0.2);
    expect(foundGpu).toBeCloseTo(found, 2);
  }, 120_000);
});
