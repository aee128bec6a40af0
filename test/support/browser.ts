import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { type BrowserContext, chromium, type Page } from 'playwright-core';
import { findChromium } from '../../scripts/chromium.mjs';

const probeSource = fileURLToPath(new URL('pageProbe.ts', import.meta.url));
let probe: string | undefined;

function probeScript(): string {
  probe ??= buildSync({ entryPoints: [probeSource], bundle: true, format: 'iife', write: false })
    .outputFiles[0]?.text;
  return probe ?? '';
}

export interface CameraFiles {
  /** y4m file that the fake camera plays in a loop. */
  video?: string;
  /** wav file that the fake microphone plays in a loop. */
  audio?: string;
}

/** One headless Chromium of its own (a person's browser), with a file as camera and microphone. */
export class Browser {
  readonly #context: BrowserContext;
  readonly #folder: string;
  readonly errors: string[] = [];

  private constructor(context: BrowserContext, folder: string) {
    this.#context = context;
    this.#folder = folder;
  }

  static async launch(files: CameraFiles = {}): Promise<Browser> {
    const executablePath = findChromium();
    if (!executablePath)
      throw new Error('no Chromium: npm run setup -- --test installs one, or set VIREO_CHROMIUM');
    const folder = mkdtempSync(join(tmpdir(), 'vireo-browser-'));
    const context = await chromium.launchPersistentContext(folder, {
      executablePath,
      headless: true,
      viewport: { width: 1280, height: 800 },
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--use-fake-device-for-media-stream',
        '--use-fake-ui-for-media-stream',
        ...(files.video ? [`--use-file-for-fake-video-capture=${files.video}`] : []),
        ...(files.audio ? [`--use-file-for-fake-audio-capture=${files.audio}`] : []),
        '--autoplay-policy=no-user-gesture-required',
        // Loopback candidates without mDNS names, which nothing here could resolve.
        '--disable-features=WebRtcHideLocalIpsWithMdns',
        '--disable-background-timer-throttling',
        '--disable-renderer-backgrounding',
        '--disable-backgrounding-occluded-windows',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    });
    return new Browser(context, folder);
  }

  /** `script`: runs before the page's own ones. */
  async open(url: string, script?: string): Promise<Page> {
    const page = await this.#context.newPage();
    page.on('pageerror', (error) => this.errors.push(String(error)));
    page.on('console', (message) => {
      if (message.type() === 'error') this.errors.push(message.text());
    });
    await page.addInitScript({ content: probeScript() });
    if (script !== undefined) await page.addInitScript({ content: script });
    await page.goto(url);
    return page;
  }

  /** The whole browser dies at once, as with a crash or a pulled plug: no page gets to say goodbye. */
  async kill(): Promise<void> {
    const gone = new Promise<void>((resolve) => this.#context.once('close', () => resolve()));
    // The profile's folder is on the command line of every process of this browser, and of no other.
    execFileSync('pkill', ['-KILL', '-f', this.#folder]);
    await gone;
  }

  async close(): Promise<void> {
    await this.#context.close().catch(() => {});
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }
}
