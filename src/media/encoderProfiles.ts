import { AV_PIX_FMT_NV12, AV_PIX_FMT_YUV420P, type AVPixelFormat } from 'node-av/constants';
import type { VideoCodec, VideoEncoderOptions } from './types.js';

/** How one of FFmpeg's encoders is set up for a call: no look-ahead, no reordering, key frames on request only. */
export interface EncoderProfile {
  codec: VideoCodec;
  /** FFmpeg's name. */
  encoderName: string;
  hardware: boolean;
  /** What it takes, in system memory. */
  pixelFormat: AVPixelFormat;
  /** Whether pictures have to be uploaded to the device first. */
  surfaces: boolean;
  /** Whether a new bitrate on the open context takes effect; else the encoder is opened anew. */
  liveBitrate: boolean;
  /** Whether the least rate is bound too, which is how libvpx is told to keep the bitrate constant. */
  constantBitrate: boolean;
  /** Seconds of the bitrate that the rate control may save up or overdraw. */
  bufferS: number;
  maxThreads: number;
  options: (options: VideoEncoderOptions) => Record<string, string | number>;
}

const SOFTWARE = {
  hardware: false,
  pixelFormat: AV_PIX_FMT_YUV420P,
  surfaces: false,
  liveBitrate: false,
  constantBitrate: true,
};
const HARDWARE = {
  hardware: true,
  surfaces: false,
  liveBitrate: false,
  constantBitrate: false,
  bufferS: 0.5,
  maxThreads: 1,
};

/** In order of preference for each codec. */
export const ENCODER_PROFILES: readonly EncoderProfile[] = [
  {
    ...HARDWARE,
    codec: 'H264',
    encoderName: 'h264_nvenc',
    pixelFormat: AV_PIX_FMT_YUV420P,
    liveBitrate: true,
    options: () => ({
      preset: 'p3',
      tune: 'ull',
      rc: 'cbr',
      profile: 'baseline',
      zerolatency: 1,
      delay: 0,
      'forced-idr': 1,
      surfaces: 4,
    }),
  },
  {
    ...HARDWARE,
    codec: 'H264',
    encoderName: 'h264_qsv',
    pixelFormat: AV_PIX_FMT_NV12,
    options: () => ({
      preset: 'veryfast',
      profile: 'baseline',
      async_depth: 1,
      low_delay_brc: 1,
      forced_idr: 1,
      look_ahead: 0,
    }),
  },
  {
    ...HARDWARE,
    codec: 'H264',
    encoderName: 'h264_vaapi',
    pixelFormat: AV_PIX_FMT_NV12,
    surfaces: true,
    options: () => ({ profile: 'constrained_baseline', rc_mode: 'CBR', async_depth: 1, idr_interval: 0 }),
  },
  {
    ...SOFTWARE,
    codec: 'H264',
    encoderName: 'libx264',
    liveBitrate: true,
    constantBitrate: false,
    bufferS: 0.6,
    maxThreads: 4,
    options: ({ width, height, fps }) => ({
      // 2 dB more than ultrafast for a third more work.
      preset: 'superfast',
      tune: 'zerolatency',
      profile: 'baseline',
      // What 42e01f promises, as long as the picture fits into it.
      ...(width * height <= 1280 * 720 && fps <= 30 ? { level: '3.1' } : {}),
      'forced-idr': 1,
      'x264-params': 'keyint=infinite:scenecut=0:repeat-headers=1',
    }),
  },
  {
    ...SOFTWARE,
    codec: 'VP8',
    encoderName: 'libvpx',
    bufferS: 1,
    // libvpx's VP8 threads spin while they wait for each other: on busy cores two are ten times slower than one.
    maxThreads: 1,
    options: () => ({
      deadline: 'realtime',
      // Negative: a fixed effort. A positive value adapts to the machine's load, and so does the picture.
      'cpu-used': -6,
      'lag-in-frames': 0,
      'auto-alt-ref': 0,
      'error-resilient': 0,
      'max-intra-rate': 450,
      'undershoot-pct': 100,
      'overshoot-pct': 15,
      'static-thresh': 1,
      qmin: 2,
      qmax: 56,
    }),
  },
  {
    ...SOFTWARE,
    codec: 'VP9',
    encoderName: 'libvpx-vp9',
    bufferS: 1,
    maxThreads: 2,
    options: () => ({
      deadline: 'realtime',
      'cpu-used': 8,
      'lag-in-frames': 0,
      'auto-alt-ref': 0,
      'row-mt': 1,
      'aq-mode': 3,
    }),
  },
  {
    ...SOFTWARE,
    codec: 'AV1',
    encoderName: 'libsvtav1',
    constantBitrate: false,
    bufferS: 0.6,
    maxThreads: 4,
    options: () => ({
      preset: 12,
      // Low delay, constant bitrate, no scene cuts: a key frame comes when it is asked for.
      'svtav1-params': 'pred-struct=1:lookahead=0:scd=0:rc=2',
    }),
  },
];
