import { type Config, configSchema } from '../../../src/config/schema.js';
import { VireoServer } from '../../../src/http/VireoServer.js';
import { createLogger } from '../../../src/log.js';
import type { Restorer } from '../../../src/restorer/types.js';
import { createSfuEngine } from '../../../src/sfu/createEngine.js';
import type { SfuEngineKind } from '../../../src/sfu/types.js';
import { FakeRestorer } from './FakeRestorer.js';

export interface TestServerOptions {
  engine?: SfuEngineKind;
  config?: { [S in keyof Config]?: Partial<Config[S]> };
  createRestorer?: () => Promise<Restorer>;
}

/** A whole relay in this process, on loopback and free ports, with a real engine. */
export async function startTestServer(options: TestServerOptions = {}) {
  const { engine = 'werift', config: overrides = {} } = options;
  const config = configSchema.parse({
    ...overrides,
    http: { host: '127.0.0.1', port: 0, ...overrides.http },
    rtc: { listenIps: ['127.0.0.1'], port: 0, ...overrides.rtc },
    limits: { drainMs: 50, ...overrides.limits },
  });
  const logger = createLogger((process.env.VIREO_TEST_LOG ?? 'silent') as 'silent', 'test');
  const restorer = new FakeRestorer();
  const server = await VireoServer.start({
    config,
    version: '0.0.0-test',
    logger,
    createEngine: () =>
      createSfuEngine({
        engine,
        rtcPort: config.rtc.port,
        listenIps: config.rtc.listenIps,
        initialDownlinkBps: config.rtc.initialDownlinkBps,
        plainListenIp: config.rtc.plainListenIp,
        logger,
      }),
    createRestorer: options.createRestorer ?? (async () => restorer),
  });
  await server.restorerReady;
  return { server, restorer, config, url: `http://127.0.0.1:${server.port}` };
}
