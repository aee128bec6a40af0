import { type Signal, signal } from '@preact/signals';
import type { VariantName } from '../../../src/signaling/messages.js';
import type { CallSession } from './CallSession.js';
import {
  type ClockReference,
  clockReference,
  FRESH_FRAME_MS,
  LipSync,
  type PlayoutSample,
  playoutTime,
} from './LipSync.js';
import type { RemoteParticipant, RemotePublication } from './model.js';
import { RateWindow } from './RateWindow.js';

const POLL_MS = 1_000;
/** Long enough for some polls, short enough to follow a delay that is being changed. */
const DELAY_WINDOW_MS = 1_500;
/** Stills come seldom: their share is of what was sent in this time. */
const SHARE_WINDOW_MS = 60_000;

export interface ReceivedTrackStatistics {
  publicationId: string;
  variant: VariantName;
  kind: 'audio' | 'video';
  width: number;
  height: number;
  fps: number;
  bitrateBps: number;
  packetsLost: number;
  jitterMs: number;
  codec: string;
}

export interface SentTrackStatistics {
  kind: 'audio' | 'video';
  trackId: string;
  width: number;
  height: number;
  fps: number;
  bitrateBps: number;
  roundTripMs: number | null;
  lossShare: number | null;
  qualityLimit: string;
}

export interface SnapshotTrack {
  kind: 'audio' | 'video';
  variant: VariantName;
  width: number | null;
  height: number | null;
  fps: number | null;
  /** Bits per second. */
  bitrate: number;
  /** Milliseconds, 95th percentile; null on originals. */
  addedLatencyMs: number | null;
}

export interface Snapshot {
  participants: { name: string; tracks: SnapshotTrack[] }[];
}

/** The members of RTCStats that are read here; lib.dom has no full types for them. */
interface StatsEntry {
  id: string;
  type: string;
  timestamp: number;
  kind?: 'audio' | 'video';
  trackIdentifier?: string;
  mediaSourceId?: string;
  remoteId?: string;
  codecId?: string;
  mimeType?: string;
  bytesReceived?: number;
  bytesSent?: number;
  framesDecoded?: number;
  framesEncoded?: number;
  frameWidth?: number;
  frameHeight?: number;
  packetsLost?: number;
  jitter?: number;
  roundTripTime?: number;
  fractionLost?: number;
  qualityLimitationReason?: string;
  estimatedPlayoutTimestamp?: number;
  jitterBufferDelay?: number;
  jitterBufferEmittedCount?: number;
}

interface Rates {
  bytes: RateWindow;
  frames: RateWindow;
  /** Seconds waited and samples played: their ratio is the audio's delay over the window. */
  waited: RateWindow;
  emitted: RateWindow;
}

/** What the browser says it plays of a received track. */
interface Playout {
  entry: StatsEntry;
  /** Time in the jitter buffer over the window, milliseconds. */
  delayMs: number | null;
  receiver: RTCRtpReceiver | undefined;
}

/** Polls the call's WebRTC statistics and turns counters into rates over the last seconds. */
export class Statistics {
  readonly received: Signal<readonly ReceivedTrackStatistics[]> = signal([]);
  readonly sent: Signal<readonly SentTrackStatistics[]> = signal([]);
  /** What the own stills took of all that was sent in the last minute, 0 to 1; null while nothing is sent. */
  readonly stillShare: Signal<number | null> = signal(null);
  readonly #session: CallSession;
  readonly #rates = new Map<string, Rates>();
  readonly #lipSync = new LipSync();
  /** The camera's clock, by publication, from when its original was last on screen. */
  readonly #clocks = new Map<string, ClockReference>();
  /** Jitter-buffer delay of an audio publication when the camera's clock was last learned, milliseconds. */
  readonly #audioDelays = new Map<string, number>();
  readonly #mediaSent = new RateWindow(SHARE_WINDOW_MS);
  readonly #stillsSent = new RateWindow(SHARE_WINDOW_MS);
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(session: CallSession) {
    this.#session = session;
    void this.#run();
  }

  async #run(): Promise<void> {
    while (!this.#closed) {
      await this.#poll().catch(() => {});
      await new Promise<void>((resolve) => {
        this.#timer = setTimeout(resolve, POLL_MS);
      });
    }
  }

  async #poll(): Promise<void> {
    const stats = await this.#session.transports?.stats();
    const recv = entries(stats?.recv);
    const send = entries(stats?.send);
    const live = new Set<string>();
    const rates = (id: string, entry: StatsEntry, bytes: number, frames: number): Rates => {
      live.add(id);
      let pair = this.#rates.get(id);
      if (!pair) {
        pair = {
          bytes: new RateWindow(),
          frames: new RateWindow(),
          waited: new RateWindow(DELAY_WINDOW_MS),
          emitted: new RateWindow(DELAY_WINDOW_MS),
        };
        this.#rates.set(id, pair);
      }
      pair.bytes.add(entry.timestamp, bytes);
      pair.frames.add(entry.timestamp, frames);
      pair.waited.add(entry.timestamp, entry.jitterBufferDelay ?? 0);
      pair.emitted.add(entry.timestamp, entry.jitterBufferEmittedCount ?? 0);
      return pair;
    };

    const received: ReceivedTrackStatistics[] = [];
    const playout = new Map<string, Playout>();
    for (const { consumer, publicationId, variant } of this.#session.received()) {
      const entry = [...recv.values()].find(
        ({ type, trackIdentifier }) => type === 'inbound-rtp' && trackIdentifier === consumer.track.id,
      );
      if (!entry) continue;
      const pair = rates(consumer.id, entry, entry.bytesReceived ?? 0, entry.framesDecoded ?? 0);
      const emitted = pair.emitted.perSecond;
      playout.set(`${publicationId} ${variant}`, {
        entry,
        delayMs: emitted > 0 ? (pair.waited.perSecond / emitted) * 1_000 : null,
        receiver: consumer.rtpReceiver,
      });
      received.push({
        publicationId,
        variant,
        kind: consumer.kind,
        width: entry.frameWidth ?? 0,
        height: entry.frameHeight ?? 0,
        fps: pair.frames.perSecond,
        bitrateBps: pair.bytes.perSecond * 8,
        packetsLost: entry.packetsLost ?? 0,
        jitterMs: (entry.jitter ?? 0) * 1_000,
        codec: codecName(recv, entry),
      });
    }

    this.#followRestored(playout);

    const sent: SentTrackStatistics[] = [];
    let sentBytes = 0;
    for (const entry of send.values()) {
      if (entry.type !== 'outbound-rtp' || !entry.kind) continue;
      const pair = rates(entry.id, entry, entry.bytesSent ?? 0, entry.framesEncoded ?? 0);
      const remote = send.get(entry.remoteId ?? '');
      sentBytes += entry.bytesSent ?? 0;
      sent.push({
        kind: entry.kind,
        trackId: send.get(entry.mediaSourceId ?? '')?.trackIdentifier ?? '',
        width: entry.frameWidth ?? 0,
        height: entry.frameHeight ?? 0,
        fps: pair.frames.perSecond,
        bitrateBps: pair.bytes.perSecond * 8,
        roundTripMs: remote?.roundTripTime === undefined ? null : remote.roundTripTime * 1_000,
        lossShare: remote?.fractionLost ?? null,
        qualityLimit: entry.qualityLimitationReason ?? 'none',
      });
    }
    for (const id of this.#rates.keys()) if (!live.has(id)) this.#rates.delete(id);
    this.received.value = received;
    this.sent.value = sent;
    this.#followStills(sentBytes);
  }

  #followStills(mediaBytes: number): void {
    const nowMs = performance.now();
    this.#mediaSent.add(nowMs, mediaBytes);
    this.#stillsSent.add(nowMs, this.#session.references.wireBytes);
    const stills = this.#stillsSent.perSecond;
    const all = stills + this.#mediaSent.perSecond;
    this.stillShare.value = all > 0 ? stills / all : null;
  }

  /** Everybody whose restored picture is shown gets audio that waits for it. */
  #followRestored(playout: ReadonlyMap<string, Playout>): void {
    const receivers = new Set<RTCRtpReceiver>();
    const cameras = new Set<string>();
    for (const participant of this.#session.model.participants.value) {
      const camera = participant.camera.value;
      if (camera) {
        cameras.add(camera.id);
        if (this.#learnClock(camera, playout.get(`${camera.id} original`)))
          this.#learnDelays(participant, playout);
      }
      for (const publication of participant.audio.value) {
        const audio = playout.get(`${publication.id} original`);
        if (!audio?.receiver) continue;
        receivers.add(audio.receiver);
        const restored =
          camera && camera.selectedView.value !== 'original' && playout.get(`${camera.id} restored`);
        const sample: PlayoutSample | null = restored
          ? {
              audioPlayoutMs: audio.entry.estimatedPlayoutTimestamp ?? null,
              videoPlayoutMs: this.#restoredPlayoutMs(camera, audio.entry.timestamp - performance.timeOrigin),
              audioDelayMs: this.#audioDelays.get(publication.id) ?? null,
            }
          : null;
        this.#lipSync.update(audio.receiver, sample);
      }
    }
    this.#lipSync.keep(receivers);
    for (const id of this.#clocks.keys()) if (!cameras.has(id)) this.#clocks.delete(id);
    for (const id of this.#audioDelays.keys())
      if (!playout.has(`${id} original`)) this.#audioDelays.delete(id);
  }

  /** False: the original is not on screen now, so there is nothing to learn. */
  #learnClock(camera: RemotePublication, original: Playout | undefined): boolean {
    const frame = camera.lastFrame.original;
    const playoutMs = original?.entry.estimatedPlayoutTimestamp;
    if (!original || !frame || playoutMs === undefined) return false;
    const atMs = original.entry.timestamp - performance.timeOrigin;
    if (atMs - frame.shownAtMs > FRESH_FRAME_MS) return false;
    this.#clocks.set(camera.id, clockReference(playoutMs, atMs, frame));
    return true;
  }

  #learnDelays(participant: RemoteParticipant, playout: ReadonlyMap<string, Playout>): void {
    for (const publication of participant.audio.value) {
      const delayMs = playout.get(`${publication.id} original`)?.delayMs ?? null;
      if (delayMs !== null) this.#audioDelays.set(publication.id, delayMs);
    }
  }

  #restoredPlayoutMs(camera: RemotePublication, atMs: number): number | null {
    const clock = this.#clocks.get(camera.id);
    const frame = camera.lastFrame.restored;
    return clock && frame ? playoutTime(clock, atMs, frame) : null;
  }

  /** What the contract in docs/protocol.md says `globalThis.vireo.snapshot()` resolves to. */
  snapshot(): Snapshot {
    return {
      participants: this.#session.model.participants.value.map((participant) => ({
        name: participant.name,
        tracks: participant.publications.value.flatMap((publication) =>
          this.received.value
            .filter(({ publicationId }) => publicationId === publication.id)
            .map(({ kind, variant, width, height, fps, bitrateBps }) => ({
              kind,
              variant,
              width: kind === 'video' ? width : null,
              height: kind === 'video' ? height : null,
              fps: kind === 'video' ? fps : null,
              bitrate: bitrateBps,
              addedLatencyMs:
                variant === 'restored' ? (publication.report.value?.stages?.total.p95Ms ?? null) : null,
            })),
        ),
      })),
    };
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }
}

function entries(report: RTCStatsReport | null | undefined): Map<string, StatsEntry> {
  const map = new Map<string, StatsEntry>();
  report?.forEach((entry: StatsEntry) => {
    map.set(entry.id, entry);
  });
  return map;
}

function codecName(stats: Map<string, StatsEntry>, entry: StatsEntry): string {
  return stats.get(entry.codecId ?? '')?.mimeType?.split('/')[1] ?? '';
}
