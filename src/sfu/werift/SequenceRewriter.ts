import { randomInt } from 'node:crypto';
import { sequenceDelta } from './sequence.js';

/**
 * Gives one receiver a sequence space of its own: continuous over pauses and switches of producer,
 * so that packets held back on purpose never look like loss.
 */
export class SequenceRewriter {
  #offset = 0;
  #base = 0;
  #highestOut: number;
  #synced = false;

  constructor(firstSequence: number = randomInt(0x8000)) {
    this.#highestOut = (firstSequence - 1) & 0xffff;
  }

  /** Highest sequence number given out. */
  get highest(): number {
    return this.#highestOut;
  }

  get synced(): boolean {
    return this.#synced;
  }

  /** The next packet starts a new run: it follows whatever was sent last. */
  desync(): void {
    this.#synced = false;
  }

  /** Maps the producer's number to the receiver's; −1: older than this run, must not be sent. */
  rewrite(sequenceNumber: number): number {
    if (!this.#synced) {
      this.#synced = true;
      this.#base = sequenceNumber;
      this.#offset = (this.#highestOut + 1 - sequenceNumber) & 0xffff;
    }
    const delta = sequenceDelta(sequenceNumber, this.#base);
    if (delta < 0) return -1;
    // The run's start is only needed to refuse packets from before it; keep it close behind so that it never wraps.
    if (delta > 0x4000) this.#base = (sequenceNumber - 0x2000) & 0xffff;
    const out = (sequenceNumber + this.#offset) & 0xffff;
    if (sequenceDelta(out, this.#highestOut) > 0) this.#highestOut = out;
    return out;
  }

  /** The producer's number behind one given out in the current run; −1 when there is none. */
  original(outSequenceNumber: number): number {
    if (!this.#synced || sequenceDelta(outSequenceNumber, this.#highestOut) > 0) return -1;
    const sequenceNumber = (outSequenceNumber - this.#offset) & 0xffff;
    return sequenceDelta(sequenceNumber, this.#base) < 0 ? -1 : sequenceNumber;
  }
}
