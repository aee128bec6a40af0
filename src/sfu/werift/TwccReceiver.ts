/** Feedback packets answer for at most this many transport sequence numbers. */
const MAX_PACKETS_PER_FEEDBACK = 512;
/** Arrivals kept between two feedback packets. */
const MAX_PENDING = 4096;
const TICKS_PER_MS = 4;
const REFERENCE_TICKS = 256;

/**
 * Tells a sender when each of its packets arrived, so that it can estimate its uplink
 * (draft-holmer-rmcat-transport-wide-cc-extensions-01, section 3.1).
 */
export class TwccReceiver {
  readonly #senderSsrc: number;
  /** Unwrapped transport sequence number → arrival in units of 250 µs. */
  #pending = new Map<number, number>();
  #highest = -1;
  #nextBase = -1;
  #feedbackCount = 0;

  constructor(senderSsrc: number) {
    this.#senderSsrc = senderSsrc;
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  onPacket(sequenceNumber: number, nowMs: number): void {
    let unwrapped: number;
    if (this.#highest < 0) {
      // Room below for packets that were overtaken by the first one.
      unwrapped = sequenceNumber + 0x10000;
    } else {
      unwrapped = this.#highest + (((sequenceNumber - this.#highest) << 16) >> 16);
    }
    if (unwrapped > this.#highest) this.#highest = unwrapped;
    if (this.#pending.size < MAX_PENDING && !this.#pending.has(unwrapped)) {
      this.#pending.set(unwrapped, Math.round(nowMs * TICKS_PER_MS));
    }
  }

  /** Feedback for everything that arrived since the last call; empty when nothing did. */
  build(mediaSsrc: number): Buffer[] {
    if (this.#pending.size === 0) return [];
    const arrived = [...this.#pending.keys()].sort((a, b) => a - b);
    const arrivals = this.#pending;
    this.#pending = new Map();
    const packets: Buffer[] = [];
    let index = 0;
    let base = arrived[0] as number;
    // Losses just before the first arrival are reported, too, unless the numbering jumped.
    if (
      this.#nextBase >= 0 &&
      base > this.#nextBase &&
      base - this.#nextBase < MAX_PACKETS_PER_FEEDBACK / 2
    ) {
      base = this.#nextBase;
    }
    while (index < arrived.length) {
      const firstTick = arrivals.get(arrived[index] as number) as number;
      const referenceTime = Math.floor(firstTick / REFERENCE_TICKS);
      let previousTick = referenceTime * REFERENCE_TICKS;
      const symbols: number[] = [];
      const deltas: number[] = [];
      let end = base;
      while (index < arrived.length) {
        const unwrapped = arrived[index] as number;
        const tick = arrivals.get(unwrapped) as number;
        const delta = tick - previousTick;
        if (unwrapped - base >= MAX_PACKETS_PER_FEEDBACK || delta < -0x8000 || delta > 0x7fff) break;
        while (end < unwrapped) {
          symbols.push(0);
          end++;
        }
        symbols.push(delta >= 0 && delta <= 0xff ? 1 : 2);
        deltas.push(delta);
        previousTick = tick;
        end++;
        index++;
      }
      if (deltas.length > 0) packets.push(this.#encode(mediaSsrc, base, referenceTime, symbols, deltas));
      this.#nextBase = Math.max(this.#nextBase, end);
      base = arrived[index] ?? end;
    }
    return packets;
  }

  #encode(
    mediaSsrc: number,
    base: number,
    referenceTime: number,
    symbols: number[],
    deltas: number[],
  ): Buffer {
    const chunks: number[] = [];
    for (let at = 0; at < symbols.length; ) {
      const symbol = symbols[at] as number;
      let run = 1;
      while (at + run < symbols.length && symbols[at + run] === symbol && run < 0x1fff) run++;
      if (run >= 7) {
        chunks.push((symbol << 13) | run);
        at += run;
        continue;
      }
      let chunk = 0xc000;
      for (let slot = 0; slot < 7; slot++) chunk |= (symbols[at + slot] ?? 0) << (12 - slot * 2);
      chunks.push(chunk);
      at += 7;
    }
    const deltaBytes = deltas.reduce((sum, delta) => sum + (delta >= 0 && delta <= 0xff ? 1 : 2), 0);
    const contentSize = 20 + chunks.length * 2 + deltaBytes;
    const size = Math.ceil(contentSize / 4) * 4;
    const packet = Buffer.alloc(size);
    packet[0] = 0x80 | 15 | (size > contentSize ? 0x20 : 0);
    packet[1] = 205;
    packet.writeUInt16BE(size / 4 - 1, 2);
    packet.writeUInt32BE(this.#senderSsrc, 4);
    packet.writeUInt32BE(mediaSsrc, 8);
    packet.writeUInt16BE(base & 0xffff, 12);
    packet.writeUInt16BE(symbols.length, 14);
    packet.writeUIntBE(referenceTime & 0xffffff, 16, 3);
    packet[19] = this.#feedbackCount;
    this.#feedbackCount = (this.#feedbackCount + 1) & 0xff;
    let at = 20;
    for (const chunk of chunks) at = packet.writeUInt16BE(chunk, at);
    for (const delta of deltas) {
      at = delta >= 0 && delta <= 0xff ? packet.writeUInt8(delta, at) : packet.writeInt16BE(delta, at);
    }
    if (size > contentSize) packet[size - 1] = size - contentSize;
    return packet;
  }
}
