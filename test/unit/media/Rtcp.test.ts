import { describe, expect, it } from 'vitest';
import { encodeRtcp, isRtcp, parseRtcp, type RtcpMessage } from '../../../src/media/Rtcp.js';
import { encodeRtcp as encodeElsewhere, parseRtcp as parseElsewhere } from '../../support/peer/rtcp.js';
import { randomBytes, seededRandom } from './support.js';

const block = {
  ssrc: 7,
  fractionLost: 12,
  cumulativeLost: -3,
  extendedHighestSequence: 0x1_2345,
  jitter: 99,
  lastSenderReport: 0x8000_0001,
  delaySinceLastSenderReport: 65_536,
};

const MESSAGES: RtcpMessage[] = [
  {
    type: 'sr',
    ssrc: 1,
    ntpTimestamp: 0xe812_3456_789a_bcden,
    rtpTimestamp: 0xffff_fff0,
    packetCount: 5,
    octetCount: 6,
    reports: [block],
  },
  { type: 'rr', ssrc: 2, reports: [block, { ...block, ssrc: 8 }] },
  {
    type: 'sdes',
    chunks: [
      { ssrc: 2, cname: 'a' },
      { ssrc: 3, cname: 'four' },
    ],
  },
  { type: 'nack', senderSsrc: 2, mediaSsrc: 7, sequenceNumbers: [1, 2, 17, 18, 65_535, 0] },
  { type: 'pli', senderSsrc: 2, mediaSsrc: 7 },
  { type: 'fir', senderSsrc: 2, entries: [{ ssrc: 7, sequenceNumber: 200 }] },
  { type: 'remb', senderSsrc: 2, bitrateBps: 262_143, ssrcs: [7, 9] },
  { type: 'bye', ssrcs: [1, 2] },
];

describe('RTCP', () => {
  it('comes back as it was written, each message alone and all in one packet', () => {
    for (const message of MESSAGES) {
      expect(parseRtcp(encodeRtcp([message]))).toEqual([message]);
      expect(isRtcp(encodeRtcp([message]))).toBe(true);
    }
    expect(parseRtcp(encodeRtcp(MESSAGES))).toEqual(MESSAGES);
  });

  it('is understood by another implementation, and the other way round', () => {
    const theirs = parseElsewhere(encodeRtcp(MESSAGES));
    expect(theirs).toMatchObject(MESSAGES.map((message) => ({ type: message.type })));
    expect(theirs[3]).toMatchObject({ sequenceNumbers: [1, 2, 17, 18, 65_535, 0] });
    const forThem = MESSAGES.map((message) =>
      message.type === 'fir' ? { ...message, mediaSsrc: 0 } : message,
    );
    const back = parseRtcp(encodeElsewhere(forThem));
    expect(back.map((message) => message.type)).toEqual(MESSAGES.map((message) => message.type));
    expect(back[0]).toEqual(MESSAGES[0]);
  });

  it('skips what it does not know', () => {
    const unknown = Buffer.from([0x8f, 205, 0, 1, 1, 2, 3, 4]);
    const pli = encodeRtcp([{ type: 'pli', senderSsrc: 2, mediaSsrc: 7 }]);
    expect(parseRtcp(Buffer.concat([unknown, pli]))).toEqual([{ type: 'pli', senderSsrc: 2, mediaSsrc: 7 }]);
  });

  it('keeps large bitrates within a REMB mantissa', () => {
    for (const bitrateBps of [1, 262_144, 1_234_567, 2_000_000_000]) {
      const [message] = parseRtcp(encodeRtcp([{ type: 'remb', senderSsrc: 1, bitrateBps, ssrcs: [] }]));
      const parsed = message?.type === 'remb' ? message.bitrateBps : 0;
      expect(Math.abs(parsed - bitrateBps) / bitrateBps).toBeLessThan(1e-4);
    }
  });

  it('survives any bytes', () => {
    const random = seededRandom(23);
    const good = encodeRtcp(MESSAGES);
    for (let i = 0; i < 5000; i += 1) {
      const bytes = i % 2 ? Buffer.from(good) : randomBytes(random, Math.floor(random() * 80));
      for (let hit = 0; hit < 5 && bytes.length > 0; hit += 1)
        bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
      parseRtcp(bytes.subarray(0, Math.floor(random() * (bytes.length + 1))));
    }
  });
});
