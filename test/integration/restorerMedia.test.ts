import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Frame } from 'node-av';
import { AV_PIX_FMT_YUV420P } from 'node-av/constants';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { encodeStill } from '../../src/evaluation/still.js';
import type { RtcpMessage } from '../../src/media/Rtcp.js';
import { createRestorer } from '../../src/restorer/RestorerSupervisor.js';
import type { ReferenceStill, Restorer, RestorerOptions, TrackReport } from '../../src/restorer/types.js';
import { naturalClip } from '../support/naturalClip.js';
import { writeTinyPackage } from '../support/tinyModel.js';
import { bilinearLuma, type Clip, psnr, readY4m, shrink } from '../unit/restorer/support/clip.js';
import { type FeederOptions, RtpFeeder } from '../unit/restorer/support/RtpFeeder.js';

const logger = pino({ level: 'silent' });
const options: RestorerOptions = {
  modelDirs: [],
  model: 'swift',
  provider: 'cpu',
  threads: 0,
  maxTracks: 4,
  blockBudgetMs: 0,
  memoryLimitBytes: 3 * 2 ** 30,
  pingIntervalMs: 100,
  pingTimeoutMs: 30_000,
  // Other work on the machine must not decide what is tested here.
  loadShedding: false,
  logLevel: 'silent',
};

/** Of the first picture. */
async function stillOf({ frames: [first], width, height }: Clip): Promise<Buffer> {
  if (first === undefined) throw new Error('the clip is empty');
  const frame = Frame.fromVideoBuffer(Buffer.from(first), {
    width,
    height,
    format: AV_PIX_FMT_YUV420P,
    pts: 0n,
    timeBase: { num: 1, den: 1 },
    sampleAspectRatio: { num: 1, den: 1 },
  });
  try {
    return await encodeStill(frame, { maxBytes: 30_000, maxQuality: 72 });
  } finally {
    frame.free();
  }
}

const WAIT = { timeout: 40_000, interval: 100 };

describe('a restored track, with real codecs, models and UDP', () => {
  let restorer: Restorer;
  let full: Clip;
  let small: Clip;
  let medium: Clip;
  const reports = new Map<string, TrackReport[]>();
  const feeders: RtpFeeder[] = [];

  beforeAll(async () => {
    full = await readY4m(await naturalClip({ fps: 10, seconds: 3 }), 30);
    small = shrink(full, 4);
    medium = shrink(full, 2);
    restorer = await createRestorer(options, logger);
    restorer.on('report', (report) => {
      const list = reports.get(report.trackId) ?? [];
      reports.set(report.trackId, [...list, report].slice(-100));
    });
  });

  afterEach(async () => {
    for (const feeder of feeders.splice(0)) {
      restorer.stopTrack(feeder.track.trackId);
      await feeder.close();
    }
  });

  afterAll(async () => await restorer?.close());

  async function start(trackId: string, more: FeederOptions = {}): Promise<RtpFeeder> {
    const feeder = await RtpFeeder.create({ trackId, ...more });
    feeders.push(feeder);
    const started = await restorer.startTrack(feeder.track);
    feeder.connect(started.localAddress);
    return feeder;
  }

  const last = (trackId: string): TrackReport | undefined => reports.get(trackId)?.at(-1);
  const restoredFrames = (feeder: RtpFeeder, count: number): Promise<void> =>
    expect.poll(() => feeder.restoredCount, WAIT).toBeGreaterThanOrEqual(count);

  it('comes out at 720p, better than the input scaled up, with the timestamps of the input', async () => {
    const feeder = await start('vp8');
    const begun: string[] = [];
    restorer.on('trackStarted', (trackId) => begun.push(trackId));
    feeder.play(small);
    await restoredFrames(feeder, 20);
    expect(begun).toEqual(['vp8']);
    expect(feeder.sentTimestamps).toEqual(expect.arrayContaining(feeder.restoredTimestamps));
    const gains: number[] = [];
    for (const picture of feeder.restored) {
      expect([picture.width, picture.height]).toEqual([1280, 720]);
      const timestamp = picture.rtpTimestamp90k % 2 ** 32;
      const input = feeder.inputs.get(timestamp);
      const truth = full.frames[feeder.frameOf.get(timestamp) ?? -1];
      if (!input || !truth) continue;
      const source = new Uint8Array(truth, 0, 1280 * 720);
      const plain = bilinearLuma(input.buffer, input.width, input.height, 1280, 720);
      gains.push(psnr(new Uint8Array(picture.buffer, 0, 1280 * 720), source) - psnr(plain, source));
    }
    expect(gains.length).toBeGreaterThanOrEqual(4);
    expect(gains.reduce((sum, gain) => sum + gain, 0) / gains.length).toBeGreaterThan(0);
    await expect.poll(() => last('vp8')?.level, WAIT).not.toBe('original');
    const report = last('vp8');
    expect(report).toMatchObject({
      reason: null,
      provider: 'cpu',
      inputWidth: 320,
      inputHeight: 180,
      outputWidth: 1280,
      outputHeight: 720,
    });
    expect(report?.model).toBe('swift');
    const { stages } = report ?? {};
    expect(stages?.total.p50Ms).toBeGreaterThan(stages?.restore.p50Ms ?? 0);
  });

  it('takes a sharp still from the next block on, refuses a bad one and keeps the good one', async () => {
    const refused: string[][] = [];
    restorer.on('referenceRefused', (...what) => refused.push(what));
    const still = (id: string, bytes: Uint8Array): ReferenceStill => ({ id, mimeType: 'image/webp', bytes });
    const feeder = await start('still');
    // A call's scene: it hardly moves.
    feeder.play({ ...small, frames: small.frames.slice(0, 1) });
    await restoredFrames(feeder, 10);
    const gain = () => {
      const truth = new Uint8Array(full.frames[0] ?? new ArrayBuffer(0), 0, 1280 * 720);
      const shown = feeder.restored.at(-1);
      return shown === undefined ? 0 : psnr(new Uint8Array(shown.buffer, 0, 1280 * 720), truth);
    };
    const before = gain();
    expect(last('still')?.reference).toBeNull();
    restorer.setReference('still', still('first', await stillOf(full)));
    await expect.poll(() => last('still')?.reference?.id, WAIT).toBe('first');
    await expect.poll(() => last('still')?.reference?.found, WAIT).toBeGreaterThan(0.3);
    await expect.poll(gain, WAIT).toBeGreaterThan(before + 0.5);
    // What is sent of a scene that stands gets better for a while, with or without a still: what it ends at is compared.
    let sharp = 0;
    const gained = () => {
      const was = sharp;
      sharp = gain();
      return sharp - was;
    };
    await expect.poll(gained, { ...WAIT, interval: 1_000 }).toBeLessThan(0.02);

    restorer.setReference('still', still('bad', Buffer.from('RIFF\x10\0\0\0WEBPVP8 not one')));
    await expect.poll(() => refused, WAIT).toHaveLength(1);
    expect(refused[0]).toEqual(['still', 'bad', expect.stringMatching(/the still/)]);
    expect(last('still')?.reference?.id).toBe('first');
    restorer.setReference('still', null);
    await expect.poll(() => last('still')?.reference, WAIT).toBeNull();
    await expect.poll(gain, WAIT).toBeLessThan(sharp - 0.3);
  });

  it('goes on without a break where a still makes another variant the better one', async () => {
    const between = await readY4m(await naturalClip({ fps: 10, seconds: 0.1, width: 480, height: 270 }), 1);
    const feeder = await start('between', { bitrateBps: 150_000 });
    feeder.play(between);
    await restoredFrames(feeder, 10);
    const closeness = (): number => {
      const truth = new Uint8Array(full.frames[0] ?? new ArrayBuffer(0), 0, 1280 * 720);
      const shown = feeder.restored.at(-1);
      return shown === undefined ? 0 : psnr(new Uint8Array(shown.buffer, 0, 1280 * 720), truth);
    };
    const before = closeness();
    restorer.setReference('between', { id: 'a', mimeType: 'image/avif', bytes: await stillOf(full) });
    // From that share of the picture on the variant is another.
    await expect.poll(() => last('between')?.reference?.found, WAIT).toBeGreaterThan(0.35);
    await expect.poll(closeness, WAIT).toBeGreaterThan(before + 0.5);
    expect(last('between')).toMatchObject({ inputWidth: 480, inputHeight: 270, outputWidth: 1280 });
    restorer.setReference('between', null);
    await expect.poll(() => last('between')?.reference, WAIT).toBeNull();
    const count = feeder.restoredCount;
    await restoredFrames(feeder, count + 10);
    expect(last('between')).toMatchObject({ level: 'full', outputWidth: 1280, outputHeight: 720 });
  });

  it('keeps lips in step: its sender reports tell the same time as the original’s', async () => {
    const feeder = await start('lips');
    feeder.play(small);
    const restoredReport = (): Extract<RtcpMessage, { type: 'sr' }> | undefined =>
      feeder.rtcp.findLast((message) => message.type === 'sr' && message.ssrc === feeder.track.output.ssrc) as
        | Extract<RtcpMessage, { type: 'sr' }>
        | undefined;
    await expect.poll(() => feeder.rtcp.filter(({ type }) => type === 'sr').length, WAIT).toBeGreaterThan(2);
    const [input, output] = [feeder.senderReport, restoredReport()];
    if (!input || !output) throw new Error('two sender reports');
    const ntpMs = (Number(BigInt.asIntN(64, output.ntpTimestamp - input.ntpTimestamp)) / 2 ** 32) * 1_000;
    const rtpMs = ((output.rtpTimestamp - input.rtpTimestamp) | 0) / 90;
    expect(Math.abs(ntpMs - rtpMs)).toBeLessThan(100);
  });

  it('answers PLI and requestKeyFrame with a key frame', async () => {
    const feeder = await start('pli');
    feeder.play(small);
    await restoredFrames(feeder, 3);
    const before = feeder.restoredKeyFrames;
    feeder.requestKeyFrame();
    await expect.poll(() => feeder.restoredKeyFrames, WAIT).toBeGreaterThan(before);
    const between = feeder.restoredKeyFrames;
    restorer.requestKeyFrame('pli');
    await expect.poll(() => feeder.restoredKeyFrames, WAIT).toBeGreaterThan(between);
  });

  it('takes H.264 and sends H.264', async () => {
    const feeder = await start('h264', { codec: 'H264', outputCodec: 'H264', bitrateBps: 200_000 });
    feeder.play(small);
    await restoredFrames(feeder, 8);
    expect(feeder.restored.at(-1)).toMatchObject({ width: 1280, height: 720 });
    expect(feeder.sentTimestamps).toEqual(expect.arrayContaining(feeder.restoredTimestamps));
    await expect.poll(() => last('h264'), WAIT).toMatchObject({ inputCodec: 'H264', outputCodec: 'H264' });
  });

  it('follows a change of resolution from 180p to 360p without a break', async () => {
    const feeder = await start('resize', { bitrateBps: 200_000 });
    feeder.play(small);
    await restoredFrames(feeder, 5);
    feeder.play(medium);
    await expect.poll(() => last('resize')?.inputHeight, WAIT).toBe(360);
    const before = feeder.restoredCount;
    await restoredFrames(feeder, before + 5);
    expect(feeder.restored.at(-1)).toMatchObject({ width: 1280, height: 720 });
    expect(last('resize')).toMatchObject({ inputWidth: 640, outputWidth: 1280, outputHeight: 720 });
  });

  it('leaves a picture alone that is sharp already, and restores it when it no longer is', async () => {
    const feeder = await start('sharp', { bitrateBps: 500_000, fps: 5 });
    feeder.play({ ...full, frames: full.frames.slice(0, 5) });
    await expect.poll(() => last('sharp')?.reason, WAIT).toBe('already-sharp');
    expect(feeder.restoredCount).toBe(0);
    feeder.play(small);
    await restoredFrames(feeder, 3);
  });

  it('keeps going when 5 % of the packets are lost: what is missing is asked for', async () => {
    const feeder = await start('lossy', { loss: 0.05, bitrateBps: 250_000 });
    feeder.play(small);
    await restoredFrames(feeder, 20);
    expect(feeder.packetsDropped).toBeGreaterThan(0);
    expect(feeder.rtcp.some(({ type }) => type === 'nack')).toBe(true);
    await expect.poll(() => last('lossy')?.nacksSent, WAIT).toBeGreaterThan(0);
    expect(feeder.restored.at(-1)).toMatchObject({ width: 1280, height: 720 });
  });

  it('survives ten thousand mutated packets and restores what comes between and after', async () => {
    const feeder = await start('hostile');
    const pid = restorer.info.pid;
    feeder.play(small);
    await restoredFrames(feeder, 3);
    const random = mulberry32(20_261_123);
    for (let sent = 0; sent < 10_000; sent++) {
      feeder.sendRaw(mutated(feeder, random));
      if (sent % 200 === 199) await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const before = feeder.restoredCount;
    await restoredFrames(feeder, before + 3);
    expect(restorer.state).toBe('ready');
    expect(restorer.info.pid).toBe(pid);
  });

  it('ignores packets from anywhere but the engine', async () => {
    const engine = await start('private');
    const stranger = await RtpFeeder.create({ trackId: 'stranger' });
    feeders.push(stranger);
    // The stranger even knows the stream's SSRC and payload type.
    Object.assign(stranger.track.input, engine.track.input);
    stranger.connect((await restorer.startTrack({ ...engine.track, trackId: 'other' })).localAddress);
    stranger.play(small);
    await expect.poll(() => stranger.sentTimestamps.length, WAIT).toBeGreaterThan(10);
    await expect.poll(() => last('other')?.reason, WAIT).toMatch(/starting|no-input/);
    expect(last('other')).toMatchObject({ inputFps: 0, inputBitrateBps: 0 });
    expect(stranger.rtcp).toEqual([]);
    restorer.stopTrack('other');
  });

  it('lowers the bitrate when it is told to, and restores two tracks at a time', async () => {
    const first = await start('first', { fps: 5 });
    const second = await start('second', { fps: 5 });
    first.play(small);
    second.play(small);
    await restoredFrames(first, 3);
    await restoredFrames(second, 3);
    restorer.setMaxBitrate('first', 300_000);
    restorer.setPriority('second', 2);
    await expect.poll(() => last('first')?.outputBitrateBps ?? 1e9, WAIT).toBeLessThan(600_000);
  });
});

describe('with restoration.sameSize', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'vireo-same-size-'));
    await writeTinyPackage(folder, 'complete', { complete: true });
    await writeTinyPackage(folder, 'tiny');
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('what is too large to be enlarged is deblurred, and smaller pictures are enlarged as ever', async () => {
    const models = { modelDirs: [folder], model: 'complete', sameSize: true };
    const restorer = await createRestorer({ ...options, ...models }, logger);
    const reports: TrackReport[] = [];
    restorer.on('report', (report) => void reports.push(report));
    const feeder = await RtpFeeder.create({ trackId: 'large', bitrateBps: 1_000_000, fps: 5 });
    try {
      feeder.connect((await restorer.startTrack(feeder.track)).localAddress);
      const large = await readY4m(await naturalClip({ fps: 10, seconds: 3 }), 5);
      feeder.play(large);
      await expect.poll(() => feeder.restoredCount, WAIT).toBeGreaterThanOrEqual(3);
      expect(feeder.restored.at(-1)).toMatchObject({ width: 1280, height: 720 });
      await expect.poll(() => reports.at(-1)?.level, WAIT).toBe('full');
      expect(reports.at(-1)).toMatchObject({ model: 'complete', inputHeight: 720, outputHeight: 720 });
      feeder.play(shrink(large, 4));
      await expect.poll(() => reports.at(-1)?.inputHeight, WAIT).toBe(180);
      const before = feeder.restoredCount;
      await expect.poll(() => feeder.restoredCount, WAIT).toBeGreaterThan(before + 2);
      expect(feeder.restored.at(-1)).toMatchObject({ width: 1280, height: 720 });
    } finally {
      await feeder.close();
      await restorer.close();
    }
  });

  it('a model that cannot is refused, by name', async () => {
    const models = { modelDirs: [folder], model: 'tiny', sameSize: true };
    await expect(createRestorer({ ...options, ...models }, logger)).rejects.toMatchObject({
      code: 'config-invalid',
      message: expect.stringMatching(/restoration\.sameSize: model "tiny" has no variant for task deblur/),
    });
  });
});

/** A small seeded generator: a failure must come back. */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** RTP of the track's own stream, its retransmissions, RTCP or noise, with some bytes changed and maybe cut. */
function mutated(feeder: RtpFeeder, random: () => number): Buffer {
  const pick = (below: number): number => Math.floor(random() * below);
  const packet = Buffer.alloc(12 + pick(1_180));
  for (let at = 0; at < packet.length; at++) packet[at] = pick(256);
  const kind = pick(4);
  const { input, output } = feeder.track;
  if (kind < 3) {
    packet[0] = 0x80 | (pick(8) === 0 ? pick(64) : 0);
    packet[1] =
      kind === 2
        ? 200 + pick(8)
        : (kind === 0 ? input.payloadType : (input.rtx?.payloadType ?? 0)) | (pick(2) << 7);
    if (kind === 2) packet.writeUInt16BE(Math.floor(packet.length / 4) - 1, 2);
    const ssrc = kind === 1 ? (input.rtx?.ssrc ?? 0) : pick(2) ? input.ssrc : output.ssrc;
    packet.writeUInt32BE(ssrc, kind === 2 ? 4 : 8);
    for (let flips = pick(4); flips > 0; flips--) packet[pick(packet.length)] = pick(256);
  }
  return packet.subarray(0, pick(5) === 0 ? pick(packet.length) : packet.length);
}
