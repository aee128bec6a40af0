import { createHash, createHmac, verify, X509Certificate } from 'node:crypto';
import type { DtlsParameters } from 'mediasoup/types';
import {
  CipherContext,
  DtlsClient,
  DtlsServer,
  HashAlgorithm,
  keyLength,
  NamedCurveAlgorithm,
  SignatureAlgorithm,
  saltLength,
} from 'werift';
import { SRTP_AEAD_AES_128_GCM, SRTP_AES128_CM_SHA1_80, type SrtpKeys, type SrtpProfile } from './Srtp.js';

type Socket = DtlsServer | DtlsClient;
type HandshakeMessage = Socket['dtls']['sortedHandshakeCache'][number];

/** One self-signed ECDSA P-256 certificate; its fingerprint is what peers are told. */
export interface DtlsCertificate {
  certPem: string;
  keyPem: string;
  /** `AB:CD:…`, SHA-256 over the DER form (RFC 8122, section 5). */
  fingerprint: string;
}

export async function createDtlsCertificate(): Promise<DtlsCertificate> {
  const { certPem, keyPem } = await CipherContext.createSelfSignedCertificateWithKey(
    { signature: SignatureAlgorithm.ecdsa_3, hash: HashAlgorithm.sha256_4 },
    NamedCurveAlgorithm.secp256r1_23,
  );
  return { certPem, keyPem, fingerprint: new X509Certificate(certPem).fingerprint256 };
}

export interface DtlsPeerOptions {
  role: 'client' | 'server';
  certificate: DtlsCertificate;
  remoteFingerprints: DtlsParameters['fingerprints'];
  send(datagram: Buffer): void;
  onConnected(keys: { local: SrtpKeys; remote: SrtpKeys }): void;
  onFailed(error: Error): void;
  /** The peer said goodbye (close_notify). */
  onClosed(): void;
}

const HANDSHAKE_TIMEOUT_MS = 30_000;
/** An honest handshake, retransmissions included, takes far fewer datagrams. */
const MAX_HANDSHAKE_DATAGRAMS = 400;
const MAX_HANDSHAKE_DATAGRAM_BYTES = 4096;
/** What connected sockets may still receive: repeated last flights. */
const MAX_LATE_DATAGRAMS = 64;

const ALERT = 21;
const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const SERVER_KEY_EXCHANGE = 12;
const CERTIFICATE_VERIFY = 15;
const FINISHED = 20;
/** Beyond every flight of werift's handshake, so that its retransmission loops end. */
const FLIGHT_OVER = 99;

// Order of preference: AES-GCM is one pass where AES-CM with SHA-1 is two.
const PROFILES: SrtpProfile[] = [SRTP_AEAD_AES_128_GCM, SRTP_AES128_CM_SHA1_80];

/**
 * A DTLS 1.2 association for SRTP keys (RFC 5764) over a datagram path that someone else owns.
 *
 * The handshake is werift's. It neither checks that the peer owns the key of its certificate
 * (CertificateVerify, ServerKeyExchange) nor the client's Finished, so that is done here, from the
 * transcript, before any key is handed out; and it restarts on unauthenticated ClientHellos, so
 * after the handshake only encrypted records reach it.
 */
export class DtlsPeer {
  readonly #options: DtlsPeerOptions;
  readonly #socket: Socket;
  #state: 'new' | 'connecting' | 'connected' | 'ended' = 'new';
  #datagrams = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: DtlsPeerOptions) {
    this.#options = options;
    const socketOptions = {
      transport: {
        type: 'udp',
        address: { address: '', port: 0, family: 'IPv4' },
        closed: false,
        onData: () => {},
        send: async (datagram: Buffer) => {
          if (this.#state !== 'ended') options.send(datagram);
        },
        close: async () => {},
      },
      cert: options.certificate.certPem,
      key: options.certificate.keyPem,
      signatureHash: { signature: SignatureAlgorithm.ecdsa_3, hash: HashAlgorithm.sha256_4 },
      srtpProfiles: PROFILES,
      extendedMasterSecret: true,
      certificateRequest: true,
    };
    this.#socket = options.role === 'server' ? new DtlsServer(socketOptions) : new DtlsClient(socketOptions);
    this.#socket.onConnect.subscribe(() => this.#onHandshakeDone());
    // Lost or doubled packets surface here as well; the handshake timeout decides.
    this.#socket.onError.subscribe(() => {});
  }

  /** Starts the clock, and as client the handshake; the path must be able to carry datagrams. */
  start(): void {
    if (this.#state !== 'new') return;
    this.#state = 'connecting';
    this.#timer = setTimeout(() => this.#fail(new Error('DTLS handshake timed out')), HANDSHAKE_TIMEOUT_MS);
    this.#timer.unref();
    if (this.#socket instanceof DtlsClient)
      this.#socket.connect().catch((error: unknown) => this.#fail(toError(error)));
  }

  onDatagram(datagram: Buffer): void {
    if (this.#state === 'connecting') {
      if (++this.#datagrams > MAX_HANDSHAKE_DATAGRAMS || datagram.length > MAX_HANDSHAKE_DATAGRAM_BYTES)
        return;
      this.#feed(datagram);
    } else if (this.#state === 'connected') {
      this.#onLateDatagram(datagram);
    }
  }

  /** Idempotent. */
  close(): void {
    this.#state = 'ended';
    clearTimeout(this.#timer);
    this.#socket.dtls.flight = FLIGHT_OVER;
  }

  #feed(datagram: Buffer): void {
    try {
      this.#socket.transport.socket.onData(datagram, ['', 0]);
    } catch {
      // Malformed record.
    }
  }

  /** RFC 6347, section 4.1: records of epoch 1 only; alerts are checked and read here. */
  #onLateDatagram(datagram: Buffer): void {
    for (let at = 0; at + 13 <= datagram.length; ) {
      const size = datagram.readUInt16BE(at + 11);
      const end = at + 13 + size;
      if (end > datagram.length) return;
      const type = datagram[at] as number;
      if (datagram.readUInt16BE(at + 3) === 1) {
        if (type === ALERT && this.#readAlert(datagram.subarray(at, end)) === 'close') {
          this.close();
          this.#options.onClosed();
          return;
        }
        // The peer repeats its last flight: ours was lost, and the handshake sends it again.
        if (type === HANDSHAKE && ++this.#datagrams < MAX_HANDSHAKE_DATAGRAMS + MAX_LATE_DATAGRAMS) {
          this.#feed(datagram.subarray(at, end));
        }
      }
      at = end;
    }
  }

  #readAlert(record: Buffer): 'close' | 'other' {
    try {
      const plain = this.#socket.cipher.cipher.decrypt(this.#socket.sessionType, record.subarray(13), {
        type: ALERT,
        version: record.readUInt16BE(1),
        epoch: 1,
        sequenceNumber: record.readUIntBE(5, 6),
      });
      return plain[1] === 0 || plain[0] === 2 ? 'close' : 'other';
    } catch {
      return 'other';
    }
  }

  #onHandshakeDone(): void {
    if (this.#state !== 'connecting') return;
    try {
      this.#verifyPeer();
      const profile = this.#socket.srtp.srtpProfile;
      if (profile !== SRTP_AES128_CM_SHA1_80 && profile !== SRTP_AEAD_AES_128_GCM) {
        throw new Error('no common SRTP protection profile');
      }
      const keys = this.#socket.extractSessionKeys(keyLength(profile), saltLength(profile));
      this.#state = 'connected';
      this.#datagrams = MAX_HANDSHAKE_DATAGRAMS;
      clearTimeout(this.#timer);
      this.#options.onConnected({
        local: { profile, masterKey: Buffer.from(keys.localKey), masterSalt: Buffer.from(keys.localSalt) },
        remote: { profile, masterKey: Buffer.from(keys.remoteKey), masterSalt: Buffer.from(keys.remoteSalt) },
      });
    } catch (error) {
      this.#fail(toError(error));
    }
  }

  #verifyPeer(): void {
    const der = this.#socket.remoteCertificate;
    if (!der) throw new Error('peer sent no certificate');
    if (!fingerprintMatches(der, this.#options.remoteFingerprints)) {
      throw new Error('certificate does not match the fingerprint');
    }
    const transcript = this.#socket.dtls.sortedHandshakeCache;
    const certificate = new X509Certificate(der);
    if (this.#options.role === 'server') this.#verifyClient(transcript, certificate);
    else this.#verifyServer(transcript, certificate);
  }

  /** RFC 5246, sections 7.4.8 and 7.4.9. */
  #verifyClient(transcript: HandshakeMessage[], certificate: X509Certificate): void {
    const hello = transcript.findIndex((message) => message.msg_type === CLIENT_HELLO);
    const proof = transcript.findIndex((message) => message.msg_type === CERTIFICATE_VERIFY);
    const finished = transcript.findIndex((message) => message.msg_type === FINISHED);
    const proofMessage = transcript[proof];
    const finishedMessage = transcript[finished];
    if (hello < 0 || !proofMessage || !finishedMessage || finished < proof)
      throw new Error('incomplete DTLS handshake');
    const body = proofMessage.fragment;
    const signature = body.subarray(4, 4 + body.readUInt16BE(2));
    checkSignature(body.readUInt16BE(0), serialize(transcript.slice(0, proof)), certificate, signature);
    const hash = createHash('sha256')
      .update(serialize(transcript.slice(0, finished)))
      .digest();
    const seed = Buffer.concat([Buffer.from('client finished'), hash]);
    if (!prf12(this.#socket.cipher.masterSecret, seed).equals(finishedMessage.fragment.subarray(0, 12))) {
      throw new Error('DTLS handshake was tampered with');
    }
  }

  /**
   * RFC 8422, section 5.4: the server signs its key share, and through it owns the certificate. The
   * extended master secret (RFC 7627) ties the rest of the transcript to the keys.
   */
  #verifyServer(transcript: HandshakeMessage[], certificate: X509Certificate): void {
    const body = transcript.find((message) => message.msg_type === SERVER_KEY_EXCHANGE)?.fragment;
    if (!body) throw new Error('incomplete DTLS handshake');
    const parameters = body.subarray(0, 4 + (body[3] as number));
    const signed = Buffer.concat([
      this.#socket.cipher.localRandom.serialize(),
      this.#socket.cipher.remoteRandom.serialize(),
      parameters,
    ]);
    const at = parameters.length;
    const signature = body.subarray(at + 4, at + 4 + body.readUInt16BE(at + 2));
    checkSignature(body.readUInt16BE(at), signed, certificate, signature);
  }

  #fail(error: Error): void {
    if (this.#state === 'ended' || this.#state === 'connected') return;
    this.close();
    this.#options.onFailed(error);
  }
}

/** The strongest algorithm that is offered decides (RFC 8122, section 5). */
export function fingerprintMatches(der: Buffer, fingerprints: DtlsParameters['fingerprints']): boolean {
  for (const algorithm of ['sha-512', 'sha-384', 'sha-256', 'sha-224', 'sha-1']) {
    const offered = fingerprints.filter((fingerprint) => fingerprint.algorithm.toLowerCase() === algorithm);
    if (offered.length === 0) continue;
    const actual = createHash(algorithm.replace('-', '')).update(der).digest('hex');
    return offered.some(({ value }) => value.replaceAll(':', '').toLowerCase() === actual);
  }
  return false;
}

const ECDSA_SHA256 = 0x0403;
const RSA_PKCS1_SHA256 = 0x0401;

function checkSignature(
  scheme: number,
  signed: Buffer,
  certificate: X509Certificate,
  signature: Buffer,
): void {
  const keyType = certificate.publicKey.asymmetricKeyType;
  const fits =
    (scheme === ECDSA_SHA256 && keyType === 'ec') || (scheme === RSA_PKCS1_SHA256 && keyType === 'rsa');
  if (!fits || !verify('sha256', signed, certificate.publicKey, signature)) {
    throw new Error('peer does not own the key of its certificate');
  }
}

function serialize(messages: readonly HandshakeMessage[]): Buffer {
  return Buffer.concat(messages.map((message) => message.serialize()));
}

/** The first 12 bytes of TLS 1.2's PRF (RFC 5246, section 5); one round of SHA-256 gives 32. */
function prf12(secret: Buffer, seed: Buffer): Buffer {
  const first = createHmac('sha256', secret).update(seed).digest();
  return createHmac('sha256', secret).update(first).update(seed).digest().subarray(0, 12);
}

function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
