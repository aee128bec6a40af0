import { describe, expect, it } from 'vitest';
import { createPacketizer } from '../../../src/media/payloadFormats.js';
import { parseRtcp, type RtcpMessage } from '../../../src/media/Rtcp.js';
import { writeRtpHeader } from '../../../src/media/RtpPacket.js';
import { RtpVideoReceiver } from '../../../src/media/RtpVideoReceiver.js';
import type { EncodedFrame, VideoCodec } from '../../../src/media/types.js';
import { fakeFrame, randomBytes, seededRandom, videoStream } from './support.js';

const FRAME_MS = 33;

/** A stream of frames as packets, a receiver, and what it gave back; time is a number that the test moves. */
class Bench {
  readonly frames: EncodedFrame[] = [];
  readonly rtcp: { atMs: number; message: RtcpMessage }[] = [];
  readonly receiver: RtpVideoReceiver;
  readonly random = seededRandom(7);
  readonly #packetize;
  #sequence: number;
  #timestamp: number;
  nowMs = 1000;

  constructor(
    readonly codec: VideoCodec = 'VP8',
    readonly rtx = true,
    start = { sequence: 100, timestamp: 9000 },
  ) {
    this.#packetize = createPacketizer(codec);
    this.#sequence = start.sequence;
    this.#timestamp = start.timestamp;
    this.receiver = new RtpVideoReceiver({
      stream: videoStream(codec, rtx),
      localSsrc: 1,
      cname: 'bench',
      onFrame: (frame) => this.frames.push(frame),
      onRtcp: (packet) => {
        for (const message of parseRtcp(packet)) this.rtcp.push({ atMs: this.nowMs, message });
      },
    });
  }

  /** The packets of the next frame, in order. */
  frame(keyFrame = false, bytes = 2500): Buffer[] {
    const data = fakeFrame(this.codec, keyFrame, bytes, this.random);
    const payloads = this.#packetize({ data, keyFrame }, 1000).map((parts) => Buffer.concat(parts));
    const timestamp = this.#timestamp;
    this.#timestamp = (timestamp + 3000) % 2 ** 32;
    return payloads.map((payload, i) => {
      const packet = Buffer.alloc(12 + payload.length);
      const sequenceNumber = this.#sequence;
      this.#sequence = (sequenceNumber + 1) & 0xffff;
      const marker = i === payloads.length - 1;
      writeRtpHeader(packet, 0, { marker, payloadType: 96, sequenceNumber, timestamp, ssrc: 0x1234_5678 });
      packet.set(payload, 12);
      return packet;
    });
  }

  send(...packets: (Buffer | undefined)[]): void {
    for (const packet of packets) if (packet) this.receiver.receive(packet, this.nowMs);
  }

  /** Lets time pass, ticking whenever the receiver wants to be. */
  pass(ms: number): void {
    const end = this.nowMs + ms;
    for (let due = this.receiver.nextDeadlineMs; due <= end; due = this.receiver.nextDeadlineMs) {
      this.nowMs = Math.max(this.nowMs, due);
      this.receiver.tick(this.nowMs);
    }
    this.nowMs = end;
  }

  messages<T extends RtcpMessage['type']>(type: T): Extract<RtcpMessage, { type: T }>[] {
    return this.rtcp.flatMap(({ message }) =>
      message.type === type ? [message as Extract<RtcpMessage, { type: T }>] : [],
    );
  }

  asRtx(packet: Buffer, sequenceNumber: number): Buffer {
    const rtx = Buffer.alloc(packet.length + 2);
    const marker = ((packet[1] ?? 0) & 0x80) !== 0;
    const timestamp = packet.readUInt32BE(4);
    writeRtpHeader(rtx, 0, { marker, payloadType: 97, sequenceNumber, timestamp, ssrc: 0x8765_4321 });
    packet.copy(rtx, 12, 2, 4);
    packet.copy(rtx, 14, 12);
    return rtx;
  }
}

describe.each<VideoCodec>(['VP8', 'VP9', 'H264', 'AV1'])('receiving %s', (codec) => {
  it('releases every frame with its last packet when nothing is missing', () => {
    const bench = new Bench(codec);
    for (let i = 0; i < 50; i += 1) {
      for (const packet of bench.frame(i === 0)) {
        bench.pass(2);
        bench.send(packet);
      }
      expect(bench.frames).toHaveLength(i + 1);
      expect(bench.frames[i]).toMatchObject({
        keyFrame: i === 0,
        discontinuity: false,
        releasedAtMs: bench.nowMs,
        lastPacketAtMs: bench.nowMs,
      });
      bench.pass(FRAME_MS);
    }
    expect(bench.messages('nack')).toHaveLength(0);
    expect(bench.messages('pli')).toHaveLength(0);
    expect(bench.receiver.stats).toMatchObject({ bufferedPackets: 0, bufferedBytes: 0, packetsLost: 0 });
  });

  it('goes on through wrapping sequence numbers and timestamps', () => {
    const bench = new Bench(codec, true, { sequence: 65_500, timestamp: 2 ** 32 - 30_000 });
    for (let i = 0; i < 40; i += 1) bench.send(...bench.frame(i === 0));
    expect(bench.frames.map((frame) => frame.rtpTimestamp90k)).toEqual(
      Array.from({ length: 40 }, (_, i) => 2 ** 32 - 30_000 + i * 3000),
    );
  });
});

describe('reordering', () => {
  it('is put right without losing a frame or asking for anything twice', () => {
    const bench = new Bench();
    bench.send(...bench.frame(true));
    for (let i = 0; i < 200; i += 1) {
      const packets = bench.frame();
      const [a, b] = [
        Math.floor(bench.random() * packets.length),
        Math.floor(bench.random() * packets.length),
      ];
      [packets[a], packets[b]] = [packets[b] as Buffer, packets[a] as Buffer];
      for (const packet of packets) {
        bench.send(packet);
        bench.pass(3);
      }
      bench.pass(20);
    }
    expect(bench.frames).toHaveLength(201);
    expect(bench.frames.every((frame) => !frame.discontinuity)).toBe(true);
    expect(bench.messages('pli')).toHaveLength(0);
    // It learned how far packets come out of order, and stops to ask for those.
    const asked = bench.rtcp.filter(({ message }) => message.type === 'nack').map(({ atMs }) => atMs);
    expect(asked.filter((atMs) => atMs > 2000)).toHaveLength(0);
  });

  it('drops duplicates', () => {
    const bench = new Bench();
    for (const packet of [...bench.frame(true), ...bench.frame()]) bench.send(packet, packet);
    expect(bench.frames).toHaveLength(2);
    expect(bench.receiver.stats.bufferedPackets).toBe(0);
  });
});

describe('loss', () => {
  it('is asked for at once, and the retransmission completes the frame', () => {
    const bench = new Bench();
    bench.send(...bench.frame(true));
    const packets = bench.frame();
    bench.send(packets[0], packets[2]);
    expect(bench.messages('nack')).toEqual([
      {
        type: 'nack',
        senderSsrc: 1,
        mediaSsrc: 0x1234_5678,
        sequenceNumbers: [(packets[1] as Buffer).readUInt16BE(2)],
      },
    ]);
    bench.pass(20);
    expect(bench.frames).toHaveLength(1);
    bench.send(bench.asRtx(packets[1] as Buffer, 5));
    expect(bench.frames).toHaveLength(2);
    expect(bench.frames[1]).toMatchObject({ discontinuity: false, lastPacketAtMs: bench.nowMs });
    expect(bench.receiver.stats.packetsRecovered).toBe(1);
  });

  it('is asked for again, a round trip apart, a bounded number of times', () => {
    const bench = new Bench();
    bench.receiver.setRoundTripMs(30);
    bench.send(...bench.frame(true));
    bench.send(...bench.frame().slice(1));
    bench.pass(5000);
    const times = bench.rtcp.filter(({ message }) => message.type === 'nack').map(({ atMs }) => atMs);
    expect(times.length).toBeGreaterThan(2);
    expect(times.length).toBeLessThanOrEqual(10);
    for (let i = 1; i < times.length; i += 1)
      expect((times[i] ?? 0) - (times[i - 1] ?? 0)).toBeGreaterThanOrEqual(30);
  });

  it('that stays is given up in bounded time, and a key frame is asked for again and again, with back-off', () => {
    const bench = new Bench();
    bench.send(...bench.frame(true));
    bench.send(...bench.frame().slice(1));
    const lostAtMs = bench.nowMs;
    for (let i = 0; i < 150; i += 1) {
      bench.pass(FRAME_MS);
      bench.send(...bench.frame());
    }
    const plis = bench.rtcp
      .filter(({ message }) => message.type === 'pli')
      .map(({ atMs }) => atMs - lostAtMs);
    expect(plis[0]).toBeGreaterThanOrEqual(10);
    expect(plis[0]).toBeLessThanOrEqual(150);
    const gaps = plis.slice(1).map((atMs, i) => atMs - (plis[i] ?? 0));
    expect(gaps.slice(0, 3)).toEqual([250, 500, 1000]);
    expect(bench.frames).toHaveLength(1);
    expect(bench.receiver.stats.bufferedPackets).toBeLessThan(200);
    bench.send(...bench.frame(true), ...bench.frame());
    expect(bench.frames.slice(1)).toMatchObject([
      { keyFrame: true, discontinuity: true },
      { keyFrame: false, discontinuity: false },
    ]);
    const before = bench.messages('pli').length;
    bench.pass(5000);
    expect(bench.messages('pli')).toHaveLength(before);
  });

  it('that is filled later than hoped ends the stall without a key frame', () => {
    const bench = new Bench();
    bench.send(...bench.frame(true));
    const [missing, ...rest] = bench.frame();
    bench.send(...rest, ...bench.frame());
    bench.pass(300);
    expect(bench.messages('pli').length).toBeGreaterThan(0);
    bench.send(bench.asRtx(missing as Buffer, 1));
    expect(bench.frames).toHaveLength(3);
    expect(bench.frames.some((frame) => frame.discontinuity)).toBe(false);
    const before = bench.messages('pli').length;
    bench.pass(3000);
    expect(bench.messages('pli')).toHaveLength(before);
  });

  it('before a complete key frame is skipped over', () => {
    const bench = new Bench();
    bench.send(...bench.frame(true));
    bench.send(...bench.frame().slice(1), ...bench.frame(true), ...bench.frame());
    expect(bench.frames).toHaveLength(1);
    bench.pass(150);
    expect(bench.frames.map((frame) => frame.discontinuity)).toEqual([false, true, false]);
    expect(bench.receiver.stats).toMatchObject({ framesDropped: 1, packetsLost: 1 });
  });

  it('makes waiting adapt: longer where retransmissions take long, shorter where they never come', () => {
    const slow = new Bench();
    slow.send(...slow.frame(true));
    for (let i = 0; i < 40; i += 1) {
      const [missing, ...rest] = slow.frame();
      slow.send(...rest);
      slow.pass(90);
      slow.send(slow.asRtx(missing as Buffer, i));
    }
    expect(slow.frames).toHaveLength(41);
    expect(slow.receiver.stats.waitMs).toBeGreaterThan(85);
    const hopeless = new Bench();
    for (let i = 0; i < 40; i += 1) {
      hopeless.send(...hopeless.frame(true), ...hopeless.frame().slice(1));
      hopeless.pass(2 * FRAME_MS);
    }
    expect(hopeless.receiver.stats.waitMs).toBeLessThan(40);
  });

  it('works without a retransmission stream, on the stream itself', () => {
    const bench = new Bench('VP8', false);
    bench.send(...bench.frame(true));
    const packets = bench.frame();
    bench.send(packets[0], packets[2]);
    bench.pass(30);
    bench.send(packets[1]);
    expect(bench.frames).toHaveLength(2);
    expect(bench.receiver.stats.packetsRecovered).toBe(1);
  });
});

describe('the start', () => {
  it('in the middle of a stream asks for a key frame at once and releases nothing before it', () => {
    const bench = new Bench();
    bench.send(...bench.frame(), ...bench.frame());
    expect(bench.messages('pli')).toHaveLength(1);
    expect(bench.frames).toHaveLength(0);
    bench.send(...bench.frame(true));
    expect(bench.frames).toMatchObject([{ keyFrame: true, discontinuity: false }]);
  });

  it('takes a key frame whose packets come in any order', () => {
    const bench = new Bench();
    const packets = bench.frame(true, 5000);
    bench.send(...packets.reverse());
    expect(bench.frames).toHaveLength(1);
  });

  it('over, with other sequence numbers, is noticed', () => {
    const bench = new Bench();
    bench.send(...bench.frame(true));
    const other = new Bench('VP8', true, { sequence: 40_000, timestamp: 77 });
    bench.send(...other.frame(true), ...other.frame(true), ...other.frame());
    expect(bench.frames).toHaveLength(3);
    const stamps = bench.frames.map((frame) => frame.rtpTimestamp90k);
    expect(stamps).toEqual([...stamps].sort((a, b) => a - b));
    expect((stamps[1] ?? 0) % 2 ** 32).toBe(3077);
  });
});

describe('requestKeyFrame', () => {
  it('asks at once, and until a key frame came even when packets keep flowing', () => {
    const bench = new Bench();
    bench.send(...bench.frame(true));
    bench.receiver.requestKeyFrame(bench.nowMs);
    expect(bench.messages('pli')).toHaveLength(1);
    bench.send(...bench.frame());
    bench.pass(800);
    expect(bench.messages('pli')).toHaveLength(3);
    bench.send(...bench.frame(true));
    bench.pass(5000);
    expect(bench.messages('pli')).toHaveLength(3);
  });
});

describe('reports', () => {
  it('carry loss, jitter and the last sender report', () => {
    const bench = new Bench();
    bench.send(...bench.frame(true));
    const ntpTimestamp = 0xe800_1234_8000_0000n;
    const report = { packetCount: 0, octetCount: 0, reports: [] };
    bench.receiver.receiveRtcp(
      [{ type: 'sr', ssrc: 0x1234_5678, ntpTimestamp, rtpTimestamp: 9000, ...report }],
      bench.nowMs,
    );
    expect(bench.receiver.senderClock).toEqual({
      ntpTimestamp,
      rtpTimestamp90k: 9000,
      arrivalAtMs: bench.nowMs,
    });
    bench.send(...bench.frame().slice(1), ...bench.frame());
    bench.pass(500);
    const [first] = bench.messages('rr');
    const block = first?.reports[0];
    expect(block).toMatchObject({ ssrc: 0x1234_5678, cumulativeLost: 1, lastSenderReport: 0x1234_8000 });
    expect(block?.delaySinceLastSenderReport).toBe(65536 / 2);
    expect(block?.extendedHighestSequence).toBe(100 + 8);
    expect(block?.fractionLost).toBe(Math.floor(256 / 9));
    expect(bench.messages('sdes')[0]?.chunks).toEqual([{ ssrc: 1, cname: 'bench' }]);
  });

  it('measure jitter as RFC 3550 does', () => {
    const bench = new Bench();
    for (let i = 0; i < 400; i += 1) {
      bench.send(...bench.frame(i === 0, 100));
      bench.pass(i % 2 ? 100 / 3 + 10 : 100 / 3 - 10);
    }
    expect(bench.receiver.stats.jitterMs).toBeCloseTo(10, 0);
  });
});

describe('hostile packets', () => {
  it('neither crash it nor grow its memory', () => {
    const random = seededRandom(11);
    for (const codec of ['VP8', 'VP9', 'H264', 'AV1'] as const) {
      const bench = new Bench(codec);
      for (let i = 0; i < 1500; i += 1) {
        const packets = bench.frame(random() < 0.1, 1 + random() * 3000);
        for (const packet of packets) {
          const mutated =
            random() < 0.7 ? Buffer.from(packet) : randomBytes(random, Math.floor(random() * 60));
          for (let hit = 0; hit < 3; hit += 1) {
            // The SSRC is spared most of the time, or nothing would get past the door.
            const at = random() < 0.5 ? Math.floor(random() * 8) : 12 + Math.floor(random() * 20);
            if (at < mutated.length && random() < 0.6) mutated[at] = Math.floor(random() * 256);
          }
          bench.send(mutated);
          if (random() < 0.2) bench.pass(random() * 50);
          else bench.receiver.tick(bench.nowMs);
        }
        expect(bench.receiver.stats.bufferedPackets).toBeLessThanOrEqual(1024);
        expect(bench.receiver.stats.bufferedBytes).toBeLessThanOrEqual(4 * 1024 * 1024);
      }
      const stamps = bench.frames.map((frame) => frame.rtpTimestamp90k);
      expect(stamps.every((stamp, i) => stamp >= (stamps[i - 1] ?? 0))).toBe(true);
      // And it still works.
      const before = bench.frames.length;
      for (let i = 0; i < 24; i += 1) {
        bench.send(...bench.frame(true));
        bench.pass(300);
      }
      expect(bench.frames.length, codec).toBeGreaterThan(before);
      bench.receiver.close();
      expect(bench.receiver.stats).toMatchObject({ bufferedPackets: 0, bufferedBytes: 0 });
      expect(bench.receiver.nextDeadlineMs).toBe(Number.POSITIVE_INFINITY);
    }
  });
});
