// The clips of the quality report, and where in them the pictures are cut out. None is committed.
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';

/**
 * @typedef {object} Clip
 * @property {string} path
 * @property {string} file its name in rows
 * @property {string} title
 * @property {string} [shows]
 * @property {'still' | 'moving'} [camera]
 * @property {string} [from]
 * @property {string} [licence]
 * @property {{ x: number, y: number }} [crop] corner of the cut-out at 1280x720; none: no picture is published
 */

/** @type {Omit<Clip, 'path'>[]} */
const KNOWN = [
  {
    file: 'misc-FourPeople_1280x720_60.mp4',
    title: 'FourPeople',
    camera: 'still',
    shows: 'four people at a table (JCT-VC class E, an H.264 copy of 1.3 Mbit/s)',
    from: 'yue82/dyloopman',
    licence: 'standard test sequence',
    crop: { x: 750, y: 190 },
  },
  {
    file: 'flutter-bee.mp4',
    title: 'bee',
    camera: 'moving',
    shows: 'an insect on a flower',
    from: 'flutter/assets-for-api-docs',
    licence: 'BSD-3-Clause',
    crop: { x: 620, y: 140 },
  },
  {
    file: 'sam2-04_coffee.mp4',
    title: 'coffee',
    camera: 'still',
    shows: 'hands pouring coffee',
    from: 'facebookresearch/sam2',
    licence: 'Apache-2.0',
    crop: { x: 840, y: 340 },
  },
  {
    file: 'mps-gesture.mp4',
    title: 'gesture',
    camera: 'still',
    shows: 'a woman and her hand, low key',
    from: 'google-ai-edge/mediapipe-samples',
    licence: 'Apache-2.0',
    crop: { x: 500, y: 220 },
  },
  {
    file: 'latentsync-demo2.mp4',
    title: 'kitchen',
    camera: 'still',
    shows: 'a man in a kitchen, portrait',
    from: 'bytedance/LatentSync',
    licence: 'Apache-2.0',
  },
  {
    file: 'lp-s13.mp4',
    title: 'full body',
    camera: 'still',
    shows: 'a woman, whole, portrait',
    from: 'KwaiVGI/LivePortrait',
    licence: 'MIT (repository)',
  },
];

const VIDEO = new Set(['.mp4', '.mkv', '.webm', '.mov', '.y4m']);

/**
 * Clips in the folder or its `eval`: the known ones, else every video file.
 * @param {string} data @param {string[]} only parts of names
 * @returns {Promise<Clip[]>}
 */
export async function findClips(data, only) {
  const folders = [data, join(data, 'eval')];
  const known = KNOWN.flatMap((clip) => {
    const path = folders.map((folder) => join(folder, clip.file)).find((candidate) => existsSync(candidate));
    return path === undefined ? [] : [{ ...clip, path }];
  });
  const files = known.length > 0 || !existsSync(data) ? [] : (await readdir(data)).sort();
  const others = files
    .filter((file) => VIDEO.has(extname(file)))
    .map((file) => ({ path: join(data, file), file, title: basename(file, extname(file)) }));
  return [...known, ...others].filter(
    ({ file }) => only.length === 0 || only.some((part) => file.includes(part)),
  );
}
