// Runs a package with onnxruntime-node on the inputs verify.py wrote and compares with PyTorch's outputs.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';

const [repository, folder, jobsText] = process.argv.slice(2);
const ort = createRequire(join(repository, 'package.json'))('onnxruntime-node');
const manifest = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8'));

function size(dimension, h, w) {
  const match = /^([hw])(?:([*/])(\d+))?$/.exec(String(dimension));
  if (!match) return Number(dimension);
  const value = match[1] === 'h' ? h : w;
  return match[2] === '*' ? value * Number(match[3]) : match[2] === '/' ? value / Number(match[3]) : value;
}

let failed = false;
async function load(name, sha256) {
  const file = readFileSync(join(folder, name));
  if (createHash('sha256').update(file).digest('hex') !== sha256) throw new Error(`sha256 of ${name}`);
  return ort.InferenceSession.create(file, { intraOpNumThreads: 2, executionProviders: ['cpu'] });
}
/** Tables of several stills are one below the other. */
function below(above, tensor) {
  if (above === undefined) return tensor;
  const data = new tensor.data.constructor(above.data.length + tensor.data.length);
  data.set(above.data);
  data.set(tensor.data, above.data.length);
  return new ort.Tensor(tensor.type, data, [above.dims[0] + tensor.dims[0], ...tensor.dims.slice(1)]);
}
/** Each variant alone, and with a still where it takes one. */
const ways = manifest.variants.flatMap((variant) => [
  { variant, file: variant.file, sha256: variant.sha256 },
  ...(variant.references ? [{ variant, ...variant.references }] : []),
]);
for (const { variant, file, sha256, tables, tablesFile, tablesSha256, still: stillName } of ways) {
  const session = await load(file, sha256);
  for (const { scale, fill, damaged, stills, h, w, frames, name } of JSON.parse(jobsText)) {
    // Lost pixels are filled by the inpainting variant only.
    if (scale !== variant.scale || fill !== (variant.task === 'inpaint') || stills > 0 !== (tables !== undefined)) continue;
    const remembered = {};
    for (let i = 0; i < stills; i++) {
      const still = new ort.Tensor('uint8', new Uint8Array(readFileSync(`${name}.still${i}`)), [1, 1, h * scale, w * scale]);
      const made = await (await load(tablesFile, tablesSha256)).run({ [stillName]: still });
      for (const { output, input } of tables) remembered[input] = below(remembered[input], made[output]);
    }
    const [luma, chroma, mask, lumaOut, chromaOut] = ['luma', 'chroma', 'mask', 'lumaOut', 'chromaOut'].map((part) =>
      new Uint8Array(readFileSync(`${name}.${part}`)));
    const state = {};
    for (const s of variant.state) {
      const dims = s.shape.map((d) => size(d, h, w));
      const length = dims.reduce((a, b) => a * b, 1);
      state[s.input] = new ort.Tensor(s.dtype, s.dtype === 'uint8' ? new Uint8Array(length) : new Float32Array(length), dims);
    }
    let [worst, wrong, total] = [0, 0, 0];
    const times = [];
    const compare = (tensor, expected) => {
      if (tensor.data.length !== expected.length) throw new Error('size of an output');
      for (let i = 0; i < expected.length; i++) {
        const difference = Math.abs(tensor.data[i] - expected[i]);
        worst = Math.max(worst, difference);
        if (difference > 1) wrong++;
      }
      total += expected.length;
    };
    for (let t = 0; t < frames; t++) {
      const feeds = {
        [variant.luma]: new ort.Tensor('uint8', luma.subarray(t * h * w, (t + 1) * h * w), [1, 1, h, w]),
        [variant.chroma]: new ort.Tensor('uint8', chroma, [1, 2, h / 2, w / 2]),
        ...(variant.mask === undefined ? {} : { [variant.mask]: new ort.Tensor('uint8', mask.subarray(t * h * w, (t + 1) * h * w), [1, 1, h, w]) }),
        [variant.strength]: new ort.Tensor('float32', Float32Array.of(1), [1]),
        ...state,
        ...remembered,
      };
      const start = performance.now();
      const out = await session.run(feeds);
      times.push(performance.now() - start);
      compare(out[variant.lumaOut], lumaOut.subarray(t * h * w * scale ** 2, (t + 1) * h * w * scale ** 2));
      compare(out[variant.chromaOut], chromaOut);
      for (const s of variant.state) state[s.input] = out[s.output];
    }
    if (wrong > 0.001 * total) failed = true;
    const share = ((100 * wrong) / total).toFixed(4);
    console.log(`${file}${stills > 1 ? ` (${stills} stills)` : ''}${damaged ? ' (damaged)' : ''} ${w}x${h}: largest difference ${worst}, more than 1 in ${share} %, fastest ${Math.min(...times).toFixed(1)} ms`);
  }
}
if (failed) throw new Error('the export differs from PyTorch by more than 1 in more than 0.1 % of the pixels');
