import { avifFile } from '../../../src/signaling/avif.js';
import type { StillMimeType } from '../../../src/signaling/messages.js';
import { avifQuantizer } from '../../../src/signaling/stillBudget.js';

/** How this browser makes a file of a picture. */
export interface StillCoding {
  mimeType: StillMimeType;
  /** `quality` of WebP, 0 to 100, or what looks as good; null: the browser failed. */
  encode(picture: HTMLCanvasElement, quality: number): Promise<Uint8Array | null>;
}

const webp: StillCoding = {
  mimeType: 'image/webp',
  async encode(picture, quality) {
    const blob = await new Promise<Blob | null>((resolve) =>
      picture.toBlob(resolve, webp.mimeType, quality / 100),
    );
    // Some answer with PNG, far too large.
    return blob?.type === webp.mimeType ? new Uint8Array(await blob.arrayBuffer()) : null;
  },
};

/** Main profile, level 4.0, 8 bits. */
const AV1 = 'av01.0.08M.08';
/** No canvas writes AVIF, but the encoders for calls make key frames of AV1: a third fewer bytes than WebP for the same picture. */
const avif: StillCoding = {
  mimeType: 'image/avif',
  async encode(picture, quality) {
    const { width, height } = picture;
    let keyFrame: Uint8Array | null = null;
    let failed = false;
    const encoder = new VideoEncoder({
      output: (chunk) => {
        keyFrame = new Uint8Array(chunk.byteLength);
        chunk.copyTo(keyFrame);
      },
      error: () => {
        failed = true;
      },
    });
    try {
      encoder.configure({
        codec: AV1,
        width,
        height,
        bitrateMode: 'quantizer',
        latencyMode: 'quality',
        framerate: 1,
      });
      const frame = new VideoFrame(picture, { timestamp: 0 });
      // TypeScript's library lacks what the AV1 registration of WebCodecs adds.
      const options: VideoEncoderEncodeOptions & { av1: { quantizer: number } } = {
        keyFrame: true,
        av1: { quantizer: avifQuantizer(quality) },
      };
      encoder.encode(frame, options);
      frame.close();
      await encoder.flush();
      return keyFrame === null || failed ? null : avifFile({ keyFrame, width, height });
    } catch {
      return null;
    } finally {
      if (encoder.state !== 'closed') encoder.close();
    }
  },
};

/** What this browser can, best first; found out by doing it, since support is claimed more widely than it works. */
export async function stillCodings(): Promise<StillCoding[]> {
  const canvas = document.createElement('canvas');
  canvas.width = 64;
  canvas.height = 64;
  canvas.getContext('2d')?.fillRect(0, 0, 32, 32);
  const found: StillCoding[] = [];
  for (const coding of [avif, webp]) {
    if ((await coding.encode(canvas, 50).catch(() => null)) !== null) found.push(coding);
  }
  return found;
}
