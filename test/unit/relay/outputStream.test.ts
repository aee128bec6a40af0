import { describe, expect, it } from 'vitest';
import { chooseOutputCodec } from '../../../src/relay/outputStream.js';
import type { VideoCodec } from '../../../src/restorer/types.js';
import type { RtpCapabilities } from '../../../src/sfu/types.js';

function capabilities(...codecs: VideoCodec[]): RtpCapabilities {
  return {
    codecs: codecs.map((codec) => ({
      kind: 'video',
      mimeType: `video/${codec}`,
      clockRate: 90_000,
      parameters: codec === 'H264' ? { 'packetization-mode': 1 } : {},
      preferredPayloadType: 100,
    })),
  };
}

const everything = {
  encoders: ['H264', 'VP8', 'AV1'] as const,
  router: capabilities('VP8', 'H264', 'VP9', 'AV1'),
  plainVideoMimeTypes: ['video/H264', 'video/VP8', 'video/VP9', 'video/AV1'],
  watchers: [capabilities('VP8', 'H264', 'AV1')],
};

describe('the codec of a restored track', () => {
  it('is H.264 when everybody who watches has it, else VP8', () => {
    expect(chooseOutputCodec({ setting: 'auto', ...everything })).toBe('H264');
    const watchers = [capabilities('VP8', 'H264'), capabilities('VP8')];
    expect(chooseOutputCodec({ setting: 'auto', ...everything, watchers })).toBe('VP8');
  });

  it('is what the operator set, where engine and encoder can do it', () => {
    expect(chooseOutputCodec({ setting: 'av1', ...everything })).toBe('AV1');
    const plainVideoMimeTypes = ['video/H264', 'video/VP8', 'video/VP9'];
    expect(chooseOutputCodec({ setting: 'av1', ...everything, plainVideoMimeTypes })).toBe('H264');
    expect(chooseOutputCodec({ setting: 'h264', ...everything, encoders: ['VP8'] })).toBe('VP8');
  });

  it('is none when nothing fits', () => {
    expect(chooseOutputCodec({ setting: 'auto', ...everything, encoders: [] })).toBeNull();
  });
});
