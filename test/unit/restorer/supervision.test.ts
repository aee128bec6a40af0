import { describe, expect, it } from 'vitest';
import { DeviceGate, type GateWaiter } from '../../../src/restorer/DeviceGate.js';
import { HealthMonitor } from '../../../src/restorer/HealthMonitor.js';
import { isPermanent, parseFromChild, parseToChild } from '../../../src/restorer/ipc.js';
import { RestartPolicy } from '../../../src/restorer/RestartPolicy.js';
import { blankReport, downReport } from '../../../src/restorer/reports.js';
import type { RestoreTrackOptions } from '../../../src/restorer/types.js';

const track: RestoreTrackOptions = {
  trackId: 'camera-1',
  remote: { ip: '127.0.0.1', port: 5000 },
  input: { codec: 'VP8', payloadType: 96, ssrc: 1, rtx: { payloadType: 97, ssrc: 2 }, cname: 'a' },
  output: { codec: 'H264', payloadType: 98, ssrc: 3, cname: 'b' },
  maxBitrateBps: 2_500_000,
  targetHeight: 720,
  priority: 0,
};

describe('restart policy', () => {
  const options = { delaysMs: [50, 1_000, 10_000], jitter: 0.5, stableAfterMs: 30_000 };

  it('waits longer after each failure in a row, and at most the last delay', () => {
    const policy = new RestartPolicy(options, () => 0);
    expect([0, 0, 0, 0].map(() => policy.failed(0))).toEqual([50, 1_000, 10_000, 10_000]);
  });

  it('starts over after a stable time, and only then', () => {
    const policy = new RestartPolicy(options, () => 0);
    policy.failed(0);
    policy.ready(1_000);
    expect(policy.failed(2_000)).toBe(1_000);
    policy.ready(3_000);
    expect(policy.failed(33_000)).toBe(50);
  });

  it('adds jitter up to its share', () => {
    expect(new RestartPolicy(options, () => 1).failed(0)).toBe(75);
  });
});

describe('health monitor', () => {
  const create = (): HealthMonitor =>
    new HealthMonitor({ pingIntervalMs: 100, pingTimeoutMs: 1_000, missedForSilent: 3 });

  it('is silent after three unanswered pings and dead after the time-out', () => {
    const monitor = create();
    const states = Array.from({ length: 11 }, () => monitor.tick());
    expect(states.slice(0, 3)).toEqual(['alive', 'alive', 'alive']);
    expect(states.slice(3, 10).every((state) => state === 'silent')).toBe(true);
    expect(states[10]).toBe('dead');
  });

  it('is alive again with the first sign of life', () => {
    const monitor = create();
    for (let ping = 0; ping < 6; ping++) monitor.tick();
    monitor.heard();
    expect(monitor.health).toBe('alive');
    expect(monitor.tick()).toBe('alive');
  });
});

describe('IPC messages', () => {
  it('pass when they are what they should be', () => {
    const start = { type: 'startTrack', requestId: 1, options: track } as const;
    expect(parseToChild(start)).toEqual(start);
    const report = { type: 'report', report: blankReport(track, 'starting') } as const;
    expect(parseFromChild(report)).toEqual(report);
  });

  it('are refused with the field that is wrong', () => {
    expect(() => parseToChild({ type: 'explode' })).toThrow(/type/);
    expect(() =>
      parseToChild({
        type: 'startTrack',
        requestId: 1,
        options: { ...track, remote: { ip: 'localhost', port: 1 } },
      }),
    ).toThrow(/options\.remote\.ip/);
    expect(() => parseFromChild({ type: 'pong', id: 1, residentMemoryBytes: 'much' })).toThrow(
      /residentMemoryBytes/,
    );
    expect(() => parseFromChild(undefined)).toThrow(/restorer/);
  });

  it('tell errors that will not go away from those that may', () => {
    expect(isPermanent('model-invalid')).toBe(true);
    expect(isPermanent('unavailable')).toBe(false);
  });
});

describe('reports', () => {
  it('of a silent restorer keep what was known and promise nothing', () => {
    const last = {
      ...blankReport(track, 'starting'),
      level: 'full' as const,
      reason: null,
      outputFps: 30,
      inputFps: 30,
    };
    expect(downReport(last)).toMatchObject({
      level: 'original',
      reason: 'restorer-down',
      inputFps: 30,
      outputFps: 0,
      stages: null,
    });
  });
});

describe('device gate', () => {
  const waiter = (priority: number, order: string[], name: string): GateWaiter => ({
    priority,
    granted: () => order.push(name),
  });

  it('grants at once while there is room, then by priority, then in order', () => {
    const gate = new DeviceGate(1);
    const order: string[] = [];
    gate.request(waiter(0, order, 'first'));
    const low = waiter(0, order, 'low');
    gate.request(low);
    gate.request(low);
    gate.request(waiter(0, order, 'low2'));
    gate.request(waiter(2, order, 'pinned'));
    expect(order).toEqual(['first']);
    for (let turn = 0; turn < 4; turn++) gate.release();
    expect(order).toEqual(['first', 'pinned', 'low', 'low2']);
  });

  it('forgets who cancels', () => {
    const gate = new DeviceGate(1);
    const order: string[] = [];
    gate.request(waiter(0, order, 'a'));
    const gone = waiter(0, order, 'gone');
    gate.request(gone);
    gate.cancel(gone);
    gate.release();
    expect(order).toEqual(['a']);
    expect(gate.running).toBe(0);
  });
});
