/** Clips for tests: real footage where this machine has it, else a made one with natural statistics. */
import { existsSync } from 'node:fs';
import { mkdir, rename } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type ClipShape, syntheticClipGraph } from '../../src/evaluation/syntheticClip.js';
import { VideoFileReader } from '../../src/restoration/VideoFileReader.js';
import { createVideoFileWriter } from '../../src/restoration/VideoFileWriter.js';

const CACHE_VERSION = 1;
const realClips = fileURLToPath(new URL('../../../shared/data/eval/', import.meta.url));

/** Path of a y4m with texture, edges, a camera that pans unless told otherwise and a moving object; made once and kept in the temporary folder. */
export async function naturalClip(
  shape: Partial<ClipShape> = {},
  outOfFocusS: readonly [number, number] | null = null,
): Promise<string> {
  const { width = 1280, height = 720, fps = 30, seconds = 1, pans = true } = shape;
  const folder = join(tmpdir(), `vireo-test-clips-${CACHE_VERSION}`);
  const path = join(
    folder,
    `natural-${width}x${height}-${fps}-${seconds}${pans ? '' : '-standing'}${outOfFocusS ? `-blurred-${outOfFocusS.join('-')}` : ''}.y4m`,
  );
  if (existsSync(path)) return path;
  await mkdir(folder, { recursive: true });
  const sharp = syntheticClipGraph({ width, height, fps, seconds, pans });
  const graph = outOfFocusS ? `${sharp},gblur=sigma=3:enable='between(t,${outOfFocusS.join(',')})'` : sharp;
  const reader = await VideoFileReader.open(graph, { format: 'lavfi' });
  const { timeBase } = reader.info;
  const unfinished = join(folder, `${process.pid}-${Date.now()}.y4m`);
  const writer = createVideoFileWriter(unfinished, {
    timeBase,
    frameRate: { num: fps, den: 1 },
    audio: null,
  });
  try {
    for (let frame = await reader.next(); frame !== null; frame = await reader.next()) {
      await writer.write(frame);
      frame.free();
    }
    await writer.finish();
  } finally {
    await writer.abort();
    await reader.close();
  }
  await rename(unfinished, path);
  return path;
}

/** A clip of `shared/data/eval` by file name, such as `sam2-04_coffee.mp4`; without it a natural clip of 720 lines. */
export async function realClip(name: string, without: Partial<ClipShape> = {}): Promise<string> {
  const path = join(realClips, name);
  return existsSync(path) ? path : await naturalClip({ seconds: 2, ...without });
}
