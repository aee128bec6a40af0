/**
 * The embedded engine against a real browser: Chromium with mediasoup-client publishes its fake camera
 * and microphone on one transport and watches them on another.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buildSync } from 'esbuild';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { findChromium } from '../../scripts/chromium.mjs';
import type {
  SfuConsumer,
  SfuEngine,
  SfuProducer,
  SfuRouter,
  SfuWebRtcTransport,
} from '../../src/sfu/types.js';
import { createWeriftEngine, type WeriftEngine } from '../../src/sfu/werift/WeriftEngine.js';
import { UdpImpairment } from '../support/UdpImpairment.js';
import { hasIpv6Loopback } from './sfuSupport.js';

/** Runs in the page. `relay(method, data)` is the engine's side, below. */
const PAGE = `
import { Device } from 'mediasoup-client';
const call = async (method, data) => JSON.parse(await globalThis.relay(method, JSON.stringify(data ?? {})));
const state = {};
async function transport(direction) {
  const options = await call('createTransport', { direction });
  const made = direction === 'send' ? state.device.createSendTransport(options) : state.device.createRecvTransport(options);
  made.on('connect', ({ dtlsParameters }, done, fail) => call('connect', { direction, dtlsParameters }).then(done, fail));
  made.on('produce', ({ kind, rtpParameters }, done, fail) => call('produce', { kind, rtpParameters }).then(done, fail));
  return made;
}
globalThis.start = async ({ mimeType, audio }) => {
  state.device = new Device();
  await state.device.load({ routerRtpCapabilities: await call('capabilities') });
  state.send = await transport('send');
  state.recv = await transport('recv');
  state.stream = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 180, frameRate: 15 }, audio });
  const codec = state.device.rtpCapabilities.codecs.find((c) => c.mimeType.toLowerCase() === mimeType.toLowerCase());
  if (!codec) return 'this browser has no ' + mimeType;
  state.producers = [await state.send.produce({ track: state.stream.getVideoTracks()[0], codec })];
  if (audio) state.producers.push(await state.send.produce({ track: state.stream.getAudioTracks()[0] }));
  state.consumers = [];
  for (const producer of state.producers) {
    const consumer = await state.recv.consume(await call('consume', { producerId: producer.id, rtpCapabilities: state.device.rtpCapabilities }));
    state.consumers.push(consumer);
    const element = document.createElement(consumer.kind);
    element.autoplay = true;
    element.srcObject = new MediaStream([consumer.track]);
    document.body.append(element);
    await call('resume', { producerId: producer.id });
  }
  return 'ok';
};
globalThis.restartIce = async (direction) => {
  await state[direction].restartIce({ iceParameters: await call('restartIce', { direction }) });
};
globalThis.stats = async () => {
  const out = { sendState: state.send.connectionState, recvState: state.recv.connectionState };
  for (const producer of state.producers) for (const entry of (await producer.getStats()).values()) {
    if (entry.type === 'outbound-rtp') out[producer.kind + 'Out'] = entry;
    if (entry.type === 'remote-inbound-rtp') out[producer.kind + 'OutRemote'] = entry;
  }
  for (const consumer of state.consumers) for (const entry of (await consumer.getStats()).values()) {
    if (entry.type === 'inbound-rtp') out[consumer.kind + 'In'] = entry;
    if (entry.type === 'remote-outbound-rtp') out[consumer.kind + 'InRemote'] = entry;
  }
  for (const entry of (await state.recv.getStats()).values()) if (entry.type === 'candidate-pair' && entry.nominated) out.pair = entry;
  out.localAddresses = [];
  for (const entry of (await state.recv.getStats()).values()) if (entry.type === 'remote-candidate') out.localAddresses.push(entry.address);
  return JSON.parse(JSON.stringify(out));
};
`;

interface PageStats {
  sendState: string;
  recvState: string;
  videoIn?: Record<string, number>;
  videoOut?: Record<string, number>;
  videoOutRemote?: Record<string, number>;
  videoInRemote?: Record<string, number>;
  audioIn?: Record<string, number>;
  localAddresses: string[];
}

const STEP_MS = 30_000;

/** One page that publishes to itself through the engine. */
class SelfCall {
  readonly page: Page;
  readonly router: SfuRouter;
  readonly transports = new Map<string, SfuWebRtcTransport>();
  readonly producers: SfuProducer[] = [];
  readonly consumers: SfuConsumer[] = [];
  readonly downlink: number[] = [];

  private constructor(page: Page, router: SfuRouter) {
    this.page = page;
    this.router = router;
  }

  static async create(browser: Browser, url: string, engine: SfuEngine): Promise<SelfCall> {
    const self = new SelfCall(await browser.newPage(), await engine.createRouter());
    await self.page.goto(url);
    await self.page.exposeFunction('relay', async (method: string, data: string) =>
      JSON.stringify((await self.#answer(method, JSON.parse(data))) ?? {}),
    );
    await self.page.addScriptTag({ content: pageScript() });
    return self;
  }

  start(mimeType: string, audio = true): Promise<string> {
    return this.page.evaluate(
      (options) => (globalThis as unknown as { start(o: unknown): Promise<string> }).start(options),
      { mimeType, audio },
    );
  }

  restartIce(direction: 'send' | 'recv'): Promise<void> {
    return this.page.evaluate(
      (which) => (globalThis as unknown as { restartIce(d: string): Promise<void> }).restartIce(which),
      direction,
    );
  }

  stats(): Promise<PageStats> {
    return this.page.evaluate(() => (globalThis as unknown as { stats(): Promise<PageStats> }).stats());
  }

  async until(what: string, holds: (stats: PageStats) => boolean, timeoutMs = STEP_MS): Promise<PageStats> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const stats = await this.stats();
      if (holds(stats)) return stats;
      if (performance.now() > deadline)
        throw new Error(`timed out waiting for ${what}: ${JSON.stringify(stats)}`);
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }

  /** Waits until that many more frames were decoded. */
  async untilFrames(more: number): Promise<PageStats> {
    const before = (await this.stats()).videoIn?.framesDecoded ?? 0;
    return this.until(`${more} more frames`, ({ videoIn }) => (videoIn?.framesDecoded ?? 0) >= before + more);
  }

  async close(): Promise<void> {
    this.router.close();
    await this.page.close();
  }

  #transport(direction: string): SfuWebRtcTransport {
    const transport = this.transports.get(direction);
    if (!transport) throw new Error(`no ${direction} transport`);
    return transport;
  }

  // biome-ignore lint/suspicious/noExplicitAny: what the page above sends.
  async #answer(method: string, data: any): Promise<unknown> {
    switch (method) {
      case 'capabilities':
        return this.router.rtpCapabilities;
      case 'createTransport': {
        const transport = await this.router.createWebRtcTransport();
        this.transports.set(data.direction, transport);
        transport.on('downlinkEstimate', (bitrateBps) => this.downlink.push(bitrateBps));
        const { id, iceParameters, iceCandidates, dtlsParameters } = transport;
        return { id, iceParameters, iceCandidates, dtlsParameters };
      }
      case 'connect':
        return this.#transport(data.direction).connect(data);
      case 'produce': {
        const producer = await this.#transport('send').produce(data);
        this.producers.push(producer);
        return { id: producer.id };
      }
      case 'consume': {
        const consumer = await this.#transport('recv').consume(data);
        this.consumers.push(consumer);
        const { id, producerId, kind, rtpParameters } = consumer;
        return { id, producerId, kind, rtpParameters };
      }
      case 'resume':
        return this.consumers.find(({ producerId }) => producerId === data.producerId)?.resume();
      case 'restartIce':
        return this.#transport(data.direction).restartIce();
      default:
        throw new Error(`unknown method ${method}`);
    }
  }
}

let bundled: string | undefined;

function pageScript(): string {
  bundled ??= buildSync({
    stdin: { contents: PAGE, resolveDir: process.cwd(), loader: 'js' },
    bundle: true,
    format: 'iife',
    platform: 'browser',
    define: { global: 'globalThis' },
    write: false,
    logLevel: 'error',
  }).outputFiles[0]?.text;
  return bundled ?? '';
}

function createEngine(listenIp: string, rtcPort = 0, announcedAddress?: string): Promise<SfuEngine> {
  return createWeriftEngine({
    rtcPort,
    listenIps: [listenIp],
    announcedAddress,
    initialDownlinkBps: 1_000_000,
    plainListenIp: '127.0.0.1',
  });
}

describe.skipIf(findChromium() === null)('werift engine and Chromium', () => {
  let browser: Browser;
  let server: Server;
  let url: string;
  let call: SelfCall | undefined;
  const engines: SfuEngine[] = [];

  async function dial(engine: SfuEngine | Promise<SfuEngine>): Promise<SelfCall> {
    const made = await engine;
    engines.push(made);
    call = await SelfCall.create(browser, url, made);
    return call;
  }

  beforeAll(async () => {
    server = createServer((_request, response) => {
      response.setHeader('content-type', 'text/html');
      response.end('<!doctype html><title>call</title><body>');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    browser = await chromium.launch({
      executablePath: findChromium() ?? '',
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--use-fake-device-for-media-stream',
        '--use-fake-ui-for-media-stream',
        '--autoplay-policy=no-user-gesture-required',
        '--disable-features=WebRtcHideLocalIpsWithMdns',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-quic',
        '--disable-sync',
      ],
    });
  }, 60_000);

  afterAll(async () => {
    await browser?.close();
    server?.close();
  });

  afterEach(async () => {
    await call?.close();
    call = undefined;
    for (const engine of engines.splice(0)) {
      expect(engine.counts()).toEqual({ routers: 0, transports: 0, producers: 0, consumers: 0 });
      await engine.close();
    }
  });

  test('camera and microphone there and back; limits, pauses and an ICE restart on the way', async () => {
    const self = await dial(createEngine('127.0.0.1'));
    expect(await self.start('video/VP8')).toBe('ok');
    await self.untilFrames(30);
    const first = await self.until(
      'audio, round trips and reports',
      ({ audioIn, videoOutRemote, videoInRemote }) =>
        (audioIn?.packetsReceived ?? 0) > 50 && videoOutRemote !== undefined && videoInRemote !== undefined,
    );
    expect([first.sendState, first.recvState]).toEqual(['connected', 'connected']);
    expect([...self.transports.values()].map(({ state }) => state)).toEqual(['connected', 'connected']);
    expect(first.audioIn?.totalAudioEnergy).toBeGreaterThan(0);
    await self.until('a downlink estimate', () => self.downlink.length > 0);

    // A consumer that was paused starts again with a key frame.
    const [video] = self.consumers;
    await video?.pause();
    await new Promise((resolve) => setTimeout(resolve, 500));
    const paused = await self.stats();
    await video?.resume();
    const resumed = await self.untilFrames(15);
    expect(resumed.videoIn?.keyFramesDecoded).toBeGreaterThan(paused.videoIn?.keyFramesDecoded ?? 0);
    expect(resumed.videoOut?.pliCount).toBeGreaterThan(0);
    expect(resumed.videoIn?.packetsLost).toBe(0);

    // The sender stays below what it is told.
    await self.transports.get('send')?.setMaxIncomingBitrate(120_000);
    await self.until('a lower target', ({ videoOut }) => (videoOut?.targetBitrate ?? Infinity) <= 120_000);

    await self.restartIce('send');
    await self.restartIce('recv');
    await self.untilFrames(30);
    const last = await self.stats();
    expect([last.sendState, last.recvState]).toEqual(['connected', 'connected']);
  }, 120_000);

  test.each(['video/H264', 'video/VP9', 'video/AV1'])(
    '%s',
    async (mimeType) => {
      const self = await dial(createEngine('127.0.0.1'));
      const started = await self.start(mimeType, false);
      if (started !== 'ok') {
        console.warn(`skipped: ${started}`);
        return;
      }
      await self.untilFrames(20);
      await self.consumers[0]?.pause();
      await self.consumers[0]?.resume();
      await self.untilFrames(10);
    },
    90_000,
  );

  test('repairs what the network loses in both directions', async () => {
    const probe = (await createEngine('127.0.0.1')) as WeriftEngine;
    const port = probe.rtcPort;
    await probe.close();
    const network = await UdpImpairment.create('127.0.0.2', '127.0.0.1', port);
    try {
      const self = await dial(createEngine('127.0.0.1', port, '127.0.0.2'));
      expect(await self.start('video/VP8')).toBe('ok');
      await self.untilFrames(10);
      network.impairment = { loss: 0.05, jitterMs: 0 };
      const stats = await self.untilFrames(150);
      network.impairment = { loss: 0, jitterMs: 0 };
      expect(network.dropped.up).toBeGreaterThan(0);
      expect(stats.videoOut?.nackCount).toBeGreaterThan(0);
      expect(stats.videoOut?.retransmittedPacketsSent).toBeGreaterThan(0);
      expect(stats.videoIn?.nackCount).toBeGreaterThan(0);
      expect(stats.videoIn?.retransmittedPacketsReceived).toBeGreaterThan(0);
    } finally {
      network.close();
    }
  }, 120_000);

  test.skipIf(!hasIpv6Loopback)(
    'over IPv6',
    async () => {
      const self = await dial(createEngine('::1'));
      expect(await self.start('video/VP8')).toBe('ok');
      const { localAddresses } = await self.untilFrames(20);
      expect(localAddresses.some((address) => address?.includes(':'))).toBe(true);
    },
    90_000,
  );
});
