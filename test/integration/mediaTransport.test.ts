/** Encoder, sender, a bad network, receiver and decoder together, on a clock that the test moves. */
import { describe, expect, it } from 'vitest';
import { createVideoDecoder } from '../../src/media/NodeAvDecoder.js';
import { createVideoEncoder } from '../../src/media/NodeAvEncoder.js';
import { isRtcp, parseRtcp } from '../../src/media/Rtcp.js';
import { RtpVideoReceiver } from '../../src/media/RtpVideoReceiver.js';
import { RtpVideoSender } from '../../src/media/RtpVideoSender.js';
import type { EncodedFrame, VideoCodec } from '../../src/media/types.js';
import { picture, psnr, seededRandom, videoStream } from '../unit/media/support.js';

const WIDTH = 320;
const HEIGHT = 180;
const FRAMES = 45;
const ONE_WAY_MS = 15;

interface Network {
  loss: number;
  /** Whether feedback arrives: without it nothing is ever repeated. */
  feedback: boolean;
}

/** Sends a clip through the network; resolves to the PSNR of each picture shown, by frame number. */
async function call(
  codec: VideoCodec,
  network: Network,
): Promise<{ shown: Map<number, number>; errors: number; plis: number }> {
  const random = seededRandom(29);
  const encoder = await createVideoEncoder({
    codec,
    width: WIDTH,
    height: HEIGHT,
    bitrateBps: 700_000,
    fps: 30,
    threads: 1,
  });
  const decoder = await createVideoDecoder(codec);
  const flying: { dueMs: number; data: Buffer; toReceiver: boolean }[] = [];
  const arrived: EncodedFrame[] = [];
  let nowMs = 0;
  let wantsKeyFrame = false;
  const sender = new RtpVideoSender({
    stream: videoStream(codec),
    bitrateBps: 700_000,
    fps: 30,
    send: (data) => {
      if (random() < network.loss) return;
      flying.push({ dueMs: nowMs + ONE_WAY_MS + random() * 5, data: Buffer.from(data), toReceiver: true });
    },
    onKeyFrameRequest: () => {
      wantsKeyFrame = true;
    },
  });
  const receiver = new RtpVideoReceiver({
    stream: videoStream(codec),
    localSsrc: 1,
    cname: 'receiver',
    onFrame: (frame) => arrived.push(frame),
    onRtcp: (data) => {
      const pli = parseRtcp(data).some((message) => message.type === 'pli');
      if (network.feedback || pli) flying.push({ dueMs: nowMs + ONE_WAY_MS, data, toReceiver: false });
    },
  });
  const shown = new Map<number, number>();
  for (; nowMs < FRAMES * 33 + 300; nowMs += 1) {
    const index = nowMs / 33;
    if (Number.isInteger(index) && index < FRAMES) {
      const next = { ...picture(WIDTH, HEIGHT, index), rtpTimestamp90k: index * 3000 };
      const encoded = await encoder.encode(next, { keyFrame: wantsKeyFrame });
      wantsKeyFrame = false;
      if (encoded) sender.sendFrame(encoded, nowMs, nowMs);
    }
    sender.tick(nowMs);
    const due = flying.filter(({ dueMs }) => dueMs <= nowMs).sort((a, b) => a.dueMs - b.dueMs);
    for (const packet of due) {
      flying.splice(flying.indexOf(packet), 1);
      if (!packet.toReceiver) sender.receiveRtcp(parseRtcp(packet.data), nowMs);
      else if (isRtcp(packet.data)) receiver.receiveRtcp(parseRtcp(packet.data), nowMs);
      else receiver.receive(packet.data, nowMs);
    }
    receiver.tick(nowMs);
    for (const frame of arrived.splice(0)) {
      const decoded = await decoder.decode(
        frame,
        (width, height) => ({ width, height }),
        (bytes) => new ArrayBuffer(bytes),
      );
      if (!decoded) continue;
      const number = decoded.rtpTimestamp90k / 3000;
      shown.set(number, psnr(decoded, picture(WIDTH, HEIGHT, number)));
    }
  }
  const { plisSent } = receiver.stats;
  for (const part of [encoder, decoder, sender, receiver]) part.close();
  return { shown, errors: decoder.errors, plis: plisSent };
}

describe.each<VideoCodec>(['VP8', 'H264', 'AV1'])('a call in %s', (codec) => {
  it('shows every picture when packets are lost and repeated', async () => {
    const { shown, errors } = await call(codec, { loss: 0.05, feedback: true });
    expect(errors).toBe(0);
    expect(shown.size).toBeGreaterThanOrEqual(FRAMES - 2);
    expect(Math.min(...shown.values())).toBeGreaterThan(24);
  });

  it('never shows a damaged picture when losses stay, and goes on with key frames', async () => {
    const { shown, errors, plis } = await call(codec, { loss: 0.02, feedback: false });
    expect(errors).toBe(0);
    expect(plis).toBeGreaterThan(0);
    expect(shown.size).toBeGreaterThan(FRAMES / 4);
    expect(Math.min(...shown.values())).toBeGreaterThan(24);
  });
});
