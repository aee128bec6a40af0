import { EventEmitter } from 'node:events';
import { VireoError } from '../../../src/errors.js';
import type {
  NotRestoredReason,
  ReferenceReport,
  ReferenceStill,
  RestorationLevel,
  RestoredTrack,
  Restorer,
  RestorerEvents,
  RestorerInfo,
  RestorerState,
  RestoreTrackOptions,
  TrackReport,
} from '../../../src/restorer/types.js';
import { PlainPeer } from '../peer/PlainPeer.js';
import type { SendStream } from '../peer/SendStream.js';

export interface FakeTrack {
  options: RestoreTrackOptions;
  peer: PlainPeer;
  stream: SendStream;
  maxBitrateBps: number;
  priority: number;
  /** Original packets that arrived. */
  received: number;
  /** Every still that it was given, null: told to forget. */
  references: (ReferenceStill | null)[];
}

/** A restorer whose "restoration" is a made-up VP8 frame for every original packet; tests say when things happen. */
export class FakeRestorer extends EventEmitter<RestorerEvents> implements Restorer {
  readonly tracks = new Map<string, FakeTrack>();
  readonly started: string[] = [];
  readonly stopped: string[] = [];
  state: RestorerState = 'ready';
  closed = false;
  /** Announce `trackStarted` with the first packet of the original. */
  autoStart = true;
  /** Of the model, in reports. */
  takesStills = true;
  /** Rejects the next starts with it. */
  refusal: VireoError | null = null;
  readonly info: RestorerInfo = {
    provider: 'cpu',
    providerNotes: [],
    models: [{ name: 'fake', version: '1.0.0' }],
    outputCodecs: ['VP8'],
    pid: null,
    residentMemoryBytes: 1_000_000,
    restarts: 0,
  };

  async startTrack(options: RestoreTrackOptions): Promise<RestoredTrack> {
    const { trackId, output } = options;
    if (this.refusal) throw this.refusal;
    if (this.state !== 'ready') throw new VireoError('unavailable', 'the restorer is not ready');
    if (this.tracks.has(trackId)) throw new VireoError('conflict', `track ${trackId} runs already`);
    const peer = await PlainPeer.create();
    peer.remote = options.remote;
    const stream = peer.addStream('video', {
      codecs: [{ mimeType: `video/${output.codec}`, payloadType: output.payloadType, clockRate: 90_000 }],
      encodings: [{ ssrc: output.ssrc }],
      rtcp: { cname: output.cname },
    });
    const track: FakeTrack = {
      options,
      peer,
      stream,
      maxBitrateBps: options.maxBitrateBps,
      priority: options.priority,
      received: 0,
      references: [],
    };
    this.tracks.set(trackId, track);
    this.started.push(trackId);
    peer.on('rtp', () => {
      track.received++;
      // Every tenth frame is a key frame, which is a request's answer soon enough.
      stream.sendVp8({ key: track.received % 10 === 1 });
      if (track.received === 1 && this.autoStart) this.emit('trackStarted', trackId);
    });
    return { trackId, localAddress: peer.localAddress };
  }

  stopTrack(trackId: string): void {
    const track = this.tracks.get(trackId);
    if (!track) return;
    this.tracks.delete(trackId);
    this.stopped.push(trackId);
    void track.peer.close();
  }

  setPriority(trackId: string, priority: number): void {
    const track = this.tracks.get(trackId);
    if (track) track.priority = priority;
  }

  setMaxBitrate(trackId: string, bitrateBps: number): void {
    const track = this.tracks.get(trackId);
    if (track) track.maxBitrateBps = bitrateBps;
  }

  requestKeyFrame(): void {}

  setReference(trackId: string, still: ReferenceStill | null): void {
    this.tracks.get(trackId)?.references.push(still);
  }

  report(
    trackId: string,
    level: RestorationLevel,
    reason: NotRestoredReason | null = null,
    reference: ReferenceReport | null = null,
  ): void {
    const { takesStills } = this;
    this.emit('report', { ...fakeReport(trackId, level, reason), takesStills, reference });
  }

  /** As when the child dies: every track is lost; `recover` ends it. */
  crash(): void {
    this.state = 'restarting';
    this.emit('state', this.state);
    for (const trackId of [...this.tracks.keys()]) {
      void this.tracks.get(trackId)?.peer.close();
      this.tracks.delete(trackId);
      this.emit('trackLost', trackId, 'restorer-down');
    }
  }

  recover(): void {
    this.info.restarts++;
    this.state = 'ready';
    this.emit('state', this.state);
  }

  async close(): Promise<void> {
    this.closed = true;
    this.state = 'stopped';
    for (const trackId of [...this.tracks.keys()]) this.stopTrack(trackId);
  }
}

export function fakeReport(
  trackId: string,
  level: RestorationLevel,
  reason: NotRestoredReason | null = null,
  outputBitrateBps = 800_000,
): TrackReport {
  const times = { p50Ms: 1, p95Ms: 2 };
  return {
    trackId,
    level,
    reason,
    stages: {
      receive: times,
      decode: times,
      wait: times,
      restore: times,
      encode: times,
      total: { p50Ms: 5, p95Ms: 9 },
    },
    model: 'fake',
    provider: 'cpu',
    inputCodec: 'VP8',
    outputCodec: 'VP8',
    inputWidth: 320,
    inputHeight: 180,
    outputWidth: 1280,
    outputHeight: 720,
    inputFps: 30,
    outputFps: 30,
    inputBitrateBps: 100_000,
    outputBitrateBps,
    packetsLost: 0,
    nacksSent: 0,
    plisSent: 0,
    framesDropped: 0,
    jitterMs: 0,
    takesStills: true,
    reference: null,
  };
}
