import { describe, expect, it } from 'vitest';
import { compactNtp, unixMsFromMonotonicMs, unixMsFromNtp } from '../../../src/media/clocks.js';
import { isRtcp, parseRtcp, type ReportBlock, type RtcpMessage } from '../../../src/media/Rtcp.js';
import { parseRtpPacket, type RtpPacket } from '../../../src/media/RtpPacket.js';
import { RtpVideoReceiver } from '../../../src/media/RtpVideoReceiver.js';
import { RtpVideoSender } from '../../../src/media/RtpVideoSender.js';
import type { EncodedFrame, VideoCodec } from '../../../src/media/types.js';
import { fakeFrame, seededRandom, videoStream } from './support.js';

const SSRC = 0x1234_5678;

class Bench {
  readonly packets: { atMs: number; data: Buffer }[] = [];
  readonly sent: { rtpTimestamp90k: number; sentAtMs: number }[] = [];
  readonly sender: RtpVideoSender;
  readonly random = seededRandom(3);
  keyFrameRequests = 0;
  nowMs = 1000;

  constructor(
    readonly codec: VideoCodec = 'VP8',
    rtx = true,
    bitrateBps = 1_500_000,
  ) {
    this.sender = new RtpVideoSender({
      stream: videoStream(codec, rtx),
      bitrateBps,
      fps: 30,
      send: (data) => this.packets.push({ atMs: this.nowMs, data }),
      onKeyFrameRequest: () => {
        this.keyFrameRequests += 1;
      },
      onFrameSent: (rtpTimestamp90k, sentAtMs) => this.sent.push({ rtpTimestamp90k, sentAtMs }),
    });
  }

  frame(rtpTimestamp90k: number, bytes = 4000, keyFrame = false): Buffer {
    const data = fakeFrame(this.codec, keyFrame, bytes, this.random);
    this.sender.sendFrame({ data, keyFrame, rtpTimestamp90k }, this.nowMs - 40, this.nowMs);
    return data;
  }

  pass(ms: number): void {
    const end = this.nowMs + ms;
    for (let due = this.sender.nextDeadlineMs; due <= end; due = this.sender.nextDeadlineMs) {
      this.nowMs = Math.max(this.nowMs, due);
      this.sender.tick(this.nowMs);
    }
    this.nowMs = end;
  }

  get rtp(): RtpPacket[] {
    return this.packets.flatMap(({ data }) => (isRtcp(data) ? [] : [parseRtpPacket(data) as RtpPacket]));
  }

  reports(): Extract<RtcpMessage, { type: 'sr' }>[] {
    const messages = this.packets.flatMap(({ data }) => (isRtcp(data) ? parseRtcp(data) : []));
    return messages.flatMap((message) => (message.type === 'sr' ? [message] : []));
  }
}

function report(values: Partial<ReportBlock>): RtcpMessage {
  const block = {
    ssrc: SSRC,
    fractionLost: 0,
    cumulativeLost: 0,
    extendedHighestSequence: 0,
    jitter: 0,
    lastSenderReport: 0,
    delaySinceLastSenderReport: 0,
  };
  return { type: 'rr', ssrc: 1, reports: [{ ...block, ...values }] };
}

describe('packets', () => {
  it('carry the original timestamp, consecutive sequence numbers and a marker on the last one', () => {
    const bench = new Bench();
    bench.frame(2 ** 32 + 90, 5000, true);
    bench.frame(2 ** 32 + 3090);
    bench.pass(100);
    const { rtp } = bench;
    expect(new Set(rtp.map(({ timestamp }) => timestamp))).toEqual(new Set([90, 3090]));
    expect(rtp.filter(({ marker }) => marker)).toHaveLength(2);
    expect(rtp.at(-1)?.marker).toBe(true);
    const first = rtp[0]?.sequenceNumber ?? 0;
    expect(rtp.map(({ sequenceNumber }) => (sequenceNumber - first) & 0xffff)).toEqual(rtp.map((_, i) => i));
    expect(Math.max(...bench.packets.map(({ data }) => data.length))).toBeLessThanOrEqual(1200);
    expect(bench.sent.map(({ rtpTimestamp90k }) => rtpTimestamp90k)).toEqual([2 ** 32 + 90, 2 ** 32 + 3090]);
  });
});

describe('pacing', () => {
  it('lets an ordinary frame out at once', () => {
    const bench = new Bench();
    for (let i = 0; i < 30; i += 1) {
      bench.frame(i * 3000, 6000);
      expect(bench.sent).toHaveLength(i + 1);
      expect(bench.sent[i]?.sentAtMs).toBe(bench.nowMs);
      bench.pass(1000 / 30);
    }
  });

  it('spreads a key frame over at most half a frame interval', () => {
    const bench = new Bench();
    bench.frame(0, 120_000, true);
    expect(bench.sent).toHaveLength(0);
    expect(bench.sender.stats.queuedPackets).toBeGreaterThan(80);
    bench.pass(1000 / 60);
    expect(bench.sent).toHaveLength(1);
    expect(bench.sender.stats).toMatchObject({ queuedPackets: 0, queuedBytes: 0, framesSent: 1 });
    const times = bench.packets.map(({ atMs }) => atMs);
    const middle = times.filter((atMs) => atMs < 1008).length;
    expect(middle).toBeGreaterThan(30);
    expect(middle).toBeLessThan(80);
  });

  it('bounds its queue when nobody ticks, and asks for a key frame to go on with', () => {
    const bench = new Bench();
    for (let i = 0; i < 200; i += 1) {
      // Time stands still: nothing may leave.
      bench.frame(i * 3000, 100_000, i === 0);
      expect(bench.sender.stats.queuedBytes).toBeLessThan(5 * 1024 * 1024);
    }
    expect(bench.sender.stats.framesDropped).toBeGreaterThan(100);
    expect(bench.keyFrameRequests).toBe(1);
    bench.frame(700_000, 1000, true);
    bench.pass(1000);
    expect(bench.sent.at(-1)?.rtpTimestamp90k).toBe(700_000);
  });
});

describe('feedback', () => {
  it('NACK is answered on the retransmission stream, once in a round trip', () => {
    const bench = new Bench();
    bench.frame(0, 4000, true);
    const lost = bench.rtp[1] as RtpPacket;
    const nack: RtcpMessage = {
      type: 'nack',
      senderSsrc: 1,
      mediaSsrc: SSRC,
      sequenceNumbers: [lost.sequenceNumber, 5],
    };
    bench.sender.receiveRtcp([nack], bench.nowMs);
    bench.sender.receiveRtcp([nack], bench.nowMs + 1);
    const repeated = bench.rtp.filter(({ ssrc }) => ssrc === 0x8765_4321);
    expect(repeated).toHaveLength(1);
    expect(repeated[0]).toMatchObject({ payloadType: 97, timestamp: 0, marker: lost.marker });
    expect(repeated[0]?.payload.readUInt16BE(0)).toBe(lost.sequenceNumber);
    expect(repeated[0]?.payload.subarray(2).equals(lost.payload)).toBe(true);
    bench.sender.receiveRtcp([nack], bench.nowMs + 20);
    bench.sender.receiveRtcp([nack], bench.nowMs + 5000);
    expect(bench.sender.stats).toMatchObject({ retransmitted: 2, nacksReceived: 4 });
  });

  it('NACK is answered with the packet itself where there is no retransmission stream', () => {
    const bench = new Bench('VP8', false);
    bench.frame(0, 4000, true);
    const { sequenceNumber } = bench.rtp[1] as RtpPacket;
    bench.sender.receiveRtcp(
      [{ type: 'nack', senderSsrc: 1, mediaSsrc: SSRC, sequenceNumbers: [sequenceNumber] }],
      bench.nowMs,
    );
    expect(bench.rtp.at(-1)).toEqual(bench.rtp[1]);
  });

  it('PLI and FIR ask for a key frame, throttled; others’ are ignored', () => {
    const bench = new Bench();
    const pli: RtcpMessage = { type: 'pli', senderSsrc: 1, mediaSsrc: SSRC };
    bench.sender.receiveRtcp([pli, pli, { ...pli, mediaSsrc: 9 }], 1000);
    expect(bench.keyFrameRequests).toBe(1);
    bench.sender.receiveRtcp(
      [{ type: 'fir', senderSsrc: 1, entries: [{ ssrc: SSRC, sequenceNumber: 4 }] }],
      1400,
    );
    bench.sender.receiveRtcp(
      [{ type: 'fir', senderSsrc: 1, entries: [{ ssrc: SSRC, sequenceNumber: 4 }] }],
      1800,
    );
    expect(bench.keyFrameRequests).toBe(2);
    expect(bench.sender.stats.plisReceived).toBe(3);
  });

  it('reports give loss and round-trip time, and REMB an estimate', () => {
    const bench = new Bench();
    bench.frame(0, 100, true);
    const sent = bench.reports()[0];
    const lastSenderReport = compactNtp(sent?.ntpTimestamp ?? 0n);
    bench.sender.receiveRtcp(
      [report({ fractionLost: 64, lastSenderReport, delaySinceLastSenderReport: 32768 })],
      1580,
    );
    bench.sender.receiveRtcp([{ type: 'remb', senderSsrc: 1, bitrateBps: 800_000, ssrcs: [SSRC] }], 1580);
    expect(bench.sender.stats).toMatchObject({ fractionLost: 0.25, remoteEstimateBps: 800_000 });
    expect(bench.sender.stats.rttMs).toBeCloseTo(80);
  });
});

describe('sender reports', () => {
  it('map media time to the arrival of the original, without the time restoration took', () => {
    const bench = new Bench();
    bench.frame(90_000, 100, true);
    const [sr] = bench.reports();
    // The original came in 40 ms before.
    expect(sr?.rtpTimestamp).toBe(90_000 + 40 * 90);
    expect(unixMsFromNtp(sr?.ntpTimestamp ?? 0n)).toBeCloseTo(unixMsFromMonotonicMs(bench.nowMs), 0);
  });

  it('follow the original’s own clock once it is known', () => {
    const bench = new Bench();
    const ntpTimestamp = 0xe800_0000_0000_0000n;
    bench.sender.setSenderClock({ ntpTimestamp, rtpTimestamp90k: 50_000, arrivalAtMs: 500 });
    bench.frame(90_000, 100, true);
    const [sr] = bench.reports();
    expect(sr?.rtpTimestamp).toBe(50_000 + 500 * 90);
    expect(sr?.ntpTimestamp).toBe(ntpTimestamp + (1n << 31n));
  });

  it('come once a second with counts, and a BYE ends the stream', () => {
    const bench = new Bench();
    for (let i = 0; i < 90; i += 1) {
      bench.frame(i * 3000, 1000, i === 0);
      bench.pass(1000 / 30);
    }
    const reports = bench.reports();
    expect(reports).toHaveLength(4);
    expect(reports[0]).toMatchObject({ packetCount: 0, octetCount: 0 });
    expect(reports[3]?.packetCount).toBeGreaterThan(85);
    bench.sender.close();
    bench.sender.close();
    const last = bench.packets.at(-1)?.data;
    expect(last && parseRtcp(last).at(-1)).toEqual({ type: 'bye', ssrcs: [SSRC] });
    expect(bench.sender.nextDeadlineMs).toBe(Number.POSITIVE_INFINITY);
  });
});

describe.each<VideoCodec>(['VP8', 'VP9', 'H264', 'AV1'])('%s from sender to receiver', (codec) => {
  it('comes through loss, reordering and duplicates as it was, by NACK', () => {
    const frames: EncodedFrame[] = [];
    const bench = new Bench(codec);
    const random = seededRandom(17);
    const receiver = new RtpVideoReceiver({
      stream: videoStream(codec),
      localSsrc: 1,
      cname: 'r',
      onFrame: (frame) => frames.push(frame),
      onRtcp: (packet) => feedback.push({ dueMs: bench.nowMs + 15, packet }),
    });
    const feedback: { dueMs: number; packet: Buffer }[] = [];
    const flying: { dueMs: number; data: Buffer }[] = [];
    let seen = 0;
    const originals: Buffer[] = [];
    for (let ms = 0; ms < 4000; ms += 1) {
      if (ms % 33 === 0 && ms < 3600)
        originals.push(bench.frame(ms * 90, 1000 + random() * 6000, ms % 990 === 0));
      bench.pass(1);
      for (const { data } of bench.packets.slice(seen)) {
        if (isRtcp(data) || random() < 0.05) continue;
        flying.push({ dueMs: bench.nowMs + 15 + Math.floor(random() * 4), data });
        if (random() < 0.02) flying.push({ dueMs: bench.nowMs + 17, data });
      }
      seen = bench.packets.length;
      for (const packet of flying.filter(({ dueMs }) => dueMs <= bench.nowMs)) {
        flying.splice(flying.indexOf(packet), 1);
        receiver.receive(Buffer.from(packet.data), bench.nowMs);
      }
      receiver.tick(bench.nowMs);
      for (const message of feedback.filter(({ dueMs }) => dueMs <= bench.nowMs)) {
        feedback.splice(feedback.indexOf(message), 1);
        bench.sender.receiveRtcp(parseRtcp(message.packet), bench.nowMs);
      }
    }
    const { stats } = receiver;
    expect(stats.packetsRecovered).toBeGreaterThan(10);
    expect(frames.length).toBeGreaterThan(originals.length * 0.9);
    const same = frames.filter(
      (frame) => originals[frame.rtpTimestamp90k / 2970]?.length === frame.data.length,
    );
    if (codec !== 'AV1') expect(same).toHaveLength(frames.length);
    // Half of all frames lose or reorder a packet; what waiting costs stays near the round trip.
    const waits = frames.map((frame) => frame.releasedAtMs - frame.firstPacketAtMs).sort((a, b) => a - b);
    expect(waits[Math.floor(waits.length / 2)]).toBeLessThan(15);
    expect(Math.max(...waits)).toBeLessThan(1000);
  });
});
