// Cut-outs side by side, at the size they are shown in.
import { existsSync } from 'node:fs';
import { basename, extname, join } from 'node:path';
import { savePicture } from '../../dist/evaluation/savePicture.js';
import { FrameFilter, PairFilter } from '../../dist/restoration/filters.js';
import { VideoFileReader } from '../../dist/restoration/VideoFileReader.js';

const SIDE = 200;
/** The restored picture of the experiment with stills. */
const SHARP = 'sharp';
/** Experiment, file label of `vireo evaluate --pictures`, methods after the reference, what stands under it. */
const SMALL = ['bilinear', 'bicubic', 'vireo', SHARP];
const SHOWN = [
  { id: '180', label: '180p-60k', methods: SMALL, under: '180p at 60 kbit/s' },
  { id: '180', label: '180p-120k', methods: SMALL, under: '180p at 120 kbit/s' },
  { id: '360-720', label: '360p-250k', methods: SMALL, under: '360p at 250 kbit/s' },
  {
    id: '360-720',
    label: '720p-250k',
    methods: ['bicubic', 'vireo'],
    under: '720p at 250 kbit/s, as decoded and restored',
  },
  { id: 'deblur', label: '720p', methods: ['bicubic', 'vireo'], under: 'blurred, as it is and restored' },
  {
    id: 'inpaint',
    label: '720p',
    methods: ['bicubic', 'vireo'],
    under: 'pixels lost, filled in plainly and restored',
  },
];

/**
 * @typedef {{ title: string, under: string, file: string, methods: string[] }} Strip
 * @param {import('./clips.mjs').Clip[]} clips @param {import('./runs.mjs').Measured} measured @param {string} images
 * @returns {Promise<Strip[]>}
 */
export async function makeStrips(clips, measured, images) {
  const strips = [];
  for (const clip of clips) {
    if (clip.crop === undefined) continue;
    for (const { id, label, methods, under } of SHOWN) {
      const folder = measured.pictures.get(`${clip.file} ${id}`);
      if (folder === undefined) continue;
      const stem = basename(clip.file, extname(clip.file));
      const file = `${clip.title}-${id === 'deblur' || id === 'inpaint' ? id : label}.webp`.toLowerCase();
      const withStill = measured.pictures.get(`${clip.file} ${id}-stills`);
      const shown = methods.filter((method) => method !== SHARP || withStill !== undefined);
      const paths = ['reference', ...shown].map((method) =>
        method === SHARP && withStill !== undefined
          ? join(withStill, `${stem}-${label}-vireo.png`)
          : join(folder, `${stem}-${label}-${method}.png`),
      );
      // A height that the model does not restore has no restored picture.
      if (!paths.every((path) => existsSync(path))) continue;
      await strip(paths, clip.crop, join(images, file));
      strips.push({ title: clip.title, under, file, methods: shown });
    }
  }
  return strips;
}

/** @param {string[]} paths @param {{ x: number, y: number }} crop @param {string} target */
async function strip(paths, { x, y }, target) {
  let joined = await cut(paths[0] ?? '', x, y);
  for (const path of paths.slice(1)) {
    const next = await cut(path, x, y);
    const beside = new PairFilter('[a][b]hstack=inputs=2[out]');
    const wider = await beside.apply(joined, next);
    joined.free();
    next.free();
    beside.close();
    joined = wider;
  }
  await savePicture(joined, target);
  joined.free();
}

/** @param {string} path @param {number} x @param {number} y */
async function cut(path, x, y) {
  const reader = await VideoFileReader.open(path);
  const crop = new FrameFilter(`format=rgb24,crop=${SIDE}:${SIDE}:${x}:${y}`);
  const frame = await reader.next();
  if (frame === null) throw new Error(`${path}: no picture`);
  const result = await crop.apply(frame);
  frame.free();
  crop.close();
  await reader.close();
  return result;
}
