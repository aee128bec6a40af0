import type { Logger } from '../log.js';
import type { CountingVideoDecoder } from '../media/NodeAvDecoder.js';
import type { DecodedPicture, EncodedFrame, VideoCodec } from '../media/types.js';
import type { FrameTimes } from './frames.js';

/** About a second: a decoder that is further behind than this cannot catch up without a key frame. */
const MAX_QUEUED_FRAMES = 30;
/** Frames in a row that show nothing after which the references are taken for damaged. */
const MAX_BLANK_FRAMES = 3;

export interface DecodeStageOptions {
  createDecoder: (codec: VideoCodec) => Promise<CountingVideoDecoder>;
  logger: Logger;
  /** Size the picture is wanted in; called for every picture, with the decoded size. */
  fit: (decodedWidth: number, decodedHeight: number) => { width: number; height: number };
  allocate: (byteLength: number) => ArrayBuffer;
  /** Takes ownership of the picture. */
  onPicture: (picture: DecodedPicture, times: FrameTimes) => void;
  onDropped: (frames: number) => void;
  onDecoded: (decodeMs: number) => void;
  needsKeyFrame: () => void;
  /** FFmpeg has no decoder for the codec: nothing will ever come out. */
  onUnsupported: () => void;
}

/**
 * Decodes every access unit in order: each is a reference of the next. When that cannot be done (the queue is
 * full, a frame is missing, the decoder gave up), everything up to the next key frame is dropped and a key
 * frame is asked for.
 */
export class DecodeStage {
  readonly #options: DecodeStageOptions;
  readonly #queue: EncodedFrame[] = [];
  #decoder: CountingVideoDecoder | null = null;
  #waitsForKeyFrame = true;
  #keyFramesOnly = false;
  #blankFrames = 0;
  #running: Promise<void> | null = null;
  #closed = false;

  constructor(options: DecodeStageOptions) {
    this.#options = options;
  }

  /**
   * True: nobody looks at the pictures, only at their size, so decode key frames and skip the rest. Set back to
   * false, it asks for a key frame to go on from.
   */
  set keyFramesOnly(value: boolean) {
    if (value === this.#keyFramesOnly) return;
    this.#keyFramesOnly = value;
    if (!value && this.#waitsForKeyFrame) this.#options.needsKeyFrame();
  }

  push(frame: EncodedFrame): void {
    if (this.#closed) return;
    if (this.#queue.length >= MAX_QUEUED_FRAMES) {
      this.#options.onDropped(this.#queue.length);
      this.#queue.length = 0;
      this.#loseReferences();
    }
    if (frame.discontinuity && !frame.keyFrame) this.#loseReferences();
    if (frame.keyFrame) this.#waitsForKeyFrame = false;
    else if (this.#waitsForKeyFrame || this.#keyFramesOnly) {
      this.#waitsForKeyFrame = true;
      if (!this.#keyFramesOnly) this.#options.onDropped(1);
      return;
    }
    this.#queue.push(frame);
    this.#running ??= this.#drain();
  }

  /** Waits for the frame being decoded. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#queue.length = 0;
    await this.#running;
    this.#decoder?.close();
    this.#decoder = null;
  }

  async #drain(): Promise<void> {
    for (let frame = this.#queue.shift(); frame && !this.#closed; frame = this.#queue.shift()) {
      try {
        await this.#decode(frame);
      } catch (error) {
        this.#options.logger.warn({ err: error }, 'decoder failed, opened again');
        this.#decoder?.close();
        this.#decoder = null;
        this.#loseReferences();
      }
    }
    this.#running = null;
  }

  async #decode(frame: EncodedFrame): Promise<void> {
    const decoder = await this.#decoderFor(frame.codec);
    if (decoder === null) return;
    const { fit, allocate, onPicture, onDecoded } = this.#options;
    const errors = decoder.errors;
    const startMs = performance.now();
    const picture = await decoder.decode(frame, fit, allocate);
    const decodeMs = performance.now() - startMs;
    onDecoded(decodeMs);
    this.#blankFrames = picture === null ? this.#blankFrames + 1 : 0;
    if (decoder.errors > errors || this.#blankFrames >= MAX_BLANK_FRAMES) {
      this.#blankFrames = 0;
      this.#loseReferences();
    }
    if (picture === null) return;
    const { rtpTimestamp90k, lastPacketAtMs, releasedAtMs } = frame;
    onPicture(picture, {
      rtpTimestamp90k,
      receivedPixels: picture.decodedWidth * picture.decodedHeight,
      lastPacketAtMs,
      releasedAtMs,
      decodeMs,
      restoreMs: 0,
      encodeMs: 0,
    });
  }

  async #decoderFor(codec: VideoCodec): Promise<CountingVideoDecoder | null> {
    if (this.#decoder?.codec === codec) return this.#decoder;
    this.#decoder?.close();
    this.#decoder = null;
    try {
      this.#decoder = await this.#options.createDecoder(codec);
    } catch (error) {
      this.#options.logger.warn({ err: error, codec }, 'no decoder');
      this.#options.onUnsupported();
    }
    return this.#decoder;
  }

  /** Everything up to the next key frame is of no use. */
  #loseReferences(): void {
    const keyAt = this.#queue.findIndex((frame) => frame.keyFrame);
    if (keyAt >= 0) {
      this.#options.onDropped(keyAt);
      this.#queue.splice(0, keyAt);
      return;
    }
    this.#options.onDropped(this.#queue.length);
    this.#queue.length = 0;
    this.#waitsForKeyFrame = true;
    if (!this.#keyFramesOnly) this.#options.needsKeyFrame();
  }
}
