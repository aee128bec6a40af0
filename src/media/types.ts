/**
 * What travels through a restorer's pipeline. Times named `…AtMs` are `performance.now()` milliseconds of
 * the process (monotonic); `rtpTimestamp90k` is the RTP media clock of RFC 3550 at 90 kHz, unwrapped to a
 * non-negative integer that never goes back.
 */
import type { VideoCodec } from '../restorer/types.js';

export type { VideoCodec };

/** One complete access unit as a decoder takes it (Annex B for H.264, temporal unit for AV1). */
export interface EncodedFrame {
  codec: VideoCodec;
  data: Uint8Array;
  keyFrame: boolean;
  rtpTimestamp90k: number;
  firstPacketAtMs: number;
  /** Arrival of the frame's last packet: the start of the added latency. */
  lastPacketAtMs: number;
  /** When the jitter buffer let it go. */
  releasedAtMs: number;
  /** True: frames before this one are missing and the decoder's references may be damaged. */
  discontinuity: boolean;
}

/**
 * One picture, planar 4:2:0, in one contiguous buffer without row padding: luma `width*height`, then U and
 * V of `width/2 * height/2` each. Width and height are even.
 *
 * The buffer has exactly one owner. It is made to be transferred to a Worker and back (`buffer` covers the
 * whole picture), never copied in JavaScript.
 */
export interface I420Picture {
  buffer: ArrayBuffer;
  width: number;
  height: number;
  rtpTimestamp90k: number;
  /** Limited range unless true. */
  fullRange: boolean;
}

export function i420ByteLength(width: number, height: number): number {
  return (width * height * 3) / 2;
}

/** Decodes one stream. Calls are made one at a time; `close` is idempotent and may come in the middle of one. */
export interface VideoDecoder {
  readonly codec: VideoCodec;
  /**
   * Decodes one access unit; resolves to the picture, or null when it shows nothing (or was damaged).
   * `fit` scales with FFmpeg before the picture leaves the decoder: given the decoded size, it returns the
   * size wanted; so nothing is scaled or copied twice.
   */
  decode(
    frame: EncodedFrame,
    fit: (decodedWidth: number, decodedHeight: number) => { width: number; height: number },
    allocate: (byteLength: number) => ArrayBuffer,
  ): Promise<DecodedPicture | null>;
  close(): void;
}

export interface DecodedPicture extends I420Picture {
  /** Size before `fit`. */
  decodedWidth: number;
  decodedHeight: number;
  keyFrame: boolean;
}

export interface VideoEncoderOptions {
  codec: VideoCodec;
  width: number;
  height: number;
  bitrateBps: number;
  /** Upper bound for buffering in the rate control; frames a second expected. */
  fps: number;
  threads: number;
}

export interface EncodedPicture {
  data: Uint8Array;
  keyFrame: boolean;
  rtpTimestamp90k: number;
}

/** Encodes one stream in real-time mode: one picture in, its access unit out, no look-ahead, no reordering. */
export interface VideoEncoder {
  readonly codec: VideoCodec;
  /** FFmpeg's name of the encoder in use, such as `libx264` or `h264_nvenc`. */
  readonly encoderName: string;
  encode(picture: I420Picture, options: { keyFrame: boolean }): Promise<EncodedPicture | null>;
  setBitrate(bitrateBps: number): void;
  close(): void;
}
