import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AVCOL_RANGE_MPEG, AVCOL_SPC_BT709 } from 'node-av/constants';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RestoreReport } from '../../src/cli/restore.js';
import { writeTinyPackage } from '../support/tinyModel.js';
import { inspect, makeVideo, makeVideoWith, rotateMp4 } from '../support/videoFiles.js';

const bin = fileURLToPath(new URL('../../bin/vireo.js', import.meta.url));
let folder: string;
let models: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vireo-restore-'));
  models = join(folder, 'models');
  await writeTinyPackage(models);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Outcome {
  code: number;
  stdout: string;
  stderr: string;
}

function vireo(...args: string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    execFile(process.execPath, [bin, ...args], (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

/** With the tiny test model: the tool is on trial here, not the restoration. */
function restore(input: string, output: string, ...flags: string[]): Promise<Outcome> {
  return vireo(
    'restore',
    input,
    output,
    '--model',
    'tiny',
    '--model-dir',
    models,
    '--provider',
    'cpu',
    ...flags,
  );
}

const file = (name: string) => join(folder, name);
const test = (size: string, frames: number, rest = '') =>
  `testsrc2=size=${size}:rate=30,trim=end_frame=${frames}${rest}`;

async function report(input: string, output: string, ...flags: string[]): Promise<RestoreReport> {
  const { code, stdout, stderr } = await restore(input, output, '--json', ...flags);
  expect(stderr, stderr).not.toMatch(/error/i);
  expect(code).toBe(0);
  return JSON.parse(stdout) as RestoreReport;
}

async function refusal(input: string, output: string, ...flags: string[]): Promise<string> {
  const { code, stdout, stderr } = await restore(input, output, '--json', ...flags);
  expect(code).toBe(1);
  expect(stdout).toBe('');
  expect(stderr.trim().split('\n')).toHaveLength(1);
  return stderr;
}

describe('vireo restore', () => {
  it('writes y4m with one frame for every frame of the input and reports what it did', async () => {
    const input = await makeVideo(file('a.webm'), test('320x180', 12));
    const result = await report(input, file('a.y4m'));
    expect(result).toEqual({
      frames: 12,
      fps: expect.any(Number),
      model: 'tiny',
      provider: 'cpu',
      input: { width: 320, height: 180 },
      output: { width: 1280, height: 720 },
      stageMs: { decode: expect.any(Number), restore: expect.any(Number), encode: expect.any(Number) },
    });
    expect(result.fps).toBeGreaterThan(0);
    const { size } = await stat(file('a.y4m'));
    const header = (await readFile(file('a.y4m'))).subarray(0, 200).toString('latin1').split('\n')[0] ?? '';
    expect(header).toMatch(/^YUV4MPEG2 W1280 H720 F30:1 Ip A1:1 C420/);
    expect(size).toBe(header.length + 1 + 12 * ('FRAME\n'.length + (1280 * 720 * 3) / 2));
    expect(await inspect(file('a.y4m'))).toMatchObject({ width: 1280, height: 720, frames: 12 });
  });

  it.each(['mp4', 'webm', 'mkv'])('writes %s', async (extension) => {
    const input = await makeVideo(file('b-in.webm'), test('320x180', 8));
    await report(input, file(`b.${extension}`));
    expect(await inspect(file(`b.${extension}`))).toMatchObject({ width: 1280, height: 720, frames: 8 });
  });

  it('restores 360 lines by two, and takes odd and portrait sizes', async () => {
    const wide = await makeVideo(file('c.mkv'), test('640x360', 3));
    expect((await report(wide, file('c.y4m'))).output).toEqual({ width: 1280, height: 720 });
    const tall = await makeVideoWith(file('d.mkv'), `${test('181x321', 3)},format=yuv444p`, 'libx264');
    const { input, output } = await report(tall, file('d.y4m'));
    expect(input).toEqual({ width: 181, height: 321 });
    expect(output).toEqual({ width: 720, height: 1280 });
  });

  it('turns what telephones mark as turned', async () => {
    const input = await makeVideo(file('turned.mp4'), test('320x180', 4));
    await rotateMp4(input);
    const result = await report(input, file('upright.mp4'));
    expect(result.input).toEqual({ width: 180, height: 320 });
    expect(await inspect(file('upright.mp4'))).toMatchObject({ width: 720, height: 1280, frames: 4 });
  });

  it('keeps the times of a variable frame rate, and every frame of it in y4m', async () => {
    const graph = test('320x180', 12, `,select='not(eq(mod(n\\,4)\\,1))'`);
    const input = await makeVideo(file('vfr.mkv'), graph);
    const before = await inspect(input);
    expect(before.frames).toBe(9);
    expect((await report(input, file('vfr.y4m'))).frames).toBe(9);
    expect((await inspect(file('vfr.y4m'))).frames).toBe(9);
    await report(input, file('vfr.mp4'));
    const after = await inspect(file('vfr.mp4'));
    expect(after.timesMs).toEqual(before.timesMs);
  });

  it('reads 10-bit 4:2:2, full range and RGB, and writes limited-range 4:2:0 with the colour tags', async () => {
    const tagged = ',setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709';
    const ten = await makeVideoWith(
      file('ten.mkv'),
      `${test('320x180', 3)},format=yuv422p10le${tagged}`,
      'libx264',
    );
    await report(ten, file('ten.mp4'));
    const expected = { frames: 3, colorSpace: AVCOL_SPC_BT709, colorRange: AVCOL_RANGE_MPEG };
    expect(await inspect(file('ten.mp4'))).toMatchObject(expected);
    const full = await makeVideoWith(
      file('full.mkv'),
      `${test('320x180', 3)},scale=out_range=full,format=yuvj420p${tagged}`,
      'libx264',
    );
    await report(full, file('full.mp4'));
    expect(await inspect(file('full.mp4'))).toMatchObject(expected);
    const rgb = await makeVideoWith(file('rgb.mkv'), `${test('320x180', 3)},format=bgr0`, 'ffv1');
    await report(rgb, file('rgb.mp4'));
    expect(await inspect(file('rgb.mp4'))).toMatchObject(expected);
  });

  it('copies the sound where the container holds it, and says so where not', async () => {
    const input = await makeVideo(
      file('sound.mkv'),
      `${test('320x180', 15)}[out0];sine=duration=0.5:sample_rate=8000[out1]`,
    );
    await report(input, file('sound2.mkv'));
    const [before, after] = [await inspect(input), await inspect(file('sound2.mkv'))];
    expect(after).toMatchObject({ hasAudio: true, audioPackets: before.audioPackets, frames: 15 });
    const { code, stderr } = await restore(input, file('sound.webm'));
    expect(code).toBe(0);
    expect(stderr).toMatch(/webm holds no pcm_s16le audio: it was left out/);
    expect((await inspect(file('sound.webm'))).hasAudio).toBe(false);
  });

  it('puts original and restored side by side', async () => {
    const input = await makeVideo(file('e.webm'), test('320x180', 4));
    const { output } = await report(input, file('e.y4m'), '--compare');
    expect(output).toEqual({ width: 2560, height: 720 });
    expect(await inspect(file('e.y4m'))).toMatchObject({ width: 2560, height: 720, frames: 4 });
  });

  it('restores what can be read of a truncated file and says that it is damaged', async () => {
    const input = await makeVideo(file('cut.mkv'), test('320x180', 30));
    await truncate(input, Math.floor((await stat(input)).size / 2));
    const { code, stdout } = await restore(input, file('cut.y4m'), '--json');
    expect(code).toBe(0);
    const { frames } = JSON.parse(stdout) as RestoreReport;
    expect(frames).toBeGreaterThan(0);
    expect(frames).toBeLessThan(30);
    expect((await inspect(file('cut.y4m'))).frames).toBe(frames);
  });
});

describe('vireo restore refuses, in one line,', () => {
  it('what is no video, and leaves no file behind', async () => {
    await writeFile(file('text.mp4'), 'this is not a video');
    expect(await refusal(file('text.mp4'), file('never.mp4'))).toMatch(/text\.mp4 cannot be read/);
    expect(await refusal(file('missing.mp4'), file('never.mp4'))).toMatch(/missing\.mp4 cannot be read/);
    expect((await readdir(folder)).filter((name) => name.includes('never'))).toEqual([]);
  });

  it('pictures that are sharp already, or of a silly shape, naming their size', async () => {
    const sharp = await makeVideo(file('sharp.mkv'), test('1280x720', 2));
    expect(await refusal(sharp, file('never.mp4'))).toMatch(
      /IN .*sharp\.mkv is 1280x720: to 720 lines \(--height\)/,
    );
    const strip = await makeVideo(file('strip.mkv'), test('640x64', 2));
    expect(await refusal(strip, file('never.mp4'))).toMatch(/IN .*strip\.mkv: 640x64 is longer than 4:1/);
  });

  it('an OUT it cannot write', async () => {
    const input = await makeVideo(file('f.mkv'), test('320x180', 2));
    expect(await refusal(input, file('f.avi'))).toMatch(
      /OUT .*f\.avi must end in \.y4m, \.mp4, \.mkv, \.webm/,
    );
    expect(await refusal(input, join(folder, 'nowhere', 'f.mp4'))).toMatch(/OUT .*its folder does not exist/);
    expect(await refusal(input, input)).toMatch(/OUT .* is the same file as IN/);
  });

  it('tasks, models, providers, references and heights it does not have', async () => {
    const input = await makeVideo(file('g.mkv'), test('320x180', 2));
    const out = file('never.mp4');
    expect(await refusal(input, out, '--task', 'deblur')).toMatch(/--task deblur: model "tiny" has sr only/);
    expect(await refusal(input, out, '--model', 'nope')).toMatch(/model "nope" was not found/);
    expect(await refusal(input, out, '--reference', file('still.png'))).toMatch(
      /--reference: model "tiny" takes no/,
    );
    expect(await refusal(input, out, '--provider', 'cuda')).toMatch(
      /provider cuda \(--provider\) cannot be used/,
    );
    expect(await refusal(input, out, '--provider', 'quantum')).toMatch(/--provider/);
    expect(await refusal(input, out, '--height', '721')).toMatch(/--height/);
    const all = await vireo('restore', input, out, '--task', 'inpaint', '--model-dir', models);
    expect(all.code).toBe(1);
    expect(all.stderr).toMatch(/--task inpaint: no installed model has it; installed: .*tiny \(sr\)/);
  });

  it('a model whose file does not match its manifest', async () => {
    await writeTinyPackage(models, 'bad');
    await writeFile(join(models, 'bad', 'x4.onnx'), 'changed');
    const input = await makeVideo(file('h.mkv'), test('320x180', 2));
    const message = await refusal(input, file('never.mp4'), '--model', 'bad');
    expect(message).toMatch(/model "bad": file x4\.onnx is refused/);
  });
});
