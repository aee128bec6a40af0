/** What the engine contract tests share: engines, parameters as a browser would send them, calls. */
import { randomInt } from 'node:crypto';
import { networkInterfaces } from 'node:os';
import { createLogger } from '../../src/log.js';
import { createSfuEngine, findMediasoupWorker } from '../../src/sfu/createEngine.js';
import type {
  MediaKind,
  RtpCapabilities,
  RtpParameters,
  SfuConsumer,
  SfuEngine,
  SfuEngineKind,
  SfuEngineOptions,
  SfuPlainTransport,
  SfuProducer,
  SfuRouter,
  SfuTransport,
  SfuWebRtcTransport,
} from '../../src/sfu/types.js';
import type { MediaPeer } from '../support/peer/MediaPeer.js';
import { PlainPeer } from '../support/peer/PlainPeer.js';
import { EXTENSION, type SendStream } from '../support/peer/SendStream.js';
import { TestPeer, type TestPeerOptions } from '../support/peer/TestPeer.js';

export const hasIpv6Loopback = Object.values(networkInterfaces()).some((addresses) =>
  addresses?.some(({ address }) => address === '::1'),
);

const skipMediasoup = findMediasoupWorker() === null && !process.env.VIREO_REQUIRE_MEDIASOUP;
if (skipMediasoup) {
  console.warn('mediasoup half of the engine contract skipped: no worker binary (`npm run setup:mediasoup`)');
}

export const ENGINES: { name: SfuEngineKind; skip: boolean }[] = [
  { name: 'werift', skip: false },
  { name: 'mediasoup', skip: skipMediasoup },
];

export function createEngine(
  engine: SfuEngineKind,
  options: Partial<SfuEngineOptions> = {},
): Promise<SfuEngine> {
  return createSfuEngine({
    engine,
    rtcPort: 0,
    listenIps: hasIpv6Loopback ? ['127.0.0.1', '::1'] : ['127.0.0.1'],
    initialDownlinkBps: 1_000_000,
    plainListenIp: '127.0.0.1',
    logger: createLogger((process.env.VIREO_TEST_LOG ?? 'silent') as 'silent', 'test'),
    ...options,
  });
}

/** Payload types and extension ids unlike the router's, so that forgotten rewriting shows. */
const CODEC = {
  opus: {
    kind: 'audio',
    mimeType: 'audio/opus',
    payloadType: 109,
    clockRate: 48_000,
    channels: 2,
    parameters: {},
  },
  VP8: { kind: 'video', mimeType: 'video/VP8', payloadType: 120, clockRate: 90_000, parameters: {} },
  H264: {
    kind: 'video',
    mimeType: 'video/H264',
    payloadType: 126,
    clockRate: 90_000,
    parameters: { 'packetization-mode': 1, 'profile-level-id': '42e01f', 'level-asymmetry-allowed': 1 },
  },
} as const;
const EXTENSION_ID = { mid: 3, audioLevel: 6, absSendTime: 2, transportSequence: 7 } as const;
const VIDEO_FEEDBACK = [
  { type: 'nack', parameter: '' },
  { type: 'nack', parameter: 'pli' },
  { type: 'ccm', parameter: 'fir' },
  { type: 'goog-remb', parameter: '' },
  { type: 'transport-cc', parameter: '' },
];

export type CodecName = keyof typeof CODEC;

export function randomSsrc(): number {
  return randomInt(1, 0xffffffff);
}

let nextMid = 0;

export interface SendParametersOptions {
  ssrc?: number;
  /** Video only. Default true. */
  rtx?: boolean;
  mid?: string;
}

export function sendParameters(codecName: CodecName, options: SendParametersOptions = {}): RtpParameters {
  const { kind, ...codec } = CODEC[codecName];
  const video = kind === 'video';
  const rtx = video && options.rtx !== false;
  const ssrc = options.ssrc ?? randomSsrc();
  const rtxCodec = {
    mimeType: 'video/rtx',
    payloadType: codec.payloadType - 1,
    clockRate: 90_000,
    parameters: { apt: codec.payloadType },
    rtcpFeedback: [],
  };
  const uris = video
    ? (['mid', 'absSendTime', 'transportSequence'] as const)
    : (['mid', 'absSendTime', 'audioLevel'] as const);
  nextMid += 1;
  return {
    mid: options.mid ?? String(nextMid),
    codecs: [{ ...codec, rtcpFeedback: video ? VIDEO_FEEDBACK : [] }, ...(rtx ? [rtxCodec] : [])],
    headerExtensions: uris.map((name) => ({ uri: EXTENSION[name], id: EXTENSION_ID[name] })),
    encodings: [{ ssrc, ...(rtx ? { rtx: { ssrc: randomSsrc() } } : {}) }],
    rtcp: { cname: 'sender@test', reducedSize: true },
  };
}

/** What a receiver says it can do: all the router offers, less some codecs or extensions. */
export function capabilities(
  router: SfuRouter,
  less: { codecs?: string[]; extensions?: string[] } = {},
): RtpCapabilities {
  const { codecs = [], headerExtensions = [] } = structuredClone(router.rtpCapabilities);
  const lacks = (mimeType: string) =>
    less.codecs?.some((name) => name.toLowerCase() === mimeType.toLowerCase());
  const gone = new Set(
    codecs.filter(({ mimeType }) => lacks(mimeType)).map((codec) => codec.preferredPayloadType),
  );
  return {
    codecs: codecs.filter(
      ({ mimeType, parameters, preferredPayloadType }) =>
        !gone.has(preferredPayloadType) && !(/\/rtx$/i.test(mimeType) && gone.has(parameters?.apt as number)),
    ),
    headerExtensions: headerExtensions.filter(({ uri }) => !less.extensions?.includes(uri)),
  };
}

export interface Leg<P extends MediaPeer, T extends SfuTransport> {
  peer: P;
  transport: T;
}
export type WebRtcLeg = Leg<TestPeer, SfuWebRtcTransport>;
export type PlainLeg = Leg<PlainPeer, SfuPlainTransport>;

export interface Publication {
  producer: SfuProducer;
  stream: SendStream;
}

export interface Subscription {
  consumer: SfuConsumer;
  ssrc: number;
  rtxSsrc: number | null;
  payloadType: number;
  rtxPayloadType: number | null;
}

/** A router and all the peers of one test, closed together. */
export class Call {
  readonly router: SfuRouter;
  readonly #peers: (TestPeer | PlainPeer)[] = [];

  private constructor(router: SfuRouter) {
    this.router = router;
  }

  static async create(engine: SfuEngine): Promise<Call> {
    return new Call(await engine.createRouter());
  }

  /** A connected WebRTC peer. */
  async join(options: TestPeerOptions = {}): Promise<WebRtcLeg> {
    const leg = await this.dial(options);
    await leg.transport.connect({ dtlsParameters: leg.peer.dtlsParameters });
    await leg.peer.connect(leg.transport);
    await leg.peer.until('the transport to be connected', () => leg.transport.state === 'connected');
    return leg;
  }

  /** A peer and a transport that do not know each other yet. */
  async dial(options: TestPeerOptions = {}): Promise<WebRtcLeg> {
    const transport = await this.router.createWebRtcTransport();
    const peer = await TestPeer.create(options);
    this.#peers.push(peer);
    return { peer, transport };
  }

  async joinPlain(): Promise<PlainLeg> {
    const transport = await this.router.createPlainTransport();
    const peer = await this.plainPeer();
    await transport.connect(peer.localAddress);
    peer.remote = transport.localAddress;
    return { peer, transport };
  }

  async plainPeer(): Promise<PlainPeer> {
    const peer = await PlainPeer.create();
    this.#peers.push(peer);
    return peer;
  }

  async publish(
    leg: Leg<MediaPeer, SfuTransport>,
    codec: CodecName,
    options: SendParametersOptions & { firstSequenceNumber?: number } = {},
  ): Promise<Publication> {
    const kind: MediaKind = CODEC[codec].kind;
    const rtpParameters = sendParameters(codec, options);
    const producer = await leg.transport.produce({ kind, rtpParameters });
    return { producer, stream: leg.peer.addStream(kind, rtpParameters, options.firstSequenceNumber) };
  }

  /** A consumer, paused as it is created unless told otherwise. */
  async subscribe(
    leg: Leg<MediaPeer, SfuTransport>,
    producer: SfuProducer,
    options: { resume?: boolean; rtpCapabilities?: RtpCapabilities } = {},
  ): Promise<Subscription> {
    const rtpCapabilities = options.rtpCapabilities ?? capabilities(this.router);
    const consumer = await leg.transport.consume({ producerId: producer.id, rtpCapabilities });
    if (options.resume) await consumer.resume();
    const { codecs, encodings } = consumer.rtpParameters;
    const ssrc = encodings?.[0]?.ssrc;
    const [codec] = codecs;
    if (ssrc === undefined || !codec) throw new Error('a consumer without SSRC or codec');
    return {
      consumer,
      ssrc,
      rtxSsrc: encodings?.[0]?.rtx?.ssrc ?? null,
      payloadType: codec.payloadType,
      rtxPayloadType: codecs.find(({ mimeType }) => /\/rtx$/i.test(mimeType))?.payloadType ?? null,
    };
  }

  async close(): Promise<void> {
    this.router.close();
    await Promise.all(this.#peers.map((peer) => peer.close()));
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Runs `step` every `intervalMs` until `done` holds or the count is reached. */
export async function pump(
  count: number,
  intervalMs: number,
  step: (i: number) => void,
  done?: () => boolean,
): Promise<void> {
  for (let i = 0; i < count && !done?.(); i += 1) {
    step(i);
    await pause(intervalMs);
  }
}

/** Deterministic numbers (mulberry32), so that a failing mutation can be found again. */
export function seededRandom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below) | 0;
  };
}

/** A copy with some bits flipped, bytes overwritten with extremes, cut short, extended or spliced. */
export function mutate(data: Buffer, random: (below: number) => number): Buffer {
  let copy = Buffer.from(data);
  for (let i = 1 + random(4); i > 0; i -= 1) {
    const at = random(Math.max(1, random(3) === 0 ? copy.length : Math.min(copy.length, 24)));
    switch (random(6)) {
      case 0:
        if (copy.length > 0) copy[at] = (copy[at] ?? 0) ^ (1 << random(8));
        break;
      case 1:
        if (copy.length > 0) copy[at] = [0, 255, 127, 128, 1][random(5)] ?? 0;
        break;
      case 2:
        copy = copy.subarray(0, random(copy.length + 1));
        break;
      case 3:
        copy = Buffer.concat([copy, Buffer.alloc(random(64), random(256))]);
        break;
      case 4:
        copy = Buffer.concat([copy.subarray(0, at), copy.subarray(random(copy.length + 1))]);
        break;
      default:
        if (copy.length >= 4)
          copy.writeUInt16BE([0, 1, 0xffff, 0x8000, copy.length][random(5)] ?? 0, random(copy.length - 1));
    }
  }
  return copy;
}
