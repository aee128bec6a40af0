import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { restorerEntryUrl } from '../../src/entrypoints.js';
import { createRestorer } from '../../src/restorer/RestorerSupervisor.js';
import type { Restorer, RestorerOptions } from '../../src/restorer/types.js';
import { naturalClip } from '../support/naturalClip.js';
import { writeTinyPackage } from '../support/tinyModel.js';
import { startBare } from '../unit/restorer/support/bareChild.js';
import { type Clip, readY4m, shrink } from '../unit/restorer/support/clip.js';
import { RtpFeeder } from '../unit/restorer/support/RtpFeeder.js';

const logger = pino({ level: 'silent' });
const WAIT = { timeout: 30_000, interval: 50 };

/** State of a process as the kernel shows it; null: gone. */
function processState(pid: number): string | null {
  try {
    return /\) (\S)/.exec(readFileSync(`/proc/${pid}/stat`, 'latin1'))?.[1] ?? null;
  } catch {
    return null;
  }
}

const gone = (pid: number): boolean => [null, 'Z'].includes(processState(pid));

describe('a restorer process', () => {
  const directory = mkdtempSync(join(tmpdir(), 'vireo-restorer-'));
  const options: RestorerOptions = {
    modelDirs: [directory],
    model: 'tiny',
    provider: 'cpu',
    threads: 1,
    maxTracks: 4,
    blockBudgetMs: 0,
    memoryLimitBytes: 3 * 2 ** 30,
    pingIntervalMs: 100,
    pingTimeoutMs: 20_000,
    logLevel: 'silent',
    loadShedding: false,
  };
  let clip: Clip;
  let restorer: Restorer;
  const feeders: RtpFeeder[] = [];

  beforeAll(async () => {
    await writeTinyPackage(directory);
    clip = shrink(await readY4m(await naturalClip({ fps: 10, seconds: 3 }), 5), 4);
    restorer = await createRestorer(options, logger);
  });

  afterEach(async () => {
    for (const feeder of feeders.splice(0)) {
      restorer.stopTrack(feeder.track.trackId);
      await feeder.close();
    }
  });

  afterAll(async () => {
    await restorer?.close();
    rmSync(directory, { recursive: true });
  });

  /** What the restorer says from now on, without the reports that say nothing new. */
  function listen(to: Restorer): string[] {
    const lines: string[] = [];
    to.on('state', (state) => lines.push(`state ${state}`));
    to.on('trackStarted', (trackId) => lines.push(`started ${trackId}`));
    to.on('trackLost', (trackId, reason) => lines.push(`lost ${trackId} ${reason}`));
    to.on('report', ({ trackId, level, reason }) => {
      const line = `report ${trackId} ${level} ${reason}`;
      if (lines.at(-1) !== line) lines.push(line);
    });
    return lines;
  }

  async function start(trackId: string): Promise<RtpFeeder> {
    const feeder = await RtpFeeder.create({ trackId });
    feeders.push(feeder);
    feeder.connect((await restorer.startTrack(feeder.track)).localAddress);
    feeder.play(clip);
    return feeder;
  }

  it('is called vireo-restorer', () => {
    const pid = restorer.info.pid ?? 0;
    const shown = readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0')[0];
    expect(shown).toBe('vireo-restorer');
    expect(readFileSync(`/proc/${pid}/comm`, 'latin1').trim()).toBe('vireo-restorer');
  });

  it('says which providers, models and codecs it has', () => {
    expect(restorer.info).toMatchObject({ provider: 'cpu', models: [{ name: 'tiny', version: '1.0.0' }] });
    expect(restorer.info.outputCodecs).toEqual(expect.arrayContaining(['VP8', 'H264']));
  });

  it('killed in the middle of a call: tracks are lost at once, and a new one is ready to take them', async () => {
    const feeder = await start('killed');
    await expect.poll(() => feeder.restoredCount, WAIT).toBeGreaterThan(2);
    const lines = listen(restorer);
    process.kill(restorer.info.pid ?? 0, 'SIGKILL');
    await expect.poll(() => lines.at(-1), WAIT).toBe('state ready');
    const lost = lines.indexOf('lost killed restorer-down');
    expect(lines.slice(lost)).toEqual(['lost killed restorer-down', 'state restarting', 'state ready']);
    feeder.connect((await restorer.startTrack(feeder.track)).localAddress);
    const before = feeder.restoredTimestamps.length;
    await expect.poll(() => feeder.restoredTimestamps.length, WAIT).toBeGreaterThan(before);
  });

  it('stopped: every track is back on the original first, then the process is replaced', async () => {
    const own = await createRestorer({ ...options, pingTimeoutMs: 1_000 }, logger);
    try {
      const feeder = await RtpFeeder.create({ trackId: 'stopped' });
      feeders.push(feeder);
      feeder.connect((await own.startTrack(feeder.track)).localAddress);
      feeder.play(clip);
      const lines = listen(own);
      await expect.poll(() => lines.at(-1), WAIT).toBe('report stopped full null');
      const pid = own.info.pid ?? 0;
      process.kill(pid, 'SIGSTOP');
      await expect.poll(() => lines.at(-1), WAIT).toBe('state ready');
      expect(lines.slice(-4)).toEqual([
        'report stopped original restorer-down',
        'lost stopped restorer-down',
        'state restarting',
        'state ready',
      ]);
      expect(gone(pid)).toBe(true);
    } finally {
      await own.close();
    }
  });

  it('restores at most maxTracks, the important ones first, and says when nothing comes in', async () => {
    const own = await createRestorer({ ...options, maxTracks: 1 }, logger);
    try {
      const latest = new Map<string, string>();
      own.on('report', ({ trackId, level, reason }) => latest.set(trackId, `${level} ${reason}`));
      for (const trackId of ['first', 'second']) {
        const feeder = await RtpFeeder.create({ trackId });
        feeders.push(feeder);
        feeder.connect((await own.startTrack(feeder.track)).localAddress);
        feeder.play(clip);
        await expect.poll(() => latest.get('first'), WAIT).toBe('full null');
      }
      await expect.poll(() => latest.get('second'), WAIT).toBe('original overloaded');
      own.setPriority('second', 2);
      await expect.poll(() => latest.get('second'), WAIT).toBe('full null');
      expect(latest.get('first')).toBe('original overloaded');
      await feeders.at(-1)?.pause();
      await expect.poll(() => latest.get('second'), WAIT).toBe('original no-input');
      await expect.poll(() => latest.get('first'), WAIT).toBe('full null');
    } finally {
      await own.close();
    }
  });

  it('takes a track again that was stopped while it was starting', async () => {
    const feeder = await RtpFeeder.create({ trackId: 'hasty' });
    feeders.push(feeder);
    const first = restorer.startTrack(feeder.track);
    restorer.stopTrack('hasty');
    const second = restorer.startTrack(feeder.track);
    await expect(first).rejects.toMatchObject({ code: 'unavailable' });
    feeder.connect((await second).localAddress);
    feeder.play(clip);
    await expect.poll(() => feeder.restoredCount, WAIT).toBeGreaterThan(0);
  });

  it('drains and exits with 0 on SIGTERM, and when its relay is gone', async () => {
    for (const end of ['SIGTERM', 'disconnect'] as const) {
      const child = await startBare(options);
      const exit = once(child, 'exit');
      if (end === 'SIGTERM') child.kill('SIGTERM');
      else child.disconnect();
      expect(await exit).toEqual([0, null]);
    }
  });

  it('does not outlive a relay that is killed', async () => {
    const script = `
      const { fork } = require('node:child_process');
      const child = fork(${JSON.stringify(fileURLToPath(restorerEntryUrl))}, [], { serialization: 'advanced' });
      child.on('message', (m) => m.type === 'ready' && console.log(child.pid));
      child.send({ type: 'start', options: ${JSON.stringify(options)} });`;
    const relay = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'ignore'] });
    const [line] = (await once(relay.stdout, 'data')) as [Buffer];
    const pid = Number(line.toString());
    expect(gone(pid)).toBe(false);
    relay.kill('SIGKILL');
    await expect.poll(() => gone(pid), WAIT).toBe(true);
  });

  it('refuses a corrupted model by name, and one that is not there', async () => {
    cpSync(join(directory, 'tiny'), join(directory, 'spoiled'), { recursive: true });
    const manifest = join(directory, 'spoiled', 'manifest.json');
    writeFileSync(manifest, readFileSync(manifest, 'utf8').replace('"name":"tiny"', '"name":"spoiled"'));
    const file = join(directory, 'spoiled', 'x4.onnx');
    const bytes = readFileSync(file);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
    writeFileSync(file, bytes);
    await expect(createRestorer({ ...options, model: 'spoiled' }, logger)).rejects.toMatchObject({
      code: 'model-invalid',
      message: expect.stringMatching(/spoiled.*x4\.onnx/),
    });
    await expect(createRestorer({ ...options, model: 'nowhere' }, logger)).rejects.toMatchObject({
      code: 'not-found',
    });
  });
});
