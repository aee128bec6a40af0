/**
 * A sender whose uplink is hardly wider than the video it carries: the still's parts (TCP) and the live video (UDP) stand in
 * one queue, and the video must not be held up by it.
 */
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Browser } from '../support/browser.js';
import { cameraClip } from '../support/cameraClip.js';
import { followVideo } from '../support/followVideo.js';
import { freeUdpPort } from '../support/freePort.js';
import { RelayProcess } from '../support/RelayProcess.js';
import { ThinUplink } from '../support/ThinUplink.js';

const ADDRESS = '127.0.0.3';
/** Video of 60 kbit/s, sound of 32, and what goes around their packets. */
const UPLINK_BPS = 160_000;

let relay: RelayProcess;
let uplink: ThinUplink;
let browser: Browser;
let ann: Page;
let bob: Page;

beforeAll(async () => {
  const clip = await cameraClip();
  const rtcPort = await freeUdpPort();
  relay = await RelayProcess.start({
    config: { rtc: { port: rtcPort, announcedAddress: ADDRESS }, references: { minIntervalMs: 1_000 } },
  });
  const { port } = new URL(relay.url);
  const relayAddress = '127.0.0.1';
  uplink = await ThinUplink.create({ address: ADDRESS, relayAddress, httpPort: Number(port), rtcPort });
  browser = await Browser.launch({ video: clip.video.file, audio: clip.audioFile });
  const lobby = await browser.open(uplink.url);
  await lobby.evaluate(() =>
    localStorage.setItem('vireo.preferences', JSON.stringify({ sendStills: false })),
  );
  await lobby.close();
  // Only watches: the uplink is Ann's alone.
  bob = await browser.open(`${relay.url}/r/thin?name=Bob&view=restored`);
  await bob.addInitScript(() => {
    navigator.mediaDevices.getUserMedia = async () => {
      throw new DOMException('Permission denied', 'NotAllowedError');
    };
  });
  await bob.reload();
  await bob.getByRole('button', { name: 'Join without camera and microphone' }).click();
  ann = await browser.open(`${uplink.url}/r/thin?name=Ann&autojoin=1&uplink=60k&view=original`);
  await bob.locator('[data-tile="Ann"] .badge', { hasText: 'Restored' }).waitFor({ timeout: 60_000 });
});

afterAll(async () => {
  await browser?.close();
  uplink?.close();
  expect(await relay?.stop()).toBe(0);
});

it('a still gets through a thin uplink, and the video beside it goes on as before', async () => {
  const accepted = () => relay.metric('vireo_stills_total', { result: 'accepted' });
  uplink.bitrateBps = UPLINK_BPS;
  await ann.waitForTimeout(3_000);
  const before = await followVideo(ann, bob, async () => true, 8);
  const tcpBefore = uplink.sentBytes.tcp;
  await ann.getByRole('button', { name: 'Settings', exact: true }).click();
  const dialog = ann.getByRole('dialog', { name: 'Settings' });
  await dialog.getByRole('switch', { name: /sharp stills/ }).setChecked(true);
  await dialog.getByRole('button', { name: 'Done' }).click();
  const during = await followVideo(ann, bob, async () => (await accepted()) >= 1);
  const stillBytes = await relay.metric('vireo_still_bytes_total');
  console.log('thin uplink: without a still', before, 'while one is sent', during, { stillBytes });
  expect(await accepted()).toBeGreaterThanOrEqual(1);
  // It went through the same queue.
  expect(uplink.sentBytes.tcp - tcpBefore).toBeGreaterThan(stillBytes);
  expect(during.fpsSent).toBeGreaterThan(before.fpsSent * 0.8);
  expect(during.fpsReceived).toBeGreaterThan(before.fpsReceived * 0.7);
  expect(during.lostShare).toBeLessThanOrEqual(before.lostShare + 0.02);
  expect(during.keyFrames).toBeLessThanOrEqual(before.keyFrames + 1);
  expect(uplink.droppedDatagrams).toBe(0);
  // A part and a frame at most are in the queue before each other: a fifth of a second at this rate.
  expect(during.roundTripMs).toBeLessThan(before.roundTripMs * 2 + 200);
  expect(browser.errors).toEqual([]);
});
