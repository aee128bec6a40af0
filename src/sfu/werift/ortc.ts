import { randomInt } from 'node:crypto';
import type {
  MediaKind,
  RouterRtpCodecCapability,
  RtcpFeedback,
  RtpCapabilities,
  RtpCodecCapability,
  RtpCodecParameters,
  RtpHeaderExtension,
  RtpHeaderExtensionParameters,
  RtpHeaderExtensionUri,
  RtpParameters,
} from 'mediasoup/types';
import { VireoError } from '../../errors.js';

/** Header extensions the engine reads or writes. */
export const EXTENSION = {
  mid: 'urn:ietf:params:rtp-hdrext:sdes:mid',
  absSendTime: 'http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time',
  transportCc: 'http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01',
  audioLevel: 'urn:ietf:params:rtp-hdrext:ssrc-audio-level',
  videoOrientation: 'urn:3gpp:video-orientation',
} as const satisfies Record<string, RtpHeaderExtensionUri>;

/**
 * Both bandwidth estimators are on offer: transport-wide sequence numbers, where the sending side
 * estimates, and abs-send-time with REMB for receivers that lack them.
 */
const HEADER_EXTENSIONS: readonly Required<RtpHeaderExtension>[] = [
  extension('audio', EXTENSION.mid, 1, 'sendrecv'),
  extension('video', EXTENSION.mid, 1, 'sendrecv'),
  extension('audio', EXTENSION.absSendTime, 4, 'sendrecv'),
  extension('video', EXTENSION.absSendTime, 4, 'sendrecv'),
  extension('audio', EXTENSION.transportCc, 5, 'recvonly'),
  extension('video', EXTENSION.transportCc, 5, 'sendrecv'),
  extension('audio', EXTENSION.audioLevel, 10, 'sendrecv'),
  extension('video', EXTENSION.videoOrientation, 11, 'sendrecv'),
];

const AUDIO_FEEDBACK: readonly RtcpFeedback[] = [
  { type: 'nack', parameter: '' },
  { type: 'transport-cc', parameter: '' },
];
const VIDEO_FEEDBACK: readonly RtcpFeedback[] = [
  { type: 'nack', parameter: '' },
  { type: 'nack', parameter: 'pli' },
  { type: 'ccm', parameter: 'fir' },
  { type: 'goog-remb', parameter: '' },
  { type: 'transport-cc', parameter: '' },
];

function extension(
  kind: MediaKind,
  uri: RtpHeaderExtensionUri,
  preferredId: number,
  direction: Required<RtpHeaderExtension>['direction'],
): Required<RtpHeaderExtension> {
  return { kind, uri, preferredId, preferredEncrypt: false, direction };
}

/** RFC 3551, section 6: payload types free for dynamic use. */
const DYNAMIC_PAYLOAD_TYPES = [...range(100, 127), ...range(96, 99)];

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

export function isRtx(codec: { mimeType: string }): boolean {
  return /\/rtx$/i.test(codec.mimeType);
}

/** What every room offers: the given codecs, an RTX codec for each video codec, header extensions, feedback. */
export function routerRtpCapabilities(codecs: readonly RouterRtpCodecCapability[]): RtpCapabilities {
  const taken = new Set(codecs.map((codec) => codec.preferredPayloadType));
  const free = DYNAMIC_PAYLOAD_TYPES.filter((payloadType) => !taken.has(payloadType));
  const allocate = (): number => {
    const payloadType = free.shift();
    if (payloadType === undefined)
      throw new VireoError('internal', 'no payload type is left for the codecs configured');
    return payloadType;
  };
  const out: RtpCodecCapability[] = [];
  for (const codec of codecs) {
    const preferredPayloadType = codec.preferredPayloadType ?? allocate();
    out.push({
      kind: codec.kind,
      mimeType: codec.mimeType,
      preferredPayloadType,
      clockRate: codec.clockRate,
      ...(codec.kind === 'audio' ? { channels: codec.channels ?? 1 } : {}),
      parameters: { ...codec.parameters },
      rtcpFeedback: (codec.kind === 'audio' ? AUDIO_FEEDBACK : VIDEO_FEEDBACK).map((feedback) => ({
        ...feedback,
      })),
    });
    if (codec.kind !== 'video') continue;
    out.push({
      kind: 'video',
      mimeType: 'video/rtx',
      preferredPayloadType: allocate(),
      clockRate: codec.clockRate,
      parameters: { apt: preferredPayloadType },
      rtcpFeedback: [],
    });
  }
  return { codecs: out, headerExtensions: HEADER_EXTENSIONS.map((entry) => ({ ...entry })) };
}

/** How a producer's parameters translate to the router's, and what its consumers start from. */
export interface ProducerMapping {
  /** The producer's media codec, in the producer's numbering. */
  codec: RtpCodecParameters;
  /** The same codec in the router's numbering. */
  routerCodec: RtpCodecCapability;
  /** Payload type of retransmissions from the producer → payload type they repeat. */
  rtxPayloadTypes: ReadonlyMap<number, number>;
  ssrc: number | undefined;
  rtxSsrc: number | undefined;
  mid: string | undefined;
  cname: string;
  /** The producer's header-extension ids. */
  extensionIds: ReadonlyMap<RtpHeaderExtensionUri, number>;
}

/**
 * Checks what a client wants to send and finds the router's counterpart.
 * Throws `bad-request` for malformed parameters, `unsupported` for codecs or encodings the router has not.
 */
export function mapProducer(
  kind: MediaKind,
  parameters: RtpParameters,
  router: RtpCapabilities,
): ProducerMapping {
  checkParameters(parameters);
  const media = parameters.codecs.filter((codec) => !isRtx(codec));
  const codec = media[0];
  if (!codec) throw new VireoError('bad-request', 'rtpParameters.codecs has no media codec');
  if (!codec.mimeType.toLowerCase().startsWith(`${kind}/`)) {
    throw new VireoError('bad-request', `rtpParameters.codecs[0] is ${codec.mimeType}, but kind is ${kind}`);
  }
  const routerCodec = router.codecs?.find((candidate) => !isRtx(candidate) && sameCodec(codec, candidate));
  if (!routerCodec)
    throw new VireoError('unsupported', `codec ${codec.mimeType} with these parameters is not offered here`);
  const encodings = parameters.encodings ?? [];
  if (encodings.length > 1) {
    throw new VireoError(
      'unsupported',
      'simulcast is not supported: rtpParameters.encodings must hold one encoding',
    );
  }
  const encoding = encodings[0];
  if (encoding?.ssrc === undefined && !parameters.mid) {
    throw new VireoError(
      'bad-request',
      'rtpParameters needs encodings[0].ssrc or a mid to tell its packets by',
    );
  }
  const rtxPayloadTypes = new Map<number, number>();
  for (const rtx of parameters.codecs.filter(isRtx)) {
    const apt = rtx.parameters?.apt;
    if (media.every(({ payloadType }) => payloadType !== apt)) {
      throw new VireoError(
        'bad-request',
        `rtpParameters: RTX payload type ${rtx.payloadType} has no codec (apt ${String(apt)})`,
      );
    }
    if (apt === codec.payloadType) rtxPayloadTypes.set(rtx.payloadType, codec.payloadType);
  }
  return {
    codec,
    routerCodec,
    rtxPayloadTypes,
    ssrc: encoding?.ssrc,
    rtxSsrc: encoding?.rtx?.ssrc,
    mid: parameters.mid,
    cname: parameters.rtcp?.cname ?? '',
    extensionIds: new Map((parameters.headerExtensions ?? []).map(({ uri, id }) => [uri, id])),
  };
}

function checkParameters(parameters: RtpParameters): void {
  if (!parameters || !Array.isArray(parameters.codecs))
    throw new VireoError('bad-request', 'rtpParameters.codecs must be a list');
  for (const codec of parameters.codecs) {
    const valid =
      typeof codec?.mimeType === 'string' &&
      isIntegerIn(codec.payloadType, 0, 127) &&
      isIntegerIn(codec.clockRate, 1, 1_000_000);
    if (!valid)
      throw new VireoError(
        'bad-request',
        'rtpParameters.codecs: mimeType, payloadType and clockRate are needed',
      );
  }
  for (const encoding of parameters.encodings ?? []) {
    for (const ssrc of [encoding.ssrc, encoding.rtx?.ssrc]) {
      if (ssrc !== undefined && !isIntegerIn(ssrc, 1, 0xffffffff)) {
        throw new VireoError('bad-request', 'rtpParameters.encodings: ssrc must be a 32-bit number');
      }
    }
  }
  for (const entry of parameters.headerExtensions ?? []) {
    if (typeof entry?.uri !== 'string' || !isIntegerIn(entry.id, 1, 255)) {
      throw new VireoError(
        'bad-request',
        'rtpParameters.headerExtensions: uri and an id from 1 to 255 are needed',
      );
    }
  }
}

function isIntegerIn(value: unknown, low: number, high: number): value is number {
  return Number.isInteger(value) && (value as number) >= low && (value as number) <= high;
}

interface CodecLike {
  mimeType: string;
  clockRate: number;
  channels?: number;
  parameters?: Record<string, unknown>;
}

/** Whether media in one codec can be read as the other (names, clock, channels, profile). */
export function sameCodec(a: CodecLike, b: CodecLike): boolean {
  const mimeType = a.mimeType.toLowerCase();
  if (mimeType !== b.mimeType.toLowerCase() || a.clockRate !== b.clockRate) return false;
  if (mimeType.startsWith('audio/') && (a.channels ?? 1) !== (b.channels ?? 1)) return false;
  const parameter = (codec: CodecLike, name: string): string => String(codec.parameters?.[name] ?? 0);
  switch (mimeType) {
    case 'video/h264':
      return (
        parameter(a, 'packetization-mode') === parameter(b, 'packetization-mode') &&
        h264Profile(a.parameters?.['profile-level-id']) === h264Profile(b.parameters?.['profile-level-id'])
      );
    case 'video/vp9':
      return parameter(a, 'profile-id') === parameter(b, 'profile-id');
    default:
      return true;
  }
}

/** RFC 6184, section 8.1, table 5: the profile that profile_idc and profile-iop stand for. */
function h264Profile(profileLevelId: unknown): string {
  // Absent means Baseline, level 1.
  const value = Number.parseInt(String(profileLevelId ?? '42000a'), 16);
  const idc = (value >> 16) & 0xff;
  const iop = (value >> 8) & 0xff;
  const constraint = (bit: number): boolean => (iop & (0x80 >> bit)) !== 0;
  if (
    (idc === 0x42 && constraint(1)) ||
    (idc === 0x4d && constraint(0)) ||
    (idc === 0x58 && constraint(0) && constraint(1))
  ) {
    return 'constrained-baseline';
  }
  if (idc === 0x42 || (idc === 0x58 && constraint(0))) return 'baseline';
  if (idc === 0x64 && (iop & 0x0f) === 0x0c) return 'constrained-high';
  return `profile-${idc}`;
}

/** Whether a receiver with these capabilities can take the producer's codec. */
export function canConsume(producer: ProducerMapping, capabilities: RtpCapabilities): boolean {
  return findCodec(producer, capabilities) !== undefined;
}

function findCodec(producer: ProducerMapping, capabilities: RtpCapabilities): RtpCodecCapability | undefined {
  if (!Array.isArray(capabilities?.codecs)) return undefined;
  return capabilities.codecs.find(
    (codec) => typeof codec?.mimeType === 'string' && !isRtx(codec) && sameCodec(consumable(producer), codec),
  );
}

/** The codec as the router passes it on: the producer's parameters under the router's name. */
function consumable(producer: ProducerMapping): CodecLike {
  const { routerCodec, codec } = producer;
  return { ...routerCodec, parameters: codec.parameters ?? {} };
}

/**
 * What a receiver is told about a producer's media: one SSRC of its own, RTX where it can take it,
 * the router's payload types, and the header extensions both sides know.
 * Throws `unsupported` when the receiver has no such codec.
 */
export function consumerRtpParameters(
  producer: ProducerMapping,
  kind: MediaKind,
  capabilities: RtpCapabilities,
  router: RtpCapabilities,
  mid: string,
): RtpParameters {
  const remoteCodec = findCodec(producer, capabilities);
  if (!remoteCodec)
    throw new VireoError('unsupported', `the receiver cannot decode ${producer.routerCodec.mimeType}`);
  const { routerCodec } = producer;
  const feedback = (routerCodec.rtcpFeedback ?? []).filter((offered) =>
    (remoteCodec.rtcpFeedback ?? []).some((known) => sameFeedback(known, offered)),
  );
  const codec: RtpCodecParameters = {
    mimeType: routerCodec.mimeType,
    payloadType: routerCodec.preferredPayloadType,
    clockRate: routerCodec.clockRate,
    ...(kind === 'audio' ? { channels: routerCodec.channels ?? 1 } : {}),
    parameters: { ...producer.codec.parameters },
    rtcpFeedback: feedback,
  };
  const codecs = [codec];
  const nack = feedback.some(({ type, parameter }) => type === 'nack' && !parameter);
  const routerRtx = router.codecs?.find(
    (entry) => isRtx(entry) && entry.parameters?.apt === codec.payloadType,
  );
  const remoteRtx = capabilities.codecs?.some(
    (entry) => isRtx(entry) && entry.parameters?.apt === remoteCodec.preferredPayloadType,
  );
  const rtx = nack && remoteRtx && routerRtx;
  if (rtx) {
    codecs.push({
      mimeType: routerRtx.mimeType,
      payloadType: routerRtx.preferredPayloadType,
      clockRate: routerRtx.clockRate,
      parameters: { apt: codec.payloadType },
      rtcpFeedback: [],
    });
  }
  const has = (type: string): boolean => feedback.some((entry) => entry.type === type);
  const known = (entry: RtpHeaderExtension): boolean =>
    (capabilities.headerExtensions ?? []).some(
      ({ uri, preferredId, kind: of }) =>
        uri === entry.uri && preferredId === entry.preferredId && (!of || of === kind),
    );
  let headerExtensions = (router.headerExtensions ?? []).filter(
    (entry) =>
      entry.kind === kind && entry.direction !== 'recvonly' && entry.direction !== 'inactive' && known(entry),
  );
  // A plain resend must repeat a packet bit by bit, which a new header would break (RFC 7714, section 8.1).
  const estimator =
    nack && !rtx
      ? undefined
      : (
          [
            ['transport-cc', EXTENSION.transportCc],
            ['goog-remb', EXTENSION.absSendTime],
          ] as const
        ).find(([type, uri]) => has(type) && headerExtensions.some((entry) => entry.uri === uri));
  headerExtensions = headerExtensions.filter(
    ({ uri }) => (uri !== EXTENSION.transportCc && uri !== EXTENSION.absSendTime) || uri === estimator?.[1],
  );
  codec.rtcpFeedback = feedback.filter(
    ({ type }) => (type !== 'transport-cc' && type !== 'goog-remb') || type === estimator?.[0],
  );
  const ssrc = randomInt(0x10000000, 0xfffffff0);
  return {
    mid,
    codecs,
    headerExtensions: headerExtensions.map(({ uri, preferredId }): RtpHeaderExtensionParameters => {
      return { uri, id: preferredId, encrypt: false, parameters: {} };
    }),
    encodings: [rtx ? { ssrc, rtx: { ssrc: ssrc + 1 } } : { ssrc }],
    rtcp: { cname: producer.cname, reducedSize: true },
  };
}

function sameFeedback(a: RtcpFeedback, b: RtcpFeedback): boolean {
  return a.type === b.type && (a.parameter ?? '') === (b.parameter ?? '');
}
