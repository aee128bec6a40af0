import type { Logger } from '../log.js';
import type { Variant } from '../restoration/manifest.js';
import type { InferenceDevice, RestorationStream } from '../restoration/types.js';
import type { CostModel } from './CostModel.js';
import type { DeviceGate, GateWaiter } from './DeviceGate.js';
import { discard, type TrackedPicture } from './frames.js';
import type { TrackReference } from './TrackReference.js';

/** What the next blocks are restored with. */
export interface RestoreTarget {
  packageName: string;
  variant: Variant;
  width: number;
  height: number;
  /** How much of the restoration is applied, 0 to 1. */
  strength: number;
  /** Whether details are looked up in a still, if there is one. */
  looksUp: boolean;
}

export interface RestoreStageOptions {
  device: Pick<InferenceDevice, 'openStream'>;
  gate: DeviceGate;
  costs: CostModel;
  reference: TrackReference;
  logger: Logger;
  /** Takes ownership of the restored picture. */
  onRestored: (restored: TrackedPicture) => void;
  onDropped: (frames: number) => void;
  /** The model could not restore a block, or no stream could be opened. */
  onFailed: (error: unknown) => void;
}

/** A picture this old is history even if it is the newest (the process stood still, say). */
const MAX_AGE_MS = 1_000;

/**
 * Restores the newest pictures, one block at a time, when the device has room. Holds one block's pictures at
 * most: a newer one pushes the oldest out. The model's state is carried as long as the target stays the same.
 */
export class RestoreStage implements GateWaiter {
  priority = 0;
  readonly #options: RestoreStageOptions;
  readonly #pending: TrackedPicture[] = [];
  #target: RestoreTarget | null = null;
  #stream: { target: RestoreTarget; stream: RestorationStream } | null = null;
  #running: Promise<void> | null = null;
  #opening = false;
  /** The next picture follows on one. */
  #keyFrameLeftOut = false;
  /** Since when there has been something to do and nothing was done. */
  #busySinceMs: number | null = null;
  #closed = false;

  constructor(options: RestoreStageOptions) {
    this.#options = options;
  }

  /** Null: nothing is restored. The same target again keeps the stream and its state. */
  setTarget(target: RestoreTarget | null): void {
    if (sameTarget(target, this.#target) && target?.looksUp === this.#target?.looksUp) return;
    const resized = target?.width !== this.#target?.width || target?.height !== this.#target?.height;
    this.#target = target;
    if (resized) this.#dropPending(this.#pending.length);
    if (target === null && this.#running === null) this.#closeStream();
  }

  get target(): RestoreTarget | null {
    return this.#target;
  }

  /** References are gone: what the model remembers does not lead to what comes next. */
  resetState(): void {
    this.#stream?.stream.reset();
  }

  stalledMs(nowMs: number): number {
    return this.#busySinceMs === null || this.#opening ? 0 : nowMs - this.#busySinceMs;
  }

  allocate(byteLength: number): ArrayBuffer {
    const stream = this.#stream?.stream;
    const fits = stream !== undefined && (stream.inputWidth * stream.inputHeight * 3) / 2 === byteLength;
    return fits ? stream.allocateInput() : new ArrayBuffer(byteLength);
  }

  recycle(buffer: ArrayBuffer): void {
    this.#stream?.stream.recycle(buffer);
  }

  /** Takes ownership. */
  push(tracked: TrackedPicture): void {
    const target = this.#target;
    if (this.#closed || target === null || !takes(target, tracked)) {
      discard(tracked);
      return;
    }
    if (this.#keyFrameLeftOut) tracked.afterKeyFrame = true;
    this.#keyFrameLeftOut = false;
    this.#pending.push(tracked);
    const { T } = target.variant;
    // While a block runs, the next one gathers; pictures older than the newest block are stale.
    if (this.#pending.length > T) this.#dropPending(this.#pending.length - T);
    this.#busySinceMs ??= performance.now();
    this.#ask();
  }

  /** Frees a picture that is not to be restored. */
  leaveOut(tracked: TrackedPicture): void {
    this.#keyFrameLeftOut ||= tracked.afterKeyFrame === true;
    discard(tracked);
  }

  /** The gate's turn: take the newest pictures there are now. */
  granted(): void {
    const target = this.#target;
    const nowMs = performance.now();
    while (this.#pending[0] && nowMs - this.#pending[0].times.lastPacketAtMs > MAX_AGE_MS)
      this.#dropPending(1);
    if (this.#closed || target === null || this.#pending.length < target.variant.T) {
      this.#idle();
      this.#options.gate.release();
      return;
    }
    const block = this.#pending.splice(0, target.variant.T);
    this.#running = this.#restore(target, block).finally(() => {
      this.#running = null;
      this.#options.gate.release();
      this.#busySinceMs = this.#pending.length > 0 ? performance.now() : null;
      if (this.#target === null) this.#closeStream();
      this.#ask();
    });
  }

  /** Waits for the block that runs. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#options.gate.cancel(this);
    this.#dropPending(this.#pending.length);
    await this.#running;
    this.#closeStream();
  }

  #ask(): void {
    if (this.#closed || this.#running !== null || this.#target === null) return;
    if (this.#pending.length >= this.#target.variant.T) this.#options.gate.request(this);
  }

  #idle(): void {
    this.#busySinceMs = null;
  }

  async #restore(target: RestoreTarget, block: TrackedPicture[]): Promise<void> {
    const { onRestored, onFailed, costs, reference } = this.#options;
    try {
      const stream = await this.#streamFor(target);
      stream.priority = this.priority;
      const receivedPixels = block.at(-1)?.times.receivedPixels ?? 0;
      reference.applyTo(stream, receivedPixels, target.looksUp);
      // What is looked up is no guess, of which less may be better.
      stream.strength = reference.serves ? 1 : target.strength;
      const { pictures, runMs, found } = await stream.restore(
        block.map(({ picture, afterKeyFrame }) =>
          afterKeyFrame === undefined ? picture : { ...picture, afterKeyFrame },
        ),
      );
      const last = pictures.at(-1);
      if (last) reference.restored(stream, last, receivedPixels, found);
      const perPictureMs = runMs / block.length;
      costs.record(target.packageName, reference.used, perPictureMs);
      const recycle = (buffer: ArrayBuffer): void => stream.recycle(buffer);
      pictures.forEach((picture, at) => {
        const times = block[at]?.times;
        if (times === undefined) {
          recycle(picture.buffer);
          return;
        }
        times.restoreMs = runMs;
        picture.rtpTimestamp90k = times.rtpTimestamp90k;
        const restored = { picture, times, recycle };
        if (this.#closed || this.#target === null) discard(restored);
        else onRestored(restored);
      });
    } catch (error) {
      for (const tracked of block) discard(tracked);
      this.#options.onDropped(block.length);
      if (this.#closed) return;
      this.#closeStream();
      onFailed(error);
    }
  }

  async #streamFor(target: RestoreTarget): Promise<RestorationStream> {
    if (this.#stream !== null && sameTarget(this.#stream.target, target)) return this.#stream.stream;
    this.#closeStream();
    this.#opening = true;
    try {
      const stream = await this.#options.device.openStream(target);
      this.#stream = { target, stream };
      return stream;
    } finally {
      this.#opening = false;
      this.#busySinceMs = performance.now();
    }
  }

  #closeStream(): void {
    this.#stream?.stream.close();
    this.#stream = null;
  }

  #dropPending(count: number): void {
    for (const tracked of this.#pending.splice(0, count)) this.leaveOut(tracked);
    const [next] = this.#pending;
    if (next !== undefined && this.#keyFrameLeftOut) {
      next.afterKeyFrame = true;
      this.#keyFrameLeftOut = false;
    }
    if (count > 0) this.#options.onDropped(count);
  }
}

function takes(target: RestoreTarget, { picture }: TrackedPicture): boolean {
  return picture.width === target.width && picture.height === target.height;
}

/** Restored by the same stream, which carries its state on. */
function sameTarget(a: RestoreTarget | null, b: RestoreTarget | null): boolean {
  if (a === null || b === null) return a === b;
  return (
    a.variant === b.variant &&
    a.packageName === b.packageName &&
    a.width === b.width &&
    a.height === b.height &&
    a.strength === b.strength
  );
}
