import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AVCOL_RANGE_MPEG, AVCOL_SPC_BT709 } from 'node-av/constants';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RestoreReport } from '../../src/cli/restore.js';
import { LOST_LUMA, writeTinyPackage } from '../support/tinyModel.js';
import { inspect, makeVideo, makeVideoWith, rotateMp4 } from '../support/videoFiles.js';

const bin = fileURLToPath(new URL('../../bin/vireo.js', import.meta.url));
let folder: string;
let models: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vireo-restore-'));
  models = join(folder, 'models');
  await writeTinyPackage(models);
  await writeTinyPackage(join(folder, 'more'), 'complete', { complete: true });
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

/** With the tiny model that has every task and takes masks and strengths. */
const COMPLETE = ['--model', 'complete', '--model-dir', 'more'];
const complete = (...flags: string[]) => [...flags, ...COMPLETE.with(3, file('more'))];

/** Luma planes of a y4m file, one for each frame. */
async function lumasOf(path: string, width: number, height: number): Promise<Uint8Array[]> {
  const bytes = await readFile(path);
  const frameBytes = (width * height * 3) / 2;
  const planes: Uint8Array[] = [];
  for (let at = bytes.indexOf('FRAME\n'); at >= 0 && at < bytes.length; at += 6 + frameBytes)
    planes.push(bytes.subarray(at + 6, at + 6 + width * height));
  return planes;
}

/** How many pixels differ from the clip of the graph, and how many of those were taken for lost. */
async function differences(path: string, graph: string, width: number, height: number): Promise<string[]> {
  const reference = await makeVideo(file('reference.y4m'), graph);
  const [restored, expected] = [await lumasOf(path, width, height), await lumasOf(reference, width, height)];
  expect(restored).toHaveLength(expected.length);
  return restored.map((plane, index) => {
    let [other, lost] = [0, 0];
    plane.forEach((luma, at) => {
      if (luma === expected[index]?.[at]) return;
      other += 1;
      if (luma === LOST_LUMA) lost += 1;
    });
    return `${other}/${lost}`;
  });
}

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

describe('vireo restore at the size of the input', () => {
  const graph = (size: string, frames: number, rest = '') => `${test(size, frames)},format=yuv420p${rest}`;
  const lossless = (name: string, size: string, frames: number, rest = '') =>
    makeVideoWith(file(name), graph(size, frames, rest), 'ffv1');

  it('deblurs 720 lines, by --task or because they are too many to be enlarged', async () => {
    const input = await lossless('full720.mkv', '1280x720', 3);
    for (const task of ['deblur', 'auto']) {
      const result = await report(input, file('full720.y4m'), ...complete('--task', task));
      expect(result).toMatchObject({ frames: 3, model: 'complete', output: { width: 1280, height: 720 } });
    }
    const own = await lossless('own.mkv', '640x360', 2);
    const flags = complete('--task', 'deblur', '--height', '360');
    expect((await report(own, file('own.y4m'), ...flags)).output).toEqual({ width: 640, height: 360 });
    const small = await makeVideo(file('small.webm'), test('320x180', 2));
    expect((await report(small, file('small.y4m'), ...complete())).output).toEqual({
      width: 1280,
      height: 720,
    });
  });

  it('applies as much as --strength says', async () => {
    const input = await lossless('strength.mkv', '1280x720', 3);
    const out = file('strength.y4m');
    await report(input, out, ...complete('--task', 'deblur', '--strength', '0'));
    expect(await differences(out, graph('1280x720', 3), 1280, 720)).toEqual(['0/0', '0/0', '0/0']);
    await report(input, out, ...complete('--task', 'deblur', '--strength', '0.5'));
    const [first, , third] = await differences(out, graph('1280x720', 3), 1280, 720);
    expect([first, third === '0/0']).toEqual(['0/0', false]);
  });

  it('keeps every pixel of a size that is off the grid, and makes odd ones even', async () => {
    const input = await lossless('grid.mkv', '854x480', 2);
    const flags = complete('--task', 'deblur', '--height', '480', '--strength', '0');
    const result = await report(input, file('grid.y4m'), ...flags);
    expect(result.output).toEqual({ width: 854, height: 480 });
    expect(await differences(file('grid.y4m'), graph('854x480', 2), 854, 480)).toEqual(['0/0', '0/0']);
    const odd = await makeVideoWith(file('odd.mkv'), `${test('855x481', 2)},format=yuv444p`, 'ffv1');
    const even = await report(odd, file('odd.y4m'), ...complete('--task', 'inpaint', '--strength', '0'));
    expect(even.output).toEqual({ width: 854, height: 480 });
    const { output } = await report(odd, file('odd2.y4m'), ...complete('--task', 'inpaint', '--compare'));
    expect(output).toEqual({ width: 2 * 854, height: 480 });
    expect(await inspect(file('odd2.y4m'))).toMatchObject({ width: 2 * 854, height: 480, frames: 2 });
  });

  it('says that a small picture is enlarged before it is deblurred', async () => {
    const input = await makeVideo(file('enlarged.webm'), test('640x360', 2));
    const { code, stderr } = await restore(input, file('enlarged.y4m'), ...complete('--task', 'deblur'));
    expect(code).toBe(0);
    expect(stderr).toMatch(/is 640x360: enlarged to 720 lines \(--height\) before.*--task sr is made for/);
    expect(await inspect(file('enlarged.y4m'))).toMatchObject({ width: 1280, height: 720, frames: 2 });
  });

  it('fills in what an image shows as lost: luma of 128 and above', async () => {
    const input = await lossless('lost.mkv', '1280x720', 2);
    const mask = new Uint8Array(1280 * 720)
      .fill(127)
      .fill(128, 1280 * 100, 1280 * 150)
      .fill(255, 1280 * 700);
    await writeFile(file('mask.pgm'), Buffer.concat([Buffer.from('P5\n1280 720\n255\n'), mask]));
    const flags = complete('--mask', file('mask.pgm'), '--strength', '0');
    const result = await report(input, file('lost.y4m'), ...flags);
    expect(result.output).toEqual({ width: 1280, height: 720 });
    const lost = 70 * 1280;
    const all = await differences(file('lost.y4m'), graph('1280x720', 2), 1280, 720);
    expect(all).toEqual([`${lost}/${lost}`, `${lost}/${lost}`]);
  });

  it('takes a video of masks frame by frame, its last one for the rest', async () => {
    const input = await lossless('video.mkv', '640x360', 4);
    const masks = `color=size=640x360:rate=30,format=yuv420p,trim=end_frame=2,geq=lum='if(lt(X,10*(N+1)),235,16)':cb=128:cr=128`;
    const mask = await makeVideoWith(file('masks.mkv'), masks, 'ffv1');
    await report(input, file('video.y4m'), ...complete('--mask', mask, '--strength', '0'));
    const lost = [10, 20, 20, 20].map((columns) => columns * 360);
    expect(await differences(file('video.y4m'), graph('640x360', 4), 640, 360)).toEqual(
      lost.map((pixels) => `${pixels}/${pixels}`),
    );
  });

  it('without --mask fills in what was blanked', async () => {
    const plain = `color=gray:size=1288x726:rate=30,trim=end_frame=2`;
    const blanked = `${plain},format=yuv420p,drawbox=x=1200:y=640:w=88:h=86:color=black:t=fill`;
    const input = await makeVideoWith(file('blanked.mkv'), blanked, 'ffv1');
    await report(input, file('blanked.y4m'), ...complete('--task', 'inpaint', '--strength', '0'));
    const lost = 88 * 86;
    expect(await differences(file('blanked.y4m'), `${plain},format=yuv420p`, 1288, 726)).toEqual([
      `${lost}/${lost}`,
      `${lost}/${lost}`,
    ]);
  });

  it('turns pictures and masks each as their files say', async () => {
    const input = await makeVideo(file('turned-in.mp4'), `color=gray:size=320x180:rate=30,trim=end_frame=2`);
    await rotateMp4(input);
    const mask = new Uint8Array(180 * 320).fill(0).fill(255, 0, 180 * 20);
    await writeFile(file('upright.pgm'), Buffer.concat([Buffer.from('P5\n180 320\n255\n'), mask]));
    const flags = complete('--mask', file('upright.pgm'), '--strength', '0');
    expect((await report(input, file('turned.y4m'), ...flags)).output).toEqual({ width: 180, height: 320 });
    const [first] = await lumasOf(file('turned.y4m'), 180, 320);
    const isLost = [...(first ?? [])].map((luma) => luma === LOST_LUMA);
    expect([isLost.indexOf(false), isLost.lastIndexOf(true)]).toEqual([180 * 20, 180 * 20 - 1]);
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
      /--reference: model "tiny" \(x4\.onnx\) takes no/,
    );
    expect(await refusal(input, out, '--provider', 'cuda')).toMatch(
      /provider cuda \(--provider\) cannot be used/,
    );
    expect(await refusal(input, out, '--provider', 'quantum')).toMatch(/--provider/);
    expect(await refusal(input, out, '--height', '721')).toMatch(/--height/);
  });

  it('strengths and masks that are none, do not fit, or that the model does not take', async () => {
    const input = await makeVideo(file('i.mkv'), test('640x360', 2));
    const out = file('never.mp4');
    for (const strength of ['1.5', '-1', 'half', ''])
      expect(await refusal(input, out, '--strength', strength)).toMatch(/--strength.*from 0 to 1/);
    expect(await refusal(input, out, '--strength', '0.5')).toMatch(
      /--strength: model "tiny" \(x2\.onnx\) takes none/,
    );
    const mask = await makeVideo(file('mask180.mkv'), test('320x180', 1));
    expect(await refusal(input, out, '--mask', mask)).toMatch(/--task inpaint: model "tiny" has sr only/);
    expect(await refusal(input, out, ...complete('--mask', mask))).toMatch(
      /--mask .*mask180\.mkv is 320x180, but IN is 640x360/,
    );
    expect(await refusal(input, out, ...complete('--mask', mask, '--task', 'sr'))).toMatch(
      /--mask .*: --task sr takes none, only inpaint does/,
    );
    expect(await refusal(input, out, ...complete('--mask', file('nothing.png')))).toMatch(
      /--mask .*nothing\.png cannot be read/,
    );
    await writeFile(file('broken.pgm'), 'P5\n640 360\n255\n');
    expect(await refusal(input, out, ...complete('--mask', file('broken.pgm')))).toMatch(
      /--mask .*broken\.pgm/,
    );
    expect(await refusal(input, mask, ...complete('--mask', mask))).toMatch(/OUT .* same file as --mask/);
  });

  it('sizes that a task does not make', async () => {
    const input = await makeVideo(file('j.mkv'), test('640x360', 2));
    const out = file('never.mp4');
    expect(await refusal(input, out, ...complete('--task', 'inpaint', '--height', '720'))).toMatch(
      /IN .*j\.mkv is 640x360: inpaint keeps that size, --height 720 would not/,
    );
    expect(await refusal(input, out, ...complete('--task', 'deblur', '--height', '240'))).toMatch(
      /is 640x360: to 240 lines \(--height\), deblur restores pictures of up to 240/,
    );
    expect(await refusal(input, out, ...complete('--height', '240'))).toMatch(
      /sr or deblur restores pictures of up to 240/,
    );
    expect(await refusal(input, out, ...complete('--task', 'deblur', '--height', '482'))).toMatch(
      /IN .*j\.mkv: --height: 482 lines are no multiple of 8/,
    );
    const wide = await makeVideoWith(file('wide.mkv'), `${test('320x180', 2)},setsar=4/3`, 'ffv1');
    expect(await refusal(wide, out, ...complete('--task', 'inpaint'))).toMatch(
      /IN .*wide\.mkv: its pixels are not square/,
    );
    expect((await readdir(folder)).filter((name) => name.includes('never'))).toEqual([]);
  });

  it('a model whose file does not match its manifest', async () => {
    await writeTinyPackage(models, 'bad');
    await writeFile(join(models, 'bad', 'x4.onnx'), 'changed');
    const input = await makeVideo(file('h.mkv'), test('320x180', 2));
    const message = await refusal(input, file('never.mp4'), '--model', 'bad');
    expect(message).toMatch(/model "bad": file x4\.onnx is refused/);
  });
});
