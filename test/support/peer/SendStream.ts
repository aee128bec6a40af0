import { randomInt } from 'node:crypto';
import type { MediaKind, RtpParameters } from '../../../src/sfu/types.js';
import { vp8Frame } from './payloads.js';
import type { RtpPacket } from './rtp.js';

export const EXTENSION = {
  mid: 'urn:ietf:params:rtp-hdrext:sdes:mid',
  audioLevel: 'urn:ietf:params:rtp-hdrext:ssrc-audio-level',
  absSendTime: 'http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time',
  transportSequence: 'http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01',
} as const;

export function extensionId(rtpParameters: RtpParameters, uri: string): number | null {
  return rtpParameters.headerExtensions?.find((extension) => extension.uri === uri)?.id ?? null;
}

export interface SendOptions {
  marker?: boolean;
  /** Kept for retransmission, counted in sequence, never put on the wire. */
  lose?: boolean;
  /** dBov, −127 to 0; needs the audio-level extension. */
  audioLevelDbov?: number;
  /** Default: as many ticks after the packet before it as the codec's usual frame takes. */
  timestamp?: number;
}

/** What a stream needs from its peer. */
export interface RtpSink {
  nextTransportSequence(): number;
  sendRtp(packet: RtpPacket): void;
}

const HISTORY_PACKETS = 1000;
const TIMESTAMP_STEP: Record<MediaKind, number> = { audio: 960, video: 3000 };

/** One RTP stream out of a test peer: sequence space, header extensions, retransmission (RFC 4588). */
export class SendStream {
  readonly kind: MediaKind;
  readonly rtpParameters: RtpParameters;
  readonly ssrc: number;
  readonly rtxSsrc: number | null;
  readonly clockRate: number;
  readonly payloadType: number;
  /** Everything handed to `send`, lost or not, by sequence number. */
  readonly history = new Map<number, RtpPacket>();
  sequenceNumber: number;
  timestamp = randomInt(1, 1 << 30);
  packetCount = 0;
  octetCount = 0;
  #rtxSequenceNumber = randomInt(1, 30_000);
  #pictureId = randomInt(0, 0x7fff);
  readonly #rtxPayloadType: number | null;
  readonly #sink: RtpSink;

  constructor(sink: RtpSink, kind: MediaKind, rtpParameters: RtpParameters, firstSequenceNumber?: number) {
    const [codec] = rtpParameters.codecs;
    const [encoding] = rtpParameters.encodings ?? [];
    if (!codec || encoding?.ssrc === undefined) throw new Error('a test stream needs a codec and an SSRC');
    this.kind = kind;
    this.rtpParameters = rtpParameters;
    this.ssrc = encoding.ssrc;
    this.rtxSsrc = encoding.rtx?.ssrc ?? null;
    this.clockRate = codec.clockRate;
    this.payloadType = codec.payloadType;
    this.sequenceNumber = firstSequenceNumber ?? randomInt(1, 30_000);
    this.#rtxPayloadType =
      rtpParameters.codecs.find(({ mimeType }) => /\/rtx$/i.test(mimeType))?.payloadType ?? null;
    this.#sink = sink;
  }

  /** Sends one packet and returns it. */
  send(payload: Buffer, options: SendOptions = {}): RtpPacket {
    if (options.timestamp === undefined) this.timestamp = (this.timestamp + TIMESTAMP_STEP[this.kind]) >>> 0;
    else this.timestamp = options.timestamp;
    const packet: RtpPacket = {
      payloadType: this.payloadType,
      marker: options.marker ?? true,
      sequenceNumber: this.sequenceNumber,
      timestamp: this.timestamp,
      ssrc: this.ssrc,
      extensions: this.#extensions(options.audioLevelDbov),
      payload,
    };
    this.sequenceNumber = (this.sequenceNumber + 1) & 0xffff;
    this.history.set(packet.sequenceNumber, packet);
    if (this.history.size > HISTORY_PACKETS) {
      for (const oldest of this.history.keys()) {
        this.history.delete(oldest);
        break;
      }
    }
    if (!options.lose) {
      this.packetCount += 1;
      this.octetCount += payload.length;
      this.#sink.sendRtp(packet);
    }
    return packet;
  }

  /** Sends the packets of one frame: one timestamp, marker on the last. */
  sendFrame(payloads: Buffer[], options: SendOptions = {}): RtpPacket[] {
    const timestamp = options.timestamp ?? (this.timestamp + TIMESTAMP_STEP[this.kind]) >>> 0;
    return payloads.map((payload, i) =>
      this.send(payload, { ...options, timestamp, marker: i === payloads.length - 1 }),
    );
  }

  /** Sends a VP8 frame with the next picture id. */
  sendVp8(options: SendOptions & { key?: boolean; bytes?: number } = {}): RtpPacket[] {
    const { key = false, bytes, ...send } = options;
    this.#pictureId = (this.#pictureId + 1) & 0x7fff;
    const frame = { key, pictureId: this.#pictureId, ...(bytes === undefined ? {} : { bytes }) };
    return this.sendFrame(vp8Frame(frame), send);
  }

  /** Answers a NACK: by RTX where it was negotiated, else the same packet again. False: too old. */
  retransmit(sequenceNumber: number): boolean {
    const packet = this.history.get(sequenceNumber);
    if (!packet) return false;
    if (this.rtxSsrc === null || this.#rtxPayloadType === null) {
      this.#sink.sendRtp(packet);
      return true;
    }
    const original = Buffer.alloc(2);
    original.writeUInt16BE(sequenceNumber);
    this.#sink.sendRtp({
      ...packet,
      extensions: this.#extensions(undefined),
      ssrc: this.rtxSsrc,
      payloadType: this.#rtxPayloadType,
      sequenceNumber: this.#rtxSequenceNumber,
      payload: Buffer.concat([original, packet.payload]),
    });
    this.#rtxSequenceNumber = (this.#rtxSequenceNumber + 1) & 0xffff;
    return true;
  }

  #extensions(audioLevelDbov: number | undefined): Map<number, Buffer> {
    const extensions = new Map<number, Buffer>();
    const put = (uri: string, value: () => Buffer) => {
      const id = extensionId(this.rtpParameters, uri);
      if (id !== null) extensions.set(id, value());
    };
    const { mid } = this.rtpParameters;
    if (mid !== undefined) put(EXTENSION.mid, () => Buffer.from(mid));
    if (audioLevelDbov !== undefined) {
      put(EXTENSION.audioLevel, () => Buffer.from([0x80 | (Math.round(-audioLevelDbov) & 0x7f)]));
    }
    put(EXTENSION.absSendTime, () => {
      // 6.18 fixed point seconds, modulo 64 s.
      const value = Buffer.alloc(3);
      value.writeUIntBE(Math.floor((performance.now() / 1000) * 2 ** 18) & 0xffffff, 0, 3);
      return value;
    });
    put(EXTENSION.transportSequence, () => {
      const value = Buffer.alloc(2);
      value.writeUInt16BE(this.#sink.nextTransportSequence());
      return value;
    });
    return extensions;
  }
}
