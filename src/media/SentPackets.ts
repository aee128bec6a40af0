const CAPACITY = 1024;
const MAX_AGE_MS = 1500;
const MAX_TRIES = 8;

interface Sent {
  sequenceNumber: number;
  packet: Buffer;
  sentAtMs: number;
  repeatedAtMs: number;
  tries: number;
}

/** The last packets sent, to be sent again on request. */
export class SentPackets {
  readonly #slots: (Sent | undefined)[] = new Array(CAPACITY).fill(undefined);

  add(sequenceNumber: number, packet: Buffer, sentAtMs: number): void {
    const repeatedAtMs = Number.NEGATIVE_INFINITY;
    this.#slots[sequenceNumber % CAPACITY] = { sequenceNumber, packet, sentAtMs, repeatedAtMs, tries: 0 };
  }

  /** The packet, unless it is too old, or was repeated so recently that the repetition may still be on its way. */
  takeForRepetition(sequenceNumber: number, rttMs: number, nowMs: number): Buffer | null {
    const sent = this.#slots[sequenceNumber % CAPACITY];
    if (sent?.sequenceNumber !== sequenceNumber || nowMs - sent.sentAtMs > MAX_AGE_MS) return null;
    if (sent.tries >= MAX_TRIES || nowMs - sent.repeatedAtMs < rttMs) return null;
    sent.tries += 1;
    sent.repeatedAtMs = nowMs;
    return sent.packet;
  }

  clear(): void {
    this.#slots.fill(undefined);
  }
}
