import { basename, dirname, join } from 'node:path';
import type { Frame, IRational, Packet, Stream } from 'node-av';

export interface VideoFileWriter {
  /** Copies the frame; the caller still owns it. */
  write(frame: Frame): Promise<void>;
  /** A packet of the input's audio stream, copied; dropped where the container cannot hold its codec. */
  writeAudio(packet: Packet): Promise<void>;
  /** Completes the file and gives it its name. */
  finish(): Promise<void>;
  /** Removes what was written. Idempotent; harmless after `finish`. */
  abort(): Promise<void>;
  /** Null when the input's audio is copied or it has none. */
  readonly audioNote: string | null;
}

export interface WriterOptions {
  timeBase: IRational;
  frameRate: IRational;
  audio: Stream | null;
}

/** Where the file grows. */
export function temporaryPath(path: string): string {
  return join(dirname(path), `.${basename(path)}.${process.pid}.part`);
}
