import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { parseMessage, RtpHeader, SrtcpSession, SrtpSession } from 'werift';
import { keyFrameDetector, startsKeyFrame } from '../../../src/sfu/werift/keyFrames.js';
import { NackTracker } from '../../../src/sfu/werift/NackTracker.js';
import { PacketHistory } from '../../../src/sfu/werift/PacketHistory.js';
import { datagramKind, RtpView } from '../../../src/sfu/werift/RtpView.js';
import { unwrapRtx } from '../../../src/sfu/werift/rtx.js';
import { SequenceRewriter } from '../../../src/sfu/werift/SequenceRewriter.js';
import {
  SRTP_AEAD_AES_128_GCM,
  SRTP_AES128_CM_SHA1_80,
  SRTP_TAILROOM,
  SrtpContext,
} from '../../../src/sfu/werift/Srtp.js';
import { buildBindingSuccess, parseStun, verifyIntegrity } from '../../../src/sfu/werift/Stun.js';

function rtp(
  sequenceNumber: number,
  payload: Buffer,
  options: { payloadType?: number; ssrc?: number } = {},
): Buffer {
  const head = Buffer.alloc(12);
  head[0] = 0x80;
  head[1] = options.payloadType ?? 96;
  head.writeUInt16BE(sequenceNumber, 2);
  head.writeUInt32BE(4711, 4);
  head.writeUInt32BE(options.ssrc ?? 1, 8);
  return Buffer.concat([head, payload]);
}

describe('RtpView', () => {
  test('finds extensions in one-byte and two-byte form, and the payload without padding', () => {
    for (const twoByte of [false, true]) {
      const elements = twoByte ? [5, 2, 9, 8, 0, 0, 0, 0] : [0x51, 9, 8, 0];
      const block = Buffer.from([
        ...(twoByte ? [0x10, 0x00] : [0xbe, 0xde]),
        0,
        elements.length / 4,
        ...elements,
      ]);
      const packet = Buffer.concat([rtp(7, Buffer.alloc(0)), block, Buffer.from([1, 2, 3, 0, 2])]);
      packet[0] = 0xb0;
      const view = new RtpView();
      expect(view.parse(packet)).toBe(true);
      const at = view.findExtension(5);
      expect([...packet.subarray(at, at + view.foundLength)]).toEqual([9, 8]);
      expect(view.findExtension(6)).toBe(-1);
      expect([view.payloadLength, view.paddingLength]).toEqual([3, 2]);
    }
  });

  test('refuses what is cut short or pads more than it has', () => {
    const view = new RtpView();
    const packet = rtp(1, Buffer.from([9]));
    packet[0] = 0xa0;
    expect(view.parse(packet)).toBe(false);
    packet[0] = 0x9f;
    expect(view.parse(packet)).toBe(false);
    expect(view.parse(packet.subarray(0, 11))).toBe(false);
  });

  test('a long block of nothing but identifiers ends in time', () => {
    const words = 0xffff;
    const packet = Buffer.concat([rtp(1, Buffer.alloc(0)), Buffer.alloc(4 + words * 4, 0x10)]);
    packet[0] = 0x90;
    packet.writeUInt16BE(0xbede, 12);
    packet.writeUInt16BE(words, 14);
    const view = new RtpView();
    const start = performance.now();
    expect(view.parse(packet)).toBe(true);
    expect(view.findExtension(9)).toBe(-1);
    expect(performance.now() - start).toBeLessThan(500);
  });

  test('tells STUN, DTLS, RTP and RTCP apart (RFC 7983, RFC 5761)', () => {
    const kind = (...bytes: number[]) => datagramKind(Buffer.from(bytes));
    expect([
      kind(0, 1),
      kind(22, 254),
      kind(0x80, 96),
      kind(0x80, 0xe0),
      kind(0x80, 200),
      kind(0x81, 206),
    ]).toEqual(['stun', 'dtls', 'rtp', 'rtp', 'rtcp', 'rtcp']);
    expect([kind(64, 0), kind(255, 0), kind(1)]).toEqual(['unknown', 'unknown', 'unknown']);
  });
});

describe('SequenceRewriter', () => {
  test('is continuous over pauses and across the wrap', () => {
    const rewriter = new SequenceRewriter(65_534);
    expect([100, 101, 102].map((n) => rewriter.rewrite(n))).toEqual([65_534, 65_535, 0]);
    rewriter.desync();
    expect([9000, 9002, 9001].map((n) => rewriter.rewrite(n))).toEqual([1, 3, 2]);
    expect(rewriter.original(3)).toBe(9002);
  });

  test('neither sends nor resends what lies before the run', () => {
    const rewriter = new SequenceRewriter(10);
    rewriter.rewrite(500);
    expect(rewriter.rewrite(499)).toBe(-1);
    expect([rewriter.original(9), rewriter.original(11)]).toEqual([-1, -1]);
    rewriter.desync();
    expect(rewriter.original(10)).toBe(-1);
  });

  test('runs for longer than a cycle of numbers', () => {
    const rewriter = new SequenceRewriter(0);
    let wrong = 0;
    for (let n = 0; n < 200_000; n++) if (rewriter.rewrite((n + 77) & 0xffff) !== (n & 0xffff)) wrong++;
    expect(wrong).toBe(0);
  });
});

describe('NackTracker', () => {
  test('asks at once, then once a round trip, and gives up', () => {
    const tracker = new NackTracker({ maxRetries: 3 });
    expect(tracker.onPacket(65_534, 0)).toBe('new');
    expect(tracker.onPacket(1, 1)).toBe('new');
    expect(tracker.due(1)).toEqual({ sequenceNumbers: [65_535, 0], givenUp: 0 });
    expect(tracker.due(20).sequenceNumbers).toEqual([]);
    expect(tracker.onPacket(0, 30)).toBe('recovered');
    expect(tracker.onPacket(0, 31)).toBe('duplicate');
    expect(tracker.rttMs).toBeLessThan(80);
    expect(tracker.due(100).sequenceNumbers).toEqual([65_535]);
    expect(tracker.due(200).sequenceNumbers).toEqual([65_535]);
    expect(tracker.due(300)).toEqual({ sequenceNumbers: [], givenUp: 1 });
    expect(tracker.missingCount).toBe(0);
  });

  test('takes a jump for a restart and stays bounded', () => {
    const tracker = new NackTracker();
    tracker.onPacket(1, 0);
    tracker.onPacket(300, 0);
    expect(tracker.missingCount).toBe(298);
    expect(tracker.onPacket(20_000, 0)).toBe('reset');
    expect(tracker.missingCount).toBe(0);
  });

  test('a key frame makes what came before dispensable', () => {
    const tracker = new NackTracker();
    tracker.onPacket(1, 0);
    tracker.onPacket(5, 0);
    tracker.forgetBefore(4);
    expect(tracker.due(0).sequenceNumbers).toEqual([4]);
  });
});

test('PacketHistory forgets by count and age', () => {
  const history = new PacketHistory(4, 1000);
  for (let n = 0; n < 5; n++) history.store(n, Buffer.from([n]), n);
  expect(history.get(0, 5)).toBeUndefined();
  expect(history.get(4, 5)).toEqual(Buffer.from([4]));
  expect(history.get(1, 1002)).toBeUndefined();
});

test('RTX is unwrapped in place, extensions and all (RFC 4588)', () => {
  const view = new RtpView();
  const packet = rtp(900, Buffer.from([0x12, 0x34, 7, 8, 9]), { payloadType: 97 | 0x80, ssrc: 2 });
  view.parse(packet);
  expect(unwrapRtx(view, 1, 96)).toBe(true);
  expect([view.sequenceNumber, view.ssrc, view.payloadType, view.marker]).toEqual([0x1234, 1, 96, true]);
  expect([...view.buffer.subarray(view.payloadOffset)]).toEqual([7, 8, 9]);
  view.parse(rtp(901, Buffer.from([1, 2])));
  expect(unwrapRtx(view, 1, 96)).toBe(false);
});

describe('key frames', () => {
  const starts = (mimeType: string, ...payload: number[]): boolean => {
    const view = new RtpView();
    view.parse(rtp(1, Buffer.from(payload)));
    const detect = keyFrameDetector(mimeType);
    return detect !== undefined && startsKeyFrame(view, detect);
  };

  test.each([
    ['VP8 key frame', 'video/VP8', [0x10, 0x00], true],
    ['VP8 key frame behind a 15-bit picture id', 'video/VP8', [0x90, 0x80, 0x81, 0x02, 0x00], true],
    ['VP8 key frame, second packet', 'video/VP8', [0x00, 0x00], false],
    ['VP8 delta frame', 'video/VP8', [0x10, 0x01], false],
    ['VP8 cut short', 'video/VP8', [0x90, 0x80], false],
    ['VP9 key frame', 'video/VP9', [0x8a, 0x01], true],
    ['VP9 inter-predicted', 'video/VP9', [0xca, 0x01], false],
    ['VP9 upper spatial layer', 'video/VP9', [0x2a, 0x02], false],
    ['H.264 SPS', 'video/H264', [0x67, 0], true],
    ['H.264 IDR', 'video/H264', [0x65, 0], true],
    ['H.264 slice', 'video/H264', [0x41, 0], false],
    ['H.264 STAP-A with SPS', 'video/H264', [0x78, 0, 1, 0x09, 0, 1, 0x67], true],
    ['H.264 STAP-A cut short', 'video/H264', [0x78, 0xff, 0xff, 0x09], false],
    ['H.264 FU-A, first of IDR', 'video/H264', [0x7c, 0x85], true],
    ['H.264 FU-A, later of IDR', 'video/H264', [0x7c, 0x05], false],
    ['AV1 new sequence', 'video/AV1', [0x18, 0], true],
    ['AV1 continued', 'video/AV1', [0x10, 0], false],
    ['opus', 'audio/opus', [0x78], false],
  ])('%s', (_name, mimeType, payload, expected) => {
    expect(starts(mimeType, ...payload)).toBe(expected);
  });
});

describe.each([
  ['AES_CM_128_HMAC_SHA1_80', SRTP_AES128_CM_SHA1_80, 14],
  ['AEAD_AES_128_GCM', SRTP_AEAD_AES_128_GCM, 12],
] as const)('SRTP %s', (_name, profile, saltSize) => {
  const keys = { profile, masterKey: randomBytes(16), masterSalt: randomBytes(saltSize) };
  const config = {
    profile,
    keys: {
      localMasterKey: keys.masterKey,
      localMasterSalt: keys.masterSalt,
      remoteMasterKey: keys.masterKey,
      remoteMasterSalt: keys.masterSalt,
    },
  };
  const protect = (context: SrtpContext, packet: Buffer): Buffer => {
    const buffer = Buffer.concat([packet, Buffer.alloc(SRTP_TAILROOM)]);
    return buffer.subarray(0, context.protectRtp(buffer, packet.length, 12));
  };

  test('agrees with werift’s implementation both ways', () => {
    const packet = rtp(1000, randomBytes(333));
    const ours = protect(new SrtpContext(keys), packet);
    expect(new SrtpSession(config).decrypt(ours)).toEqual(packet);
    const theirs = new SrtpSession(config).encrypt(packet.subarray(12), RtpHeader.deSerialize(packet));
    expect(new SrtpContext(keys).unprotectRtp(Buffer.from(theirs), 12)).toEqual(packet);
    const report = Buffer.concat([Buffer.from('81c90007', 'hex'), randomBytes(28)]);
    expect(new SrtcpSession(config).decrypt(new SrtpContext(keys).protectRtcp(report))).toEqual(report);
    expect(new SrtpContext(keys).unprotectRtcp(new SrtcpSession(config).encrypt(report))).toEqual(report);
  });

  test('survives the wrap of the sequence number, even when the packets around it are lost', () => {
    const sender = new SrtpContext(keys);
    const receiver = new SrtpContext(keys);
    for (let n = 60_000; n < 200_000; n += n > 65_000 && n < 66_000 ? 500 : 25) {
      const packet = rtp(n & 0xffff, Buffer.from([1, 2, 3]));
      const secured = protect(sender, packet);
      expect(receiver.unprotectRtp(secured, 12)?.equals(packet)).toBe(true);
    }
  });

  test('refuses replayed, forged and truncated packets', () => {
    const sender = new SrtpContext(keys);
    const receiver = new SrtpContext(keys);
    const [first, second, third] = [1, 2, 3].map((n) => protect(sender, rtp(n, Buffer.from([n])))) as [
      Buffer,
      Buffer,
      Buffer,
    ];
    expect(receiver.unprotectRtp(Buffer.from(third), 12)).toBeDefined();
    expect(receiver.unprotectRtp(Buffer.from(first), 12)).toBeDefined();
    expect(receiver.unprotectRtp(Buffer.from(first), 12)).toBeUndefined();
    const forged = Buffer.from(second);
    forged[13] = (forged[13] as number) ^ 1;
    expect(receiver.unprotectRtp(forged, 12)).toBeUndefined();
    expect(receiver.unprotectRtp(Buffer.from(second.subarray(0, 20)), 12)).toBeUndefined();
    expect(receiver.unprotectRtp(Buffer.from(second), 12)).toBeDefined();
    const report = Buffer.from('80c9000100000001', 'hex');
    const secured = sender.protectRtcp(report);
    expect(receiver.unprotectRtcp(secured)).toEqual(report);
    expect(receiver.unprotectRtcp(secured)).toBeUndefined();
  });
});

describe('STUN', () => {
  test.each([
    ['192.0.2.1', 3478],
    ['2001:db8::1:2', 65_535],
    ['::ffff:1.2.3.4', 1],
  ])('answers a check from %s as werift’s codec reads it', (address, port) => {
    const transactionId = randomBytes(12);
    const response = buildBindingSuccess(transactionId, address, port, 'secret');
    const parsed = parseMessage(response, Buffer.from('secret'));
    expect(parsed?.transactionId).toEqual(transactionId);
    const [mapped, mappedPort] = parsed?.getAttributeValue('XOR-MAPPED-ADDRESS') ?? [];
    expect(mappedPort).toBe(port);
    expect(new URL(mapped.includes(':') ? `http://[${mapped}]` : `http://${mapped}`).hostname).toBe(
      new URL(address.includes(':') ? `http://[${address}]` : `http://${address}`).hostname,
    );
    const message = parseStun(response);
    expect(message && verifyIntegrity(response, message, 'secret')).toBe(true);
    expect(message && verifyIntegrity(response, message, 'wrong')).toBe(false);
    response[25] = (response[25] as number) ^ 1;
    expect(parseStun(response)).toBeUndefined();
  });

  test('ignores what follows MESSAGE-INTEGRITY', () => {
    const signed = buildBindingSuccess(randomBytes(12), '192.0.2.1', 1, 'secret');
    const withoutFingerprint = signed.subarray(0, signed.length - 8);
    const extended = Buffer.concat([withoutFingerprint, Buffer.from([0, 0x25, 0, 0])]);
    extended.writeUInt16BE(extended.length - 20, 2);
    expect(parseStun(extended)?.useCandidate).toBe(false);
  });
});
