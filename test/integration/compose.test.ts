import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { loadConfig } from '../../src/config/loadConfig.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const SUBSTITUTES = {
  VIREO_TURN_SECRET: '0123456789abcdef0123456789abcdef',
  VIREO_ANNOUNCED_ADDRESS: '203.0.113.7',
};

/** What compose makes of `${NAME:-default}` and `${NAME:?message}`. */
function substitute(text: string): string {
  return text.replace(/\$\{(\w+)(?::[-?]([^}]*))?\}/g, (_all, name: string, fallback = '') => {
    return name in SUBSTITUTES ? SUBSTITUTES[name as keyof typeof SUBSTITUTES] : fallback;
  });
}

describe('docker-compose.yml', () => {
  it('gives the relay an environment that it accepts', async () => {
    const compose = parse(substitute(readFileSync(`${root}docker-compose.yml`, 'utf8')));
    const environment: Record<string, string> = compose.services.relay.environment;
    for (const key of Object.keys(environment)) environment[key] = String(environment[key]);
    const { config } = await loadConfig({ env: environment, cwd: root });
    expect(config.ice.servers[0]?.urls).toContain('turn:203.0.113.7:3478?transport=udp');
    expect(config.ice.turnSecret).toBe(SUBSTITUTES.VIREO_TURN_SECRET);
    expect(config.rtc.announcedAddress).toBe('203.0.113.7');
  });

  const hasCompose = spawnSync('docker', ['compose', 'version']).status === 0;
  it.runIf(hasCompose)('is accepted by docker compose config', () => {
    const printed = execFileSync('docker', ['compose', 'config'], {
      cwd: root,
      env: { ...process.env, ...SUBSTITUTES },
      encoding: 'utf8',
    });
    expect(printed).toContain('healthcheck');
  });
});
