import type { ReadonlySignal, Signal } from '@preact/signals';
import { effect, signal } from '@preact/signals';
import type { Source } from '../../../src/signaling/messages.js';
import type { LocalMedia } from './LocalMedia.js';
import type { MediaTransports, Producer } from './MediaTransports.js';
import type { SentHeight } from './ResolutionPolicy.js';
import type { SignalingClient } from './SignalingClient.js';
import { planUplink, SCREEN_SHARE_BPS, scaleDownBy } from './uplinkPolicy.js';

type Slot = 'camera' | 'microphone' | 'screen';
const SOURCES: Record<Slot, Source> = { camera: 'camera', microphone: 'microphone', screen: 'screen' };

/** The camera as it is published. */
export interface PublishedCamera {
  publicationId: string;
  track: MediaStreamTrack;
}

/**
 * Keeps what is published in step with what the local media are: a track appears, it is published; it is
 * replaced, the producer takes the new one; it goes, it is unpublished.
 */
export class Publisher {
  readonly muted: Signal<boolean> = signal(false);
  readonly uplinkBps: Signal<number | null>;
  readonly restorable: Signal<boolean>;
  readonly camera: ReadonlySignal<PublishedCamera | null>;
  /** What something else needs of the camera's budget for now, bits per second: the video makes room. */
  readonly reservedBps: Signal<number> = signal(0);
  /** Short side that the encoder gets of the camera's picture: no more than the budget's. */
  readonly sentHeight: Signal<SentHeight>;
  readonly #camera: Signal<PublishedCamera | null> = signal(null);
  readonly #media: LocalMedia;
  readonly #signaling: SignalingClient;
  readonly #onError: (slot: Slot, thrown: unknown) => void;
  readonly #producers = new Map<Slot, Producer>();
  #transports: MediaTransports | null = null;
  /** Changes of one slot are applied one after the other. */
  readonly #queues: Record<Slot, Promise<void>> = {
    camera: Promise.resolve(),
    microphone: Promise.resolve(),
    screen: Promise.resolve(),
  };
  readonly #stopEffects: (() => void)[];

  constructor(options: {
    media: LocalMedia;
    signaling: SignalingClient;
    uplinkBps: number | null;
    restorable: boolean;
    onError: (slot: Slot, thrown: unknown) => void;
  }) {
    this.#media = options.media;
    this.#signaling = options.signaling;
    this.#onError = options.onError;
    this.uplinkBps = signal(options.uplinkBps);
    this.restorable = signal(options.restorable);
    this.sentHeight = signal(planUplink(options.uplinkBps).height);
    this.camera = this.#camera;
    const follow = (slot: Slot) =>
      effect(() => {
        const track = this.#media[slot].value;
        this.#enqueue(slot, () => this.#sync(slot, track));
      });
    this.#stopEffects = [
      follow('camera'),
      follow('microphone'),
      follow('screen'),
      effect(() => {
        const muted = this.muted.value;
        this.#enqueue('microphone', () => this.#syncMuted(muted));
      }),
      effect(() => {
        const budget = this.uplinkBps.value;
        const restorable = this.restorable.value;
        this.#enqueue('camera', () => this.#applyUplink(budget, restorable));
      }),
      effect(() => {
        const reservedBps = this.reservedBps.value;
        void this.sentHeight.value;
        this.#enqueue('camera', () => this.#applyEncoding(reservedBps));
      }),
    ];
  }

  producer(slot: Slot): Producer | null {
    return this.#producers.get(slot) ?? null;
  }

  /** Publishes everything anew over fresh transports; null: nothing can be sent for now. */
  useTransports(transports: MediaTransports | null): void {
    this.#transports = transports;
    for (const slot of Object.keys(SOURCES) as Slot[]) {
      this.#enqueue(slot, async () => {
        this.#producers.get(slot)?.close();
        this.#producers.delete(slot);
        if (slot === 'camera') this.#camera.value = null;
        await this.#sync(slot, this.#media[slot].value);
      });
    }
  }

  #enqueue(slot: Slot, change: () => Promise<void>): void {
    this.#queues[slot] = this.#queues[slot].then(change).catch((thrown) => this.#onError(slot, thrown));
  }

  async #sync(slot: Slot, track: MediaStreamTrack | null): Promise<void> {
    const producer = this.#producers.get(slot);
    if (!track) {
      if (!producer) return;
      this.#producers.delete(slot);
      if (slot === 'camera') this.#camera.value = null;
      producer.close();
      await this.#signaling.request('unpublish', { publicationId: producer.id });
      return;
    }
    if (producer) {
      if (producer.track !== track) await producer.replaceTrack({ track });
      if (slot === 'camera') {
        this.#camera.value = { publicationId: producer.id, track };
        await this.#applyUplink(this.uplinkBps.value, this.restorable.value);
      }
      return;
    }
    const transports = this.#transports;
    if (!transports) return;
    const created = await transports.publish(this.#publishOptions(slot, track));
    this.#producers.set(slot, created);
    if (slot === 'camera') {
      this.#camera.value = { publicationId: created.id, track };
      await this.#preferResolution(created);
    }
    if (slot === 'microphone' && this.muted.value) await this.#syncMuted(true);
  }

  #publishOptions(slot: Slot, track: MediaStreamTrack): Parameters<MediaTransports['publish']>[0] {
    const plan = planUplink(this.uplinkBps.value);
    const common = { track, source: SOURCES[slot], uplinkBudgetBps: this.uplinkBps.value };
    switch (slot) {
      case 'camera':
        return {
          ...common,
          restorable: this.restorable.value,
          codec: 'VP8',
          encoding: this.#cameraEncoding(track, this.reservedBps.value),
          // Starting at the budget instead of the browser's 300 kbit/s keeps the first seconds from overshooting.
          codecOptions: { videoGoogleStartBitrate: Math.max(30, Math.round((plan.videoBps * 0.9) / 1_000)) },
        };
      case 'screen':
        return {
          ...common,
          restorable: false,
          encoding: { maxBitrate: Math.min(SCREEN_SHARE_BPS, this.uplinkBps.value ?? SCREEN_SHARE_BPS) },
        };
      case 'microphone':
        return {
          ...common,
          restorable: false,
          codecOptions: {
            opusStereo: false,
            opusDtx: true,
            opusFec: true,
            opusMaxAverageBitrate: plan.audioBps,
          },
        };
    }
  }

  #cameraEncoding(
    track: MediaStreamTrack,
    reservedBps: number,
  ): {
    maxBitrate: number;
    maxFramerate: number;
    scaleResolutionDownBy: number;
  } {
    const plan = planUplink(this.uplinkBps.value);
    const { width = 1280, height = 720 } = track.getSettings();
    return {
      maxBitrate: Math.round(plan.videoBps - reservedBps),
      maxFramerate: plan.maxFps,
      scaleResolutionDownBy: scaleDownBy(width, height, Math.min(plan.height, this.sentHeight.value)),
    };
  }

  /** The relay restores resolution; the browser must not trade it for frame rate behind our back. */
  async #preferResolution(producer: Producer): Promise<void> {
    const sender = producer.rtpSender;
    if (!sender) return;
    const parameters = sender.getParameters();
    parameters.degradationPreference = 'maintain-resolution';
    await sender.setParameters(parameters).catch(() => {});
  }

  async #syncMuted(muted: boolean): Promise<void> {
    const producer = this.#producers.get('microphone');
    if (!producer || producer.paused === muted) return;
    if (muted) producer.pause();
    else producer.resume();
    await this.#signaling.request('updatePublication', { publicationId: producer.id, paused: muted });
  }

  async #applyEncoding(reservedBps: number): Promise<void> {
    const producer = this.#producers.get('camera');
    if (producer?.track)
      await producer.setRtpEncodingParameters(this.#cameraEncoding(producer.track, reservedBps));
  }

  async #applyUplink(budgetBps: number | null, restorable: boolean): Promise<void> {
    const producer = this.#producers.get('camera');
    if (!producer?.track) return;
    await this.#applyEncoding(this.reservedBps.value);
    await this.#signaling.request('updatePublication', {
      publicationId: producer.id,
      restorable,
      uplinkBudgetBps: budgetBps,
    });
  }

  close(): void {
    for (const stop of this.#stopEffects) stop();
    for (const producer of this.#producers.values()) producer.close();
    this.#producers.clear();
    this.#camera.value = null;
  }
}
