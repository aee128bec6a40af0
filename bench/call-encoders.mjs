#!/usr/bin/env node
/**
 * What `vireo evaluate` sends a clip with, beside what a browser sends it with: PSNR of the luma at the bitrate really sent, 320x180.
 * Run after `npm run build`, with Chromium there (`npm run setup -- --test`); prints a table.
 *
 *   node bench/call-encoders.mjs CLIP... [--seconds 3] [--bitrate 60,120,240]
 *
 * The browser's encoders are those of its calls (libvpx, OpenH264, libaom), through WebCodecs in its real-time mode.
 */
import { createServer } from 'node:http';
import { basename } from 'node:path';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { CallCodec } from '../dist/evaluation/CallCodec.js';
import { DEFAULT_FPS, sentFps } from '../dist/evaluation/evaluateClip.js';
import { QualityMeter } from '../dist/evaluation/QualityMeter.js';
import { FrameFilter } from '../dist/restoration/filters.js';
import { VideoFileReader } from '../dist/restoration/VideoFileReader.js';
import { findChromium } from '../scripts/chromium.mjs';

const WIDTH = 320;
const HEIGHT = 180;
const CODECS = {
  vp8: { codec: 'vp8' },
  vp9: { codec: 'vp09.00.10.08' },
  h264: { codec: 'avc1.42e01f', avc: { format: 'annexb' } },
  av1: { codec: 'av01.0.01M.08' },
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { seconds: { type: 'string', default: '3' }, bitrate: { type: 'string', default: '60,120,240' } },
});
const rates = values.bitrate.split(',').map(Number);
const seconds = Number(values.seconds);
if (positionals.length === 0 || !(seconds > 0) || !rates.every((rate) => rate > 0)) {
  process.stderr.write('call-encoders: CLIP... [--seconds 3] [--bitrate 60,120,240] (kbit/s)\n');
  process.exit(1);
}

/** The first pictures of a clip as they are sent, and how many there are a second. @param {string} path */
async function sentPictures(path) {
  const reader = await VideoFileReader.open(path);
  const { num, den } = reader.info.frameRate;
  const stride = Math.round(num / den / sentFps(num / den, DEFAULT_FPS));
  const shrink = new FrameFilter(`scale=${WIDTH}:${HEIGHT}:flags=area,format=yuv420p`);
  const pictures = [];
  const fps = { num, den: den * stride };
  for (let index = 0; pictures.length < (seconds * fps.num) / fps.den; index++) {
    const frame = await reader.next();
    if (frame === null) break;
    if (index % stride === 0) pictures.push(await shrink.apply(frame));
    frame.free();
  }
  shrink.close();
  await reader.close();
  return { pictures, fps };
}

/** @param {{ pictures: import('node-av').Frame[], fps: { num: number, den: number } }} clip */
async function judged({ pictures, fps }, codec, bitrateBps) {
  const call = await CallCodec.create({
    codec,
    width: WIDTH,
    height: HEIGHT,
    fps,
    bitrateBps,
    lossPercent: 0,
  });
  const meter = new QualityMeter();
  const waiting = [...pictures];
  const receive = async () => {
    for (let shown = call.receive(); shown !== undefined; shown = call.receive()) {
      const picture = waiting.shift();
      shown.pts = picture.pts;
      shown.timeBase = picture.timeBase;
      await meter.add(shown, picture);
      shown.free();
    }
  };
  for (const picture of pictures) {
    await call.send(picture);
    await receive();
  }
  await call.end();
  await receive();
  const bits = call.bytesSent * 8;
  const { psnrY } = meter.result;
  meter.close();
  call.close();
  return { kbps: ((bits / pictures.length) * fps.num) / fps.den / 1_000, psnrY };
}

/** In the page: codes and decodes, and measures as `judged` does. */
async function inBrowser({ config, fps, count }) {
  const raw = new Uint8Array(await (await fetch('/clip')).arrayBuffer());
  const size = raw.length / count;
  const luma = (config.width * config.height) | 0;
  const chunks = [];
  const failures = [];
  const error = (thrown) => failures.push(String(thrown));
  const { supported } = await VideoEncoder.isConfigSupported(config);
  if (!supported) return null;
  let description;
  const encoder = new VideoEncoder({
    output: (chunk, { decoderConfig } = {}) => {
      description ??= decoderConfig?.description;
      chunks.push(chunk);
    },
    error,
  });
  encoder.configure(config);
  for (let at = 0; at < count; at++) {
    const frame = new VideoFrame(raw.slice(at * size, (at + 1) * size), {
      format: 'I420',
      codedWidth: config.width,
      codedHeight: config.height,
      timestamp: Math.round((at * 1e6) / fps),
    });
    encoder.encode(frame, { keyFrame: at === 0 });
    frame.close();
    while (encoder.encodeQueueSize > 2) await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await encoder.flush();
  const shown = [];
  const decoder = new VideoDecoder({ output: (frame) => shown.push(frame), error });
  decoder.configure({ codec: config.codec, ...(description === undefined ? {} : { description }) });
  for (const chunk of chunks) decoder.decode(chunk);
  await decoder.flush();
  if (failures.length > 0 || shown.length < count)
    throw new Error(`${failures.join()}: ${shown.length} of ${count} pictures`);
  let psnr = 0;
  for (const [at, frame] of shown.entries()) {
    const layout = [
      { offset: 0, stride: config.width },
      { offset: luma, stride: config.width / 2 },
      { offset: (luma * 5) / 4, stride: config.width / 2 },
    ];
    const picture = new Uint8Array(size);
    await frame.copyTo(picture, { layout });
    frame.close();
    let squares = 0;
    for (let i = 0; i < luma; i++) squares += (picture[i] - raw[at * size + i]) ** 2;
    psnr += 10 * Math.log10((255 ** 2 * luma) / squares);
  }
  const bits = chunks.reduce((sum, { byteLength }) => sum + byteLength * 8, 0);
  return { kbps: ((bits / count) * fps) / 1_000, psnrY: psnr / count };
}

const executablePath = findChromium();
if (executablePath === null)
  throw new Error('no Chromium: npm run setup -- --test installs one, or set VIREO_CHROMIUM');
let raw = Buffer.alloc(0);
// Encoders are there for secure pages alone, and `localhost` is one.
const server = createServer((request, response) => {
  if (request.url === '/clip') response.end(raw);
  else response.setHeader('content-type', 'text/html').end('<link rel="icon" href="data:,">');
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });
const page = await browser.newPage();
await page.goto(`http://localhost:${server.address().port}/`);
console.log(
  '| clip | codec | kbit/s asked for | vireo evaluate | browser |\n| --- | --- | --- | --- | --- |',
);
for (const path of positionals) {
  const clip = await sentPictures(path);
  raw = Buffer.concat(clip.pictures.map((picture) => picture.toBuffer()));
  const fps = clip.fps.num / clip.fps.den;
  for (const [name, more] of Object.entries(CODECS)) {
    for (const rate of rates) {
      const ours = await judged(clip, name, rate * 1_000);
      const config = {
        ...more,
        width: WIDTH,
        height: HEIGHT,
        bitrate: rate * 1_000,
        bitrateMode: 'constant',
        framerate: fps,
        latencyMode: 'realtime',
      };
      const theirs = await page.evaluate(inBrowser, { config, fps, count: clip.pictures.length });
      const cell = (one) => (one === null ? '' : `${one.psnrY.toFixed(2)} dB at ${one.kbps.toFixed(0)}`);
      console.log(`| ${basename(path)} | ${name} | ${rate} | ${cell(ours)} | ${cell(theirs)} |`);
    }
  }
  for (const picture of clip.pictures) picture.free();
}
await browser.close();
server.close();
