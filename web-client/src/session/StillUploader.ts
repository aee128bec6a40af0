import type { RequestData, ResponseData, StillMimeType } from '../../../src/signaling/messages.js';

type StillRequestName = 'beginStill' | 'stillPart';

export interface CodedStill {
  mimeType: StillMimeType;
  bytes: Uint8Array;
  width: number;
  height: number;
}

export interface StillUploaderOptions {
  request: <N extends StillRequestName>(name: N, data: RequestData<N>) => Promise<ResponseData[N]>;
  /** Largest part. */
  partBytes: number;
  /** Told of what each part costs on the wire, about, before it goes out. */
  onBytes: (bytes: number) => void;
  /** Milliseconds of a clock that does not go back. */
  now: () => number;
  /** Resolves after this time, or as soon as `signal` is aborted. */
  wait: (delayMs: number, signal: AbortSignal) => Promise<void>;
}

/** What goes around a part: the event's own message, framing of WebSocket, TLS and TCP. */
export const PART_OVERHEAD_BYTES = 200;
/** A part that takes this much longer than the quickest one stands in a queue, and live video behind it. */
const SLOW_FACTOR = 2;
const SLOW_MARGIN_MS = 150;
const MAX_SLOWDOWN = 8;
const RECOVERY = 0.7;

/** Sends stills in small parts, one after another's answer, no faster than it is told, and slower where they queue. */
export class StillUploader {
  readonly #options: StillUploaderOptions;
  /** Round trip of the quickest part so far, milliseconds: what this path takes without a queue. */
  #leastMs = Number.POSITIVE_INFINITY;

  constructor(options: StillUploaderOptions) {
    this.#options = options;
  }

  /**
   * Resolves with the still's id when the relay has it, with null when `signal` stopped it.
   * @throws what a request is refused with
   */
  async upload(
    publicationId: string,
    still: CodedStill,
    bitrateBps: number,
    signal: AbortSignal,
  ): Promise<string | null> {
    const { request, partBytes, onBytes, now, wait } = this.#options;
    const { mimeType, bytes, width, height } = still;
    if (signal.aborted) return null;
    const announced = { publicationId, mimeType, byteLength: bytes.byteLength, width, height };
    const { stillId } = await request('beginStill', announced);
    let slowdown = 1;
    for (let offset = 0; offset < bytes.byteLength; offset += partBytes) {
      if (signal.aborted) return null;
      // A copy: a view would drag the whole still's buffer along.
      const data = bytes.slice(offset, offset + partBytes);
      const wireBytes = data.byteLength + PART_OVERHEAD_BYTES;
      onBytes(wireBytes);
      const sentAtMs = now();
      await request('stillPart', { stillId, offset, data });
      const roundTripMs = now() - sentAtMs;
      this.#leastMs = Math.min(this.#leastMs, roundTripMs);
      const queues = roundTripMs > SLOW_FACTOR * this.#leastMs + SLOW_MARGIN_MS;
      slowdown = queues ? Math.min(slowdown * 2, MAX_SLOWDOWN) : Math.max(1, slowdown * RECOVERY);
      const pauseMs = ((wireBytes * 8) / bitrateBps) * 1_000 * slowdown - roundTripMs;
      const isLast = offset + partBytes >= bytes.byteLength;
      if (!isLast && pauseMs > 0) await wait(pauseMs, signal);
    }
    return signal.aborted ? null : stillId;
  }
}
