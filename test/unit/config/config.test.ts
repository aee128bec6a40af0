import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { CONFIG_KEYS } from '../../../src/config/keys.js';
import { type LoadConfigOptions, loadConfig } from '../../../src/config/loadConfig.js';
import { renderExample, renderReference } from '../../../src/config/render.js';
import { configSchema } from '../../../src/config/schema.js';

let cwd: string;

beforeEach(() => {
  cwd = mkdtempSync(join(tmpdir(), 'vireo-config-'));
});

function load(yaml: string | null, more: Partial<LoadConfigOptions> = {}) {
  if (yaml !== null) writeFileSync(join(cwd, 'vireo.yaml'), yaml);
  return loadConfig({ cwd, env: {}, ...more });
}

async function refusal(yaml: string | null, more: Partial<LoadConfigOptions> = {}): Promise<string> {
  const error = await load(yaml, more).then(
    () => null,
    (thrown: unknown) => thrown as Error & { code: string },
  );
  expect(error?.code).toBe('config-invalid');
  expect(error?.message).not.toContain('\n');
  return error?.message ?? '';
}

describe('loadConfig', () => {
  it('has a default for everything', async () => {
    expect(await load(null)).toEqual({ config: configSchema.parse({}), file: null });
  });

  it('puts the environment over the file, and flags over both', async () => {
    const yaml = 'http:\n  port: 1000\n  host: 10.0.0.1\nrtc:\n  port: 5000\n';
    const env = { VIREO_HTTP_PORT: '2000', VIREO_HTTP_HOST: '10.0.0.2' };
    const flags = {
      'http.port': { value: '3001', flag: '--port' },
      'http.host': { value: undefined, flag: '--host' },
    };
    const { config, file } = await load(yaml, { env, flags });
    expect(config.http).toMatchObject({ port: 3001, host: '10.0.0.2' });
    expect(config.rtc.port).toBe(5000);
    expect(file).toBe('vireo.yaml');
  });

  it('reads lists, switches, numbers and servers from the environment', async () => {
    const env = {
      VIREO_RTC_LISTEN_IPS: '127.0.0.1, ::1',
      VIREO_RTC_ANNOUNCED_ADDRESS: 'relay.example',
      VIREO_HTTP_TRUST_PROXY: 'yes',
      VIREO_RESTORATION_TARGET_HEIGHT: '720',
      VIREO_ICE_SERVERS: 'stun:a.example,turn:b.example',
      VIREO_REFERENCES_UPLINK_SHARE: '0.15',
      VIREO_LOG_LEVEL: '',
      VIREO_CACHE_DIR: '/not/ours',
    };
    const { config } = await load(null, { env });
    expect(config.rtc).toMatchObject({ listenIps: ['127.0.0.1', '::1'], announcedAddress: 'relay.example' });
    expect(config.http.trustProxy).toBe(true);
    expect(config.references.uplinkShare).toBe(0.15);
    expect(config.ice.servers).toEqual([{ urls: ['stun:a.example'] }, { urls: ['turn:b.example'] }]);
    const json = '[{"urls":["turn:c.example"],"username":"u","credential":"c"}]';
    const other = await load(null, { env: { VIREO_ICE_SERVERS: json } });
    expect(other.config.ice.servers[0]?.username).toBe('u');
  });

  it('takes a section that is all comments', async () => {
    expect((await load('http:\n  # port: 1\n')).config.http.port).toBe(3000);
    expect((await load('')).config.http.port).toBe(3000);
  });

  it('says key, value, what is allowed and where it stands', async () => {
    expect(await refusal('\nhttp:\n  host: 0.0.0.0\n  port: abc\n')).toBe(
      'http.port: "abc" is not allowed; must be a whole number from 0 to 65535 (vireo.yaml:4)',
    );
    expect(await refusal('rtc: {engine: fast}')).toBe(
      'rtc.engine: "fast" is not allowed; must be one of auto, werift, mediasoup (vireo.yaml:1)',
    );
    expect(await refusal(null, { env: { VIREO_HTTP_PORT: '70000' } })).toMatch(
      /^http.port: 70000 .*environment variable VIREO_HTTP_PORT/,
    );
    const flags = { 'http.port': { value: 'x', flag: '--port' } };
    expect(await refusal('http: {port: 1}', { flags })).toMatch(/^http.port: "x" .*\(flag --port\)$/);
    expect(await refusal('ice:\n  servers:\n    - urls: ["http://x"]\n')).toMatch(
      /^ice\.servers\[0\]\.urls\[0\]: .*must begin with stun:.*\(vireo.yaml:3\)$/,
    );
    expect(await refusal('references: {uplinkShare: 0.6}')).toBe(
      'references.uplinkShare: 0.6 is not allowed; must be a number from 0 to 0.5 (vireo.yaml:1)',
    );
    expect(await refusal('restoration:\n  targetHeight: 1080\n')).toMatch(
      /^restoration.targetHeight: 1080 is not allowed; must be 720/,
    );
  });

  it('does not print secrets', async () => {
    expect(await refusal('auth: {secret: hunter2}')).toBe(
      'auth.secret: the value given is not allowed; must be text of at least 16 characters (vireo.yaml:1)',
    );
  });

  it('refuses unknown keys, sections and variables, and says which there are', async () => {
    expect(await refusal('http:\n  host: a\n  prot: 3\n')).toMatch(
      /^http\.prot: unknown key; allowed: host, port, .* \(vireo.yaml:3\)$/,
    );
    expect(await refusal('htpp: {}')).toMatch(/^htpp: unknown key; allowed: http, log, rtc, /);
    expect(await refusal(null, { env: { VIREO_RTC_PROT: '1' } })).toMatch(
      /^VIREO_RTC_PROT: unknown environment variable/,
    );
  });

  it('refuses what is no YAML, no mapping or no file', async () => {
    expect(await refusal('http:\n  port: [1\n')).toMatch(/^vireo.yaml:\d+:\d+: is not valid YAML/);
    expect(await refusal('- a\n')).toMatch(/^vireo.yaml: must be a mapping/);
    expect(await refusal('http: 3\n')).toMatch(/^http: 3 is not allowed/);
    expect(await refusal(null, { file: 'other.yaml' })).toBe('--config: other.yaml does not exist');
  });
});

describe('the documentation made from the schema', () => {
  it('is what vireo.example.yaml says', () => {
    const committed = readFileSync(new URL('../../../vireo.example.yaml', import.meta.url), 'utf8');
    expect(committed).toBe(renderExample());
  });

  it('is a configuration that loads to the defaults', async () => {
    expect((await load(renderExample())).config).toEqual(configSchema.parse({}));
  });

  it('describes every key', () => {
    for (const key of CONFIG_KEYS) {
      expect(key.description, key.path).not.toBe('');
      expect(key.allowed, key.path).not.toMatch(/undefined|null/);
      expect(renderReference()).toContain(`| \`${key.path}\` | \`${key.env}\` |`);
    }
  });
});
