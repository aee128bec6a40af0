import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createHttpApp } from '../../../src/http/createHttpApp.js';
import { Metrics } from '../../../src/http/Metrics.js';
import { Readiness } from '../../../src/http/Readiness.js';
import { createLogger } from '../../../src/log.js';

const ADMIN_TOKEN = 'an admin token of some length';

let server: Server;
let url: string;
let readiness: Readiness;
let metrics: Metrics;
let webClientDir: string;

async function start(options: { adminToken: string | undefined } = { adminToken: ADMIN_TOKEN }) {
  readiness = new Readiness();
  metrics = new Metrics({ relay: () => null, connections: () => 3 });
  const app = createHttpApp({
    relay: () => null,
    readiness,
    metrics,
    adminToken: options.adminToken,
    trustProxy: false,
    webClientDir,
    version: '1.2.3',
    logger: createLogger('silent', 'test'),
  });
  server = createServer(app);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

beforeEach(async () => {
  webClientDir = mkdtempSync(join(tmpdir(), 'vireo-web-'));
  await start();
});

afterEach(() => {
  server.close();
  server.closeAllConnections();
});

function build() {
  mkdirSync(join(webClientDir, 'assets'));
  writeFileSync(join(webClientDir, 'index.html'), '<title>Vireo</title>');
  writeFileSync(join(webClientDir, 'assets', 'index-abc.js'), 'export {};');
  writeFileSync(join(webClientDir, 'icon.svg'), '<svg/>');
}

const get = (path: string, headers: Record<string, string> = {}) => fetch(`${url}${path}`, { headers });

describe('health', () => {
  it('is alive', async () => {
    const response = await get('/healthz');
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ status: 'ok', version: '1.2.3' });
  });

  it('is ready when nothing is missing', async () => {
    readiness.expect('restorer', 'the models are warming up');
    let draining: string | null = null;
    readiness.addProbe(() => draining);
    const early = await get('/readyz');
    expect(early.status).toBe(503);
    expect(await early.json()).toEqual({ status: 'not-ready', missing: ['the models are warming up'] });
    readiness.fulfil('restorer');
    expect((await get('/readyz')).status).toBe(200);
    draining = 'the relay is draining';
    expect((await get('/readyz')).status).toBe(503);
  });

  it('has metrics', async () => {
    metrics.countAnswer('join', null);
    metrics.countAnswer(null, { code: 'bad-request', message: '', retryable: false });
    const response = await get('/metrics');
    expect(response.headers.get('content-type')).toMatch(/^text\/plain/);
    const text = await response.text();
    expect(text).toContain('vireo_signalling_requests_total{name="join"} 1');
    expect(text).toContain('vireo_signalling_errors_total{name="unknown",code="bad-request"} 1');
    expect(text).toContain('vireo_connections 3');
    expect(text).toContain('vireo_rooms 0');
    expect(text).toContain('process_resident_memory_bytes');
  });
});

describe('the page', () => {
  it('says how to build it when it is not built', async () => {
    for (const path of ['/', '/r/blue']) {
      const response = await get(path);
      expect(response.status).toBe(404);
      expect(await response.text()).toMatch(/npm run setup/);
    }
  });

  it('is served for the lobby and for rooms, with headers that protect it', async () => {
    build();
    for (const path of ['/', '/r/blue', '/r/%C3%A9t%C3%A9?name=Ann']) {
      const response = await get(path);
      expect(response.status).toBe(200);
      expect(response.headers.get('cache-control')).toBe('no-cache');
      expect(response.headers.get('content-security-policy')).toMatch(
        /default-src 'self'.*media-src 'self' blob: mediastream:/,
      );
      expect(response.headers.get('x-content-type-options')).toBe('nosniff');
      expect(response.headers.get('x-powered-by')).toBeNull();
      expect(await response.text()).toBe('<title>Vireo</title>');
    }
  });

  it('has assets that never change', async () => {
    build();
    const asset = await get('/assets/index-abc.js');
    expect(asset.status).toBe(200);
    expect(asset.headers.get('cache-control')).toMatch(/immutable/);
    expect((await get('/assets/other.js')).status).toBe(404);
    expect((await get('/icon.svg')).status).toBe(200);
  });

  it('is not served for what is no room name, nor out of its folder', async () => {
    build();
    expect((await get('/r/a%20b')).status).toBe(404);
    expect((await get('/r/%E0%A4%A')).status).toBe(400);
    expect((await get('/%2e%2e/%2e%2e/etc/passwd')).status).toBeGreaterThanOrEqual(400);
    const nothing = await get('/nothing');
    expect(nothing.status).toBe(404);
    expect(await nothing.json()).toMatchObject({ error: { code: 'not-found' } });
  });
});

describe('the admin API', () => {
  const authorized = { authorization: `Bearer ${ADMIN_TOKEN}` };

  it('wants its token', async () => {
    for (const authorization of [
      '',
      'Bearer',
      'Bearer x',
      `Basic ${ADMIN_TOKEN}`,
      `Bearer ${ADMIN_TOKEN} x`,
    ]) {
      const response = await get('/api/v1/rooms', { authorization });
      expect(response.status, authorization).toBe(401);
      expect(await response.json()).toMatchObject({ error: { code: 'unauthorized' } });
    }
    const response = await get('/api/v1/rooms', authorized);
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ rooms: [] });
  });

  it('knows what it does not have', async () => {
    const response = await get('/api/v1/rooms/blue', authorized);
    expect(response.status).toBe(404);
    expect(await response.json()).toEqual({
      error: { code: 'not-found', message: 'room: there is no room "blue"' },
    });
    expect((await get('/api/v1/other', authorized)).status).toBe(404);
  });

  it('is off without a token', async () => {
    server.close();
    await start({ adminToken: undefined });
    const response = await get('/api/v1/rooms', authorized);
    expect(response.status).toBe(403);
    expect(await response.json()).toMatchObject({ error: { code: 'forbidden' } });
  });
});
