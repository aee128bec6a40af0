/**
 * One participant sends a small picture at 30 fps, another watches it restored: the relay (`vireo serve`, its
 * defaults) with everything but the browsers. Both participants are one light process that packs and counts but
 * neither encodes nor decodes: the clip was encoded before the clock starts.
 */
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { syntheticClipGraph } from '../src/evaluation/syntheticClip.js';
import { createVideoEncoder } from '../src/media/NodeAvEncoder.js';
import type { AccessUnit } from '../src/media/Payload.js';
import { type I420Picture, i420ByteLength } from '../src/media/types.js';
import { packetizeVp8 } from '../src/media/Vp8Payload.js';
import { copyToI420 } from '../src/restoration/ffmpeg.js';
import { VideoFileReader } from '../src/restoration/VideoFileReader.js';
import type { Stage, TrackReport } from '../src/restorer/types.js';
import { findMediasoupWorker } from '../src/sfu/createEngine.js';
import { RelayClient } from '../test/support/fakes/RelayClient.js';
import type { SendStream } from '../test/support/peer/SendStream.js';
import { RelayProcess } from '../test/support/RelayProcess.js';

const FPS = 30;
const CLIP_SECONDS = 10;
const MAX_PAYLOAD_BYTES = 1_150;
/** The encoder, jitter buffers and bandwidth estimates settle. */
const SETTLE_MS = 5_000;
const CLOCK_TICKS_PER_SECOND = 100;
const UPLINK_BPS = { 180: 120_000, 360: 250_000 } as const;

interface Options {
  engine: 'werift' | 'mediasoup';
  seconds: number;
  height: 180 | 360;
  model: string | undefined;
}

interface Percentiles {
  p50: number;
  p95: number;
}

interface LiveCallResult {
  engine: string;
  input: { width: number; height: number; fps: number; kbps: number };
  model: string | null;
  seconds: number;
  framesSent: number;
  /** Frames of the restored track whose last packet arrived. */
  framesRestored: number;
  restoredFps: number;
  /** Of the frames that were to be restored, those dropped as stale. */
  framesDropped: number;
  /** Share of the reports (one a second) at each level of the load ladder. */
  levels: Record<string, number>;
  /** As the relay reports it; its 50th and 95th percentiles, medians over the reports, milliseconds. */
  stagesMs: Partial<Record<Stage, Percentiles>>;
  /** Last packet of a frame sent to last packet of the same frame, restored, received; milliseconds. */
  roundTripMs: Percentiles | null;
  /** Share of one core. */
  cpu: { relay: number; restorer: number; participants: number };
  residentMiB: { relay: [number, number]; restorer: [number, number] };
}

export async function main(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      engine: { type: 'string' },
      seconds: { type: 'string', default: '30' },
      height: { type: 'string', default: '180' },
      model: { type: 'string' },
    },
  });
  const height = Number(values.height);
  if (height !== 180 && height !== 360) throw new Error('--height must be 180 or 360');
  const worker = findMediasoupWorker() !== null;
  const engines = values.engine?.split(',') ?? ['werift', ...(worker ? ['mediasoup'] : [])];
  const clip = await encodeClip(height);
  const results: LiveCallResult[] = [];
  for (const engine of engines) {
    if (engine !== 'werift' && engine !== 'mediasoup') throw new Error(`--engine: ${engine} is none`);
    process.stderr.write(`${engine}: ${values.seconds} s of ${height}p …\n`);
    results.push(await call({ engine, seconds: Number(values.seconds), height, model: values.model }, clip));
  }
  const [cpu] = cpus();
  print(results);
  const report = { machine: { cpu: cpu?.model.trim() ?? 'unknown', cores: cpus().length }, results };
  process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
}

/** The clip as a call sends it: one key frame, then what the bitrate leaves. */
async function encodeClip(height: keyof typeof UPLINK_BPS): Promise<AccessUnit[]> {
  const size = { width: (height * 16) / 9, height };
  const graph = syntheticClipGraph({ ...size, fps: FPS, seconds: CLIP_SECONDS, pans: true });
  const reader = await VideoFileReader.open(graph, { format: 'lavfi' });
  const encoder = await createVideoEncoder({
    codec: 'VP8',
    ...size,
    bitrateBps: UPLINK_BPS[height],
    fps: FPS,
    threads: 1,
    hardware: false,
  });
  const coded: AccessUnit[] = [];
  try {
    for (let frame = await reader.next(); frame !== null; frame = await reader.next()) {
      const buffer = new ArrayBuffer(i420ByteLength(size.width, size.height));
      copyToI420(frame, buffer);
      frame.free();
      const rtpTimestamp90k = (coded.length * 90_000) / FPS;
      const picture: I420Picture = { buffer, ...size, rtpTimestamp90k, fullRange: false };
      const out = await encoder.encode(picture, { keyFrame: coded.length === 0 });
      if (out) coded.push({ data: Buffer.from(out.data), keyFrame: out.keyFrame });
    }
  } finally {
    encoder.close();
    await reader.close();
  }
  return coded;
}

/** Sends the clip in real time, from its key frame on whenever one is asked for. */
class Camera {
  /** When the last packet of a frame left, by its RTP time. */
  readonly sentAtMs = new Map<number, number>();
  frames = 0;
  bytes = 0;
  readonly #timer: NodeJS.Timeout;
  readonly #startedAtMs = performance.now();
  #at = 0;

  constructor(stream: SendStream, clip: readonly AccessUnit[], keyFrameWanted: () => boolean) {
    const timestamp = stream.timestamp;
    let pictureId = 0;
    this.#timer = setInterval(() => {
      // By the clock and not by the timer, which comes late and never early.
      const due = ((performance.now() - this.#startedAtMs) * FPS) / 1_000;
      for (; this.frames < due; this.frames++) {
        if (keyFrameWanted()) this.#at = 0;
        const picture = clip[this.#at++ % clip.length] as AccessUnit;
        pictureId = (pictureId + 1) & 0x7fff;
        const payloads = packetizeVp8(picture, pictureId, MAX_PAYLOAD_BYTES).map((parts) =>
          Buffer.concat(parts),
        );
        const rtpTimestamp90k = (timestamp + Math.round((this.frames * 90_000) / FPS)) >>> 0;
        stream.sendFrame(payloads, { timestamp: rtpTimestamp90k });
        this.sentAtMs.set(rtpTimestamp90k, performance.now());
        this.bytes += picture.data.length;
      }
    }, 2);
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

async function call(options: Options, clip: AccessUnit[]): Promise<LiveCallResult> {
  const relay = await RelayProcess.start({
    config: {
      rtc: { engine: options.engine },
      log: { level: 'warn' },
      ...(options.model === undefined ? {} : { restoration: { model: options.model } }),
    },
  });
  const clients: RelayClient[] = [];
  const timers: NodeJS.Timeout[] = [];
  let camera: Camera | null = null;
  try {
    const ann = await RelayClient.join(relay.url, 'bench', 'Ann');
    const ben = await RelayClient.join(relay.url, 'bench', 'Ben');
    clients.push(ann, ben);
    const uplinkBudgetBps = UPLINK_BPS[options.height];
    const { publicationId, stream } = await ann.publish('camera', { uplinkBudgetBps });
    const sender = ann.peers.send?.peer;
    if (!sender) throw new Error('no transport');
    sender.answerNacks = true;
    let keyFrameWanted = false;
    sender.on('rtcp', ({ type }) => {
      keyFrameWanted ||= type === 'pli' || type === 'fir';
    });
    camera = new Camera(stream, clip, () => {
      const wanted = keyFrameWanted;
      keyFrameWanted = false;
      return wanted;
    });
    timers.push(setInterval(() => sender.sendSenderReport(stream), 1_000));
    await ben.subscribe(publicationId, 'restored');
    await ben.until(
      'the restored picture',
      () =>
        ben.selected(publicationId)?.view === 'restored' &&
        ben.packets(ben.consumer(publicationId, 'restored')) > 0,
      30_000,
    );
    await ben.request('variantShown', { publicationId, variant: 'restored' });
    const receiver = ben.peers.recv?.peer;
    const consumer = ben.consumer(publicationId, 'restored');
    const ssrc = consumer?.rtpParameters.encodings?.[0]?.ssrc;
    if (!receiver || !consumer || ssrc === undefined) throw new Error('no restored consumer');
    receiver.startTransportFeedback(consumer.rtpParameters);
    timers.push(setInterval(() => receiver.sendReceiverReport(), 1_000));
    await wait(SETTLE_MS);
    return await measure(options, relay, camera, ben, ssrc);
  } finally {
    camera?.stop();
    for (const timer of timers) clearInterval(timer);
    for (const client of clients) await client.close();
    await relay.stop();
  }
}

async function measure(
  options: Options,
  relay: RelayProcess,
  camera: Camera,
  viewer: RelayClient,
  ssrc: number,
): Promise<LiveCallResult> {
  const [restorer] = relay.restorerPids();
  if (restorer === undefined) throw new Error('no restorer');
  const receiver = viewer.peers.recv?.peer;
  if (!receiver) throw new Error('no receiver');
  const usage = () => ({
    atMs: performance.now(),
    relay: cpuSeconds(relay.pid),
    restorer: cpuSeconds(restorer),
    participants: cpuSeconds(process.pid),
    relayMiB: residentMiB(relay.pid),
    restorerMiB: residentMiB(restorer),
    frames: camera.frames,
    bytes: camera.bytes,
    reports: viewer.all('restorationReport').length,
  });
  receiver.forgetReceived();
  const before = usage();
  await wait(options.seconds * 1_000);
  const after = usage();
  const ends = receiver.received(ssrc).filter(({ marker }) => marker);
  const seconds = (after.atMs - before.atMs) / 1_000;
  const reports = viewer
    .all('restorationReport')
    .slice(before.reports)
    .map(({ report }) => report);
  const roundTrips = ends.flatMap(({ timestamp, receivedAtMs }) => {
    const sentAtMs = camera.sentAtMs.get(timestamp);
    return sentAtMs === undefined ? [] : [receivedAtMs - sentAtMs];
  });
  const share = (now: number, then: number) => round((now - then) / seconds, 3);
  return {
    engine: options.engine,
    input: {
      width: (options.height * 16) / 9,
      height: options.height,
      fps: FPS,
      kbps: round(((after.bytes - before.bytes) * 8) / seconds / 1_000, 1),
    },
    model: reports.at(-1)?.model ?? null,
    seconds: round(seconds, 2),
    framesSent: after.frames - before.frames,
    framesRestored: ends.length,
    restoredFps: round(ends.length / seconds, 2),
    framesDropped: (reports.at(-1)?.framesDropped ?? 0) - (reports[0]?.framesDropped ?? 0),
    levels: shares(reports),
    stagesMs: stagesOf(reports),
    roundTripMs: roundTrips.length < ends.length / 2 ? null : percentiles(roundTrips),
    cpu: {
      relay: share(after.relay, before.relay),
      restorer: share(after.restorer, before.restorer),
      participants: share(after.participants, before.participants),
    },
    residentMiB: {
      relay: [before.relayMiB, after.relayMiB],
      restorer: [before.restorerMiB, after.restorerMiB],
    },
  };
}

function shares(reports: readonly TrackReport[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { level, model } of reports) {
    const key = model === null ? level : `${level} (${model})`;
    counts[key] = (counts[key] ?? 0) + 1;
  }
  return Object.fromEntries(
    Object.entries(counts).map(([key, count]) => [key, round(count / reports.length, 3)]),
  );
}

function stagesOf(reports: readonly TrackReport[]): LiveCallResult['stagesMs'] {
  const measured = reports.flatMap(({ stages }) => (stages === null ? [] : [stages]));
  const names = Object.keys(measured[0] ?? {}) as Stage[];
  return Object.fromEntries(
    names.map((name) => [
      name,
      {
        p50: percentiles(measured.map((stages) => stages[name].p50Ms)).p50,
        p95: percentiles(measured.map((stages) => stages[name].p95Ms)).p50,
      },
    ]),
  );
}

function percentiles(values: readonly number[]): Percentiles {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) =>
    round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0, 1);
  return { p50: at(0.5), p95: at(0.95) };
}

/** User and system time of a process, all its threads (proc(5), fields 14 and 15). */
function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS_PER_SECOND;
}

function residentMiB(pid: number): number {
  const found = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return round(Number(found?.[1] ?? 0) / 1_024, 1);
}

function print(results: readonly LiveCallResult[]): void {
  for (const result of results) {
    const { engine, input, restoredFps, stagesMs, roundTripMs, cpu, levels } = result;
    const total = stagesMs.total;
    process.stderr.write(
      [
        `${engine}: ${input.width}x${input.height} at ${input.kbps} kbit/s, ${result.framesSent} frames in ${result.seconds} s`,
        `  restored ${result.framesRestored} frames, ${restoredFps} a second, dropped ${result.framesDropped}; ${JSON.stringify(levels)}`,
        `  added latency ${total?.p50} ms, 95th percentile ${total?.p95} ms; from camera to viewer ${roundTripMs?.p50} ms, ${roundTripMs?.p95} ms`,
        `  cores used: relay ${cpu.relay}, restorer ${cpu.restorer}, participants ${cpu.participants}`,
        '',
      ].join('\n'),
    );
  }
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
