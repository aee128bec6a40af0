import { effect, type ReadonlySignal, type Signal, signal } from '@preact/signals';
import type { EventData, ReferenceLimits } from '../../../src/signaling/messages.js';
import type { Publisher } from './Publisher.js';
import { ReferencePolicy, type StillRequest, stillPaceBps } from './ReferencePolicy.js';
import { type SignalingClient, SignalingError } from './SignalingClient.js';
import { StillCamera } from './StillCamera.js';
import { StillUploader } from './StillUploader.js';
import { type StillCoding, stillCodings } from './stillCoding.js';

const SAMPLE_MS = 1_000;

/** What became of this person's stills in this call. */
export interface SentStills {
  count: number;
  /** Of whole stills, without what goes around them. */
  bytes: number;
  /** performance.now() when the last one had arrived; null: none yet. */
  lastAtMs: number | null;
  /** One is on its way. */
  sending: boolean;
  /** One is wanted, but on this thin uplink not while the camera moves. */
  waitsForCamera: boolean;
  /** The camera focuses on something else: the last one is not used while that lasts. */
  resting: boolean;
}

/** Sends sharp stills of the own camera beside its video, when the policy finds one worth it. */
export class References {
  /** The person's switch. */
  readonly enabled: Signal<boolean>;
  /** Whether relay and browser can do it at all. */
  readonly possible: ReadonlySignal<boolean>;
  readonly sent: ReadonlySignal<SentStills>;
  readonly #publisher: Publisher;
  readonly #signaling: SignalingClient;
  readonly #possible = signal(false);
  readonly #sent = signal<SentStills>({
    count: 0,
    bytes: 0,
    lastAtMs: null,
    sending: false,
    waitsForCamera: false,
    resting: false,
  });
  readonly #codings = stillCodings().catch((): StillCoding[] => []);
  readonly #stopEffects: (() => void)[];
  #limits: ReferenceLimits | null = null;
  #policy: ReferencePolicy | null = null;
  #uploader: StillUploader | null = null;
  #camera: StillCamera | null = null;
  #publicationId: string | null = null;
  /** Whether somebody watches the publication restored. */
  #watched = false;
  /** The last one that the relay has. */
  #stillId: string | null = null;
  /** The one that the relay was told to let rest. */
  #restingId: string | null = null;
  #upload: AbortController | null = null;
  #timer: ReturnType<typeof setInterval> | undefined;
  #wireBytes = 0;

  constructor(options: { publisher: Publisher; signaling: SignalingClient; enabled: boolean }) {
    this.#publisher = options.publisher;
    this.#signaling = options.signaling;
    this.enabled = signal(options.enabled);
    this.possible = this.#possible;
    this.sent = this.#sent;
    this.#stopEffects = [
      effect(() => {
        const camera = this.#publisher.camera.value;
        const active = this.#possible.value && this.enabled.value && this.#publisher.restorable.value;
        this.#follow(camera?.publicationId ?? null, active && camera ? camera.track : null);
      }),
      effect(() => {
        const budgetBps = this.#publisher.uplinkBps.value;
        this.#policy?.setBudget(budgetBps);
      }),
      effect(() => {
        if (!this.enabled.value) this.#forget();
      }),
    ];
  }

  /** Bytes that stills have taken of the uplink so far, with what goes around them. */
  get wireBytes(): number {
    return this.#wireBytes;
  }

  /** The relay said what it takes; null: no stills. */
  useLimits(limits: ReferenceLimits | null): void {
    this.stop();
    if (JSON.stringify(limits) !== JSON.stringify(this.#limits)) this.#configure(limits);
    if (!limits) this.#possible.value = false;
    // Joining does not wait for what a hidden page may take long to find out.
    void this.#codings.then(({ length }) => {
      this.#possible.value = length > 0 && this.#limits !== null;
    });
    // Switched off while the relay could not be told.
    if (!this.enabled.value) this.#forget();
  }

  /** The connection is lost, and with it what was under way. */
  stop(): void {
    this.#upload?.abort();
  }

  wanted({ publicationId, reason }: EventData['stillWanted']): void {
    if (publicationId === this.#publicationId && this.#camera) this.#policy?.wanted(reason);
  }

  refused({ stillId }: EventData['stillRefused']): void {
    // One that was overtaken meanwhile is nobody's loss.
    if (stillId === this.#stillId) this.#policy?.refused();
  }

  /** News of any publication; the own one's tell whether somebody watches it restored. */
  publicationChanged({ publicationId, restored }: EventData['publicationChanged']): void {
    if (publicationId !== this.#publicationId) return;
    this.#watched = restored === 'active';
    this.#policy?.setWatched(this.#watched);
  }

  close(): void {
    for (const stop of this.#stopEffects) stop();
    this.#follow(null, null);
  }

  #configure(limits: ReferenceLimits | null): void {
    this.#limits = limits;
    const now = () => performance.now();
    const budgetBps = this.#publisher.uplinkBps.value;
    this.#policy = limits && new ReferencePolicy({ limits, budgetBps, now, random: Math.random });
    this.#uploader =
      limits &&
      new StillUploader({
        request: (name, data) => this.#signaling.request(name, data),
        partBytes: limits.partBytes,
        onBytes: (bytes) => {
          this.#wireBytes += bytes;
          this.#policy?.spent(bytes);
        },
        now,
        wait,
      });
  }

  /** `track` null: no stills are to be taken of this publication, or there is none. */
  #follow(publicationId: string | null, track: MediaStreamTrack | null): void {
    if (publicationId !== this.#publicationId) this.#watched = false;
    if (publicationId !== this.#publicationId || !track) {
      this.stop();
      this.#policy?.reset();
      this.#policy?.setWatched(this.#watched);
      this.#stillId = null;
      this.#restingId = null;
    }
    this.#publicationId = publicationId;
    this.#camera?.close();
    this.#camera = track && new StillCamera(track);
    clearInterval(this.#timer);
    if (track) this.#timer = setInterval(() => this.#tick(), SAMPLE_MS);
  }

  #tick(): void {
    const look = this.#camera?.look();
    if (look) this.#policy?.sample(look);
    const { waitsForCamera = false, resting = false } = this.#policy ?? {};
    if (waitsForCamera !== this.#sent.value.waitsForCamera || resting !== this.#sent.value.resting)
      this.#sent.value = { ...this.#sent.value, waitsForCamera, resting };
    this.#rest(resting ? this.#stillId : null);
    const request = this.#policy?.next();
    if (request) void this.#send(request);
  }

  async #send({ budget }: StillRequest): Promise<void> {
    const [camera, limits, policy, uploader] = [this.#camera, this.#limits, this.#policy, this.#uploader];
    const publicationId = this.#publicationId;
    if (!camera || !limits || !policy || !uploader || publicationId === null) return;
    const upload = new AbortController();
    this.#upload = upload;
    policy.begun();
    this.#sent.value = { ...this.#sent.value, sending: true };
    try {
      const still = await camera.take({ budget, maxSide: limits.maxSide, codings: await this.#codings });
      if (!still) return policy.failed();
      const paceBps = stillPaceBps(this.#publisher.uplinkBps.value, limits.uplinkShare);
      this.#publisher.reservedBps.value = paceBps;
      const stillId = await uploader.upload(publicationId, still, paceBps, upload.signal);
      if (stillId === null) return policy.stopped();
      this.#stillId = stillId;
      policy.sent(still.look);
      const { count, bytes } = this.#sent.value;
      this.#sent.value = {
        count: count + 1,
        bytes: bytes + still.bytes.byteLength,
        lastAtMs: performance.now(),
        sending: true,
        waitsForCamera: false,
        resting: false,
      };
    } catch {
      // Refused or lost: neither is the person's affair, and the call goes on as well without.
      if (upload.signal.aborted) policy.stopped();
      else policy.failed();
    } finally {
      if (this.#upload === upload) {
        this.#upload = null;
        this.#publisher.reservedBps.value = 0;
        this.#sent.value = { ...this.#sent.value, sending: false };
      }
    }
  }

  /** Tells the relay which still should rest; null: none. */
  #rest(wanted: string | null): void {
    const publicationId = this.#publicationId;
    const told = this.#restingId;
    if (publicationId === null || wanted === told) return;
    this.#restingId = wanted;
    const stillId = wanted ?? told;
    // Another has taken its place, which does not rest.
    if (stillId === null || stillId !== this.#stillId) return;
    this.#signaling
      .request('restStill', { publicationId, stillId, resting: wanted !== null })
      .catch((error: unknown) => {
        const again = error instanceof SignalingError && error.retryable;
        if (again && this.#restingId === wanted) this.#restingId = told;
      });
  }

  #forget(): void {
    const publicationId = this.#publicationId;
    if (publicationId === null || !this.#limits) return;
    // Without a connection the publication ends, too, or is told of again when it is back.
    this.#signaling.request('forgetStills', { publicationId }).catch(() => {});
  }
}

function wait(delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, delayMs);
    signal.addEventListener('abort', done);
  });
}
