/** Where the masks of a file's pictures come from: 255 for every pixel that is lost. */
import type { Frame } from 'node-av';
import { VireoError } from '../errors.js';
import { copyLuma } from './ffmpeg.js';
import { blankFilter, type FrameFilter, maskFilter } from './filters.js';
import type { Fit } from './fit.js';
import { VideoFileReader, type VideoInfo } from './VideoFileReader.js';

export interface MaskSource {
  /** Fills in the mask of the next picture. `picture` is that picture, as the model takes it; it stays the caller's. */
  next(picture: Frame, mask: ArrayBuffer): Promise<void>;
  /** Idempotent. */
  close(): Promise<void>;
}

/** For pictures whose lost pixels were blanked: what is black is lost. */
export class BlankedPixels implements MaskSource {
  readonly #filter = blankFilter();

  async next(picture: Frame, mask: ArrayBuffer): Promise<void> {
    const frame = await this.#filter.apply(picture);
    try {
      copyLuma(frame, mask);
    } finally {
      frame.free();
    }
  }

  async close(): Promise<void> {
    this.#filter.close();
  }
}

/** A file with a mask for each picture, whatever FFmpeg reads; its last one holds for all that follow. */
export class MaskFile implements MaskSource {
  readonly #reader: VideoFileReader;
  readonly #fit: Fit;
  #filter: FrameFilter | null = null;
  /** The mask that was read last, for when there is no next one. */
  #last: ArrayBuffer | null = null;
  #ended = false;

  private constructor(reader: VideoFileReader, fit: Fit) {
    this.#reader = reader;
    this.#fit = fit;
  }

  /** `pictures`: the file that the masks are for. Rejects, naming `--mask`, when the sizes are not the same. */
  static async open(path: string, pictures: VideoInfo, fit: Fit): Promise<MaskFile> {
    const reader = await VideoFileReader.open(path).catch((thrown: unknown) => {
      const { code, message } = VireoError.from(thrown);
      throw new VireoError(code, `--mask ${message}`, { cause: thrown });
    });
    const { width, height } = reader.info;
    if (width !== pictures.width || height !== pictures.height) {
      await reader.close();
      throw new VireoError(
        'bad-request',
        `--mask ${path} is ${width}x${height}, but IN is ${pictures.width}x${pictures.height}`,
      );
    }
    return new MaskFile(reader, fit);
  }

  async next(_picture: Frame, mask: ArrayBuffer): Promise<void> {
    const frame = this.#ended ? null : await this.#reader.next();
    if (frame === null) this.#ended = true;
    else await this.#read(frame);
    if (this.#last === null) {
      throw new VireoError('media-invalid', `--mask ${this.#reader.path}: no frame could be decoded`);
    }
    new Uint8Array(mask).set(new Uint8Array(this.#last));
  }

  async close(): Promise<void> {
    this.#filter?.close();
    this.#filter = null;
    await this.#reader.close();
  }

  async #read(frame: Frame): Promise<void> {
    try {
      this.#filter ??= maskFilter(this.#fit, this.#reader.info, frame);
      const plane = await this.#filter.apply(frame);
      try {
        this.#last ??= new ArrayBuffer(this.#fit.inputWidth * this.#fit.inputHeight);
        copyLuma(plane, this.#last);
      } finally {
        plane.free();
      }
    } finally {
      frame.free();
    }
  }
}
