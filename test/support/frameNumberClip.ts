/**
 * A camera clip whose frames carry their number, and the arithmetic to compare displayed frames with it.
 */

import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { CELLS, STRIP_SHARE } from './frameNumber.js';

export interface Y4mFile {
  file: string;
  width: number;
  height: number;
  fps: number;
  frames: number;
  /** Bytes before the first frame header. */
  headerBytes: number;
}

const FRAME_HEADER = 'FRAME\n';

/** Reads the header of a plain 4:2:0 y4m whose frame headers have no parameters. */
export function openY4m(file: string, bytes: number): Y4mFile {
  const handle = openSync(file, 'r');
  const head = Buffer.alloc(256);
  readSync(handle, head, 0, head.length, 0);
  closeSync(handle);
  const headerBytes = head.indexOf('\n') + 1;
  const header = head.toString('latin1', 0, headerBytes);
  const width = Number(/ W(\d+)/.exec(header)?.[1]);
  const height = Number(/ H(\d+)/.exec(header)?.[1]);
  const rate = / F(\d+):(\d+)/.exec(header);
  const frameBytes = FRAME_HEADER.length + (width * height * 3) / 2;
  return {
    file,
    width,
    height,
    fps: Number(rate?.[1]) / Number(rate?.[2]),
    frames: Math.floor((bytes - headerBytes) / frameBytes),
    headerBytes,
  };
}

function lumaOffset(clip: Y4mFile, frame: number): number {
  const frameBytes = FRAME_HEADER.length + (clip.width * clip.height * 3) / 2;
  return clip.headerBytes + frame * frameBytes + FRAME_HEADER.length;
}

/** Writes the frame numbers into the file's luma, in place. */
export function stampFrameNumbers(clip: Y4mFile): void {
  const handle = openSync(clip.file, 'r+');
  const stripHeight = Math.round(clip.height * STRIP_SHARE);
  const cellWidth = clip.width / CELLS;
  const strip = Buffer.alloc(clip.width * stripHeight);
  const grey = Buffer.alloc((clip.width / 2) * Math.ceil(stripHeight / 2), 128);
  for (let frame = 0; frame < clip.frames; frame += 1) {
    for (let cell = 0; cell < CELLS; cell += 1) {
      const white = cell === 0 || (cell > 1 && ((frame >> (cell - 2)) & 1) === 1);
      for (let row = 0; row < stripHeight; row += 1) {
        const start = row * clip.width;
        strip.fill(
          white ? 235 : 16,
          start + Math.round(cell * cellWidth),
          start + Math.round((cell + 1) * cellWidth),
        );
      }
    }
    const luma = lumaOffset(clip, frame);
    writeSync(handle, strip, 0, strip.length, luma + (clip.height - stripHeight) * clip.width);
    // Grey chroma under the strip keeps the browser's RGB conversion from tinting the cells.
    const chromaPlane = (clip.width * clip.height) / 4;
    const u = luma + clip.width * clip.height;
    const stripStart = chromaPlane - grey.length;
    writeSync(handle, grey, 0, grey.length, u + stripStart);
    writeSync(handle, grey, 0, grey.length, u + chromaPlane + stripStart);
  }
  closeSync(handle);
}

/** Luma plane of one frame. */
export function readLuma(clip: Y4mFile, frame: number): Buffer {
  const handle = openSync(clip.file, 'r');
  const luma = Buffer.alloc(clip.width * clip.height);
  readSync(handle, luma, 0, luma.length, lumaOffset(clip, frame));
  closeSync(handle);
  return luma;
}

/** PSNR of two luma planes in decibels, without the strip that carries the frame number. */
export function psnrY(reference: Uint8Array, shown: Uint8Array, width: number, height: number): number {
  const rows = height - Math.round(height * STRIP_SHARE) - 8;
  let sum = 0;
  for (let index = 0; index < rows * width; index += 1) {
    const difference = (reference[index] ?? 0) - (shown[index] ?? 0);
    sum += difference * difference;
  }
  return 10 * Math.log10((255 * 255 * rows * width) / Math.max(sum, 1));
}
