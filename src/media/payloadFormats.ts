import type { VideoCodec } from '../restorer/types.js';
import { Av1Depacketizer, packetizeAv1 } from './Av1Payload.js';
import { H264Depacketizer, packetizeH264 } from './H264Payload.js';
import type { Depacketizer, Packetizer } from './Payload.js';
import { packetizeVp8, Vp8Depacketizer } from './Vp8Payload.js';
import { packetizeVp9, Vp9Depacketizer } from './Vp9Payload.js';

export function createDepacketizer(codec: VideoCodec): Depacketizer {
  switch (codec) {
    case 'VP8':
      return new Vp8Depacketizer();
    case 'VP9':
      return new Vp9Depacketizer();
    case 'H264':
      return new H264Depacketizer();
    case 'AV1':
      return new Av1Depacketizer();
  }
}

export function createPacketizer(codec: VideoCodec): Packetizer {
  let pictureId = Math.floor(Math.random() * 0x8000);
  switch (codec) {
    case 'VP8':
    case 'VP9':
      return (frame, maxBytes) => {
        pictureId = (pictureId + 1) & 0x7fff;
        const packetize = codec === 'VP8' ? packetizeVp8 : packetizeVp9;
        return packetize(frame, pictureId, maxBytes);
      };
    case 'H264':
      return (frame, maxBytes) => packetizeH264(frame.data, maxBytes);
    case 'AV1':
      return packetizeAv1;
  }
}
