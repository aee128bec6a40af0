/** The way from the sender's picture to the one the receiver shows: through a call's codec, or as it is. */
import type { Frame } from 'node-av';
import { VireoError } from '../errors.js';
import { CALL_CODECS, type CallCodecName } from '../restoration/manifest.js';
import { CallCodec, type CallCodecOptions } from './CallCodec.js';

export const UPLINK_CODECS = [...CALL_CODECS, 'none'] as const;
export type UplinkCodec = (typeof UPLINK_CODECS)[number];

export interface Uplink {
  readonly bytesSent: number;
  /** Sends one picture; the caller keeps its frame. */
  send(frame: Frame): Promise<void>;
  /** Nothing more is sent: everything still inside comes out. */
  end(): Promise<void>;
  /** What the receiver shows for the next frame in order, or undefined when it is not there yet. The caller frees it. */
  receive(): Frame | undefined;
  close(): void;
}

export type UplinkOptions = Omit<CallCodecOptions, 'codec'> & { codec: UplinkCodec };

export async function openUplink(options: UplinkOptions): Promise<Uplink> {
  const { codec } = options;
  return codec === 'none'
    ? new PlainUplink()
    : await CallCodec.create({ ...options, codec: codec satisfies CallCodecName });
}

/** Uncompressed and without loss: what arrives is what was sent. It counts no bytes. */
class PlainUplink implements Uplink {
  readonly bytesSent = 0;
  readonly #sent: Frame[] = [];

  async send(frame: Frame): Promise<void> {
    const clone = frame.clone();
    if (clone === null) throw new VireoError('internal', 'out of memory');
    this.#sent.push(clone);
  }

  async end(): Promise<void> {}

  receive(): Frame | undefined {
    return this.#sent.shift();
  }

  close(): void {
    for (const frame of this.#sent.splice(0)) frame.free();
  }
}
