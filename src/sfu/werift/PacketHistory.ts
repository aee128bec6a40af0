/**
 * A producer's last packets, for retransmission to any of its consumers: one copy for all of them,
 * bounded by count and age. Indexed by the producer's sequence number.
 */
export class PacketHistory {
  readonly #mask: number;
  readonly #maxAgeMs: number;
  readonly #packets: (Buffer | undefined)[];
  readonly #sequenceNumbers: Int32Array;
  readonly #storedMs: Float64Array;

  /** `capacity`: a power of two. */
  constructor(capacity: number, maxAgeMs: number) {
    if (capacity < 1 || (capacity & (capacity - 1)) !== 0 || capacity > 0x8000) {
      throw new RangeError(`capacity must be a power of two up to 32768, got ${capacity}`);
    }
    this.#mask = capacity - 1;
    this.#maxAgeMs = maxAgeMs;
    this.#packets = new Array<Buffer | undefined>(capacity);
    this.#sequenceNumbers = new Int32Array(capacity).fill(-1);
    this.#storedMs = new Float64Array(capacity);
  }

  /** Keeps a reference; the caller must not change the bytes afterwards. */
  store(sequenceNumber: number, packet: Buffer, nowMs: number): void {
    const slot = sequenceNumber & this.#mask;
    this.#packets[slot] = packet;
    this.#sequenceNumbers[slot] = sequenceNumber;
    this.#storedMs[slot] = nowMs;
  }

  get(sequenceNumber: number, nowMs: number): Buffer | undefined {
    const slot = sequenceNumber & this.#mask;
    if (this.#sequenceNumbers[slot] !== sequenceNumber) return undefined;
    if (nowMs - (this.#storedMs[slot] as number) > this.#maxAgeMs) {
      this.#packets[slot] = undefined;
      this.#sequenceNumbers[slot] = -1;
      return undefined;
    }
    return this.#packets[slot];
  }

  clear(): void {
    this.#packets.fill(undefined);
    this.#sequenceNumbers.fill(-1);
  }
}
