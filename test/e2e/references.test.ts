/**
 * Sharp stills, as people use them: two browsers call, the sender's still arrives while its video goes on as before,
 * and the panels and the switch say so.
 */
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Browser } from '../support/browser.js';
import { cameraClip } from '../support/cameraClip.js';
import { drawnCamera } from '../support/drawnCamera.js';
import { followVideo } from '../support/followVideo.js';
import { RelayProcess } from '../support/RelayProcess.js';

const screenshots = fileURLToPath(new URL('../../test-results/', import.meta.url));

let relay: RelayProcess;
let browser: Browser;
let ann: Page;
let bob: Page;

const accepted = () => relay.metric('vireo_stills_total', { result: 'accepted' });
const row = (page: Page, panel: string, term: string) =>
  page
    .getByRole('complementary', { name: panel })
    .locator('div', { has: page.locator('dt', { hasText: term }) })
    .locator('dd');

async function setStills(page: Page, on: boolean): Promise<void> {
  await page.getByRole('button', { name: 'Settings', exact: true }).click();
  const dialog = page.getByRole('dialog', { name: 'Settings' });
  const stills = dialog.getByRole('switch', { name: /sharp stills/ });
  await stills.setChecked(on);
  await page.screenshot({ path: `${screenshots}stills-settings-${on ? 'on' : 'off'}.png` });
  await dialog.getByRole('button', { name: 'Done' }).click();
}

beforeAll(async () => {
  mkdirSync(screenshots, { recursive: true });
  const clip = await cameraClip();
  relay = await RelayProcess.start({ config: { references: { minIntervalMs: 1_000 } } });
  browser = await Browser.launch({ video: clip.video.file, audio: clip.audioFile });
  const lobby = await browser.open(relay.url);
  // Both join with stills off, so that there is a time without them to compare with.
  await lobby.evaluate(() =>
    localStorage.setItem('vireo.preferences', JSON.stringify({ sendStills: false })),
  );
  await lobby.close();
  ann = await browser.open(`${relay.url}/r/stills?name=Ann&autojoin=1&uplink=60k&view=original`);
  bob = await browser.open(`${relay.url}/r/stills?name=Bob&autojoin=1&uplink=60k&view=restored`);
});

afterAll(async () => {
  await browser?.close();
  expect(await relay?.stop()).toBe(0);
});

describe('sharp stills', () => {
  it('are not sent while the person does not want them', async () => {
    await bob.locator('[data-tile="Ann"] .badge', { hasText: 'Restored' }).waitFor({ timeout: 60_000 });
    await ann.locator('.self-tile').hover();
    await ann.getByRole('button', { name: 'What you send' }).click();
    await expect.poll(() => row(ann, 'Your statistics', 'Sharp stills').textContent()).toBe('0 sent · off');
    expect(await accepted()).toBe(0);
  });

  it('arrive beside video that goes on as it did', async () => {
    const before = await followVideo(ann, bob, async () => true);
    await setStills(ann, true);
    const stills = row(ann, 'Your statistics', 'Sharp stills');
    await expect.poll(() => stills.textContent(), { timeout: 60_000 }).toContain('sending one');
    const during = await followVideo(ann, bob, async () => (await accepted()) >= 1);
    console.log('without a still', before, 'while one is sent', during);
    expect(await accepted()).toBeGreaterThanOrEqual(1);
    expect(during.fpsSent).toBeGreaterThan(before.fpsSent * 0.8);
    expect(during.fpsReceived).toBeGreaterThan(before.fpsReceived * 0.7);
    expect(during.lostShare).toBeLessThanOrEqual(before.lostShare + 0.02);
    expect(during.keyFrames).toBeLessThanOrEqual(before.keyFrames + 1);
    expect(during.roundTripMs).toBeLessThan(before.roundTripMs * 2 + 100);
    expect(await relay.metric('vireo_still_bytes_total')).toBeLessThanOrEqual((await accepted()) * 30_000);
    // Chromium codes AV1, which takes fewer bytes than WebP.
    expect(new Set(await ann.evaluate(() => globalThis.vireoProbe.stillTypesSent()))).toEqual(
      new Set(['image/avif']),
    );
  });

  it('are told of, to who sends them and to who sees what is made of them', async () => {
    await expect
      .poll(() => row(ann, 'Your statistics', 'Sharp stills').textContent())
      .toMatch(/^[1-9] sent · \d+ kB/);
    expect(await row(ann, 'Your statistics', 'Last one').textContent()).toMatch(/^\d+ s ago$/);
    expect(await row(ann, 'Your statistics', 'Their share').textContent()).toMatch(
      /^[1-9]\d? % of the last minute$/,
    );
    await ann.screenshot({ path: `${screenshots}stills-sender.png` });
    await bob.locator('[data-tile="Ann"]').hover();
    await bob.locator('[data-tile="Ann"]').getByRole('button', { name: 'Statistics', exact: true }).click();
    await expect
      .poll(() => row(bob, 'Statistics', 'Sharp still').textContent(), { timeout: 30_000 })
      .toMatch(/^\d+ s old · \d+ % of the picture$/);
    await bob.screenshot({ path: `${screenshots}stills-receiver.png` });
    expect(await relay.metric('vireo_stills_total', { result: 'refused' })).toBe(0);
  });

  it('are forgotten when the person switches them off, and the switch stays as it was left', async () => {
    await setStills(ann, false);
    await expect
      .poll(() => row(bob, 'Statistics', 'Sharp still').textContent(), { timeout: 30_000 })
      .toBe('none in use');
    await expect.poll(() => row(ann, 'Your statistics', 'Sharp stills').textContent()).toMatch(/ · off$/);
    const count = await accepted();
    await ann.reload();
    await ann.locator('[data-tile="Bob"]').waitFor({ timeout: 20_000 });
    await ann.getByRole('button', { name: 'Settings', exact: true }).click();
    expect(await ann.getByRole('switch', { name: /sharp stills/ }).isChecked()).toBe(false);
    expect(await accepted()).toBe(count);
    expect(browser.errors).toEqual([]);
  });

  it('rest while the camera is out of focus, and are sent again when it stays so, and only then', async () => {
    await Promise.all([ann.close(), bob.close()]);
    const before = await accepted();
    const cyd = await browser.open(
      `${relay.url}/r/focus?name=Cyd&autojoin=1&uplink=250k&view=original`,
      drawnCamera({ sendStills: true }),
    );
    const dan = await browser.open(`${relay.url}/r/focus?name=Dan&autojoin=1&uplink=60k&view=restored`);
    await dan.locator('[data-tile="Cyd"] .badge', { hasText: 'Restored' }).waitFor({ timeout: 60_000 });
    await expect.poll(accepted, { timeout: 60_000 }).toBe(before + 1);
    // Longer than the interval, and than it takes to save up for another.
    await cyd.waitForTimeout(12_000);
    expect(await accepted()).toBe(before + 1);
    const act = (acts: { blurred: boolean; moving: boolean }) =>
      cyd.evaluate((wanted) => Object.assign(globalThis.cameraActs, wanted), acts);
    await cyd.locator('.self-tile').hover();
    await cyd.getByRole('button', { name: 'What you send' }).click();
    const told = () => row(cyd, 'Your statistics', 'Sharp stills').textContent();
    const rested = () => cyd.evaluate(() => globalThis.vireoProbe.stillsRested());
    // While it moves no other one can be taken.
    await act({ blurred: true, moving: true });
    await expect.poll(told, { timeout: 20_000 }).toMatch(/ · not used, the focus has changed$/);
    expect(await rested()).toEqual([true]);
    await cyd.screenshot({ path: `${screenshots}stills-resting.png` });
    await act({ blurred: false, moving: false });
    await expect.poll(rested, { timeout: 20_000 }).toEqual([true, false]);
    // Another may be under way: the relay asks for one where little is found for seconds.
    expect(await told()).toMatch(/ kB( · sending one)?$/);
    expect(await accepted()).toBe(before + 1);
    await act({ blurred: true, moving: false });
    await expect.poll(accepted, { timeout: 60_000 }).toBe(before + 2);
    expect(browser.errors).toEqual([]);
  });
});
