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

/** The picture as a key frame; null: the browser's encoder failed. */
async function av1KeyFrame(picture: HTMLCanvasElement, quantizer: number): Promise<Uint8Array | null> {
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
      av1: { quantizer },
    };
    encoder.encode(frame, options);
    frame.close();
    await encoder.flush();
    return failed ? null : keyFrame;
  } catch {
    return null;
  } finally {
    if (encoder.state !== 'closed') encoder.close();
  }
}

/**
 * No canvas writes AVIF, but the encoders for calls make key frames of AV1: half to four fifths of WebP's bytes for about the same picture.
 */
const avif: StillCoding = {
  mimeType: 'image/avif',
  async encode(picture, quality) {
    const keyFrame = await av1KeyFrame(picture, avifQuantizer(quality));
    return keyFrame && avifFile({ keyFrame, width: picture.width, height: picture.height });
  },
};

/**
 * Whether quantizers are AV1's, 0 to 255. Encoders that know 0 to 63 alone refuse larger ones, or take the worst for all of them, in which
 * nothing would be found.
 */
async function knowsQuantizers(picture: HTMLCanvasElement): Promise<boolean> {
  const fine = await av1KeyFrame(picture, 63);
  const coarse = await av1KeyFrame(picture, avifQuantizer(0));
  return fine !== null && coarse !== null && fine.byteLength > 1.2 * coarse.byteLength;
}

/** What this browser can, best first; found out by doing it, since support is claimed more widely than it works. */
export async function stillCodings(): Promise<StillCoding[]> {
  const picture = testPicture();
  const works = async ({ encode }: StillCoding) => (await encode(picture, 50).catch(() => null)) !== null;
  const found: StillCoding[] = [];
  if ((await works(avif)) && (await knowsQuantizers(picture))) found.push(avif);
  if (await works(webp)) found.push(webp);
  return found;
}

/** With enough in it for a quantizer to matter. */
function testPicture(): HTMLCanvasElement {
  const canvas = document.createElement('canvas');
  canvas.width = 128;
  canvas.height = 128;
  const context = canvas.getContext('2d', { alpha: false });
  for (let at = 0; at < 256; at += 1) {
    if (!context) break;
    context.fillStyle = `hsl(${(at * 137) % 360} 40% ${20 + ((at * 61) % 60)}%)`;
    context.fillRect((at % 16) * 8, Math.floor(at / 16) * 8, 8, 8);
  }
  return canvas;
}
