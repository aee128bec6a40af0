import type { ReportBlock, SenderInfo } from './rtcp.js';
import { timestampDelta } from './sequence.js';

/** A sender's own tie between wall clock and RTP time, with the moment it reached us. */
export interface ClockMapping {
  ntpSeconds: number;
  ntpFraction: number;
  rtpTimestamp: number;
  receivedMs: number;
}

/** What a receiver reports about one SSRC (RFC 3550, sections 6.4.1, A.1, A.3 and A.8). */
export class ReceiveStatistics {
  readonly #clockRate: number;
  #base = -1;
  #highest = 0;
  #received = 0;
  #expectedPrior = 0;
  #receivedPrior = 0;
  #jitter = 0;
  #lastTransit: number | undefined;
  #lastSrMiddle = 0;
  #clock: ClockMapping | undefined;

  constructor(clockRate: number) {
    this.#clockRate = clockRate;
  }

  get started(): boolean {
    return this.#base >= 0;
  }

  get packetsReceived(): number {
    return this.#received;
  }

  /** Lost on the way to us, before any retransmission. */
  get packetsLost(): number {
    return this.#base < 0 ? 0 : Math.max(0, this.#highest - this.#base + 1 - this.#received);
  }

  /** From the last sender report. */
  get clock(): ClockMapping | undefined {
    return this.#clock;
  }

  onPacket(sequenceNumber: number, rtpTimestamp: number, nowMs: number): void {
    if (this.#base < 0) {
      this.#base = sequenceNumber;
      this.#highest = sequenceNumber;
    } else {
      const delta = ((sequenceNumber - this.#highest) << 16) >> 16;
      if (delta > 3000 || delta < -3000) {
        // The sender started over: count from here (RFC 3550, section A.1).
        this.#base = sequenceNumber;
        this.#highest = sequenceNumber;
        this.#received = 0;
        this.#expectedPrior = 0;
        this.#receivedPrior = 0;
      } else if (delta > 0) {
        this.#highest += delta;
      }
    }
    this.#received++;
    const arrival = Math.round((nowMs * this.#clockRate) / 1000);
    const transit = (arrival - rtpTimestamp) | 0;
    if (this.#lastTransit !== undefined) {
      const difference = Math.abs(timestampDelta(transit, this.#lastTransit));
      if (difference < this.#clockRate * 5) this.#jitter += (difference - this.#jitter) / 16;
    }
    this.#lastTransit = transit;
  }

  onSenderReport(info: SenderInfo, nowMs: number): void {
    this.#lastSrMiddle = ((info.ntpSeconds << 16) | (info.ntpFraction >>> 16)) >>> 0;
    this.#clock = {
      ntpSeconds: info.ntpSeconds,
      ntpFraction: info.ntpFraction,
      rtpTimestamp: info.rtpTimestamp,
      receivedMs: nowMs,
    };
  }

  /** The block for the next RR; starts a new interval. */
  report(ssrc: number, nowMs: number): ReportBlock {
    const expected = this.#highest - this.#base + 1;
    const expectedInterval = expected - this.#expectedPrior;
    const lostInterval = expectedInterval - (this.#received - this.#receivedPrior);
    this.#expectedPrior = expected;
    this.#receivedPrior = this.#received;
    const fractionLost =
      expectedInterval > 0 && lostInterval > 0
        ? Math.min(255, Math.floor((lostInterval * 256) / expectedInterval))
        : 0;
    return {
      ssrc,
      fractionLost,
      packetsLost: expected - this.#received,
      highestSequence: this.#highest,
      jitter: Math.round(this.#jitter),
      lastSr: this.#lastSrMiddle,
      delaySinceLastSr: this.#clock ? Math.round(((nowMs - this.#clock.receivedMs) * 65536) / 1000) : 0,
    };
  }
}
