#!/usr/bin/env node
/**
 * What a browser sends of a real camera within an uplink budget, side by side: always in the budget's height, in what the browser chooses by itself
 * (`maintain-framerate`), and as the page sends it (ResolutionPolicy), through a relay that restores nothing. Run after `npm run build`, with Chromium there
 * (`npm run setup -- --test`); prints a table: height, frames a second and VP8's quantizer (106 is the coarsest), means from the 15th second on.
 *
 *   node bench/uplink.mjs CLIP... [--bitrate 60,120,250] [--seconds 40]
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import { chromium } from 'playwright-core';
import { FrameFilter } from '../dist/restoration/filters.js';
import { VideoFileReader } from '../dist/restoration/VideoFileReader.js';
import { createVideoFileWriter } from '../dist/restoration/VideoFileWriter.js';
import { findChromium } from '../scripts/chromium.mjs';

const CLIP_SECONDS = 10;
const SETTLED_S = 15;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string', default: '40' },
    bitrate: { type: 'string', default: '60,120,250' },
  },
});
const rates = values.bitrate.split(',').map(Number);
const seconds = Number(values.seconds);
if (positionals.length === 0 || !(seconds > SETTLED_S) || !rates.every((rate) => rate > 0)) {
  process.stderr.write('uplink: CLIP... [--bitrate 60,120,250] (kbit/s) [--seconds 40] (more than 15)\n');
  process.exit(1);
}

/** The page's own table of budgets. */
async function loadPlan() {
  const entry = fileURLToPath(new URL('../web-client/src/session/uplinkPolicy.ts', import.meta.url));
  const { outputFiles } = await build({ entryPoints: [entry], bundle: true, format: 'esm', write: false });
  const code = Buffer.from(outputFiles[0]?.contents ?? []).toString('base64');
  return (await import(`data:text/javascript;base64,${code}`)).planUplink;
}

/** As a camera of 1280x720 shows it, which Chromium plays in a loop. @param {string} path @param {string} file */
async function writeCamera(path, file) {
  const reader = await VideoFileReader.open(path);
  const { num, den } = reader.info.frameRate;
  const filter = new FrameFilter(
    'scale=1280:720:force_original_aspect_ratio=increase:flags=area,crop=1280:720,setsar=1,format=yuv420p',
  );
  const writer = createVideoFileWriter(file, {
    timeBase: { num: den, den: num },
    frameRate: { num, den },
    audio: null,
  });
  try {
    for (let written = 0; written < (CLIP_SECONDS * num) / den; written += 1) {
      const frame = await reader.next();
      if (frame === null) break;
      const shown = await filter.apply(frame);
      shown.pts = BigInt(written);
      await writer.write(shown);
      shown.free();
      frame.free();
    }
    await writer.finish();
  } finally {
    await writer.abort();
    filter.close();
    await reader.close();
  }
}

/** In the page: what the video sender did, second by second. @param {number} count */
async function followSender(count) {
  const seen = [];
  /** @type {any} */
  let before = null;
  for (let second = 0; second < count; second += 1) {
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    for (const connection of /** @type {any} */ (globalThis).connections) {
      for (const entry of (await connection.getStats()).values()) {
        if (entry.type !== 'outbound-rtp' || entry.kind !== 'video') continue;
        if (before !== null) {
          const frames = entry.framesEncoded - before.framesEncoded;
          const kbps = ((entry.bytesSent - before.bytesSent) * 8) / (entry.timestamp - before.timestamp);
          const fps = (frames * 1_000) / (entry.timestamp - before.timestamp);
          const quantizer = (entry.qpSum - before.qpSum) / Math.max(1, frames);
          seen.push({ second, height: entry.frameHeight, fps, kbps, quantizer });
        }
        before = entry;
      }
    }
  }
  return seen;
}

/** In the page: sends the camera to itself. @param {{ bps: number, height: number, preference: string }} how */
async function sendToItself({ bps, height, preference }) {
  const camera = await navigator.mediaDevices.getUserMedia({ video: { width: 1_280, height: 720 } });
  const [from, to] = [new RTCPeerConnection(), new RTCPeerConnection()];
  from.onicecandidate = ({ candidate }) => candidate && to.addIceCandidate(candidate);
  to.onicecandidate = ({ candidate }) => candidate && from.addIceCandidate(candidate);
  const [track] = camera.getVideoTracks();
  const encoding = { maxBitrate: bps, scaleResolutionDownBy: 720 / height };
  const transceiver = from.addTransceiver(track ?? 'video', { sendEncodings: [encoding] });
  const known = RTCRtpSender.getCapabilities('video')?.codecs ?? [];
  transceiver.setCodecPreferences(known.filter(({ mimeType }) => mimeType === 'video/VP8'));
  const { sender } = transceiver;
  await sender.setParameters({ ...sender.getParameters(), degradationPreference: preference });
  await from.setLocalDescription();
  await to.setRemoteDescription(/** @type {RTCSessionDescription} */ (from.localDescription));
  await to.setLocalDescription();
  await from.setRemoteDescription(/** @type {RTCSessionDescription} */ (to.localDescription));
}

/** @param {import('playwright-core').Page} page */
async function measured(page) {
  const all = await page.evaluate(followSender, seconds);
  const settled = all.filter(({ second }) => second >= SETTLED_S);
  const mean = (/** @type {'height' | 'fps' | 'kbps' | 'quantizer'} */ key) =>
    settled.reduce((sum, one) => sum + one[key], 0) / Math.max(1, settled.length);
  return [mean('height'), mean('fps'), mean('kbps'), mean('quantizer')].map((value) => value.toFixed(0));
}

const folder = await mkdtemp(join(tmpdir(), 'vireo-uplink-'));
const planUplink = await loadPlan();
const blank = createServer((_request, response) => response.end('')).listen(0, '127.0.0.1');
await once(blank, 'listening');
const blankPort = /** @type {import('node:net').AddressInfo} */ (blank.address()).port;
const vireo = fileURLToPath(new URL('../bin/vireo.js', import.meta.url));
const relayPort = blankPort > 60_000 ? blankPort - 1_000 : blankPort + 1_000;
const env = { ...process.env, VIREO_RESTORATION_ENABLED: 'false', VIREO_LOG_LEVEL: 'error' };
const relay = spawn(process.execPath, [vireo, 'serve', '--host', '127.0.0.1', '--port', `${relayPort}`], {
  env,
  stdio: ['ignore', 'ignore', 'inherit'],
});
const keepConnections = `
  const Connection = RTCPeerConnection;
  globalThis.connections = [];
  globalThis.RTCPeerConnection = class extends Connection {
    constructor(...options) { super(...options); globalThis.connections.push(this); }
  };`;
process.stdout.write(
  '| clip | kbit/s | sent | height | fps | kbit/s sent | quantizer |\n| --- | --- | --- | --- | --- | --- | --- |\n',
);
try {
  for (const path of positionals) {
    const camera = join(folder, 'camera.y4m');
    await writeCamera(path, camera);
    const browser = await chromium.launch({
      executablePath: findChromium() ?? '',
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--use-fake-device-for-media-stream',
        '--use-fake-ui-for-media-stream',
        `--use-file-for-fake-video-capture=${camera}`,
        '--disable-features=WebRtcHideLocalIpsWithMdns',
      ],
    });
    for (const rate of rates) {
      const { height } = planUplink(rate * 1_000);
      const row = (/** @type {string} */ how, /** @type {string[]} */ cells) =>
        process.stdout.write(`| ${[basename(path), rate, how, ...cells].join(' | ')} |\n`);
      for (const preference of ['maintain-resolution', 'maintain-framerate']) {
        const page = await browser.newPage();
        await page.addInitScript(keepConnections);
        await page.goto(`http://127.0.0.1:${blankPort}/`);
        await page.evaluate(sendToItself, { bps: rate * 1_000, height, preference });
        row(
          preference === 'maintain-resolution' ? `always ${height}p` : "browser's choice",
          await measured(page),
        );
        await page.close();
      }
      const page = await browser.newPage();
      await page.addInitScript(keepConnections);
      await page.goto(`http://127.0.0.1:${relayPort}/r/uplink?name=Ann&autojoin=1&uplink=${rate}k`);
      row('page', await measured(page));
      await page.close();
    }
    await browser.close();
  }
} finally {
  relay.kill();
  blank.close();
  await rm(folder, { recursive: true, force: true });
}
