import type { Frame } from 'node-av';
import { AV_PIX_FMT_YUV420P } from 'node-av/constants';
import { VireoError } from '../errors.js';
import { avifFile } from '../signaling/avif.js';
import type { StillMimeType } from '../signaling/messages.js';
import { avifQuantizer, fittingStill, type StillBudget } from '../signaling/stillBudget.js';
import { encodePicture } from './encodePicture.js';

/**
 * SVT-AV1's, whose rate factor is a fourth of the quantizer, and which takes a lower one for key frames: with this much more it gives what
 * libaom gives at that quantizer, in about the same bytes.
 */
const CRF_MORE = 7;

/**
 * The sharp still that a sender would upload: AVIF, or WebP as browsers without an AV1 encoder do, of a limited-range 4:2:0 frame, which
 * stays the caller's, as good as the budget allows (a smaller picture where the lowest quality is too large). Rejects with
 * `media-invalid` where none fits.
 */
export async function encodeStill(
  frame: Frame,
  budget: StillBudget,
  mimeType: StillMimeType = 'image/avif',
): Promise<Buffer> {
  const fitting = await fittingStill(budget, async (scale, quality) => {
    const [width = 2, height = 2] = [frame.width, frame.height].map(
      (side) => Math.max(1, Math.round((side * scale) / 2)) * 2,
    );
    const filter = `scale=${width}:${height}:flags=area,format=yuv420p`;
    const pixelFormat = AV_PIX_FMT_YUV420P;
    if (mimeType === 'image/webp') {
      return await encodePicture(frame, {
        encoder: 'libwebp',
        filter,
        pixelFormat,
        options: { quality: `${quality}` },
      });
    }
    const crf = Math.round(avifQuantizer(quality) / 4) + CRF_MORE;
    const keyFrame = await encodePicture(frame, {
      encoder: 'libsvtav1',
      filter,
      pixelFormat,
      options: { preset: '12', crf: `${crf}` },
    });
    return Buffer.from(avifFile({ keyFrame, width, height }));
  });
  if (fitting === null)
    throw new VireoError('media-invalid', `no still of ${budget.maxBytes} bytes can be made of this picture`);
  return fitting.coded;
}
