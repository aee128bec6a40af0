/** The relay with nothing faked: real engine, real restorer process, real models, decodable video. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { restorerOptions } from '../../src/cli/serve.js';
import { configSchema } from '../../src/config/schema.js';
import { createLogger } from '../../src/log.js';
import { createRestorer } from '../../src/restorer/RestorerSupervisor.js';
import type { Restorer } from '../../src/restorer/types.js';
import { ENGINES } from '../contract/sfuSupport.js';
import { CameraStream } from '../support/fakes/CameraStream.js';
import { RelayClient } from '../support/fakes/RelayClient.js';
import { startTestServer } from '../support/fakes/relayServer.js';

describe.each(ENGINES.filter(({ skip }) => !skip))(
  'restoration through a relay on $name',
  ({ name: engine }) => {
    let relay: Awaited<ReturnType<typeof startTestServer>>;
    let restorer: Restorer;
    let ann: RelayClient;
    let ben: RelayClient;
    let camera: CameraStream;
    let publicationId: string;

    beforeAll(async () => {
      const createRealRestorer = async () => {
        restorer = await createRestorer(
          restorerOptions(configSchema.parse({ log: { level: 'silent' } })),
          createLogger('silent', 'test'),
        );
        return restorer;
      };
      relay = await startTestServer({ engine, createRestorer: createRealRestorer });
      ann = await RelayClient.join(relay.url, 'blue', 'Ann');
      ben = await RelayClient.join(relay.url, 'blue', 'Ben');
      const published = await ann.publish('camera', { uplinkBudgetBps: 120_000 });
      publicationId = published.publicationId;
      camera = await CameraStream.start(published.stream, {
        width: 320,
        height: 180,
        bitrateBps: 120_000,
        fps: 15,
      });
      ann.peers.send?.peer.on('rtcp', (message) => camera.onRtcp(message));
    });

    afterAll(async () => {
      await camera?.stop();
      await ann?.close();
      await ben?.close();
      await relay?.server.close();
    });

    it('sends a restored variant beside the original, and reports on it', { timeout: 60_000 }, async () => {
      await ben.subscribe(publicationId, 'restored');
      await ben.until('the restored view', () => ben.selected(publicationId)?.view === 'restored', 30_000);
      const restored = ben.consumer(publicationId, 'restored');
      await ben.until('restored packets', () => ben.packets(restored) > 20, 30_000);
      await ben.until(
        'a report',
        () => (ben.last('restorationReport')?.report.outputHeight ?? 0) > 0,
        10_000,
      );
      const report = ben.last('restorationReport')?.report;
      expect(report).toMatchObject({
        inputWidth: 320,
        inputHeight: 180,
        outputWidth: 1280,
        outputHeight: 720,
      });
      const page = await (await fetch(`${relay.url}/metrics`)).text();
      expect(page).toMatch(/vireo_restoration_stage_milliseconds\{stage="total",quantile="0.95"\} \d/);
      expect(page).toContain('vireo_consumers{variant="restored"} 1');
    });

    it('falls back to the original within 500 ms of the death of the restorer, and recovers', {
      timeout: 90_000,
    }, async () => {
      const original = ben.consumer(publicationId, 'original');
      await ben.request('variantShown', { publicationId, variant: 'restored' });
      await new Promise((resolve) => setTimeout(resolve, 300));
      const before = ben.packets(original);
      const { pid } = restorer.info;
      if (pid === null) throw new Error('no restorer process');
      const killedAtMs = performance.now();
      process.kill(pid, 'SIGKILL');
      await ben.until('packets of the original', () => ben.packets(original) > before);
      expect(performance.now() - killedAtMs).toBeLessThan(500);
      expect(ben.selected(publicationId)?.view).toBe('original');
      await ben.until('the restored view', () => ben.selected(publicationId)?.view === 'restored', 60_000);
      const restored = ben.consumer(publicationId, 'restored');
      await ben.until('restored packets', () => ben.packets(restored) > 5, 20_000);
      expect(restorer.info.restarts).toBe(1);
    });
  },
);
