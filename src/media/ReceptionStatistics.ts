import { compactNtp } from './clocks.js';
import type { ReportBlock } from './Rtcp.js';

/** What a receiver report says about a stream (RFC 3550, section 6.4.1 and appendices A.3 and A.8). */
export class ReceptionStatistics {
  #firstSequence: number | null = null;
  #highestSequence = 0;
  #received = 0;
  #expectedBefore = 0;
  #receivedBefore = 0;
  #jitter90k = 0;
  #lastTransit90k: number | null = null;
  #senderReport: { compactNtp: number; arrivalAtMs: number } | null = null;

  get jitterMs(): number {
    return this.#jitter90k / 90;
  }

  /** One packet, with its sequence number unwrapped; duplicates are to be left out. */
  received(sequence: number, timestamp: number, arrivalAtMs: number): void {
    this.#firstSequence = Math.min(this.#firstSequence ?? sequence, sequence);
    this.#highestSequence = Math.max(this.#highestSequence, sequence);
    this.#received += 1;
    const transit90k = arrivalAtMs * 90 - timestamp;
    if (this.#lastTransit90k !== null) {
      let difference = Math.abs(transit90k - this.#lastTransit90k);
      // Either timestamp may have wrapped in between.
      if (difference > 2 ** 31) difference = Math.abs(difference - 2 ** 32);
      // Pauses and clock changes of the sender are not jitter.
      if (difference < 90_000) this.#jitter90k += (difference - this.#jitter90k) / 16;
    }
    this.#lastTransit90k = transit90k;
  }

  senderReport(ntpTimestamp: bigint, arrivalAtMs: number): void {
    this.#senderReport = { compactNtp: compactNtp(ntpTimestamp), arrivalAtMs };
  }

  /** After the sender started over with other sequence numbers. */
  restart(): void {
    this.#firstSequence = null;
    this.#highestSequence = 0;
    this.#received = 0;
    this.#expectedBefore = 0;
    this.#receivedBefore = 0;
    this.#lastTransit90k = null;
  }

  /** The block for now; begins a new interval. Null before the first packet. */
  report(ssrc: number, nowMs: number): ReportBlock | null {
    if (this.#firstSequence === null) return null;
    const expected = this.#highestSequence - this.#firstSequence + 1;
    const expectedNow = expected - this.#expectedBefore;
    const lostNow = expectedNow - (this.#received - this.#receivedBefore);
    this.#expectedBefore = expected;
    this.#receivedBefore = this.#received;
    const share = expectedNow > 0 && lostNow > 0 ? Math.floor((lostNow * 256) / expectedNow) : 0;
    const delay = this.#senderReport ? ((nowMs - this.#senderReport.arrivalAtMs) / 1000) * 65536 : 0;
    return {
      ssrc,
      fractionLost: Math.min(255, share),
      cumulativeLost: expected - this.#received,
      // Ours are unwrapped from one cycle up, so that packets before the first one have a number.
      extendedHighestSequence: Math.max(0, this.#highestSequence - 2 ** 16) % 2 ** 32,
      jitter: Math.min(Math.round(this.#jitter90k), 2 ** 32 - 1),
      lastSenderReport: this.#senderReport?.compactNtp ?? 0,
      delaySinceLastSenderReport: Math.min(Math.max(0, Math.round(delay)), 2 ** 32 - 1),
    };
  }
}
