/**
 * The interface between the relay and whatever moves packets: two implementations (`werift`,
 * `mediasoup`), one contract-test suite (`test/contract`).
 *
 * RTP, ICE and DTLS parameters are mediasoup's ORTC-like types, because the browser always speaks
 * mediasoup-client's protocol. An engine knows nothing of rooms or participants.
 */
import type { EventEmitter } from 'node:events';
import type {
  DtlsParameters,
  IceCandidate,
  IceParameters,
  MediaKind,
  RtpCapabilities,
  RtpParameters,
} from 'mediasoup/types';

export type { DtlsParameters, IceCandidate, IceParameters, MediaKind, RtpCapabilities, RtpParameters };

export type SfuEngineKind = 'werift' | 'mediasoup';

export interface SfuEngineOptions {
  /** One UDP port for all WebRTC transports, demultiplexed by ICE user name and remote address. 0: any free port. */
  rtcPort: number;
  /** Addresses to listen on, IPv4 and/or IPv6 literals (`0.0.0.0`, `::` allowed). */
  listenIps: readonly string[];
  /** Address to put into ICE candidates instead of the listen address (behind NAT, or for a wildcard). */
  announcedAddress?: string | undefined;
  /** Bits per second a browser's downlink is assumed to carry before feedback says otherwise. */
  initialDownlinkBps: number;
  /** Address for plain RTP ports of restorers. */
  plainListenIp: string;
}

export interface SfuEngine extends EventEmitter<{ died: [error: Error] }> {
  readonly kind: SfuEngineKind;
  /** One router per room: producers of one router can be consumed on its transports only. */
  createRouter(): Promise<SfuRouter>;
  /** Counts for metrics and leak tests. */
  counts(): SfuCounts;
  close(): Promise<void>;
}

export interface SfuCounts {
  routers: number;
  transports: number;
  producers: number;
  consumers: number;
}

export interface AudioLevel {
  producerId: string;
  /** dBov, −127 (silence) to 0 (RFC 6464). */
  volumeDbov: number;
}

export interface SfuRouter extends EventEmitter<{ audioLevels: [levels: AudioLevel[]]; close: [] }> {
  readonly id: string;
  readonly rtpCapabilities: RtpCapabilities;
  /**
   * Video that a plain producer may send: the engine finds its key frames in the payload alone. mediasoup finds
   * those of AV1 in the dependency descriptor only, a header extension that encoders here do not write.
   */
  readonly plainVideoMimeTypes: readonly string[];
  readonly closed: boolean;
  createWebRtcTransport(): Promise<SfuWebRtcTransport>;
  createPlainTransport(): Promise<SfuPlainTransport>;
  canConsume(producerId: string, rtpCapabilities: RtpCapabilities): boolean;
  close(): void;
}

export interface ProduceOptions {
  kind: MediaKind;
  rtpParameters: RtpParameters;
  paused?: boolean;
}

export interface ConsumeOptions {
  producerId: string;
  rtpCapabilities: RtpCapabilities;
  /** Default true: resume it once the receiver has set it up, so that no key frame is lost. */
  paused?: boolean;
}

export interface SfuTransport {
  readonly id: string;
  readonly closed: boolean;
  produce(options: ProduceOptions): Promise<SfuProducer>;
  consume(options: ConsumeOptions): Promise<SfuConsumer>;
  stats(): Promise<SfuTransportStats>;
  /** Idempotent; closes its producers and consumers, and the consumers of its producers elsewhere. */
  close(): void;
}

export interface SfuTransportStats {
  bytesReceived: number;
  bytesSent: number;
  /** What the remote side can receive, bits per second, by its own feedback; null before any. */
  downlinkEstimateBps: number | null;
}

export type TransportState = 'new' | 'connecting' | 'connected' | 'disconnected' | 'failed' | 'closed';

export interface SfuWebRtcTransport
  extends SfuTransport,
    EventEmitter<{ state: [state: TransportState]; downlinkEstimate: [bitrateBps: number]; close: [] }> {
  readonly iceParameters: IceParameters;
  readonly iceCandidates: IceCandidate[];
  readonly dtlsParameters: DtlsParameters;
  readonly state: TransportState;
  connect(options: { dtlsParameters: DtlsParameters }): Promise<void>;
  /** New credentials; producers and consumers live on. */
  restartIce(): Promise<IceParameters>;
  /** Tells the sender (REMB) to stay below this many bits per second in all. */
  setMaxIncomingBitrate(bitrateBps: number): Promise<void>;
}

/** RTP and RTCP multiplexed on one UDP port (RFC 5761), both directions, no encryption: loopback only. */
export interface SfuPlainTransport extends SfuTransport, EventEmitter<{ close: [] }> {
  readonly localAddress: { ip: string; port: number };
  /** Where to send to, and the only address from which packets are taken. */
  connect(remote: { ip: string; port: number }): Promise<void>;
}

export interface SfuStreamStats {
  bitrateBps: number;
  packetCount: number;
  packetsLost: number;
  nackCount: number;
  pliCount: number;
  roundTripTimeMs: number | null;
}

export interface SfuProducer extends EventEmitter<{ close: [] }> {
  readonly id: string;
  readonly kind: MediaKind;
  readonly rtpParameters: RtpParameters;
  readonly paused: boolean;
  readonly closed: boolean;
  pause(): Promise<void>;
  resume(): Promise<void>;
  stats(): Promise<SfuStreamStats>;
  close(): void;
}

export interface SfuConsumer extends EventEmitter<{ close: []; producerPause: []; producerResume: [] }> {
  readonly id: string;
  readonly producerId: string;
  readonly kind: MediaKind;
  /** What the receiver has to be told: one SSRC (and one RTX SSRC for video), its own sequence space. */
  readonly rtpParameters: RtpParameters;
  readonly paused: boolean;
  readonly producerPaused: boolean;
  readonly closed: boolean;
  pause(): Promise<void>;
  /** Video: also asks the producer for a key frame. */
  resume(): Promise<void>;
  requestKeyFrame(): Promise<void>;
  stats(): Promise<SfuStreamStats>;
  close(): void;
}
