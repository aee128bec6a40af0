/** What the page says when joining or staying does not work. No restoration: these are about the page. */
import type { Page } from 'playwright-core';
import { afterEach, describe, expect, it } from 'vitest';
import { Browser } from '../support/browser.js';
import { RelayProcess } from '../support/RelayProcess.js';

const open: { close: () => Promise<unknown> | unknown }[] = [];

afterEach(async () => {
  for (const resource of open.splice(0).reverse()) await resource.close();
});

async function startRelay(config: Record<string, Record<string, unknown>> = {}): Promise<RelayProcess> {
  const relay = await RelayProcess.start({ config: { restoration: { enabled: false }, ...config } });
  open.push({ close: () => relay.stop() });
  return relay;
}

async function startBrowser(): Promise<Browser> {
  const browser = await Browser.launch();
  open.push(browser);
  return browser;
}

const joinUrl = (relay: RelayProcess, name: string) =>
  `${relay.url}/r/page?name=${name}&autojoin=1&uplink=60k&view=original`;

const tile = (page: Page, name: string) => page.locator(`[data-tile="${name}"]`);

describe('the page', () => {
  it('says that a room is full, and joins from there when somebody has left', async () => {
    const relay = await startRelay({ limits: { participantsPerRoom: 2 } });
    const browser = await startBrowser();
    const ann = await browser.open(joinUrl(relay, 'Ann'));
    const bob = await browser.open(joinUrl(relay, 'Bob'));
    await tile(ann, 'Bob').waitFor({ timeout: 20_000 });
    const cyd = await browser.open(joinUrl(relay, 'Cyd'));
    await cyd.getByRole('alert').getByText('This room is full').waitFor({ timeout: 20_000 });
    expect(await cyd.getByLabel('Your name').inputValue()).toBe('Cyd');

    await bob.getByRole('button', { name: 'Leave' }).click();
    await tile(ann, 'Bob').waitFor({ state: 'detached', timeout: 20_000 });
    await cyd.getByRole('button', { name: 'Join', exact: true }).click();
    await tile(cyd, 'Ann').waitFor({ timeout: 20_000 });
  });

  it('tells that the relay is gone, and is back in the call by itself when it is there again', async () => {
    const relay = await startRelay();
    const browser = await startBrowser();
    const ann = await browser.open(joinUrl(relay, 'Ann'));
    const bob = await browser.open(joinUrl(relay, 'Bob'));
    await tile(ann, 'Bob').locator('.picture video').waitFor({ timeout: 20_000 });

    await relay.stop('SIGKILL');
    const lost = ann.getByRole('status').getByText('The connection to the relay is lost');
    await lost.waitFor({ timeout: 20_000 });
    await startRelay({ http: { port: Number(new URL(relay.url).port) } });
    await lost.waitFor({ state: 'detached', timeout: 30_000 });
    for (const [page, name] of [
      [ann, 'Bob'],
      [bob, 'Ann'],
    ] as const) {
      await tile(page, name).locator('.picture video').waitFor({ timeout: 30_000 });
      expect(await tile(page, name).count()).toBe(1);
    }
  });

  it('explains a refused camera, joins without it, and has a place for the person all the same', async () => {
    const relay = await startRelay();
    const browser = await startBrowser();
    const ann = await browser.open(`${relay.url}/r/page?name=Ann&uplink=60k&view=original`);
    await ann.addInitScript(() => {
      navigator.mediaDevices.getUserMedia = async () => {
        throw new DOMException('Permission denied', 'NotAllowedError');
      };
    });
    await ann.reload();
    await ann.getByText('does not let this page use your camera and microphone').waitFor();
    await ann.getByRole('button', { name: 'Join without camera and microphone' }).click();
    await browser.open(joinUrl(relay, 'Bob'));
    await browser.open(joinUrl(relay, 'Cyd'));
    await tile(ann, 'Cyd').waitFor({ timeout: 20_000 });
    await ann.getByRole('region', { name: 'You' }).getByRole('img', { name: 'muted' }).waitFor();
    // Three tiles beside each other, none on top of another.
    const boxes = await ann
      .locator('.grid-rows > *')
      .evaluateAll((tiles) => tiles.map((element) => element.getBoundingClientRect().toJSON()));
    expect(boxes).toHaveLength(3);
    for (const [index, one] of boxes.entries()) {
      for (const other of boxes.slice(index + 1)) {
        const apart =
          one.right <= other.left ||
          other.right <= one.left ||
          one.bottom <= other.top ||
          other.bottom <= one.top;
        expect(apart).toBe(true);
      }
    }
  });

  it('closes panels and dialogs with Escape and gives the focus back', async () => {
    const relay = await startRelay();
    const browser = await startBrowser();
    await browser.open(joinUrl(relay, 'Ann'));
    const bob = await browser.open(joinUrl(relay, 'Bob'));
    await tile(bob, 'Ann').waitFor({ timeout: 20_000 });
    for (const [name, opened] of [
      ['Statistics', bob.locator('.statistics')],
      ['Settings', bob.getByRole('dialog')],
      ['Keyboard shortcuts', bob.locator('.help')],
    ] as const) {
      const button = bob.getByRole('button', { name, exact: true });
      await button.focus();
      await bob.keyboard.press('Enter');
      await opened.waitFor();
      await bob.keyboard.press('Escape');
      await opened.waitFor({ state: 'detached' });
      expect(await button.evaluate((element) => element === document.activeElement)).toBe(true);
    }
  });
});
