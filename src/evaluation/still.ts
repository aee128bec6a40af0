import type { Frame } from 'node-av';
import { AV_PIX_FMT_YUV420P } from 'node-av/constants';
import { VireoError } from '../errors.js';
import { fittingStill, type StillBudget } from '../signaling/stillBudget.js';
import { encodePicture } from './encodePicture.js';

/**
 * The sharp still that a sender would upload: WebP of a limited-range 4:2:0 frame, which stays the caller's, as good as the
 * budget allows (a smaller picture where the lowest quality is too large). Rejects with `media-invalid` where none fits.
 */
export async function encodeStill(frame: Frame, budget: StillBudget): Promise<Buffer> {
  const fitting = await fittingStill(budget, async (scale, quality) => {
    const sides = [frame.width, frame.height].map((side) => Math.round((side * scale) / 2) * 2);
    return await encodePicture(frame, {
      encoder: 'libwebp',
      filter: `scale=${sides.join(':')}:flags=area,format=yuv420p`,
      pixelFormat: AV_PIX_FMT_YUV420P,
      options: { quality: `${quality}` },
    });
  });
  if (fitting === null)
    throw new VireoError('media-invalid', `no still of ${budget.maxBytes} bytes can be made of this picture`);
  return fitting.coded;
}
