/** Ways to bring a small decoded picture to the reference's size, timed one frame at a time. */
import type { Frame } from 'node-av';
import { copyToI420, frameOf, tagsOf } from '../restoration/ffmpeg.js';
import { type Kernel, type PictureSize, scaleFilter } from '../restoration/filters.js';
import type { RestorationStream } from '../restoration/types.js';

export interface Method {
  readonly name: string;
  /** The input stays the caller's; the result is the caller's. */
  apply(small: Frame): Promise<{ frame: Frame; ms: number }>;
  close(): void;
}

export function kernelMethod(kernel: Kernel, size: PictureSize): Method {
  const filter = scaleFilter(size, kernel);
  return {
    name: kernel,
    async apply(small) {
      const startedAtMs = performance.now();
      const frame = await filter.apply(small);
      return { frame, ms: performance.now() - startedAtMs };
    },
    close: () => filter.close(),
  };
}

/** Restores frame by frame; the stream's block length must be 1. */
export function vireoMethod(stream: RestorationStream): Method {
  return {
    name: 'vireo',
    async apply(small) {
      const buffer = stream.allocateInput();
      copyToI420(small, buffer);
      const { width, height } = small;
      const block = await stream.restore([{ buffer, width, height, rtpTimestamp90k: 0, fullRange: false }]);
      const picture = block.pictures[0];
      if (picture === undefined) throw new Error('a block of one picture gives one picture');
      const frame = frameOf(picture, tagsOf(small));
      stream.recycle(picture.buffer);
      return { frame, ms: block.runMs };
    },
    close: () => stream.close(),
  };
}
