import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { RestartPolicy } from '../../../src/restorer/RestartPolicy.js';
import { RestorerSupervisor } from '../../../src/restorer/RestorerSupervisor.js';
import type { RestorerOptions, RestoreTrackOptions } from '../../../src/restorer/types.js';

const entry = new URL('./fixtures/fakeChild.mjs', import.meta.url);
const logger = pino({ level: 'silent' });
const directory = mkdtempSync(join(tmpdir(), 'vireo-supervisor-'));
let markers = 0;

function options(model: string): RestorerOptions {
  return {
    modelDirs: [join(directory, `started-${markers++}`)],
    model,
    provider: 'cpu',
    threads: 1,
    maxTracks: 4,
    blockBudgetMs: 0,
    memoryLimitBytes: 2 ** 32,
    pingIntervalMs: 30,
    pingTimeoutMs: 3_000,
    logLevel: 'silent',
  };
}

function track(trackId: string): RestoreTrackOptions {
  return {
    trackId,
    remote: { ip: '127.0.0.1', port: 5000 },
    input: { codec: 'VP8', payloadType: 96, ssrc: 1, cname: 'a' },
    output: { codec: 'VP8', payloadType: 96, ssrc: 3, cname: 'b' },
    maxBitrateBps: 2_500_000,
    targetHeight: 720,
    priority: 0,
  };
}

const open: RestorerSupervisor[] = [];

async function create(model: string, more: Partial<RestorerOptions> = {}): Promise<RestorerSupervisor> {
  const policy = new RestartPolicy({ delaysMs: [10, 20], jitter: 0, stableAfterMs: 60_000 });
  const supervisor = await RestorerSupervisor.create({ ...options(model), ...more }, logger, {
    entry,
    policy,
    graceMs: 500,
    requestTimeoutMs: 300,
  });
  open.push(supervisor);
  return supervisor;
}

/** Everything the supervisor says, in order, as short lines. */
function listen(supervisor: RestorerSupervisor): { lines: string[]; until: (line: string) => Promise<void> } {
  const lines: string[] = [];
  const waiting: { line: string; resolve: () => void }[] = [];
  const say = (line: string): void => {
    lines.push(line);
    for (const one of waiting.filter((each) => each.line === line)) one.resolve();
  };
  supervisor.on('state', (state) => say(`state ${state}`));
  supervisor.on('trackStarted', (trackId) => say(`started ${trackId}`));
  supervisor.on('trackLost', (trackId, reason) => say(`lost ${trackId} ${reason}`));
  supervisor.on('report', ({ trackId, level, reason }) => say(`report ${trackId} ${level} ${reason}`));
  return {
    lines,
    until: (line) =>
      lines.includes(line) ? Promise.resolve() : new Promise((resolve) => waiting.push({ line, resolve })),
  };
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe('restorer supervisor', () => {
  afterEach(async () => {
    await Promise.all(open.splice(0).map((supervisor) => supervisor.close()));
  });

  afterAll(() => rmSync(directory, { recursive: true }));

  it('is ready when the child is, with what the child said of itself', async () => {
    const supervisor = await create('swift');
    expect(supervisor.state).toBe('ready');
    expect(supervisor.info).toMatchObject({ provider: 'cpu', models: [{ name: 'swift' }], restarts: 0 });
    expect(supervisor.info.pid).toBeGreaterThan(0);
  });

  it('starts tracks and passes on what the child says about them', async () => {
    const supervisor = await create('swift');
    const { until } = listen(supervisor);
    const started = await supervisor.startTrack(track('camera'));
    expect(started).toEqual({ trackId: 'camera', localAddress: { ip: '127.0.0.1', port: 4242 } });
    await until('started camera');
    await until('report camera full null');
    await expect(supervisor.startTrack(track('camera'))).rejects.toMatchObject({ code: 'conflict' });
    supervisor.stopTrack('camera');
    supervisor.stopTrack('camera');
    await supervisor.startTrack(track('camera'));
  });

  it('rejects a track that the child refuses, or does not answer for', async () => {
    const supervisor = await create('swift');
    await expect(supervisor.startTrack(track('refused'))).rejects.toThrow('no UDP port');
    await expect(supervisor.startTrack(track('never'))).rejects.toMatchObject({ code: 'timeout' });
    await expect(supervisor.startTrack({ ...track('x'), maxBitrateBps: -1 })).rejects.toMatchObject({
      code: 'bad-request',
    });
  });

  it('rejects with the child’s own reason when the model is spoiled', async () => {
    await expect(create('spoiled')).rejects.toMatchObject({
      code: 'model-invalid',
      message: 'model "spoiled": file x4.onnx is refused',
    });
  });

  it('gives up after a few attempts on a child that never comes up', async () => {
    await expect(create('crash')).rejects.toMatchObject({ code: 'unavailable', message: /exit code 7/ });
  });

  it('says that every track is lost at once when the child dies, and starts another', async () => {
    const supervisor = await create('swift');
    const { lines, until } = listen(supervisor);
    await supervisor.startTrack(track('a'));
    await supervisor.startTrack(track('b'));
    await until('report b full null');
    const before = supervisor.info.pid ?? 0;
    lines.length = 0;
    process.kill(before, 'SIGKILL');
    await until('state restarting');
    expect(lines).toEqual(['lost a restorer-down', 'lost b restorer-down', 'state restarting']);
    await expect(supervisor.startTrack(track('a'))).rejects.toMatchObject({ code: 'unavailable' });
    await until('state ready');
    expect(supervisor.info.pid).not.toBe(before);
    expect(supervisor.info.restarts).toBe(1);
    await supervisor.startTrack(track('a'));
  });

  it('rejects a track that the child died of', async () => {
    const supervisor = await create('swift');
    await expect(supervisor.startTrack(track('exit'))).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('puts every track on the original when the child falls silent, and takes it back when it speaks', async () => {
    const supervisor = await create('swift', { pingTimeoutMs: 60_000 });
    const { lines, until } = listen(supervisor);
    await supervisor.startTrack(track('a'));
    await until('report a full null');
    lines.length = 0;
    process.kill(supervisor.info.pid ?? 0, 'SIGSTOP');
    await until('report a original restorer-down');
    expect(supervisor.state).toBe('ready');
    await expect(supervisor.startTrack(track('b'))).rejects.toMatchObject({ code: 'unavailable' });
    process.kill(supervisor.info.pid ?? 0, 'SIGCONT');
    await expect
      .poll(() =>
        supervisor.startTrack(track('b')).then(
          () => 'started',
          () => 'not yet',
        ),
      )
      .toBe('started');
    expect(lines).not.toContain('lost a restorer-down');
  });

  it('kills a child that stays silent, and starts another', async () => {
    const supervisor = await create('swift', { pingTimeoutMs: 300 });
    const { lines, until } = listen(supervisor);
    await supervisor.startTrack(track('a'));
    await until('report a full null');
    const before = supervisor.info.pid ?? 0;
    lines.length = 0;
    process.kill(before, 'SIGSTOP');
    await until('state ready');
    expect(lines).toEqual([
      'report a original restorer-down',
      'lost a restorer-down',
      'state restarting',
      'state ready',
    ]);
    expect(alive(before)).toBe(false);
  });

  it('restarts a child above its memory limit', async () => {
    const supervisor = await create('fat');
    const { until } = listen(supervisor);
    await supervisor.startTrack(track('a'));
    await until('lost a restorer-down');
    await until('state ready');
    expect(supervisor.info.restarts).toBeGreaterThanOrEqual(1);
  });

  it('keeps trying when a model is spoiled while it runs', async () => {
    const supervisor = await create('spoiled-later');
    const { until } = listen(supervisor);
    process.kill(supervisor.info.pid ?? 0, 'SIGKILL');
    await until('state restarting');
    await expect.poll(() => supervisor.info.restarts, { timeout: 10_000 }).toBeGreaterThan(3);
    expect(supervisor.state).toBe('restarting');
  });

  it('ignores messages that are not in the protocol', async () => {
    const supervisor = await create('babbling');
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(supervisor.state).toBe('ready');
  });

  it('closes with SIGTERM, tells the tracks, and leaves no process', async () => {
    const supervisor = await create('swift');
    const pid = supervisor.info.pid ?? 0;
    const { lines } = listen(supervisor);
    await supervisor.startTrack(track('a'));
    await Promise.all([supervisor.close(), supervisor.close()]);
    expect(alive(pid)).toBe(false);
    expect(supervisor.state).toBe('stopped');
    expect(lines.slice(-2)).toEqual(['state stopped', 'lost a restorer-down']);
  });

  it('kills a child that does not end on SIGTERM', async () => {
    const supervisor = await create('stubborn');
    const pid = supervisor.info.pid ?? 0;
    await supervisor.close();
    expect(alive(pid)).toBe(false);
  });
});
