import { createHash, randomBytes, X509Certificate } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  CipherContext,
  DtlsClient,
  HashAlgorithm,
  keyLength,
  NamedCurveAlgorithm,
  ProtectionProfileAeadAes128Gcm,
  ProtectionProfileAes128CmHmacSha1_80,
  RtpHeader,
  SignatureAlgorithm,
  SrtcpSession,
  SrtpSession,
  saltLength,
} from 'werift';
import type { DtlsParameters, IceCandidate, IceParameters } from '../../../src/sfu/types.js';
import { MediaPeer } from './MediaPeer.js';
import { isRtcp, rtpHeaderBytes } from './rtp.js';
import {
  bindingRequest,
  isStun,
  parseStunResponse,
  STUN_BINDING_ERROR,
  STUN_BINDING_SUCCESS,
} from './stun.js';

type DtlsTransport = ConstructorParameters<typeof DtlsClient>[0]['transport'];
type Identity = Awaited<ReturnType<typeof CipherContext.createSelfSignedCertificateWithKey>>;

/** What a server says about a WebRTC transport; an `SfuWebRtcTransport` is one. */
export interface RemoteTransport {
  iceParameters: IceParameters;
  iceCandidates: IceCandidate[];
  dtlsParameters: DtlsParameters;
}

export type SrtpProfileName = 'aes128-cm-sha1-80' | 'aead-aes128-gcm';

export interface TestPeerOptions {
  family?: 4 | 6;
  /** In order of preference. */
  srtpProfiles?: SrtpProfileName[];
}

const SRTP_PROFILE = {
  'aead-aes128-gcm': ProtectionProfileAeadAes128Gcm,
  'aes128-cm-sha1-80': ProtectionProfileAes128CmHmacSha1_80,
} as const;

const LOOPBACK = { 4: '127.0.0.1', 6: '::1' } as const;
const CHECK_INTERVAL_MS = 50;
const CONSENT_INTERVAL_MS = 2500;
const ALERT_CONTENT_TYPE = 21;

let sharedIdentity: Promise<Identity> | null = null;

function identity(): Promise<Identity> {
  sharedIdentity ??= CipherContext.createSelfSignedCertificateWithKey(
    { signature: SignatureAlgorithm.ecdsa_3, hash: HashAlgorithm.sha256_4 },
    NamedCurveAlgorithm.secp256r1_23,
  );
  return sharedIdentity;
}

/**
 * A WebRTC endpoint without SDP, codecs or jitter buffers: controlling ICE agent, DTLS client, SRTP.
 * Like a browser against an ICE-lite server it never tells the server its own ICE credentials.
 */
export class TestPeer extends MediaPeer {
  readonly dtlsParameters: DtlsParameters;
  /** STUN error responses, by code. */
  readonly stunErrors: number[] = [];
  /** SRTP and SRTCP datagrams that failed authentication: always a bug of the engine. */
  undecryptable = 0;
  srtpProfile: SrtpProfileName | null = null;
  readonly #identity: Identity;
  readonly #options: Required<TestPeerOptions>;
  readonly #usernameFragment = randomBytes(4).toString('hex');
  readonly #tieBreaker = randomBytes(8).readBigUInt64BE();
  #socket: Socket;
  #ice: IceParameters | null = null;
  #candidate: IceCandidate | null = null;
  #checks = new Map<string, (authentic: boolean) => void>();
  #consentTimer: NodeJS.Timeout | null = null;
  #dtls: DtlsClient | null = null;
  #dtlsChannel: DtlsTransport | null = null;
  #srtp: SrtpSession | null = null;
  #srtcp: SrtcpSession | null = null;
  #closed = false;

  private constructor(socket: Socket, own: Identity, options: Required<TestPeerOptions>) {
    super();
    this.#socket = socket;
    this.#identity = own;
    this.#options = options;
    const value = new X509Certificate(own.certPem).fingerprint256;
    this.dtlsParameters = { role: 'client', fingerprints: [{ algorithm: 'sha-256', value }] };
    this.#listen(socket);
  }

  static async create(options: TestPeerOptions = {}): Promise<TestPeer> {
    const family = options.family ?? 4;
    const srtpProfiles = options.srtpProfiles ?? ['aead-aes128-gcm', 'aes128-cm-sha1-80'];
    return new TestPeer(await TestPeer.#bind(family), await identity(), { family, srtpProfiles });
  }

  static async #bind(family: 4 | 6): Promise<Socket> {
    const socket = createSocket(family === 6 ? 'udp6' : 'udp4');
    socket.bind(0, LOOPBACK[family]);
    await once(socket, 'listening');
    return socket;
  }

  get localPort(): number {
    return this.#socket.address().port;
  }

  get connected(): boolean {
    return this.#srtp !== null;
  }

  /** Where this peer sends to, after `connect`. */
  get remoteAddress(): { ip: string; port: number } | null {
    return this.#candidate && { ip: this.#candidate.address, port: this.#candidate.port };
  }

  /** ICE, then DTLS, then SRTP. Tell the server `dtlsParameters` before or meanwhile. */
  async connect(remote: RemoteTransport, timeoutMs = 8000): Promise<void> {
    await this.connectIce(remote, timeoutMs);
    await this.connectDtls(remote.dtlsParameters, timeoutMs);
  }

  async connectIce(
    remote: Pick<RemoteTransport, 'iceParameters' | 'iceCandidates'>,
    timeoutMs = 8000,
  ): Promise<void> {
    const wantsV6 = this.#options.family === 6;
    const candidate = remote.iceCandidates.find(
      ({ protocol, address }) => protocol === 'udp' && address.includes(':') === wantsV6,
    );
    if (!candidate) throw new Error(`no UDP candidate for IPv${this.#options.family}`);
    this.#candidate = candidate;
    this.#ice = remote.iceParameters;
    await this.#check(timeoutMs);
    this.#consentTimer ??= setInterval(() => this.#sendCheck(), CONSENT_INTERVAL_MS);
  }

  /** New server credentials, from the same socket or (as when a phone changes networks) from a new one. */
  async restartIce(
    iceParameters: IceParameters,
    options: { newSocket?: boolean } = {},
    timeoutMs = 8000,
  ): Promise<void> {
    if (options.newSocket) {
      const old = this.#socket;
      this.#socket = await TestPeer.#bind(this.#options.family);
      this.#listen(this.#socket);
      old.close();
    }
    this.#ice = iceParameters;
    await this.#check(timeoutMs);
  }

  async connectDtls(remote: DtlsParameters, timeoutMs = 8000): Promise<void> {
    const channel: DtlsTransport = {
      type: 'udp',
      address: this.#socket.address() as DtlsTransport['address'],
      closed: false,
      onData: () => {},
      send: async (data) => this.sendRaw(data),
      close: async () => {},
    };
    this.#dtlsChannel = channel;
    const dtls = new DtlsClient({
      cert: this.#identity.certPem,
      key: this.#identity.keyPem,
      signatureHash: this.#identity.signatureHash,
      transport: channel,
      srtpProfiles: this.#options.srtpProfiles.map((name) => SRTP_PROFILE[name]),
      extendedMasterSecret: true,
    });
    this.#dtls = dtls;
    const connected = new Promise<void>((resolve, reject) => {
      dtls.onConnect.once(() => resolve());
      dtls.onError.once(reject);
      dtls.onClose.once(() => reject(new Error('the server closed DTLS during the handshake')));
      dtls.connect().catch(reject);
    });
    const timeout = new AbortController();
    await Promise.race([
      connected,
      sleep(timeoutMs, undefined, { signal: timeout.signal }).then(() => {
        throw new Error(`no DTLS connection within ${timeoutMs} ms`);
      }),
    ]).finally(() => timeout.abort());
    connected.catch(() => {});
    this.#verifyFingerprint(remote);
    this.#startSrtp(dtls);
  }

  /** A datagram as it is, from this peer's address. */
  sendRaw(data: Buffer): void {
    if (this.#closed || !this.#candidate) return;
    this.#socket.send(data, this.#candidate.port, this.#candidate.address);
  }

  /** SRTP of any packet whose RTP header can be read; false where it cannot. */
  sendRawRtp(plain: Buffer): boolean {
    const datagram = this.protectRtp(plain);
    if (datagram) this.sendRaw(datagram);
    return datagram !== null;
  }

  protectRtp(plain: Buffer): Buffer | null {
    // werift takes minutes over a header extension that is longer than its packet, so ask first.
    if (!this.#srtp || rtpHeaderBytes(plain) === null) return null;
    try {
      const header = RtpHeader.deSerialize(plain);
      return this.#srtp.encrypt(plain.subarray(header.payloadOffset), header);
    } catch {
      return null;
    }
  }

  /** SRTCP of any 8 bytes or more. */
  protectRtcp(plain: Buffer): Buffer | null {
    return this.#srtcp && plain.length >= 8 ? this.#srtcp.encrypt(plain) : null;
  }

  /** A binding request that the server accepts, from any address, unless the password is a wrong one. */
  bindingRequest(password?: string): Buffer {
    if (!this.#ice) throw new Error('not connected');
    return bindingRequest({
      username: `${this.#ice.usernameFragment}:${this.#usernameFragment}`,
      password: password ?? this.#ice.password,
      tieBreaker: this.#tieBreaker,
    });
  }

  /** What a browser's `RTCPeerConnection.close()` sends: a DTLS close_notify alert. */
  async sendCloseNotify(): Promise<void> {
    const dtls = this.#dtls;
    if (!dtls) return;
    const encrypt = dtls.cipher.encryptPacket.bind(dtls.cipher);
    dtls.cipher.encryptPacket = (packet) => {
      packet.recordLayerHeader.contentType = ALERT_CONTENT_TYPE;
      return encrypt(packet);
    };
    await dtls.send(Buffer.from([1, 0]));
  }

  /** Silently, as when a browser crashes. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.stop();
    if (this.#consentTimer) clearInterval(this.#consentTimer);
    await new Promise<void>((resolve) => this.#socket.close(() => resolve()));
  }

  protected override describe(): string {
    const unread = this.undecryptable ? `, ${this.undecryptable} undecryptable` : '';
    return `${super.describe()}${unread}${this.connected ? '' : ', not connected'}`;
  }

  protected override sendPlainRtp(data: Buffer): void {
    if (!this.sendRawRtp(data)) throw new Error('not connected: cannot send RTP');
  }

  protected override sendPlainRtcp(data: Buffer): void {
    const datagram = this.protectRtcp(data);
    if (!datagram) throw new Error('not connected: cannot send RTCP');
    this.sendRaw(datagram);
  }

  #listen(socket: Socket): void {
    socket.on('message', (data) => this.#onDatagram(data));
    socket.on('error', () => {});
  }

  #onDatagram(data: Buffer): void {
    const first = data[0] ?? 255;
    if (isStun(data)) this.#onStun(data);
    else if (first >= 20 && first <= 63) this.#dtlsChannel?.onData(data, ['', 0]);
    else if (first >= 128 && first <= 191 && this.#srtp && this.#srtcp) {
      try {
        if (isRtcp(data)) this.onPlainRtcp(this.#srtcp.decrypt(data));
        else this.onPlainRtp(this.#srtp.decrypt(data));
      } catch {
        this.undecryptable += 1;
      }
    }
  }

  #onStun(data: Buffer): void {
    const response = parseStunResponse(data, this.#ice?.password ?? '');
    if (response.type === STUN_BINDING_ERROR && response.errorCode !== null)
      this.stunErrors.push(response.errorCode);
    if (response.type !== STUN_BINDING_SUCCESS) return;
    this.#checks.get(response.transactionId)?.(
      response.authentic && response.mappedAddress?.port === this.localPort,
    );
  }

  #sendCheck(): string {
    const request = this.bindingRequest();
    this.sendRaw(request);
    return request.toString('hex', 8, 20);
  }

  async #check(timeoutMs: number): Promise<void> {
    let outcome: boolean | null = null;
    const deadline = performance.now() + timeoutMs;
    while (outcome === null) {
      if (performance.now() > deadline) {
        throw new Error(
          `no answer to ICE checks within ${timeoutMs} ms (errors: ${this.stunErrors.join(', ') || 'none'})`,
        );
      }
      this.#checks.set(this.#sendCheck(), (authentic) => {
        outcome = authentic;
      });
      for (let i = 0; i < 10 && outcome === null; i += 1) await sleep(CHECK_INTERVAL_MS / 10);
    }
    this.#checks.clear();
    if (!outcome) throw new Error('the answer to an ICE check is not authentic or maps another port');
  }

  #verifyFingerprint(remote: DtlsParameters): void {
    const certificate = this.#dtls?.remoteCertificate;
    const expected = remote.fingerprints.find(({ algorithm }) => algorithm === 'sha-256')?.value;
    const actual = certificate && createHash('sha256').update(certificate).digest('hex');
    if (!actual || expected?.replaceAll(':', '').toLowerCase() !== actual) {
      throw new Error(
        `the server's certificate does not match its fingerprint (${expected} announced, ${actual} sent)`,
      );
    }
  }

  #startSrtp(dtls: DtlsClient): void {
    const profile = dtls.srtp.srtpProfile;
    if (!profile) throw new Error('the server chose no SRTP profile');
    this.srtpProfile = profile === ProtectionProfileAeadAes128Gcm ? 'aead-aes128-gcm' : 'aes128-cm-sha1-80';
    const keys = dtls.extractSessionKeys(keyLength(profile), saltLength(profile));
    const config = {
      keys: {
        localMasterKey: keys.localKey,
        localMasterSalt: keys.localSalt,
        remoteMasterKey: keys.remoteKey,
        remoteMasterSalt: keys.remoteSalt,
      },
      profile,
    };
    this.#srtp = new SrtpSession(config);
    this.#srtcp = new SrtcpSession(config);
  }
}
