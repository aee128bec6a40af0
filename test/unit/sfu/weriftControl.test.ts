import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { ROUTER_CODECS } from '../../../src/sfu/codecs.js';
import { KEY_FRAME_IGNORED_MS } from '../../../src/sfu/keyFrameRequests.js';
import type { AudioLevel, RtpParameters } from '../../../src/sfu/types.js';
import { AudioLevelObserver } from '../../../src/sfu/werift/AudioLevelObserver.js';
import { DownlinkEstimator } from '../../../src/sfu/werift/DownlinkEstimator.js';
import { KeyFrameRequester } from '../../../src/sfu/werift/KeyFrameRequester.js';
import {
  canConsume,
  consumerRtpParameters,
  EXTENSION,
  mapProducer,
  routerRtpCapabilities,
  sameCodec,
} from '../../../src/sfu/werift/ortc.js';
import { RateMeter } from '../../../src/sfu/werift/RateMeter.js';
import { ReceiveStatistics } from '../../../src/sfu/werift/ReceiveStatistics.js';
import {
  buildNack,
  buildRemb,
  buildSdes,
  buildSenderReport,
  parseRtcp,
} from '../../../src/sfu/werift/rtcp.js';
import { TwccReceiver } from '../../../src/sfu/werift/TwccReceiver.js';

const router = routerRtpCapabilities(ROUTER_CODECS);

function vp8(overrides: Partial<RtpParameters> = {}): RtpParameters {
  return {
    mid: '0',
    codecs: [
      { mimeType: 'video/VP8', payloadType: 120, clockRate: 90_000, parameters: {}, rtcpFeedback: [] },
      {
        mimeType: 'video/rtx',
        payloadType: 121,
        clockRate: 90_000,
        parameters: { apt: 120 },
        rtcpFeedback: [],
      },
    ],
    headerExtensions: [{ uri: EXTENSION.mid, id: 3 }],
    encodings: [{ ssrc: 1, rtx: { ssrc: 2 } }],
    rtcp: { cname: 'me' },
    ...overrides,
  };
}

describe('ORTC', () => {
  test('the router offers each video codec with RTX, no payload type twice', () => {
    const payloadTypes = router.codecs?.map((codec) => codec.preferredPayloadType) ?? [];
    expect(new Set(payloadTypes).size).toBe(payloadTypes.length);
    const video =
      router.codecs?.filter(({ kind, mimeType }) => kind === 'video' && mimeType !== 'video/rtx') ?? [];
    const apts = router.codecs
      ?.filter(({ mimeType }) => mimeType === 'video/rtx')
      .map((c) => c.parameters?.apt);
    expect(apts).toEqual(video.map((codec) => codec.preferredPayloadType));
  });

  test('a producer’s payload types and ids are mapped', () => {
    const mapping = mapProducer('video', vp8(), router);
    expect(mapping.routerCodec.preferredPayloadType).toBe(96);
    expect([...mapping.rtxPayloadTypes]).toEqual([[121, 120]]);
    expect([mapping.ssrc, mapping.rtxSsrc, mapping.mid, mapping.cname]).toEqual([1, 2, '0', 'me']);
    expect(mapping.extensionIds.get(EXTENSION.mid)).toBe(3);
  });

  test.each([
    ['no codec', vp8({ codecs: [] }), 'bad-request'],
    [
      'RTX of nothing',
      vp8({
        codecs: [
          ...vp8().codecs.slice(0, 1),
          { ...(vp8().codecs[1] as RtpParameters['codecs'][0]), parameters: { apt: 9 } },
        ],
      }),
      'bad-request',
    ],
    ['simulcast', vp8({ encodings: [{ ssrc: 1 }, { ssrc: 2 }] }), 'unsupported'],
    [
      'neither SSRC nor mid',
      (({ mid: _mid, ...rest }) => ({ ...rest, encodings: [{}] }))(vp8()),
      'bad-request',
    ],
    [
      'a codec that is not offered',
      vp8({ codecs: [{ mimeType: 'video/H265', payloadType: 99, clockRate: 90_000 }] }),
      'unsupported',
    ],
    ['an SSRC out of range', vp8({ encodings: [{ ssrc: -1 }] }), 'bad-request'],
  ])('refuses %s', (_name, parameters, code) => {
    expect(() => mapProducer('video', parameters, router)).toThrow(expect.objectContaining({ code }));
  });

  test('a consumer gets its own SSRC, the router’s payload types, RTX and the better estimator', () => {
    const mapping = mapProducer('video', vp8(), router);
    const parameters = consumerRtpParameters(mapping, 'video', router, router, '7');
    expect(parameters.codecs.map(({ payloadType }) => payloadType)).toEqual([96, 100]);
    expect(parameters.encodings?.[0]?.rtx?.ssrc).toBeGreaterThan(0);
    expect(parameters.mid).toBe('7');
    const uris = parameters.headerExtensions?.map(({ uri }) => uri);
    expect(uris).toContain(EXTENSION.transportCc);
    expect(uris).not.toContain(EXTENSION.absSendTime);
    expect(parameters.codecs[0]?.rtcpFeedback?.map(({ type }) => type)).not.toContain('goog-remb');
  });

  test('a receiver without transport-wide feedback gets REMB; one without RTX gets neither', () => {
    const mapping = mapProducer('video', vp8(), router);
    const less = {
      ...router,
      headerExtensions: router.headerExtensions?.filter(({ uri }) => uri !== EXTENSION.transportCc) ?? [],
    };
    const remb = consumerRtpParameters(mapping, 'video', less, router, '0');
    expect(remb.headerExtensions?.map(({ uri }) => uri)).toContain(EXTENSION.absSendTime);
    expect(remb.codecs[0]?.rtcpFeedback?.map(({ type }) => type)).toContain('goog-remb');
    const noRtx = {
      ...router,
      codecs: router.codecs?.filter(({ mimeType }) => mimeType !== 'video/rtx') ?? [],
    };
    const plain = consumerRtpParameters(mapping, 'video', noRtx, router, '0');
    expect(plain.encodings?.[0]?.rtx).toBeUndefined();
    const uris = plain.headerExtensions?.map(({ uri }) => uri) ?? [];
    expect([uris.includes(EXTENSION.transportCc), uris.includes(EXTENSION.absSendTime)]).toEqual([
      false,
      false,
    ]);
  });

  test('H.264 profiles are compared by meaning', () => {
    const h264 = (profile: string) => ({
      mimeType: 'video/H264',
      clockRate: 90_000,
      parameters: { 'packetization-mode': 1, 'profile-level-id': profile },
    });
    expect(sameCodec(h264('42e01f'), h264('42c02a'))).toBe(true);
    expect(sameCodec(h264('42e01f'), h264('42001f'))).toBe(false);
    expect(sameCodec(h264('42e01f'), h264('640c1f'))).toBe(false);
  });

  test('canConsume', () => {
    const mapping = mapProducer('video', vp8(), router);
    expect(canConsume(mapping, router)).toBe(true);
    expect(
      canConsume(mapping, {
        codecs: router.codecs?.filter(({ mimeType }) => mimeType !== 'video/VP8') ?? [],
      }),
    ).toBe(false);
    expect(canConsume(mapping, {})).toBe(false);
  });
});

describe('RTCP', () => {
  test('survives a round trip', () => {
    const info = { ntpSeconds: 1, ntpFraction: 2, rtpTimestamp: 3, packetCount: 4, octetCount: 5 };
    const compound = Buffer.concat([
      buildSenderReport(9, info),
      buildSdes(9, 'name'),
      buildNack(1, 9, [65_535, 0, 15, 16, 300]),
      buildRemb(1, 2_345_678, [9]),
    ]);
    const [sr, nack, remb] = parseRtcp(compound);
    expect(sr).toEqual({ type: 'sr', ssrc: 9, info, reports: [] });
    expect(nack).toEqual({ type: 'nack', mediaSsrc: 9, sequenceNumbers: [65_535, 0, 15, 16, 300] });
    expect(remb).toMatchObject({ type: 'remb', ssrcs: [9] });
    expect(remb?.type === 'remb' && Math.abs(remb.bitrateBps - 2_345_678) < 20).toBe(true);
  });

  test('transport-wide feedback tells what came and when, over a wrap and with gaps', () => {
    const receiver = new TwccReceiver(1);
    const arrivals = new Map<number, number>();
    for (let n = 65_500; n < 65_700; n++) {
      if (n % 7 === 3) continue;
      const atMs = 1000 + (n - 65_500) * 3.25;
      arrivals.set(n & 0xffff, atMs);
      receiver.onPacket(n & 0xffff, atMs);
    }
    const messages = receiver.build(5).flatMap((packet) => parseRtcp(packet));
    let seen = 0;
    for (const message of messages) {
      if (message.type !== 'twcc') throw new Error(message.type);
      message.arrivalsMs.forEach((atMs, index) => {
        const expected = arrivals.get((message.baseSequence + index) & 0xffff);
        if (atMs === null) expect(expected).toBeUndefined();
        else {
          seen++;
          expect(Math.abs(atMs - (expected ?? 0))).toBeLessThanOrEqual(0.25);
        }
      });
    }
    expect(seen).toBe(arrivals.size);
    expect(receiver.build(5)).toEqual([]);
  });

  test('receiver reports count loss and restart with the sender', () => {
    const statistics = new ReceiveStatistics(90_000);
    for (const n of [65_534, 65_535, 1, 2]) statistics.onPacket(n, n * 3000, n);
    expect(statistics.report(7, 100)).toMatchObject({
      ssrc: 7,
      packetsLost: 1,
      fractionLost: 51,
      highestSequence: 65_538,
    });
    statistics.onPacket(30_000, 0, 200);
    expect(statistics.packetsLost).toBe(0);
  });
});

describe('timers', () => {
  beforeEach(() => {
    vi.useFakeTimers({
      toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'],
    });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test('key-frame requests: one at once, one deferred, none when answered', () => {
    let sent = 0;
    const requester = new KeyFrameRequester(() => sent++, 500);
    for (let n = 0; n < 20; n++) requester.request();
    expect(sent).toBe(1);
    vi.advanceTimersByTime(499);
    expect(sent).toBe(1);
    vi.advanceTimersByTime(1);
    expect(sent).toBe(2);
    requester.onKeyFrame();
    vi.advanceTimersByTime(10_000);
    expect(sent).toBe(2);
    requester.request();
    vi.advanceTimersByTime(30_000);
    expect(sent).toBeLessThanOrEqual(9);
    expect(vi.getTimerCount()).toBe(0);
  });

  test('a key-frame request soon after one that was answered goes out as soon as browsers heed it, whoever else asks', () => {
    let sent = 0;
    const requester = new KeyFrameRequester(() => sent++);
    requester.request();
    requester.onKeyFrame();
    for (let n = 0; n < 3; n++) {
      vi.advanceTimersByTime(100);
      requester.request();
    }
    vi.advanceTimersByTime(KEY_FRAME_IGNORED_MS - 301);
    expect(sent).toBe(1);
    vi.advanceTimersByTime(1);
    expect(sent).toBe(2);
    requester.close();
  });

  test('audio levels: active only, loudest first, silence told once, no timer left', () => {
    const told: AudioLevel[][] = [];
    const observer = new AudioLevelObserver((levels) => told.push(levels));
    for (const id of ['quiet', 'loud', 'silent']) observer.add(id);
    for (let n = 0; n < 10; n++) {
      observer.onLevel('quiet', -50);
      observer.onLevel('loud', -10);
      observer.onLevel('silent', -127);
    }
    vi.advanceTimersByTime(300);
    expect(told).toEqual([
      [
        { producerId: 'loud', volumeDbov: -10 },
        { producerId: 'quiet', volumeDbov: -50 },
      ],
    ]);
    vi.advanceTimersByTime(6000);
    expect(told.at(-1)).toEqual([]);
    expect(told.filter((levels) => levels.length === 0)).toHaveLength(1);
    for (const id of ['quiet', 'loud', 'silent']) observer.remove(id);
    expect(vi.getTimerCount()).toBe(0);
  });
});

describe('DownlinkEstimator', () => {
  test('a REMB far above what is sent is no limit, one below it is, and trust returns slowly', () => {
    const told: number[] = [];
    const estimator = new DownlinkEstimator(1_000_000, (bitrateBps) => told.push(bitrateBps));
    expect(estimator.estimateBps).toBeNull();
    estimator.onRemb(90_000, 60_000, 1000);
    expect(told).toEqual([1_000_000]);
    estimator.onRemb(300_000, 900_000, 2000);
    expect(told.at(-1)).toBe(300_000);
    for (let s = 3; s < 60; s++) estimator.onRemb(90_000, 60_000, s * 1000);
    expect(told.at(-1)).toBeGreaterThan(900_000);
    expect(told.at(-1)).toBeLessThanOrEqual(1_000_000);
  });

  /** A link of that rate with a queue in front; feedback every 100 ms. */
  function simulate(linkBps: number, sendBps: number, seconds: number): number {
    const estimator = new DownlinkEstimator(1_000_000, () => {});
    const bytes = 1000;
    const gapMs = (bytes * 8000) / sendBps;
    let freeAtMs = 0;
    let pending: { sequenceNumber: number; arrivalMs: number }[] = [];
    let lastFeedbackMs = 0;
    let sequenceNumber = 0;
    for (let nowMs = 1; nowMs < seconds * 1000; nowMs += gapMs) {
      estimator.onSent(sequenceNumber, bytes, nowMs);
      freeAtMs = Math.max(freeAtMs, nowMs) + (bytes * 8000) / linkBps;
      pending.push({ sequenceNumber, arrivalMs: freeAtMs + 20 });
      sequenceNumber = (sequenceNumber + 1) & 0xffff;
      if (nowMs - lastFeedbackMs < 100) continue;
      lastFeedbackMs = nowMs;
      const arrived = pending.filter(({ arrivalMs }) => arrivalMs <= nowMs);
      pending = pending.filter(({ arrivalMs }) => arrivalMs > nowMs);
      const [first] = arrived;
      if (!first) continue;
      const arrivalsMs = arrived.map(({ arrivalMs }) => arrivalMs);
      estimator.onFeedback({ type: 'twcc', baseSequence: first.sequenceNumber, arrivalsMs }, nowMs);
    }
    return estimator.estimateBps ?? 0;
  }

  test('transport-wide feedback: a queue that grows brings it below the link, a wide link lets it be', () => {
    expect(simulate(400_000, 700_000, 4)).toBeLessThan(450_000);
    expect(simulate(400_000, 700_000, 4)).toBeGreaterThan(200_000);
    expect(simulate(5_000_000, 300_000, 4)).toBe(1_000_000);
    expect(simulate(5_000_000, 1_500_000, 6)).toBeGreaterThan(1_200_000);
  });
});

test('RateMeter knows the last second only', () => {
  const meter = new RateMeter();
  for (let ms = 10_000; ms < 12_000; ms += 10) meter.add(100, ms);
  expect(meter.bitrateBps(12_000)).toBeGreaterThan(70_000);
  expect(meter.bitrateBps(12_000)).toBeLessThanOrEqual(80_000);
  expect(meter.bitrateBps(14_000)).toBe(0);
});
