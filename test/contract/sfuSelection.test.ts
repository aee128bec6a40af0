import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Writable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { VireoError } from '../../src/errors.js';
import { createLogger } from '../../src/log.js';
import { createSfuEngine, findMediasoupWorker } from '../../src/sfu/createEngine.js';
import { udpListenInfos } from '../../src/sfu/mediasoup/listenAddresses.js';
import { mediasoupWorkerCachePath, mediasoupWorkerPlaces } from '../../src/sfu/mediasoup/workerPath.js';
import { Call, createEngine, ENGINES } from './sfuSupport.js';

const scratch = mkdtempSync(join(tmpdir(), 'vireo-engine-'));
const missing = join(scratch, 'no-such-worker');
const base = {
  rtcPort: 0,
  listenIps: ['127.0.0.1'],
  initialDownlinkBps: 1_000_000,
  plainListenIp: '127.0.0.1',
};

afterAll(() => rmSync(scratch, { recursive: true, force: true }));

function executable(path: string, script: string): string {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, script);
  chmodSync(path, 0o755);
  return path;
}

function recordingLogger() {
  const lines: { level: number; msg: string }[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(JSON.parse(chunk.toString()) as { level: number; msg: string });
      done();
    },
  });
  return { lines, logger: createLogger('info', 'test', stream) };
}

describe('findMediasoupWorker', () => {
  test('takes the first executable of: option, environment, cache, package', () => {
    const byOption = executable(join(scratch, 'by-option'), '');
    const byEnvironment = executable(join(scratch, 'by-environment'), '');
    const env = { MEDIASOUP_WORKER_BIN: byEnvironment, VIREO_CACHE_DIR: join(scratch, 'cache') };
    expect(findMediasoupWorker(byOption, env)).toEqual({ path: byOption, source: 'option' });
    expect(findMediasoupWorker(undefined, env)).toEqual({ path: byEnvironment, source: 'environment' });
    const cacheOnly = { VIREO_CACHE_DIR: join(scratch, 'cache') };
    const place = mediasoupWorkerPlaces(undefined, cacheOnly).find(({ source }) => source === 'cache');
    const byCache = executable(place?.path ?? '', '');
    expect(findMediasoupWorker(undefined, cacheOnly)).toEqual({ path: byCache, source: 'cache' });
  });

  test('does not look further than a place that was named', () => {
    expect(findMediasoupWorker(missing)).toBeNull();
    expect(findMediasoupWorker(undefined, { MEDIASOUP_WORKER_BIN: missing })).toBeNull();
  });

  test('looks in the cache where the setup script puts it', async () => {
    const script = await import('../../scripts/mediasoup/worker-path.mjs');
    for (const env of [
      {},
      { VIREO_CACHE_DIR: '/a/b' },
      { XDG_CACHE_HOME: '/c' },
      { XDG_CACHE_HOME: 'relative' },
    ]) {
      expect(mediasoupWorkerCachePath('1.2.3', env)).toBe(script.mediasoupWorkerCachePath('1.2.3', env));
    }
  });
});

describe('udpListenInfos', () => {
  test('gives listed addresses their port, and the announced address to its own family', () => {
    expect(udpListenInfos(['127.0.0.1', '::1'], '203.0.113.9', 4000)).toEqual([
      { protocol: 'udp', ip: '127.0.0.1', announcedAddress: '203.0.113.9', port: 4000 },
      { protocol: 'udp', ip: '::1', port: 4000, flags: { ipv6Only: true } },
    ]);
  });

  test('turns a wildcard into the machine’s addresses, unless it is announced as another', () => {
    const ips = udpListenInfos(['0.0.0.0'], undefined, 0).map(({ ip }) => ip);
    expect(ips).toContain('127.0.0.1');
    expect(ips).not.toContain('0.0.0.0');
    expect(udpListenInfos(['0.0.0.0'], 'media.example.org', 0)).toEqual([
      { protocol: 'udp', ip: '0.0.0.0', announcedAddress: 'media.example.org' },
    ]);
  });

  test('refuses what is no address', () => {
    expect(() => udpListenInfos(['localhost'], undefined, 0)).toThrow(/listenIps: 'localhost'/);
  });
});

describe('createSfuEngine', () => {
  test('auto falls back to werift with one notice', async () => {
    const { lines, logger } = recordingLogger();
    const engine = await createSfuEngine({ ...base, engine: 'auto', mediasoupWorkerBin: missing, logger });
    try {
      expect(engine.kind).toBe('werift');
      expect(lines.map(({ msg }) => msg)).toEqual([expect.stringContaining('npm run setup:mediasoup')]);
    } finally {
      await engine.close();
    }
  });

  test('mediasoup by name, but missing: says how to get it', async () => {
    const { logger } = recordingLogger();
    const creating = createSfuEngine({ ...base, engine: 'mediasoup', mediasoupWorkerBin: missing, logger });
    const error = await creating.then(
      () => null,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(VireoError);
    expect(error).toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('npm run setup:mediasoup'),
    });
    expect((error as VireoError).message).toContain(missing);
  });
});

describe.each(ENGINES)('$name', ({ name, skip }) => {
  test.skipIf(skip)('refuses an RTC port that is taken, by name', async () => {
    const first = await createEngine(name, { listenIps: ['127.0.0.1'] });
    try {
      const call = await Call.create(first);
      const { transport } = await call.dial();
      const rtcPort = transport.iceCandidates[0]?.port ?? 0;
      await expect(createEngine(name, { listenIps: ['127.0.0.1'], rtcPort })).rejects.toThrow(VireoError);
      await call.close();
    } finally {
      await first.close();
    }
  });
});

describe.skipIf(ENGINES.find(({ name }) => name === 'mediasoup')?.skip)('mediasoup', () => {
  const pids: number[] = [];

  beforeAll(async () => {
    await (await createEngine('mediasoup')).close();
    const { observer } = await import('mediasoup');
    observer.on('newworker', ({ pid }) => pids.push(pid));
  });

  test('auto takes it', async () => {
    const { logger } = recordingLogger();
    const engine = await createSfuEngine({ ...base, engine: 'auto', logger });
    expect(engine.kind).toBe('mediasoup');
    await engine.close();
  });

  test('a worker that dies is reported, and everything on it is closed', async () => {
    const engine = await createEngine('mediasoup');
    const call = await Call.create(engine);
    const leg = await call.join();
    const { producer } = await call.publish(leg, 'VP8');
    const died = new Promise<Error>((resolve) => engine.once('died', resolve));
    process.kill(pids.at(-1) ?? 0, 'SIGKILL');
    expect(await died).toBeInstanceOf(Error);
    expect([call.router.closed, leg.transport.closed, producer.closed]).toEqual([true, true, true]);
    expect(engine.counts()).toEqual({ routers: 0, transports: 0, producers: 0, consumers: 0 });
    await expect(engine.createRouter()).rejects.toMatchObject({ code: 'unavailable' });
    await call.close();
    await engine.close();
  });

  test('closing is no death, and ends the worker process', async () => {
    const engine = await createEngine('mediasoup');
    const died: Error[] = [];
    engine.on('died', (error) => died.push(error));
    const pid = pids.at(-1) ?? 0;
    expect(() => process.kill(pid, 0)).not.toThrow();
    await engine.close();
    expect(() => process.kill(pid, 0)).toThrow();
    expect(died).toEqual([]);
  });

  test('rooms go round the workers, each with its own port', async () => {
    const { logger } = recordingLogger();
    const engine = await createSfuEngine({ ...base, engine: 'mediasoup', mediasoupWorkers: 2, logger });
    const calls = [await Call.create(engine), await Call.create(engine)];
    const legs = await Promise.all(calls.map((call) => call.join()));
    const ports = legs.map(({ transport }) => transport.iceCandidates[0]?.port);
    expect(new Set(ports).size).toBe(2);
    for (const call of calls) await call.close();
    await engine.close();
  });
});
