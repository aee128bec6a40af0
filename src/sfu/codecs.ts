/**
 * The codecs a room offers, in the order a browser should prefer them; the same for both engines.
 *
 * VP8 first: every browser has it, and restoration is trained on it. Profile 42e01f (constrained
 * baseline 3.1) is the H.264 every browser sends and receives, and it carries 720p30.
 */
import type { RouterRtpCodecCapability } from 'mediasoup/types';

export const ROUTER_CODECS: RouterRtpCodecCapability[] = [
  {
    kind: 'audio',
    mimeType: 'audio/opus',
    clockRate: 48_000,
    channels: 2,
    preferredPayloadType: 111,
    parameters: { useinbandfec: 1, usedtx: 1 },
  },
  { kind: 'video', mimeType: 'video/VP8', clockRate: 90_000, preferredPayloadType: 96, parameters: {} },
  {
    kind: 'video',
    mimeType: 'video/H264',
    clockRate: 90_000,
    preferredPayloadType: 102,
    parameters: { 'packetization-mode': 1, 'profile-level-id': '42e01f', 'level-asymmetry-allowed': 1 },
  },
  {
    kind: 'video',
    mimeType: 'video/VP9',
    clockRate: 90_000,
    preferredPayloadType: 98,
    parameters: { 'profile-id': 0 },
  },
  { kind: 'video', mimeType: 'video/AV1', clockRate: 90_000, preferredPayloadType: 45, parameters: {} },
];
