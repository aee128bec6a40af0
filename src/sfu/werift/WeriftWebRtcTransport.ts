import { randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import type { DtlsParameters, IceCandidate, IceParameters } from 'mediasoup/types';
import { VireoError } from '../../errors.js';
import type {
  ConsumeOptions,
  ProduceOptions,
  SfuConsumer,
  SfuProducer,
  SfuTransportStats,
  SfuWebRtcTransport,
  TransportState,
} from '../types.js';
import { DownlinkEstimator } from './DownlinkEstimator.js';
import { type DtlsCertificate, DtlsPeer } from './DtlsPeer.js';
import { IceLite, type IceState } from './IceLite.js';
import { RtpEndpoint } from './RtpEndpoint.js';
import { SrtpContext, type SrtpKeys } from './Srtp.js';
import type { StunMessage } from './Stun.js';
import type { DatagramSink, Tuple, UdpListener } from './UdpListener.js';
import type { WeriftRouter } from './WeriftRouter.js';

const CONSENT_CHECK_MS = 1000;
/** DTLS that comes before connect() told whom to expect. */
const MAX_EARLY_DTLS = 8;

/** A browser's connection: ICE lite, DTLS, SRTP, and the producers and consumers behind them. */
export class WeriftWebRtcTransport
  extends EventEmitter<{ state: [state: TransportState]; downlinkEstimate: [bitrateBps: number]; close: [] }>
  implements SfuWebRtcTransport, DatagramSink
{
  readonly id = randomUUID();
  readonly iceCandidates: IceCandidate[];
  readonly dtlsParameters: DtlsParameters;
  readonly endpoint: RtpEndpoint;
  readonly #listener: UdpListener;
  readonly #certificate: DtlsCertificate;
  readonly #ice: IceLite;
  readonly #downlink: DownlinkEstimator;
  readonly #consentTimer: NodeJS.Timeout;
  #dtls: DtlsPeer | undefined;
  #dtlsState: 'new' | 'connecting' | 'connected' | 'failed' | 'closed' = 'new';
  #earlyDtls: Buffer[] = [];
  #outgoing: SrtpContext | undefined;
  #incoming: SrtpContext | undefined;
  #state: TransportState = 'new';
  #closed = false;
  #bytesReceived = 0;
  #bytesSent = 0;
  /** Datagrams that failed authentication, were replayed or malformed. */
  rejected = 0;

  constructor(options: {
    router: WeriftRouter;
    listener: UdpListener;
    certificate: DtlsCertificate;
    initialDownlinkBps: number;
  }) {
    super();
    this.#listener = options.listener;
    this.#certificate = options.certificate;
    this.#downlink = new DownlinkEstimator(options.initialDownlinkBps, (bitrateBps) => {
      if (!this.#closed) this.emit('downlinkEstimate', bitrateBps);
    });
    this.iceCandidates = options.listener.candidates();
    this.dtlsParameters = {
      role: 'auto',
      fingerprints: [{ algorithm: 'sha-256', value: options.certificate.fingerprint }],
    };
    const listener = options.listener;
    this.#ice = new IceLite({
      onState: (state) => this.#onIceState(state),
      onTupleAdded: (tuple) => listener.addTuple(tuple, this),
      onTupleRemoved: (tuple) => listener.removeTuple(tuple, this),
      onCredentialsRetired: (ufrag) => listener.removeUfrag(ufrag),
    });
    for (const ufrag of this.#ice.ufrags) listener.addUfrag(ufrag, this);
    const isReady = (): boolean => this.#outgoing !== undefined && !this.#closed;
    this.endpoint = new RtpEndpoint({
      router: options.router,
      cname: this.id,
      path: {
        get ready() {
          return isReady();
        },
        sendRtp: (buffer, length, payloadOffset) => this.#sendRtp(buffer, length, payloadOffset),
        sendRtcp: (packet) => {
          const secured = this.#outgoing?.protectRtcp(packet);
          if (secured) this.#send(secured, secured.length);
        },
      },
      downlink: this.#downlink,
    });
    this.#consentTimer = setInterval(() => this.#ice.checkConsent(performance.now()), CONSENT_CHECK_MS);
    this.#consentTimer.unref();
  }

  get iceParameters(): IceParameters {
    return this.#ice.parameters;
  }

  get state(): TransportState {
    return this.#state;
  }

  get closed(): boolean {
    return this.#closed;
  }

  async connect({ dtlsParameters }: { dtlsParameters: DtlsParameters }): Promise<void> {
    this.#checkOpen();
    if (this.#dtls) throw new VireoError('conflict', 'the transport is connected already');
    const { role = 'auto', fingerprints } = dtlsParameters ?? {};
    const valid = (entry: DtlsParameters['fingerprints'][number]): boolean =>
      typeof entry?.algorithm === 'string' && typeof entry.value === 'string';
    if (!Array.isArray(fingerprints) || fingerprints.length === 0 || !fingerprints.every(valid)) {
      throw new VireoError(
        'bad-request',
        'dtlsParameters.fingerprints must hold at least one {algorithm, value}',
      );
    }
    if (!['auto', 'client', 'server'].includes(role)) {
      throw new VireoError(
        'bad-request',
        `dtlsParameters.role must be auto, client or server, got ${String(role)}`,
      );
    }
    this.#dtls = new DtlsPeer({
      role: role === 'client' ? 'server' : 'client',
      certificate: this.#certificate,
      remoteFingerprints: fingerprints,
      send: (datagram) => this.#send(datagram, datagram.length),
      onConnected: (keys) => this.#onDtlsConnected(keys),
      onFailed: () => {
        this.#dtlsState = 'failed';
        this.#updateState();
      },
      onClosed: () => {
        this.#dtlsState = 'closed';
        this.#updateState();
      },
    });
    this.#startDtls();
  }

  async restartIce(): Promise<IceParameters> {
    this.#checkOpen();
    const parameters = this.#ice.restart();
    this.#listener.addUfrag(parameters.usernameFragment, this);
    return parameters;
  }

  async setMaxIncomingBitrate(bitrateBps: number): Promise<void> {
    this.#checkOpen();
    if (!Number.isFinite(bitrateBps) || bitrateBps <= 0) {
      throw new VireoError('bad-request', `bitrateBps must be a positive number, got ${bitrateBps}`);
    }
    this.endpoint.setMaxIncomingBitrate(bitrateBps);
  }

  async produce(options: ProduceOptions): Promise<SfuProducer> {
    this.#checkOpen();
    return this.endpoint.produce(options);
  }

  async consume(options: ConsumeOptions): Promise<SfuConsumer> {
    this.#checkOpen();
    return this.endpoint.consume(options);
  }

  async stats(): Promise<SfuTransportStats> {
    return {
      bytesReceived: this.#bytesReceived,
      bytesSent: this.#bytesSent,
      downlinkEstimateBps: this.#downlink.estimateBps,
    };
  }

  close(): void {
    if (this.#closed) return;
    this.endpoint.close();
    this.#closed = true;
    clearInterval(this.#consentTimer);
    this.#dtls?.close();
    for (const ufrag of this.#ice.ufrags) this.#listener.removeUfrag(ufrag);
    this.#ice.close();
    this.#earlyDtls = [];
    this.#setState('closed');
    this.emit('close');
  }

  onStun(datagram: Buffer, message: StunMessage, tuple: Tuple): void {
    this.#ice.onRequest(datagram, message, tuple, performance.now());
    this.#startDtls();
  }

  onDtls(datagram: Buffer): void {
    this.#bytesReceived += datagram.length;
    if (this.#dtls) this.#dtls.onDatagram(datagram);
    else if (this.#earlyDtls.length < MAX_EARLY_DTLS) this.#earlyDtls.push(datagram);
  }

  onRtp(datagram: Buffer): void {
    this.#bytesReceived += datagram.length;
    const incoming = this.#incoming;
    // The padding length is still encrypted, so the header alone is looked at here.
    const payloadOffset = incoming ? rtpHeaderLength(datagram) : 0;
    const packet = payloadOffset > 0 ? incoming?.unprotectRtp(datagram, payloadOffset) : undefined;
    if (packet) this.endpoint.receiveRtp(packet, performance.now());
    else this.rejected++;
  }

  onRtcp(datagram: Buffer): void {
    this.#bytesReceived += datagram.length;
    const compound = this.#incoming?.unprotectRtcp(datagram);
    if (compound) this.endpoint.receiveRtcp(compound, performance.now());
    else this.rejected++;
  }

  #startDtls(): void {
    if (!this.#dtls || this.#dtlsState !== 'new' || !this.#ice.selected) return;
    this.#dtlsState = 'connecting';
    this.#dtls.start();
    const early = this.#earlyDtls;
    this.#earlyDtls = [];
    for (const datagram of early) this.#dtls.onDatagram(datagram);
    this.#updateState();
  }

  #onDtlsConnected({ local, remote }: { local: SrtpKeys; remote: SrtpKeys }): void {
    if (this.#closed) return;
    this.#outgoing = new SrtpContext(local);
    this.#incoming = new SrtpContext(remote);
    this.#dtlsState = 'connected';
    this.#updateState();
    this.endpoint.onReady();
  }

  #onIceState(_state: IceState): void {
    this.#updateState();
  }

  #updateState(): void {
    if (this.#closed) return;
    if (this.#dtlsState === 'failed' || this.#ice.state === 'failed') this.#setState('failed');
    else if (this.#dtlsState === 'closed' || this.#ice.state === 'disconnected')
      this.#setState('disconnected');
    else if (this.#ice.state === 'connected' && this.#dtlsState === 'connected') this.#setState('connected');
    else if (this.#ice.state === 'connected' || this.#dtls) this.#setState('connecting');
  }

  #setState(state: TransportState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.emit('state', state);
  }

  #sendRtp(buffer: Buffer, length: number, payloadOffset: number): void {
    const secured = this.#outgoing?.protectRtp(buffer, length, payloadOffset) ?? 0;
    if (secured > 0) this.#send(buffer, secured);
  }

  #send(buffer: Buffer, length: number): void {
    const tuple = this.#ice.selected;
    if (!tuple || this.#closed) return;
    this.#bytesSent += length;
    tuple.socket.send(buffer, 0, length, tuple.port, tuple.address);
  }

  #checkOpen(): void {
    if (this.#closed) throw new VireoError('conflict', 'the transport is closed');
  }
}

/** RFC 3550, section 5.1 and 5.3.1; 0: no RTP packet. */
function rtpHeaderLength(datagram: Buffer): number {
  if (datagram.length < 12) return 0;
  const first = datagram[0] as number;
  const offset = 12 + (first & 0x0f) * 4;
  if ((first & 0x10) === 0) return offset <= datagram.length ? offset : 0;
  if (offset + 4 > datagram.length) return 0;
  const end = offset + 4 + datagram.readUInt16BE(offset + 2) * 4;
  return end <= datagram.length ? end : 0;
}
