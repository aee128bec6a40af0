import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bench } from '../../src/cli/bench.js';
import { evaluate } from '../../src/cli/evaluate.js';
import type { EvaluateFlags } from '../../src/cli/evaluateFlags.js';
import { restore } from '../../src/cli/restore.js';
import { CallCodec } from '../../src/evaluation/CallCodec.js';
import type { EvaluationRow } from '../../src/evaluation/report.js';
import { scaleFilter } from '../../src/restoration/filters.js';
import { VideoFileReader } from '../../src/restoration/VideoFileReader.js';
import { createVideoFileWriter } from '../../src/restoration/VideoFileWriter.js';
import { naturalClip, realClip } from '../support/naturalClip.js';
import { writeTinyPackage } from '../support/tinyModel.js';
import { inspect, psnrY } from '../support/videoFiles.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'vireo-evaluate-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const flags: EvaluateFlags = {
  codec: 'vp8',
  uplinkHeight: [180],
  bitrate: [120_000],
  fps: 30,
  blur: 0,
  loss: 0,
  keyFramesEvery: 0,
  inpaint: 0,
  references: 'off',
  stillEvery: 30,
  start: 0,
  against: ['bilinear', 'bicubic', 'lanczos'],
  seconds: 0.4,
  pictureAt: 0,
  model: 'swift-lite',
  provider: 'cpu',
  threads: 0,
};

/** The first frames of a clip as a call at 180 lines would show them. */
async function callVideo(reference: string, name: string, frames: number): Promise<string> {
  const reader = await VideoFileReader.open(reference);
  const { timeBase, frameRate } = reader.info;
  const path = join(folder, name);
  const shrink = scaleFilter({ width: 320, height: 180 }, 'bicubic');
  const size = { width: 320, height: 180 };
  const codec = await CallCodec.create({
    codec: 'vp8',
    ...size,
    fps: frameRate,
    bitrateBps: 200_000,
    lossPercent: 0,
  });
  const writer = createVideoFileWriter(path, { timeBase, frameRate, audio: null });
  for (let index = 0; index < frames; index++) {
    const frame = await reader.next();
    if (frame === null) break;
    const small = await shrink.apply(frame);
    await codec.send(small);
    const shown = codec.receive();
    if (shown !== undefined) await writer.write(shown);
    for (const used of [frame, small, shown]) used?.free();
  }
  await writer.finish();
  codec.close();
  shrink.close();
  await reader.close();
  return path;
}

describe('restoration with the bundled models', () => {
  it.each(['clear', 'swift', 'swift-lite'])(
    '%s beats bilinear on real footage, through vireo restore to y4m',
    async (model) => {
      const reference = await realClip('sam2-04_coffee.mp4');
      const input = await callVideo(reference, 'call.y4m', 12);
      const output = join(folder, `${model}.y4m`);
      const report = await restore(input, output, {
        task: 'auto',
        height: 720,
        model,
        provider: 'cpu',
        threads: 0,
      });
      expect(report).toMatchObject({ frames: 12, model, output: { width: 1280, height: 720 } });
      expect((await inspect(output)).frames).toBe(12);
      expect(await psnrY(output, reference)).toBeGreaterThan(
        (await psnrY(input, reference, 'bilinear')) + 0.1,
      );
    },
  );
});

describe('vireo evaluate', () => {
  it('measures every method at every bitrate and sums up', async () => {
    const clip = await realClip('sam2-04_coffee.mp4');
    const report = await evaluate([clip], { ...flags, bitrate: [60_000, 240_000] });
    const methods = ['vireo', 'bilinear', 'bicubic', 'lanczos'];
    expect(report.rows.map((row) => `${row.bitrate} ${row.method}`)).toEqual(
      [60_000, 240_000].flatMap((bitrate) => methods.map((method) => `${bitrate} ${method}`)),
    );
    for (const row of report.rows) {
      expect(row).toMatchObject({ codec: 'vp8', uplinkHeight: 180 });
      expect(row.warpError).toBeGreaterThan(0);
      expect(row.tOF).toBeGreaterThan(0);
      expect(row.tOF).toBeLessThan(10);
      expect(row.psnrY).toBeGreaterThan(20);
      expect(row.ssimY).toBeGreaterThan(0.5);
      expect(row.ssimY).toBeLessThan(1);
      expect(row.actualBitrate).toBeGreaterThan(10_000);
      expect(row.msPerFrame).toBeGreaterThan(0);
    }
    const at = (method: string, bitrate: number) =>
      report.rows.find((row) => row.method === method && row.bitrate === bitrate)?.psnrY ?? 0;
    expect(at('vireo', 240_000)).toBeGreaterThan(at('bilinear', 240_000));
    expect(at('bilinear', 240_000)).toBeGreaterThan(at('bilinear', 60_000));
    expect(report.summary).toHaveLength(8);
    expect(Object.keys(report.bdRate)).toEqual(['vireo vs bilinear', 'vireo vs bicubic', 'vireo vs lanczos']);
    expect(report.bdRate['vireo vs bilinear']).toBeLessThan(0);
  });

  it('sends fewer pictures a second where it is told to, and better ones', async () => {
    const clip = await naturalClip({ seconds: 0.8 });
    const of = async (fps: number) => {
      const { rows } = await evaluate([clip], { ...flags, fps, seconds: 0.8, against: ['bicubic'] });
      return rows[1] as EvaluationRow;
    };
    const [many, few] = [await of(30), await of(10)];
    expect([many.fps, few.fps]).toEqual([30, 10]);
    expect(few.psnrY).toBeGreaterThan(many.psnrY);
  });

  it('gives the same figures every time', async () => {
    const clip = await naturalClip({ seconds: 0.5 });
    const quick = { ...flags, seconds: 0.2 };
    const figures = async () => (await evaluate([clip], quick)).rows.map(({ msPerFrame: _, ...row }) => row);
    expect(await figures()).toEqual(await figures());
  });

  it.each(['vp9', 'h264', 'av1'] as const)('degrades with %s', async (codec) => {
    const clip = await naturalClip({ seconds: 0.5 });
    const { rows } = await evaluate([clip], { ...flags, codec, seconds: 0.3, against: ['bicubic'] });
    expect(rows.map((row) => row.method)).toEqual(['vireo', 'bicubic']);
    expect(rows[0]?.psnrY).toBeGreaterThan(20);
  });

  it('compares clips of fewer than 720 lines at their own size or the next that divides, and names those that are too small', async () => {
    const small = await naturalClip({ width: 352, height: 288, seconds: 0.2 });
    const { rows } = await evaluate([small], { ...flags, uplinkHeight: [360], against: ['bicubic'] });
    expect(rows[0]).toMatchObject({ uplinkHeight: 360, method: 'vireo' });
    const pictures = join(folder, 'odd');
    const odd = await naturalClip({ width: 960, height: 540, seconds: 0.1 });
    const options = { ...flags, seconds: 0.1, pictures };
    const { rows: judged } = await evaluate([odd], { ...options, against: ['bicubic'] });
    expect(judged.find(({ method }) => method === 'vireo')?.psnrY).toBeGreaterThan(20);
    const [name] = (await readdir(pictures)).filter((one) => one.includes('bicubic'));
    expect(await inspect(join(pictures, name ?? ''))).toMatchObject({ width: 944, height: 528 });
    const tiny = await naturalClip({ width: 14, height: 8, seconds: 0.1 });
    await expect(evaluate([tiny], flags)).rejects.toThrow(
      /REF .*is 14x8: the short side must be 16 at least/,
    );
  });

  it('loses packets: quality falls, and always by the same', async () => {
    const clip = await naturalClip({ seconds: 1 });
    const run = async (loss: number) => {
      const { rows } = await evaluate([clip], { ...flags, seconds: 1, loss, against: ['bicubic'] });
      return rows.find((row) => row.method === 'bicubic')?.psnrY ?? 0;
    };
    const [clean, lossy] = [await run(0), await run(20)];
    expect(lossy).toBeLessThan(clean);
  });

  describe('key frames in mid-call', () => {
    /** What mending brings over the model alone: dB, and warp error as a share of its. */
    const mended = async (clip: string, how: Partial<EvaluateFlags>) => {
      const { rows } = await evaluate([clip], {
        ...flags,
        bitrate: [60_000],
        seconds: 1.3,
        against: ['swift-lite'],
        ...how,
      });
      const [vireo, alone] = ['vireo', 'swift-lite'].map((name) =>
        rows.find(({ method }) => method === name),
      );
      return {
        gain: (vireo?.psnrY ?? 0) - (alone?.psnrY ?? 0),
        flicker: (vireo?.warpError ?? 0) / (alone?.warpError ?? 1),
      };
    };

    it('pulse less where the camera stands, at either size', async () => {
      const clip = await naturalClip({ seconds: 2, pans: false });
      for (const [uplinkHeight, bitrate] of [
        [180, 60_000],
        [360, 150_000],
      ] as const) {
        const { gain, flicker } = await mended(clip, {
          uplinkHeight: [uplinkHeight],
          bitrate: [bitrate],
          keyFramesEvery: 0.6,
        });
        expect(gain).toBeGreaterThan(0.05);
        expect(flicker).toBeLessThan(0.95);
      }
    });

    it('cost nothing where it pans, nor without any', async () => {
      const clip = await naturalClip({ seconds: 2 });
      expect((await mended(clip, { keyFramesEvery: 0.6 })).gain).toBeGreaterThan(-0.02);
      expect((await mended(clip, { seconds: 0.4 })).gain).toBe(0);
    });

    it('that answer losses are mended, too', async () => {
      const clip = await naturalClip({ seconds: 2, pans: false });
      expect((await mended(clip, { loss: 10 })).gain).toBeGreaterThan(0);
    });
  });

  it('restores more with a sharp still, and counts its bytes', async () => {
    const clip = await naturalClip({ seconds: 0.5, width: 640, height: 384 });
    const run = async (references: 'off' | 'on', bitrateBps = 240_000) => {
      const only = { ...flags, bitrate: [bitrateBps], against: ['bicubic'] };
      const { rows } = await evaluate([clip], { ...only, model: 'swift', references });
      const [vireo, bicubic] = ['vireo', 'bicubic'].map((name) => rows.find(({ method }) => method === name));
      if (vireo === undefined || bicubic === undefined) throw new Error('a row is missing');
      return { vireo, bicubic };
    };
    const [off, on] = [await run('off'), await run('on')];
    expect(on.vireo.psnrY).toBeGreaterThan(off.vireo.psnrY + 0.1);
    expect(on.vireo.stillBytes).toBeGreaterThan(1_000);
    const ofStill = Math.round(((on.vireo.stillBytes ?? 0) * 8) / flags.stillEvery);
    expect(on.vireo.actualBitrate).toBe(on.bicubic.actualBitrate + ofStill);
    for (const row of [off.vireo, off.bicubic, on.bicubic]) expect(row.stillBytes).toBeUndefined();
    // Its camera pans: a page on a thin uplink would send none.
    const thin = { off: await run('off', 60_000), on: await run('on', 60_000) };
    expect(thin.on.vireo).toEqual({
      ...thin.off.vireo,
      stillBytes: 0,
      stillRestedShare: 0,
      msPerFrame: thin.on.vireo.msPerFrame,
    });
  });

  it('begins where it is told, with the still of the first picture all the same', async () => {
    const clip = await naturalClip({ seconds: 0.6, width: 640, height: 384 });
    const run = async (start: number) => {
      const only = { ...flags, start, seconds: 0.2, bitrate: [240_000], against: ['bicubic'] };
      const { rows } = await evaluate([clip], { ...only, model: 'swift', references: 'on' });
      return rows;
    };
    const [first, later] = [await run(0), await run(0.3)];
    expect(later[0]?.stillBytes).toBe(first[0]?.stillBytes);
    expect(later[1]?.psnrY).not.toBe(first[1]?.psnrY);
    await expect(run(5)).rejects.toThrow(/--start 5: it ends before that/);
  });

  it('lets the still rest while the camera is out of focus', async () => {
    const clip = await naturalClip({ seconds: 2.2, width: 352, height: 288, pans: false }, [0.9, 1.9]);
    const run = async (references: 'off' | 'on', part: { start: number; seconds: number }) => {
      const only = { ...flags, ...part, bitrate: [240_000], against: ['bicubic'] };
      const { rows } = await evaluate([clip], { ...only, model: 'swift', references });
      return rows[0];
    };
    // It is looked at once a second.
    const whole = await run('on', { start: 0, seconds: 2.2 });
    expect(whole?.stillRestedShare).toBeCloseTo(30 / 66, 2);
    const out = { start: 1, seconds: 0.2 };
    const [on, off] = [await run('on', out), await run('off', out)];
    expect(on).toMatchObject({ stillRestedShare: 1, psnrY: off?.psnrY });
  });

  it('leaves as they are the pictures of codecs that its manifest says lose by it', async () => {
    const clip = await naturalClip({ seconds: 0.2, width: 352, height: 288 });
    const gain = async (codec: 'vp8' | 'av1') => {
      const full = { ...flags, uplinkHeight: [720 as const], model: 'swift', against: ['bicubic'] };
      const { rows } = await evaluate([clip], { ...full, codec });
      const [vireo, bicubic] = ['vireo', 'bicubic'].map((name) => rows.find(({ method }) => method === name));
      return (vireo?.psnrY ?? Number.NaN) - (bicubic?.psnrY ?? Number.NaN);
    };
    expect(await gain('av1')).toBe(0);
    expect(await gain('vp8')).not.toBe(0);
  });

  it('refuses, by the flag, what no model here does', async () => {
    const clip = await naturalClip({ seconds: 0.1, width: 352, height: 288 });
    await expect(evaluate([clip], { ...flags, uplinkHeight: [720] })).rejects.toThrow(
      /--uplink-height 720: model/,
    );
    await expect(evaluate(['/nowhere.mp4'], flags)).rejects.toThrow(/\/nowhere\.mp4 cannot be read/);
  });
});

describe('vireo evaluate with other models and heights', () => {
  const quick = { ...flags, seconds: 0.2, against: ['bicubic'] };
  const tiny = { ...quick, model: 'tiny', modelDir: [''] };
  const one = (rows: { method: string; psnrY: number }[], method: string) =>
    rows.find((row) => row.method === method)?.psnrY ?? 0;
  beforeAll(async () => {
    const root = join(folder, 'models');
    tiny.modelDir = [root];
    await writeTinyPackage(root, 'tiny', { complete: true });
    await writeTinyPackage(root, 'tiny-of-three', { T: 3 });
  });

  it('compares with other packages in the same run, and says which are not there', async () => {
    const clip = await naturalClip({ seconds: 0.2 });
    const against = ['bicubic', 'swift', 'tiny'];
    const { rows, bdRate } = await evaluate([clip], {
      ...tiny,
      model: 'swift-lite',
      against,
      bitrate: [60_000, 240_000],
    });
    expect(rows.map((row) => row.method)).toEqual([...['vireo', ...against], ...['vireo', ...against]]);
    expect(Object.keys(bdRate)).toContain('vireo vs swift');
    // Every method has its own pictures to the end, although they come from one device.
    expect(new Set(rows.slice(0, 4).map((row) => row.psnrY)).size).toBe(4);
    const alone = await evaluate([clip], { ...tiny, model: 'swift', bitrate: [60_000] });
    expect(one(rows, 'swift')).toBe(one(alone.rows, 'vireo'));
    await expect(evaluate([clip], { ...tiny, references: 'on' })).rejects.toThrow(
      /--references on: model "tiny" takes no references/,
    );
    await expect(evaluate([clip], { ...tiny, against: ['swift-xl'] })).rejects.toThrow(
      /--against swift-xl: model "swift-xl" was not found/,
    );
    await expect(
      evaluate([clip], { ...tiny, codec: 'none', uplinkHeight: [720], against: ['swift-lite'] }),
    ).rejects.toThrow(/--against swift-lite: --uplink-height 720: model "swift-lite" restores/);
  });

  it('compares the best heights with each other, the ones that are not restored on one side only', async () => {
    const clip = await naturalClip({ seconds: 0.2 });
    const report = await evaluate([clip], {
      ...quick,
      uplinkHeight: [180, 720],
      bitrate: [60_000, 2_000_000],
    });
    expect(report.rows.map((row) => `${row.uplinkHeight} ${row.method}`)).toEqual([
      ...['180 vireo', '180 bicubic', '180 vireo', '180 bicubic', '720 bicubic', '720 bicubic'],
    ]);
    const at = (bitrate: number) => report.hull?.rows.find((row) => row.bitrate === bitrate);
    expect(at(2_000_000)).toMatchObject({ plain: { uplinkHeight: 720 }, restored: { uplinkHeight: 180 } });
    expect(at(2_000_000)?.gain).toBeLessThan(0);
  });

  it('restores blocks of any length, every frame in its place', async () => {
    const clip = await naturalClip({ seconds: 0.5 });
    // Four frames in blocks of three: the second block is filled up.
    const options = { ...tiny, seconds: 4 / 30, codec: 'none' as const };
    const { rows } = await evaluate([clip], {
      ...options,
      model: 'tiny-of-three',
      against: ['tiny', 'bicubic'],
    });
    // Nearest neighbour, a step brighter with each block: the longer ones stay closer to the clip.
    expect(one(rows, 'vireo')).toBeGreaterThan(one(rows, 'tiny'));
    expect(one(rows, 'vireo')).toBeGreaterThan(one(rows, 'bicubic') - 6);
    for (const row of rows) expect(row.msPerFrame).toBeGreaterThan(0);
  });

  it('measures without a codec: scaling alone, or nothing at all', async () => {
    const clip = await naturalClip({ seconds: 0.2 });
    const clean = await evaluate([clip], { ...quick, codec: 'none', bitrate: [60_000, 240_000] });
    expect(clean.rows.map(({ codec, bitrate, actualBitrate }) => [codec, bitrate, actualBitrate])).toEqual([
      ['none', 0, 0],
      ['none', 0, 0],
    ]);
    expect(one(clean.rows, 'bicubic')).toBeGreaterThan(one((await evaluate([clip], quick)).rows, 'bicubic'));
    expect(clean.bdRate).toEqual({});
    const same = await evaluate([clip], { ...tiny, codec: 'none', uplinkHeight: [720] });
    expect(one(same.rows, 'bicubic')).toBe(100);
  });

  it('blurs before sending', async () => {
    const clip = await naturalClip({ seconds: 0.2 });
    const blurred = async (blur: number) => {
      const { rows } = await evaluate([clip], { ...tiny, codec: 'none', uplinkHeight: [720], blur });
      return one(rows, 'bicubic');
    };
    const [some, more] = [await blurred(1), await blurred(3)];
    expect(some).toBeLessThan(60);
    expect(more).toBeLessThan(some - 2);
  });

  it('loses pixels: models get the mask, plain methods fill in', async () => {
    const clip = await naturalClip({ seconds: 0.2 });
    const options = { ...tiny, codec: 'none' as const, uplinkHeight: [720] };
    const lost = async (inpaint: number) => (await evaluate([clip], { ...options, inpaint })).rows;
    const [few, half] = [await lost(10), await lost(50)];
    // The model for tests paints lost pixels in one grey: half of the picture is as it was.
    expect(one(half, 'vireo')).toBeLessThan(one(few, 'vireo') - 5);
    expect(one(half, 'vireo')).toBeGreaterThan(8);
    expect(one(half, 'bicubic')).toBeGreaterThan(one(half, 'vireo') + 8);
    expect(one(few, 'bicubic')).toBeGreaterThan(one(half, 'bicubic') + 4);
    expect((await lost(50)).map((row) => row.psnrY)).toEqual(half.map((row) => row.psnrY));
  });

  it('writes what every method shows as pictures', async () => {
    const clip = await naturalClip({ seconds: 0.2 });
    const pictures = join(folder, 'pictures');
    await evaluate([clip], { ...quick, pictures, pictureAt: 0.1 });
    const name = basename(clip, '.y4m');
    expect((await readdir(pictures)).sort()).toEqual(
      ['bicubic', 'reference', 'vireo'].map((method) => `${name}-180p-120k-${method}.png`),
    );
    expect(await inspect(join(pictures, `${name}-180p-120k-vireo.png`))).toMatchObject({
      width: 1280,
      height: 720,
    });
    const file = join(folder, 'a-file');
    await writeFile(file, '');
    await expect(evaluate([clip], { ...quick, pictures: file })).rejects.toThrow(/--pictures .*a-file/);
  });

  it('refuses flags that do not go together', async () => {
    const clip = await naturalClip({ seconds: 0.2 });
    const refused = (extra: Partial<EvaluateFlags>) =>
      expect(evaluate([clip], { ...tiny, ...extra })).rejects;
    await refused({ codec: 'none', loss: 5 }).toThrow(/--loss 5: --codec none/);
    await refused({ codec: 'none', keyFramesEvery: 1 }).toThrow(/--key-frames-every 1: --codec none/);
    await refused({ inpaint: 50 }).toThrow(/--inpaint 50: needs --codec none/);
    await refused({ inpaint: 50, codec: 'none' }).toThrow(/--inpaint 50: needs --uplink-height 720, not 180/);
    const root = join(folder, 'maskless');
    await writeTinyPackage(root, 'maskless', {
      complete: true,
      change: ({ variants, ...manifest }) => ({
        ...manifest,
        variants: variants.map(({ mask: _, ...variant }) => variant),
      }),
    });
    await refused({
      inpaint: 50,
      codec: 'none',
      uplinkHeight: [720],
      model: 'maskless',
      modelDir: [root],
    }).toThrow(/--inpaint: model "maskless" \(x1-inpaint\.onnx\) takes no mask/);
  });
});

describe('vireo bench', () => {
  it('times every step of the ladder at both sizes and leaves nothing behind', async () => {
    const report = await bench({ provider: 'cpu', frames: 3, threads: 0 });
    expect(report.provider).toBe('cpu');
    expect(report.results.map((result) => [result.model, result.input.height])).toEqual([
      ['swift', 180],
      ['swift-lite', 180],
      ['swift', 360],
      ['swift-lite', 360],
    ]);
    for (const result of report.results) {
      expect(result.output).toEqual({ width: 1280, height: 720 });
      expect(result.sustainedFps).toBeGreaterThan(0);
      const { decode, restore: inference, encode, overhead } = result.stageMs;
      expect(result.withStill?.sustainedFps).toBeGreaterThan(0);
      for (const stage of [
        decode,
        inference,
        encode,
        overhead,
        result.addedLatencyMs,
        result.withStill?.restoreMs,
      ]) {
        if (stage === undefined) throw new Error(`${result.model}: no times`);
        expect(stage.p50).toBeGreaterThan(0);
        expect(stage.p95).toBeGreaterThanOrEqual(stage.p50);
      }
    }
  });
});
