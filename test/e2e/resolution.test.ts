/** A camera that moves on a thin uplink: the page sends a smaller picture rather than few frames, and what is restored of it stays as large as it was. */
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Browser } from '../support/browser.js';
import { drawnCamera } from '../support/drawnCamera.js';
import { RelayProcess } from '../support/RelayProcess.js';

let relay: RelayProcess;
let browser: Browser;
let ann: Page;
let bob: Page;

beforeAll(async () => {
  relay = await RelayProcess.start({});
  browser = await Browser.launch();
  ann = await browser.open(
    `${relay.url}/r/moving?name=Ann&autojoin=1&uplink=120k&view=original`,
    drawnCamera({ sendStills: false }),
  );
  bob = await browser.open(`${relay.url}/r/moving?name=Bob&autojoin=1&uplink=60k&view=restored`);
  await bob.locator('[data-tile="Ann"] .badge', { hasText: 'Restored' }).waitFor({ timeout: 60_000 });
});

afterAll(async () => {
  await browser?.close();
  expect(await relay?.stop()).toBe(0);
});

/** Height and frame rate as "What you send" has them. */
async function sent(): Promise<{ height: number; fps: number }> {
  const text = await ann
    .getByRole('complementary', { name: 'Your statistics' })
    .locator('dd')
    .first()
    .textContent();
  const [, height, fps] = /×(\d+) · (\d+) fps/.exec(text ?? '') ?? [];
  return { height: Number(height), fps: Number(fps) };
}

const restoredHeight = () =>
  bob
    .locator('video[data-participant="Ann"][data-variant="restored"]')
    .evaluate((video) => (video as HTMLVideoElement).videoHeight);

it('is sent smaller while it moves, at a frame rate that moves, and larger again afterwards', async () => {
  await ann.locator('.self-tile').hover();
  await ann.getByRole('button', { name: 'What you send' }).click();
  await expect.poll(async () => (await sent()).height, { timeout: 30_000 }).toBe(360);
  await ann.evaluate(() => {
    globalThis.cameraActs.moving = true;
  });
  await expect.poll(async () => (await sent()).height, { timeout: 60_000 }).toBeLessThanOrEqual(180);
  await expect.poll(restoredHeight, { timeout: 30_000 }).toBe(720);
  await ann.evaluate(() => {
    globalThis.cameraActs.moving = false;
  });
  await expect.poll(async () => (await sent()).height, { timeout: 120_000 }).toBe(360);
  await expect.poll(async () => (await sent()).fps, { timeout: 30_000 }).toBeGreaterThanOrEqual(10);
  await expect.poll(restoredHeight, { timeout: 30_000 }).toBe(720);
  expect(browser.errors).toEqual([]);
});
