/**
 * What the relay knows of a restorer: tracks in over plain RTP, restored tracks out over the same
 * port, and figures about each. `RestorerSupervisor` implements it over a child process; a remote
 * restorer will implement it over the network.
 */
import type { EventEmitter } from 'node:events';

export type VideoCodec = 'VP8' | 'VP9' | 'H264' | 'AV1';

/** One RTP video stream on a plain port: what SDP or ORTC would have said about it. */
export interface RtpVideoStream {
  codec: VideoCodec;
  payloadType: number;
  ssrc: number;
  /** RFC 4588; absent when retransmissions come on the stream itself. */
  rtx?: { payloadType: number; ssrc: number };
  cname: string;
}

export interface RestoreTrackOptions {
  /** The publication's id; unique among running tracks. */
  trackId: string;
  /** The engine's plain port: media comes from there, and the restored stream and all RTCP go there. */
  remote: { ip: string; port: number };
  input: RtpVideoStream;
  output: RtpVideoStream;
  /** Target of the encoder before receivers' feedback, and its ceiling; bits per second. */
  maxBitrateBps: number;
  /** Height (the short side, for portrait) that the restored picture should have. */
  targetHeight: number;
  /** Higher is restored first when capacity is short: 0 normal, 1 active speaker, 2 pinned. */
  priority: number;
}

/** Where on the load ladder a track is. */
export type RestorationLevel = 'full' | 'lighter' | 'original';

/** Why a track is, at the moment, not restored (level `original`). */
export type NotRestoredReason =
  | 'starting'
  | 'overloaded'
  | 'already-sharp'
  | 'unsupported-codec'
  | 'unsupported-size'
  | 'model-failed'
  | 'no-input'
  | 'restorer-down';

export interface StageTimes {
  /** 50th and 95th percentile over the last seconds, milliseconds. */
  p50Ms: number;
  p95Ms: number;
}

export type Stage = 'receive' | 'decode' | 'wait' | 'restore' | 'encode' | 'total';

export interface TrackReport {
  trackId: string;
  level: RestorationLevel;
  reason: NotRestoredReason | null;
  /** receive: last packet in → complete frame out of the jitter buffer; total: last packet in → last packet out. */
  stages: Record<Stage, StageTimes> | null;
  model: string | null;
  provider: string | null;
  inputCodec: VideoCodec;
  outputCodec: VideoCodec;
  inputWidth: number;
  inputHeight: number;
  outputWidth: number;
  outputHeight: number;
  inputFps: number;
  outputFps: number;
  inputBitrateBps: number;
  outputBitrateBps: number;
  packetsLost: number;
  nacksSent: number;
  plisSent: number;
  framesDropped: number;
  jitterMs: number;
  /** Whether the model that runs takes sharp stills. */
  takesStills: boolean;
  /** Null: there is nothing to look details up in, or the model that runs does not. */
  reference: ReferenceReport | null;
}

/** A sharp still of the sender, coded as it came. */
export interface ReferenceStill {
  /** Names it in reports; unique among the track's stills. */
  id: string;
  mimeType: 'image/webp' | 'image/avif';
  bytes: Uint8Array;
}

/** What restoration makes of what it looks details up in. */
export interface ReferenceReport {
  /** Of the sender's still; null: it is a picture of the stream itself, from before its sender turned the size down. */
  id: string | null;
  /** Since it took effect, milliseconds. */
  ageMs: number;
  /** Share of the last pictures that was found in it, 0 to 1; null before the first. */
  found: number | null;
}

export interface RestoredTrack {
  readonly trackId: string;
  /** Where the child listens; connect the engine's plain transport to it. */
  readonly localAddress: { ip: string; port: number };
}

export type RestorerState = 'starting' | 'ready' | 'restarting' | 'stopped';

export interface RestorerEvents {
  state: [state: RestorerState];
  /** Once a second for every running track, and at once when a track's level changes. */
  report: [report: TrackReport];
  /** The first restored frame of a track was sent: subscribers may be offered it. */
  trackStarted: [trackId: string];
  /** A still was not taken, and why; what was used before it still is. */
  referenceRefused: [trackId: string, referenceId: string, reason: string];
  /** The track is gone and will not come back by itself (crash of the child, refused stream). */
  trackLost: [trackId: string, reason: NotRestoredReason];
}

export interface RestorerInfo {
  provider: string | null;
  /** Why the providers before it in the `auto` order were not taken. */
  providerNotes: string[];
  models: { name: string; version: string }[];
  outputCodecs: VideoCodec[];
  pid: number | null;
  residentMemoryBytes: number;
  restarts: number;
}

export interface Restorer extends EventEmitter<RestorerEvents> {
  readonly state: RestorerState;
  readonly info: RestorerInfo;
  /** Resolves once the child listens; rejects with `unavailable` while it is not ready. */
  startTrack(options: RestoreTrackOptions): Promise<RestoredTrack>;
  /** Idempotent. */
  stopTrack(trackId: string): void;
  setPriority(trackId: string, priority: number): void;
  /** Ceiling for the output, from the receivers' downlink estimates, bits per second. */
  setMaxBitrate(trackId: string, bitrateBps: number): void;
  /** Asks for a key frame on the output without waiting for an RTCP PLI. */
  requestKeyFrame(trackId: string): void;
  /** The sender's newest still, or null to forget it. Takes effect with the next block once it is decoded. */
  setReference(trackId: string, still: ReferenceStill | null): void;
  /** SIGTERM, a grace period, then SIGKILL; resolves when the process is gone. */
  close(): Promise<void>;
}

export interface RestorerOptions {
  /** Folders that are searched for model packages, first match wins. */
  modelDirs: readonly string[];
  /** Model package for the top of the load ladder. */
  model: string;
  provider: 'auto' | 'cpu' | 'webgpu' | 'cuda' | 'tensorrt';
  /** Threads of an inference session on the CPU; 0: cores. */
  threads: number;
  /** Most tracks restored at a time; more are answered with `overloaded`. */
  maxTracks: number;
  /** Longest a frame may wait to share a block with later ones, milliseconds; 0 on a CPU means T = 1. */
  blockBudgetMs: number;
  memoryLimitBytes: number;
  pingIntervalMs: number;
  pingTimeoutMs: number;
  logLevel: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent';
  /** False: always the full model, however late it gets (measurements, tests). True unless given. */
  loadShedding?: boolean;
  /** Pictures of the target's size are deblurred. False unless given. */
  sameSize?: boolean;
}
