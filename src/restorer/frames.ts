import type { I420Picture } from '../media/types.js';

/** Where a frame's time went, milliseconds, and how large it was; travels with the picture through the stages. */
export interface FrameTimes {
  rtpTimestamp90k: number;
  /** Of the decoded picture, before it was scaled for a model. */
  receivedPixels: number;
  /** Arrival of the frame's last packet: the start of the added latency. */
  lastPacketAtMs: number;
  /** When the jitter buffer let it go. */
  releasedAtMs: number;
  decodeMs: number;
  restoreMs: number;
  encodeMs: number;
}

/** A picture with exactly one owner, its times, and the way back to the pool its buffer came from. */
export interface TrackedPicture {
  picture: I420Picture;
  times: FrameTimes;
  /** Of a received picture, where key frames are mended: it is one, or one was left out since the picture before. */
  afterKeyFrame?: boolean;
  recycle: (buffer: ArrayBuffer) => void;
}

/** Frees a picture that goes no further. Its buffer may have been transferred away already. */
export function discard(tracked: TrackedPicture): void {
  if (tracked.picture.buffer.byteLength > 0) tracked.recycle(tracked.picture.buffer);
}
