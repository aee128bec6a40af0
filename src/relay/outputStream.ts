/** How a restored stream is coded and described. */
import type { RtpCapabilities, RtpCodecCapability, RtpParameters } from 'mediasoup/types';
import { VireoError } from '../errors.js';
import type { RtpVideoStream, VideoCodec } from '../restorer/types.js';

export type OutputCodecSetting = 'auto' | 'h264' | 'vp8' | 'av1';

const SETTINGS: Record<Exclude<OutputCodecSetting, 'auto'>, VideoCodec> = {
  h264: 'H264',
  vp8: 'VP8',
  av1: 'AV1',
};

export interface OutputCodecInputs {
  setting: OutputCodecSetting;
  /** What the restorer can encode. */
  encoders: readonly VideoCodec[];
  router: RtpCapabilities;
  /** What the engine can take from a restorer (`SfuRouter.plainVideoMimeTypes`). */
  plainVideoMimeTypes: readonly string[];
  /** Capabilities of everyone who watches the restored variant. */
  watchers: readonly RtpCapabilities[];
}

/** The codec of a restored track. `auto`: H.264 when every watcher has it, else VP8. Null: nothing fits. */
export function chooseOutputCodec({
  setting,
  encoders,
  router,
  plainVideoMimeTypes,
  watchers,
}: OutputCodecInputs): VideoCodec | null {
  const possible = (codec: VideoCodec) =>
    encoders.includes(codec) &&
    plainVideoMimeTypes.includes(`video/${codec}`) &&
    findCodec(router, codec) !== undefined;
  const forAll = (codec: VideoCodec) => watchers.every((watcher) => findCodec(watcher, codec) !== undefined);
  if (setting !== 'auto' && possible(SETTINGS[setting])) return SETTINGS[setting];
  const order: VideoCodec[] = ['H264', 'VP8', 'VP9', 'AV1'];
  return order.find((codec) => possible(codec) && forAll(codec)) ?? order.find(possible) ?? null;
}

export function findCodec(capabilities: RtpCapabilities, codec: VideoCodec): RtpCodecCapability | undefined {
  const mimeType = `video/${codec}`.toLowerCase();
  return capabilities.codecs?.find(
    (candidate) =>
      candidate.mimeType.toLowerCase() === mimeType &&
      (codec !== 'H264' || Number(candidate.parameters?.['packetization-mode'] ?? 0) === 1),
  );
}

/** The video stream that a consumer's parameters describe. @throws VireoError `unsupported` */
export function inputStreamOf(parameters: RtpParameters): RtpVideoStream {
  const [encoding] = parameters.encodings ?? [];
  const media = parameters.codecs.find(({ mimeType }) => !/\/(rtx|red|ulpfec|flexfec)/i.test(mimeType));
  const codec = codecOf(media?.mimeType ?? '');
  if (!media || !codec || encoding?.ssrc === undefined) {
    throw new VireoError('unsupported', `a ${media?.mimeType ?? 'nameless'} stream cannot be restored`);
  }
  const rtx = parameters.codecs.find(
    ({ mimeType, parameters: fmtp }) => /\/rtx$/i.test(mimeType) && Number(fmtp?.apt) === media.payloadType,
  );
  return {
    codec,
    payloadType: media.payloadType,
    ssrc: encoding.ssrc,
    ...(rtx && encoding.rtx ? { rtx: { payloadType: rtx.payloadType, ssrc: encoding.rtx.ssrc } } : {}),
    cname: parameters.rtcp?.cname ?? '',
  };
}

/** What the engine is told of the restored stream that comes in over its plain port. */
export function outputParameters(router: RtpCapabilities, stream: RtpVideoStream): RtpParameters {
  const capability = findCodec(router, stream.codec);
  if (!capability) throw new VireoError('unsupported', `the engine does not offer ${stream.codec}`);
  return {
    codecs: [
      {
        mimeType: capability.mimeType,
        payloadType: stream.payloadType,
        clockRate: capability.clockRate,
        parameters: capability.parameters ?? {},
        rtcpFeedback: [
          { type: 'nack', parameter: '' },
          { type: 'nack', parameter: 'pli' },
          { type: 'ccm', parameter: 'fir' },
        ],
      },
    ],
    headerExtensions: [],
    encodings: [{ ssrc: stream.ssrc }],
    // The publisher's name: receivers keep the restored picture in step with the publisher's voice.
    rtcp: { cname: stream.cname, reducedSize: true },
  };
}

function codecOf(mimeType: string): VideoCodec | null {
  const name = mimeType.replace(/^video\//i, '').toUpperCase();
  return name === 'VP8' || name === 'VP9' || name === 'H264' || name === 'AV1' ? name : null;
}
