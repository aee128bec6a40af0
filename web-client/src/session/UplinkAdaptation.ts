import { effect } from '@preact/signals';
import type { Publisher } from './Publisher.js';
import { type EncoderSample, ResolutionPolicy, SENT_HEIGHTS, type SentHeight } from './ResolutionPolicy.js';
import { planUplink } from './uplinkPolicy.js';

const SAMPLE_MS = 1_000;

/** The members of RTCStats that are read here; lib.dom has no full types for them. */
interface SenderStats {
  type: string;
  timestamp: number;
  kind?: string;
  framesPerSecond?: number;
  framesEncoded?: number;
  qpSum?: number;
  codecId?: string;
  mimeType?: string;
}

interface Counters {
  atMs: number;
  framesEncoded: number;
  qpSum: number;
}

/** Watches what the encoder makes of the camera, and has a smaller picture sent while the budget's does not fit through the uplink. */
export class UplinkAdaptation {
  readonly #publisher: Publisher;
  readonly #policy: ResolutionPolicy;
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #stopEffect: () => void;
  #before: Counters | null = null;
  #quantizer: number | null = null;

  constructor(publisher: Publisher) {
    this.#publisher = publisher;
    this.#policy = new ResolutionPolicy(planUplink(publisher.uplinkBps.value).height);
    this.#stopEffect = effect(() => {
      const { height: planned } = planUplink(publisher.uplinkBps.value);
      const height = largestOf(publisher.camera.value?.track ?? null, planned);
      this.#policy.restart(height);
      this.#before = null;
      this.#quantizer = null;
      publisher.sentHeight.value = height;
    });
    this.#timer = setInterval(() => void this.#sample().catch(() => {}), SAMPLE_MS);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#stopEffect();
  }

  async #sample(): Promise<void> {
    const sender = this.#publisher.producer('camera')?.rtpSender;
    // A still on its way takes bits that are there again in a moment.
    if (!sender || this.#publisher.reservedBps.value > 0) {
      this.#before = null;
      return;
    }
    const sample = this.#read(await sender.getStats());
    if (sample && this.#policy.sample(sample)) this.#publisher.sentHeight.value = this.#policy.height;
  }

  /** Null: there is nothing to compare with yet, no frame was ever encoded, or by an encoder whose quantizer has another scale. */
  #read(stats: RTCStatsReport): EncoderSample | null {
    const entries: SenderStats[] = [];
    stats.forEach((entry: SenderStats) => void entries.push(entry));
    const sent = entries.find(({ type }) => type === 'outbound-rtp');
    const camera = entries.find(({ type, kind }) => type === 'media-source' && kind === 'video');
    const codec = sent?.codecId === undefined ? null : (stats.get(sent.codecId) as SenderStats | undefined);
    if (!sent || !camera || codec?.mimeType !== 'video/VP8' || sent.qpSum === undefined) return null;
    const before = this.#before;
    const now = { atMs: sent.timestamp, framesEncoded: sent.framesEncoded ?? 0, qpSum: sent.qpSum };
    this.#before = now;
    if (before === null || now.atMs <= before.atMs) return null;
    const frames = now.framesEncoded - before.framesEncoded;
    // Where every frame was dropped it is what it was.
    if (frames > 0) this.#quantizer = (now.qpSum - before.qpSum) / frames;
    if (this.#quantizer === null) return null;
    const { maxFps } = planUplink(this.#publisher.uplinkBps.value);
    return {
      wantedFps: Math.min(camera.framesPerSecond ?? 0, maxFps),
      encodedFps: (frames * 1_000) / (now.atMs - before.atMs),
      quantizer: this.#quantizer,
    };
  }
}

/** The budget's height, or the next above what the camera has. */
function largestOf(camera: MediaStreamTrack | null, planned: SentHeight): SentHeight {
  const { width = planned, height = planned } = camera?.getSettings() ?? {};
  const short = Math.min(width, height);
  return SENT_HEIGHTS.find((one) => one >= Math.min(planned, short)) ?? planned;
}
