/**
 * Writes restored frames to a file: `.y4m` uncompressed, `.mp4`, `.mkv` and `.webm` encoded. The file grows
 * beside its destination and takes its name only when it is complete.
 */
import { stat } from 'node:fs/promises';
import { dirname, extname, resolve } from 'node:path';
import { VireoError } from '../errors.js';
import { CONTAINERS, MuxedWriter } from './MuxedWriter.js';
import type { VideoFileWriter, WriterOptions } from './writerTypes.js';
import { Y4mWriter } from './Y4mWriter.js';

export type { VideoFileWriter, WriterOptions };

export const OUTPUT_EXTENSIONS = ['.y4m', ...Object.keys(CONTAINERS)];

/** Checks OUT before anything is decoded. */
export async function checkOutput(path: string, input: string): Promise<void> {
  const extension = extname(path).toLowerCase();
  if (!OUTPUT_EXTENSIONS.includes(extension)) {
    throw new VireoError('bad-request', `OUT ${path} must end in ${OUTPUT_EXTENSIONS.join(', ')}`);
  }
  const folder = await stat(dirname(resolve(path))).catch(() => undefined);
  if (folder?.isDirectory() !== true)
    throw new VireoError('bad-request', `OUT ${path}: its folder does not exist`);
  if (resolve(path) === resolve(input))
    throw new VireoError('bad-request', `OUT ${path} is the same file as IN`);
}

export function createVideoFileWriter(path: string, options: WriterOptions): VideoFileWriter {
  const container = CONTAINERS[extname(path).toLowerCase()];
  return container === undefined ? new Y4mWriter(path, options) : new MuxedWriter(path, container, options);
}
