import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RestorerOptions } from '../../src/restorer/types.js';
import { naturalClip } from '../support/naturalClip.js';
import { writeTinyPackage } from '../support/tinyModel.js';
import { message, startBare } from '../unit/restorer/support/bareChild.js';
import { type Clip, readY4m, shrink } from '../unit/restorer/support/clip.js';
import { RtpFeeder } from '../unit/restorer/support/RtpFeeder.js';

const WAIT = { timeout: 30_000, interval: 20 };

const openFiles = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

function residentBytes(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[1]) * 4_096;
}

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

  beforeAll(async () => {
    await writeTinyPackage(directory);
    clip = shrink(await readY4m(await naturalClip({ fps: 10, seconds: 3 }), 5), 4);
  });

  afterAll(() => rmSync(directory, { recursive: true }));

  it('started and stopped two hundred times, keeps no port, file or memory of a track', async () => {
    const child = await startBare(options);
    const pid = child.pid ?? 0;
    const feeder = await RtpFeeder.create({ trackId: 'cycle', fps: 20 });
    feeder.play(clip);
    const handles = (): number => openFiles(pid);
    const cycle = async (id: number, frames: number): Promise<void> => {
      const trackId = `cycle-${id}`;
      const listening = message(child, 'trackListening');
      child.send({ type: 'startTrack', requestId: id, options: { ...feeder.track, trackId } });
      const { ip, port } = (await listening) as unknown as { ip: string; port: number };
      feeder.connect({ ip, port });
      const before = feeder.restoredTimestamps.length;
      if (frames > 0) {
        feeder.requestKeyFrame();
        await expect.poll(() => feeder.restoredTimestamps.length, WAIT).toBeGreaterThan(before);
      }
      child.send({ type: 'stopTrack', trackId });
    };
    // Allocator, codecs and pools reach their working size first.
    for (let id = 0; id < 40; id++) await cycle(id, 1);
    // The last track's port closes a moment after it was asked to.
    await new Promise((resolve) => setTimeout(resolve, 500));
    const before = { handles: handles(), rss: residentBytes(pid) };
    for (let id = 40; id < 240; id++) await cycle(id, id % 10 === 0 ? 1 : 0);
    await expect.poll(handles, WAIT).toBeLessThanOrEqual(before.handles + 1);
    expect(residentBytes(pid) - before.rss).toBeLessThan(60 * 2 ** 20);
    await feeder.close();
    const exit = once(child, 'exit');
    child.kill('SIGTERM');
    expect(await exit).toEqual([0, null]);
  });
});
