import { createVideoEncoder } from '../../../src/media/NodeAvEncoder.js';
import { i420ByteLength, type VideoEncoder } from '../../../src/media/types.js';
import type { RtcpMessage } from '../peer/rtcp.js';
import type { SendStream } from '../peer/SendStream.js';

export interface CameraOptions {
  width: number;
  height: number;
  bitrateBps: number;
  fps: number;
}

const PAYLOAD_BYTES = 1_100;

/** Really encoded VP8 of a moving pattern, out of a test peer: something that a restorer can decode. */
export class CameraStream {
  readonly #stream: SendStream;
  readonly #encoder: VideoEncoder;
  readonly #options: CameraOptions;
  readonly #timer: NodeJS.Timeout;
  #frames = 0;
  #pictureId = 1;
  #keyFrame = true;
  #busy: Promise<void> | null = null;

  static async start(stream: SendStream, options: CameraOptions): Promise<CameraStream> {
    const encoder = await createVideoEncoder({ codec: 'VP8', threads: 1, hardware: false, ...options });
    return new CameraStream(stream, encoder, options);
  }

  private constructor(stream: SendStream, encoder: VideoEncoder, options: CameraOptions) {
    this.#stream = stream;
    this.#encoder = encoder;
    this.#options = options;
    this.#timer = setInterval(() => {
      this.#busy ??= this.#tick().finally(() => {
        this.#busy = null;
      });
    }, 1_000 / options.fps);
  }

  /** Answers what asks for a key frame (PLI, FIR). */
  onRtcp(message: RtcpMessage): void {
    if (message.type === 'pli' || message.type === 'fir') this.#keyFrame = true;
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#busy;
    this.#encoder.close();
  }

  async #tick(): Promise<void> {
    const { width, height, fps } = this.#options;
    const index = this.#frames++;
    const picture = new Uint8Array(i420ByteLength(width, height)).fill(128, width * height);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        picture[y * width + x] = 40 + (((x + 2 * index) >> 3) & 15) * 6 + (((y + index) >> 4) & 7) * 8;
      }
    }
    const keyFrame = this.#keyFrame;
    this.#keyFrame = false;
    const rtpTimestamp90k = Math.round((index * 90_000) / fps);
    const encoded = await this.#encoder.encode(
      { buffer: picture.buffer, width, height, rtpTimestamp90k, fullRange: false },
      { keyFrame },
    );
    if (encoded) this.#send(Buffer.from(encoded.data), rtpTimestamp90k);
  }

  /** RFC 7741: a descriptor with a 15-bit picture id before each part of the frame. */
  #send(frame: Buffer, timestamp: number): void {
    const id = this.#pictureId++ & 0x7fff;
    const payloads: Buffer[] = [];
    for (let at = 0; at < frame.length; at += PAYLOAD_BYTES) {
      const descriptor = Buffer.from([0x80 | (at === 0 ? 0x10 : 0), 0x80, 0x80 | (id >> 8), id & 0xff]);
      payloads.push(Buffer.concat([descriptor, frame.subarray(at, at + PAYLOAD_BYTES)]));
    }
    this.#stream.sendFrame(payloads, { timestamp: (timestamp + 1_000) >>> 0 });
  }
}
