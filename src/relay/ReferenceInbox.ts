import { VireoError } from '../errors.js';
import type { ReferenceStill } from '../restorer/types.js';
import type { ReferenceLimits, RequestData } from '../signaling/messages.js';
import { readStillHeader } from './stillHeader.js';

export type AnnouncedStill = Omit<RequestData<'beginStill'>, 'publicationId'>;

interface Upload {
  stillId: string;
  announced: AnnouncedStill;
  /** Allocated with the first part: announcing alone costs nothing. */
  bytes: Uint8Array | null;
  received: number;
  lastAtMs: number;
}

/** Nobody who sends at a call's bit rates is quiet for this long between two parts. */
export const UPLOAD_TIMEOUT_MS = 30_000;

/** The stills that a publication's sender uploads: puts the parts together, checks the whole, keeps the newest. */
export class ReferenceInbox {
  readonly #limits: ReferenceLimits;
  readonly #now: () => number;
  #upload: Upload | null = null;
  #still: ReferenceStill | null = null;
  /** Of a whole still, whatever became of it. */
  #lastCompleteAtMs = Number.NEGATIVE_INFINITY;

  /** `now`: milliseconds of a clock that does not go back. */
  constructor(limits: ReferenceLimits, now: () => number) {
    this.#limits = limits;
    this.#now = now;
  }

  /** The newest whole still. */
  get still(): ReferenceStill | null {
    return this.#still;
  }

  /** Of the upload under way. */
  get uploadId(): string | null {
    return this.#upload?.stillId ?? null;
  }

  /** Replaces an unfinished upload. @throws VireoError that names the field */
  begin(stillId: string, announced: AnnouncedStill): void {
    const { maxBytes, maxSide, minIntervalMs } = this.#limits;
    const { byteLength, width, height } = announced;
    if (byteLength > maxBytes) {
      throw new VireoError(
        'payload-too-large',
        `data.byteLength: ${byteLength} is more than the ${maxBytes} bytes that a still may have`,
      );
    }
    for (const [side, pixels] of [
      ['width', width],
      ['height', height],
    ] as const) {
      if (pixels > maxSide) {
        throw new VireoError(
          'bad-request',
          `data.${side}: ${pixels} is more than the ${maxSide} pixels that a still may have`,
        );
      }
    }
    const waitMs = this.#lastCompleteAtMs + minIntervalMs - this.#now();
    if (waitMs > 0) {
      throw new VireoError(
        'rate-limited',
        `data.publicationId: the next still may come in ${Math.ceil(waitMs)} ms`,
      );
    }
    this.#upload = { stillId, announced, bytes: null, received: 0, lastAtMs: this.#now() };
  }

  /**
   * @returns the still once it is whole, null before
   * @throws VireoError that names the field; `data.data` and `data.offset` end the upload
   */
  add(stillId: string, offset: number, data: Uint8Array): ReferenceStill | null {
    this.expire();
    const upload = this.#upload;
    if (!upload || upload.stillId !== stillId) {
      throw new VireoError('not-found', `data.stillId: no still ${stillId} is under way`);
    }
    const { byteLength, mimeType } = upload.announced;
    // Whatever is wrong from here on, the sender has lost count: it has to begin again.
    this.#upload = null;
    if (offset !== upload.received) {
      throw new VireoError(
        'conflict',
        `data.offset: ${offset} is not ${upload.received}, where the last part ended; begin the still again`,
      );
    }
    const received = offset + data.byteLength;
    if (received > byteLength) {
      throw new VireoError(
        'payload-too-large',
        `data.data: ${received - byteLength} bytes more than the ${byteLength} that were announced`,
      );
    }
    const bytes = upload.bytes ?? new Uint8Array(byteLength);
    bytes.set(data, offset);
    if (received < byteLength) {
      this.#upload = { ...upload, bytes, received, lastAtMs: this.#now() };
      return null;
    }
    this.#lastCompleteAtMs = this.#now();
    checkPicture(bytes, upload.announced);
    this.#still = { id: stillId, mimeType, bytes };
    return this.#still;
  }

  /** Forgets an upload whose sender has fallen silent. */
  expire(): void {
    if (this.#upload && this.#now() - this.#upload.lastAtMs > UPLOAD_TIMEOUT_MS) this.#upload = null;
  }

  /** Forgets this still if it is the newest; an upload goes on. */
  forgetStill(stillId: string): void {
    if (this.#still?.id === stillId) this.#still = null;
  }

  /** Forgets what there is and what is under way. */
  forget(): void {
    this.#upload = null;
    this.#still = null;
  }
}

function checkPicture(bytes: Uint8Array, { mimeType, width, height }: AnnouncedStill): void {
  let size: { width: number; height: number };
  try {
    size = readStillHeader(bytes, mimeType);
  } catch (error) {
    const { code, message } = VireoError.from(error);
    throw new VireoError(code, `data.data: ${message}`);
  }
  if (size.width !== width || size.height !== height) {
    throw new VireoError(
      'media-invalid',
      `data.data: the still is ${size.width}×${size.height}, but ${width}×${height} was announced`,
    );
  }
}
