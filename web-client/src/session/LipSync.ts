/**
 * Keeps audio in step with a restored picture, which comes later than the audio that was never touched.
 *
 * Browsers synchronise audio with one video of the same stream, and that is the original. So while the
 * restored variant is shown, the audio's jitter buffer is told how long to hold (W3C WebRTC Extensions,
 * `RTCRtpReceiver.jitterBufferTarget`). Both variants carry the RTP times of the camera, so the original's
 * clock, which the browser knows from its sender reports, tells when a restored frame was captured. The
 * restored track's own reports would not do: mediasoup stamps reports when packets pass it, restoration included.
 */
import type { ShownFrame } from './model.js';

/** An RTP time of a camera and the capture time that belongs to it, milliseconds by the sender's clock. */
export interface ClockReference {
  rtpTimestamp90k: number;
  capturedAtMs: number;
}

/** Older frames say nothing about what is on screen now. */
export const FRESH_FRAME_MS = 500;

/**
 * From what a browser reports of a video: `estimatedPlayoutTimestamp` is the capture time of the frame on
 * screen, moved on by the time it has been there.
 */
export function clockReference(playoutMs: number, atMs: number, frame: ShownFrame): ClockReference {
  return { rtpTimestamp90k: frame.rtpTimestamp90k, capturedAtMs: playoutMs - (atMs - frame.shownAtMs) };
}

/** The inverse: what `estimatedPlayoutTimestamp` would be for a frame on screen, by this clock. */
export function playoutTime(reference: ClockReference, atMs: number, frame: ShownFrame): number {
  // RTP times are 32 bits and wrap around (RFC 3550, section 5.1).
  const ticks = (frame.rtpTimestamp90k - reference.rtpTimestamp90k) | 0;
  return reference.capturedAtMs + ticks / 90 + (atMs - frame.shownAtMs);
}

export interface PlayoutSample {
  /**
   * Sender's clock, milliseconds, of what is played; null while it is not known. Browsers bring the audio's up to
   * date only while the original flows, and then move it on with time: it holds for `audioDelayMs`.
   */
  audioPlayoutMs: number | null;
  videoPlayoutMs: number | null;
  /** How long audio waited in the jitter buffer when `audioPlayoutMs` was last true, milliseconds. */
  audioDelayMs: number | null;
}

const MAX_TARGET_MS = 500;
/** Differences that nobody notices; following them would only stretch the sound. */
const DEADBAND_MS = 20;
/** Share of a difference that is made up at a time: single frames come early and late. */
const STEP = 0.5;
/** Clock jumps are not lip-sync errors. */
const PLAUSIBLE_MS = 2_000;

/**
 * The jitter-buffer target for the audio, milliseconds; `current` when there is nothing to change.
 * Pure, so that it can be tested: the caller applies it.
 */
export function nextAudioTarget(current: number | null, sample: PlayoutSample): number | null {
  const { audioPlayoutMs, videoPlayoutMs, audioDelayMs } = sample;
  if (audioPlayoutMs === null || videoPlayoutMs === null || audioDelayMs === null) return current;
  const audioAheadMs = audioPlayoutMs - videoPlayoutMs;
  if (Math.abs(audioAheadMs) > PLAUSIBLE_MS) return current;
  const wanted = Math.min(MAX_TARGET_MS, Math.max(0, audioDelayMs + audioAheadMs));
  if (current === null) return Math.round(wanted);
  return Math.abs(wanted - current) < DEADBAND_MS ? current : Math.round(current + STEP * (wanted - current));
}

/** Applies targets to receivers that can take them. */
export class LipSync {
  readonly #targets = new Map<RTCRtpReceiver, number | null>();

  /** `sample` null: the original is shown, and the browser's own synchronisation does. */
  update(receiver: RTCRtpReceiver, sample: PlayoutSample | null): void {
    if (!('jitterBufferTarget' in receiver)) return;
    const current = this.#targets.get(receiver) ?? null;
    const target = sample === null ? null : nextAudioTarget(current, sample);
    if (target === current) return;
    this.#targets.set(receiver, target);
    receiver.jitterBufferTarget = target;
  }

  /** Lets go of receivers that are gone. */
  keep(receivers: ReadonlySet<RTCRtpReceiver>): void {
    for (const receiver of this.#targets.keys()) if (!receivers.has(receiver)) this.#targets.delete(receiver);
  }
}
