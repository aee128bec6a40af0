/** Ways to make of a decoded picture one of the reference's size, timed. */
import type { Frame } from 'node-av';
import { copyLuma, copyToI420, type FrameTags, frameOf, tagsOf } from '../restoration/ffmpeg.js';
import { type FrameFilter, type Kernel, type PictureSize, scaleFilter } from '../restoration/filters.js';
import { decodeStill } from '../restoration/stills.js';
import type { InputPicture, RestorationStream } from '../restoration/types.js';
import { fillFilter } from './LostPixels.js';

export interface Method {
  readonly name: string;
  /** A sharp still of the clip, as it would be uploaded, for methods that take one; null: none from the next picture on. */
  refer?(still: Uint8Array | null): Promise<void>;
  /**
   * The next picture (`lost`: where it lacks pixels, see LostPixels; null: nowhere), which stays the caller's. Resolves
   * to the results that are ready, in order, which are the caller's, too.
   */
  push(picture: Frame, lost: Frame | null): Promise<Results>;
  /** No more pictures come: what is still inside. */
  flush(): Promise<Results>;
  close(): void;
}

export interface Results {
  frames: Frame[];
  ms: number;
}

const NOTHING: Results = { frames: [], ms: 0 };

/** What plain players do; where pixels are lost, they are filled in from their neighbours first. */
export function kernelMethod(kernel: Kernel, size: PictureSize, lostPercent = 0): Method {
  const scale = scaleFilter(size, kernel);
  const fill = lostPercent > 0 ? fillFilter(lostPercent) : null;
  return {
    name: kernel,
    async push(picture, lost) {
      const startedAtMs = performance.now();
      const whole = lost === null || fill === null ? null : await fill.apply(picture, lost);
      try {
        const frame = await scale.apply(whole ?? picture);
        return { frames: [frame], ms: performance.now() - startedAtMs };
      } finally {
        whole?.free();
      }
    },
    flush: async () => NOTHING,
    close() {
      scale.close();
      fill?.close();
    },
  };
}

/**
 * Restores in the blocks of the stream's variant; the last one is filled up with its last picture. `references`: with the
 * still, where the stream takes one. `mends`: key frames among the pictures. Pictures of a size in between are scaled to the stream's input first.
 */
export function modelMethod(
  name: string,
  stream: RestorationStream,
  { references = false, mends = false }: { references?: boolean; mends?: boolean } = {},
): Method {
  const { T } = stream.variant;
  const { inputWidth, inputHeight } = stream;
  let toInput: FrameFilter | null = null;
  let block: { picture: InputPicture; tags: FrameTags }[] = [];

  const restore = async (): Promise<Results> => {
    const taken = block;
    block = [];
    const last = taken.at(-1);
    if (last === undefined) return NOTHING;
    const pictures = taken.map(({ picture }) => picture);
    while (pictures.length < T) pictures.push(copyOf(last.picture));
    const restored = await stream.restore(pictures);
    const frames = restored.pictures.flatMap((picture, index) => {
      const tags = taken[index]?.tags;
      const frame = tags === undefined ? [] : [frameOf(picture, tags)];
      stream.recycle(picture.buffer);
      return frame;
    });
    return { frames, ms: restored.runMs };
  };

  const { strength } = stream;
  const refer = async (still: Uint8Array | null): Promise<void> => {
    const { outputWidth: width, outputHeight: height } = stream;
    await stream.setReferences(still === null ? [] : [await decodeStill(still, { width, height })]);
    // As in calls.
    stream.strength = still === null ? strength : 1;
  };

  return {
    name,
    ...(references && stream.maxReferences > 0 ? { refer } : {}),
    async push(picture, lost) {
      const input: InputPicture = {
        buffer: stream.allocateInput(),
        width: inputWidth,
        height: inputHeight,
        rtpTimestamp90k: 0,
        fullRange: false,
      };
      if (picture.width === inputWidth && picture.height === inputHeight) copyToI420(picture, input.buffer);
      else {
        // As the relay scales what it decodes.
        toInput ??= scaleFilter({ width: inputWidth, height: inputHeight }, 'bicubic');
        const scaled = await toInput.apply(picture);
        copyToI420(scaled, input.buffer);
        scaled.free();
      }
      if (lost !== null && stream.variant.mask !== undefined) {
        input.mask = stream.allocateMask();
        copyLuma(lost, input.mask);
      }
      if (mends) input.afterKeyFrame = picture.keyFrame === 1;
      block.push({ picture: input, tags: tagsOf(picture) });
      return block.length < T ? NOTHING : await restore();
    },
    flush: restore,
    close() {
      stream.close();
      toInput?.close();
    },
  };
}

function copyOf({ mask, ...picture }: InputPicture): InputPicture {
  const copy: InputPicture = { ...picture, buffer: picture.buffer.slice(0) };
  if (mask !== undefined) copy.mask = mask.slice(0);
  return copy;
}
