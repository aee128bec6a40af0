import type { Frame } from 'node-av';
import { AV_PIX_FMT_YUV420P } from 'node-av/constants';
import { encodePicture } from './encodePicture.js';

/** Of WebP: 12 to 35 kB for a 720p picture of a call. */
const QUALITY = 60;

/** The sharp still that a sender would upload: WebP of a limited-range 4:2:0 frame, which stays the caller's. */
export async function encodeStill(frame: Frame): Promise<Buffer> {
  return await encodePicture(frame, {
    encoder: 'libwebp',
    filter: 'format=yuv420p',
    pixelFormat: AV_PIX_FMT_YUV420P,
    options: { quality: `${QUALITY}` },
  });
}
