/**
 * Pixels lost at random, the inpainting problem of restoration papers: a share of the luma of every picture, other
 * pixels in each, the same ones in every run. Masks are the key stream of AES in counter mode cut at a
 * threshold, so neither noise nor threshold is a loop over pixels here.
 */
import { createCipheriv } from 'node:crypto';
import type { Frame } from 'node-av';
import { i420ByteLength } from '../media/types.js';
import { frameOf, tagsOf } from '../restoration/ffmpeg.js';
import { FrameFilter, PairFilter, type PictureSize } from '../restoration/filters.js';

/** Lost pixels are black, as a viewer without restoration would see them. */
const DAMAGE = '[a]split[kept][whole];[whole]lutyuv=y=16[black];[kept][black][b]maskedmerge=planes=1[out]';

export interface DamagedPicture {
  picture: Frame;
  /** Luma 255 where the picture lost its pixel, else 0. */
  lost: Frame;
}

export class LostPixels {
  readonly #size: PictureSize;
  readonly #noise: ArrayBuffer;
  readonly #zeros: Buffer;
  readonly #threshold: FrameFilter;
  readonly #damage = new PairFilter(DAMAGE);
  #pictures = 0;

  constructor(size: PictureSize, percent: number) {
    this.#size = size;
    this.#zeros = Buffer.alloc(i420ByteLength(size.width, size.height));
    this.#noise = new ArrayBuffer(this.#zeros.length);
    this.#threshold = new FrameFilter(`lut=y='255*lt(val,${Math.round((percent * 256) / 100)})':u=0:v=0`);
  }

  /** The picture stays the caller's; so are both results. */
  async apply(picture: Frame): Promise<DamagedPicture> {
    const counter = Buffer.alloc(16);
    counter.writeUInt32BE(++this.#pictures);
    const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16), counter);
    new Uint8Array(this.#noise).set(cipher.update(this.#zeros));
    // Tagged like the picture: a filter with both would convert one into the other's range.
    const noise = frameOf(
      { buffer: this.#noise, ...this.#size, rtpTimestamp90k: 0, fullRange: false },
      tagsOf(picture),
    );
    const lost = await this.#threshold.apply(noise).finally(() => noise.free());
    try {
      return { picture: await this.#damage.apply(picture, lost), lost };
    } catch (thrown) {
      lost.free();
      throw thrown;
    }
  }

  close(): void {
    this.#threshold.close();
    this.#damage.close();
  }
}

/**
 * What needs no model: each lost pixel from the known ones around it, weighted by a Gaussian that is as wide as
 * they are rare. Takes the damaged picture and `lost`.
 */
export function fillFilter(percent: number): PairFilter {
  const sigma = 0.6 / Math.sqrt(1 - percent / 100);
  const blur = `gblur=sigma=${sigma.toFixed(3)}:steps=3`;
  return new PairFilter(
    [
      // Code values as they are: gray of a limited range would be stretched on its way to floats.
      '[a]setparams=range=pc,extractplanes=y+u+v[y][u][v]',
      '[b]setparams=range=pc,extractplanes=y,split[lost][inverse]',
      '[inverse]negate,format=grayf32,split[weight][known]',
      '[y]split[here][floor]',
      '[floor]format=grayf32[luma]',
      `[luma][weight]blend=all_mode=multiply,${blur}[sum]`,
      `[known]${blur}[total]`,
      '[sum][total]blend=all_mode=divide,format=gray[mean]',
      '[here][mean][lost]maskedmerge[filled]',
      '[filled][u][v]mergeplanes=0x001020:yuv420p,setparams=range=tv[out]',
    ].join(';'),
  );
}
