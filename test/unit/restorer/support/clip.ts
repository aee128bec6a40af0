/** Clips in memory, and how good a picture is. For tests: per-pixel work is fine here. */
import { readFile } from 'node:fs/promises';

export interface Clip {
  width: number;
  height: number;
  /** I420 pictures. */
  frames: ArrayBuffer[];
}

/** Reads 4:2:0 frames of a y4m. */
export async function readY4m(path: string, maxFrames: number): Promise<Clip> {
  const file = await readFile(path);
  const headerEnd = file.indexOf(10);
  const header = file.subarray(0, headerEnd).toString('latin1');
  const width = Number(/ W(\d+)/.exec(header)?.[1]);
  const height = Number(/ H(\d+)/.exec(header)?.[1]);
  const bytes = (width * height * 3) / 2;
  const frames: ArrayBuffer[] = [];
  for (let at = headerEnd + 1; at < file.length && frames.length < maxFrames; ) {
    const start = file.indexOf(10, at) + 1;
    const frame = new ArrayBuffer(bytes);
    new Uint8Array(frame).set(file.subarray(start, start + bytes));
    frames.push(frame);
    at = start + bytes;
  }
  return { width, height, frames };
}

function shrinkPlane(from: Uint8Array, width: number, height: number, by: number, to: Uint8Array): void {
  const [w, h] = [width / by, height / by];
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      let sum = 0;
      for (let dy = 0; dy < by; dy++) {
        const row = (y * by + dy) * width + x * by;
        for (let dx = 0; dx < by; dx++) sum += from[row + dx] ?? 0;
      }
      to[y * w + x] = Math.round(sum / (by * by));
    }
  }
}

/** Box-filtered to an integer fraction of the size, as a camera would give it. */
export function shrink(clip: Clip, by: number): Clip {
  const { width, height } = clip;
  const [w, h] = [width / by, height / by];
  const frames = clip.frames.map((frame) => {
    const small = new ArrayBuffer((w * h * 3) / 2);
    shrinkPlane(new Uint8Array(frame, 0, width * height), width, height, by, new Uint8Array(small, 0, w * h));
    for (const plane of [0, 1]) {
      const from = new Uint8Array(frame, width * height + (plane * width * height) / 4, (width * height) / 4);
      const to = new Uint8Array(small, w * h + (plane * w * h) / 4, (w * h) / 4);
      shrinkPlane(from, width / 2, height / 2, by, to);
    }
    return small;
  });
  return { width: w, height: h, frames };
}

/** Luma of a picture at another size, sampled bilinearly at pixel centres: what a browser shows. */
export function bilinearLuma(
  source: ArrayBuffer,
  width: number,
  height: number,
  toWidth: number,
  toHeight: number,
): Uint8Array {
  const from = new Uint8Array(source, 0, width * height);
  const to = new Uint8Array(toWidth * toHeight);
  for (let y = 0; y < toHeight; y++) {
    const fy = Math.min(height - 1, Math.max(0, ((y + 0.5) * height) / toHeight - 0.5));
    const [y0, wy] = [Math.floor(fy), fy - Math.floor(fy)];
    const y1 = Math.min(height - 1, y0 + 1);
    for (let x = 0; x < toWidth; x++) {
      const fx = Math.min(width - 1, Math.max(0, ((x + 0.5) * width) / toWidth - 0.5));
      const [x0, wx] = [Math.floor(fx), fx - Math.floor(fx)];
      const x1 = Math.min(width - 1, x0 + 1);
      const top = (from[y0 * width + x0] ?? 0) * (1 - wx) + (from[y0 * width + x1] ?? 0) * wx;
      const bottom = (from[y1 * width + x0] ?? 0) * (1 - wx) + (from[y1 * width + x1] ?? 0) * wx;
      to[y * toWidth + x] = Math.round(top * (1 - wy) + bottom * wy);
    }
  }
  return to;
}

/** PSNR of 8-bit luma, dB. */
export function psnr(a: Uint8Array, b: Uint8Array): number {
  let sum = 0;
  for (let at = 0; at < a.length; at++) sum += ((a[at] ?? 0) - (b[at] ?? 0)) ** 2;
  return 10 * Math.log10((255 * 255 * a.length) / Math.max(sum, 1));
}
