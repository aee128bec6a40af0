import type { Frame } from 'node-av';
import { VireoError } from '../errors.js';
import { PairFilter } from '../restoration/filters.js';

/** Identical pictures have infinite PSNR; they count as this much. */
const MAX_PSNR_DB = 100;

/**
 * Code values are compared as they are: FFmpeg would convert a picture tagged with one matrix or range to those of the
 * other (decoders tag VP8 as BT.601, whatever was sent), and measure its own conversion.
 */
const UNTAGGED = 'setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709';

/** Mean PSNR and SSIM of the luma plane over all frames, by FFmpeg's own filters. */
export class QualityMeter {
  readonly #filter = new PairFilter(
    `[a]${UNTAGGED}[x];[b]${UNTAGGED},split=2[r1][r2];[x][r1]psnr[p];[p][r2]ssim[out]`,
  );
  #frames = 0;
  #psnrY = 0;
  #ssimY = 0;

  /** Both frames stay the caller's; they need the same size and timestamp. */
  async add(picture: Frame, reference: Frame): Promise<void> {
    const measured = await this.#filter.apply(picture, reference);
    try {
      const metadata = measured.getMetadata();
      const psnr = metadata.get('lavfi.psnr.psnr.y');
      const ssim = metadata.get('lavfi.ssim.Y');
      if (psnr === null || ssim === null) throw new VireoError('internal', 'FFmpeg measured nothing');
      this.#psnrY += psnr === 'inf' ? MAX_PSNR_DB : Math.min(MAX_PSNR_DB, Number(psnr));
      this.#ssimY += Number(ssim);
      this.#frames++;
    } finally {
      measured.free();
    }
  }

  get result(): { psnrY: number; ssimY: number } {
    const frames = Math.max(1, this.#frames);
    return { psnrY: this.#psnrY / frames, ssimY: this.#ssimY / frames };
  }

  close(): void {
    this.#filter.close();
  }
}
