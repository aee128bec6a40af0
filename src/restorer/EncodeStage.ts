import type { Logger } from '../log.js';
import type { EncodedPicture, VideoCodec, VideoEncoder, VideoEncoderOptions } from '../media/types.js';
import { discard, type FrameTimes, type TrackedPicture } from './frames.js';

export interface EncodeStageOptions {
  createEncoder: (options: VideoEncoderOptions) => Promise<VideoEncoder>;
  codec: VideoCodec;
  bitrateBps: number;
  threads: number;
  logger: Logger;
  /** Frames a second to expect, asked when an encoder is opened. */
  fps: () => number;
  onEncoded: (encoded: EncodedPicture, times: FrameTimes, width: number, height: number) => void;
  onDropped: (frames: number) => void;
  /** No encoder could be opened for the codec. */
  onUnsupported: () => void;
}

/** An encoder that keeps failing is opened again this often, not with every picture. */
const RETRY_MS = 2_000;

/**
 * Encodes restored pictures, the newest first of all: while one is being encoded, one waits, and a newer one
 * takes its place. A new picture size opens a new encoder, which begins with a key frame.
 */
export class EncodeStage {
  readonly #options: EncodeStageOptions;
  #waiting: TrackedPicture | null = null;
  #encoder: { encoder: VideoEncoder; width: number; height: number } | null = null;
  #keyFrameWanted = true;
  #bitrateBps: number;
  #retryAtMs = 0;
  #running: Promise<void> | null = null;
  #closed = false;

  constructor(options: EncodeStageOptions) {
    this.#options = options;
    this.#bitrateBps = options.bitrateBps;
  }

  requestKeyFrame(): void {
    this.#keyFrameWanted = true;
  }

  setBitrate(bitrateBps: number): void {
    this.#bitrateBps = bitrateBps;
    this.#encoder?.encoder.setBitrate(bitrateBps);
  }

  /** Takes ownership. */
  push(tracked: TrackedPicture): void {
    if (this.#closed) {
      discard(tracked);
      return;
    }
    if (this.#waiting) {
      discard(this.#waiting);
      this.#options.onDropped(1);
    }
    this.#waiting = tracked;
    this.#running ??= this.#drain();
  }

  /** Forgets what waits: the track went back to the original. The next picture will be a key frame. */
  clear(): void {
    if (this.#waiting) discard(this.#waiting);
    this.#waiting = null;
    this.#keyFrameWanted = true;
  }

  /** Waits for the picture being encoded. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    this.clear();
    await this.#running;
    this.#closeEncoder();
  }

  async #drain(): Promise<void> {
    while (this.#waiting !== null && !this.#closed) {
      const tracked = this.#waiting;
      this.#waiting = null;
      try {
        await this.#encode(tracked);
      } catch (error) {
        this.#options.logger.warn({ err: error }, 'encoder failed, opened again');
        this.#closeEncoder();
        this.#options.onDropped(1);
      } finally {
        discard(tracked);
      }
    }
    this.#running = null;
  }

  async #encode({ picture, times }: TrackedPicture): Promise<void> {
    const encoder = await this.#encoderFor(picture.width, picture.height);
    if (encoder === null) return this.#options.onDropped(1);
    const keyFrame = this.#keyFrameWanted;
    this.#keyFrameWanted = false;
    const startMs = performance.now();
    const encoded = await encoder.encode(picture, { keyFrame });
    times.encodeMs = performance.now() - startMs;
    if (encoded === null) {
      this.#keyFrameWanted ||= keyFrame;
      return this.#options.onDropped(1);
    }
    if (!this.#closed) this.#options.onEncoded(encoded, times, picture.width, picture.height);
  }

  async #encoderFor(width: number, height: number): Promise<VideoEncoder | null> {
    if (this.#encoder?.width === width && this.#encoder.height === height) return this.#encoder.encoder;
    this.#closeEncoder();
    if (performance.now() < this.#retryAtMs) return null;
    const { codec, threads, createEncoder, logger, onUnsupported } = this.#options;
    try {
      const bitrateBps = this.#bitrateBps;
      const encoder = await createEncoder({
        codec,
        width,
        height,
        bitrateBps,
        fps: this.#options.fps(),
        threads,
      });
      if (this.#bitrateBps !== bitrateBps) encoder.setBitrate(this.#bitrateBps);
      this.#encoder = { encoder, width, height };
      this.#keyFrameWanted = true;
      logger.debug({ encoder: encoder.encoderName, width, height }, 'encoder opened');
      return encoder;
    } catch (error) {
      this.#retryAtMs = performance.now() + RETRY_MS;
      logger.warn({ err: error, codec, width, height }, 'no encoder');
      onUnsupported();
      return null;
    }
  }

  #closeEncoder(): void {
    this.#encoder?.encoder.close();
    this.#encoder = null;
  }
}
