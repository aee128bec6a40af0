import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import type { Frame } from 'node-av';
import { AVCHROMA_LOC_LEFT } from 'node-av/constants';
import { VireoError } from '../errors.js';
import { temporaryPath, type VideoFileWriter, type WriterOptions } from './writerTypes.js';

/** Uncompressed 4:2:0 (YUV4MPEG2), for anyone who measures. */
export class Y4mWriter implements VideoFileWriter {
  readonly audioNote: string | null;
  readonly #path: string;
  readonly #options: WriterOptions;
  #file: FileHandle | null = null;
  #done = false;

  constructor(path: string, options: WriterOptions) {
    this.#path = path;
    this.#options = options;
    this.audioNote = options.audio === null ? null : 'y4m holds no audio: it was left out';
  }

  async write(frame: Frame): Promise<void> {
    this.#file ??= await this.#open(frame);
    await writeAll(this.#file, [Buffer.from('FRAME\n'), frame.toBuffer()]);
  }

  async writeAudio(): Promise<void> {}

  async finish(): Promise<void> {
    if (this.#file === null) throw new VireoError('internal', 'nothing was written');
    await this.#file.close();
    await rename(temporaryPath(this.#path), this.#path);
    this.#done = true;
  }

  async abort(): Promise<void> {
    if (this.#done) return;
    this.#done = true;
    await this.#file?.close().catch(() => undefined);
    await rm(temporaryPath(this.#path), { force: true });
  }

  async #open(frame: Frame): Promise<FileHandle> {
    const file = await open(temporaryPath(this.#path), 'w');
    const { num, den } = this.#options.frameRate;
    const siting = frame.chromaLocation === AVCHROMA_LOC_LEFT ? '420mpeg2' : '420jpeg';
    const header = `YUV4MPEG2 W${frame.width} H${frame.height} F${num}:${den} Ip A1:1 C${siting} XCOLORRANGE=LIMITED\n`;
    await file.write(header);
    return file;
  }
}

async function writeAll(file: FileHandle, parts: Buffer[]): Promise<void> {
  for (const part of parts) {
    for (let offset = 0; offset < part.length; ) {
      const { bytesWritten } = await file.write(part, offset);
      offset += bytesWritten;
    }
  }
}
