/**
 * Keeps audio in step with a restored picture, which comes later than the audio that was never touched.
 *
 * Browsers synchronise audio with one video of the same stream, and that is the original. So while the
 * restored variant is shown, the audio's jitter buffer is told how long to hold (W3C WebRTC Extensions,
 * `RTCRtpReceiver.jitterBufferTarget`), from what the browser says it plays now: the capture time, by the
 * sender's clock, of the sound and of the picture (`estimatedPlayoutTimestamp`).
 */

export interface PlayoutSample {
  /** Sender's clock, milliseconds, of what is played; null while the browser does not know. */
  audioPlayoutMs: number | null;
  videoPlayoutMs: number | null;
  /** How long audio waits in the jitter buffer now, milliseconds. */
  audioDelayMs: number | null;
  /**
   * How much later than it was captured the picture's clock says that it was: mediasoup stamps sender reports
   * when packets pass it, so restoration is in them; werift passes on the sender's own, where it is not.
   */
  videoClockLagMs: number;
}

const MAX_TARGET_MS = 500;
/** Differences that nobody notices; following them would only stretch the sound. */
const DEADBAND_MS = 20;
const STEP = 0.6;

/** Whole-second ambiguities and clock jumps are not lip-sync errors. */
const PLAUSIBLE_MS = 2_000;

/**
 * The jitter-buffer target for the audio, milliseconds; `current` when there is nothing to change.
 * Pure, so that it can be tested: the caller applies it.
 */
export function nextAudioTarget(current: number | null, sample: PlayoutSample): number | null {
  const { audioPlayoutMs, videoPlayoutMs, audioDelayMs, videoClockLagMs } = sample;
  if (audioPlayoutMs === null || videoPlayoutMs === null || audioDelayMs === null) return current;
  const audioAheadMs = audioPlayoutMs - (videoPlayoutMs - videoClockLagMs);
  if (Math.abs(audioAheadMs) > PLAUSIBLE_MS || Math.abs(audioAheadMs) < DEADBAND_MS) return current;
  const base = Math.max(current ?? 0, audioDelayMs);
  return Math.round(Math.min(MAX_TARGET_MS, Math.max(0, base + STEP * audioAheadMs)));
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
