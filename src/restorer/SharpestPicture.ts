import type { I420Picture } from '../media/types.js';

/** A restored picture whose luma serves as a still. */
export interface KeptPicture {
  luma: ArrayBuffer;
  width: number;
  height: number;
  /** Of the received picture that it was restored from. */
  receivedPixels: number;
  atMs: number;
}

/** A newer picture of the same sharpness takes the place of one this old: one copy a second, and not of every picture. */
const RENEW_AFTER_MS = 1_000;

/**
 * The stream's own sharpest picture of late. Senders on a failing uplink turn their picture's size down: what was restored
 * from the larger one shows the same scene with more detail, and serves the smaller ones as a still.
 */
export class SharpestPicture {
  #kept: KeptPicture | null = null;

  /** Of a picture restored from one of `receivedPixels`; copies its luma if it is wanted. */
  offer(picture: I420Picture, receivedPixels: number, nowMs: number): void {
    const { width, height, buffer } = picture;
    const kept = this.#kept;
    const sameShape = kept !== null && kept.width === width && kept.height === height;
    if (sameShape) {
      if (kept.receivedPixels > receivedPixels) return;
      if (kept.receivedPixels === receivedPixels && nowMs - kept.atMs < RENEW_AFTER_MS) return;
    }
    this.#kept = { luma: buffer.slice(0, width * height), width, height, receivedPixels, atMs: nowMs };
  }

  /** What is sharper than anything restored from `receivedPixels` can be, in exactly this size. */
  sharperThan(receivedPixels: number, width: number, height: number): KeptPicture | null {
    const kept = this.#kept;
    if (kept === null || kept.width !== width || kept.height !== height) return null;
    return kept.receivedPixels > receivedPixels ? kept : null;
  }

  forget(): void {
    this.#kept = null;
  }
}
