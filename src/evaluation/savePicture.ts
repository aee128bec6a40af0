import { writeFile } from 'node:fs/promises';
import type { Frame } from 'node-av';
import { AV_PIX_FMT_BGRA, AV_PIX_FMT_RGB24 } from 'node-av/constants';
import { encodePicture, type PictureCoding } from './encodePicture.js';

const toRgb = (format: string) =>
  `scale=flags=bicubic+accurate_rnd+full_chroma_int,setparams=range=pc,format=${format}`;
const PNG: PictureCoding = {
  encoder: 'png',
  filter: toRgb('rgb24'),
  pixelFormat: AV_PIX_FMT_RGB24,
  options: {},
};
const WEBP: PictureCoding = {
  encoder: 'libwebp',
  filter: toRgb('bgra'),
  pixelFormat: AV_PIX_FMT_BGRA,
  options: { quality: '90' },
};

/** Writes a frame as PNG or, by the path's ending, as WebP; the frame stays the caller's. */
export async function savePicture(frame: Frame, path: string): Promise<void> {
  await writeFile(path, await encodePicture(frame, path.endsWith('.webp') ? WEBP : PNG));
}
