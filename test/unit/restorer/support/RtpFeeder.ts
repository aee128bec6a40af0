/**
 * Stands where the SFU's plain port would: plays a clip into a track as RTP, in real time, answers NACK and
 * PLI, and receives and decodes the restored stream.
 */
import { createSocket, type Socket } from 'node:dgram';
import { createVideoDecoder } from '../../../../src/media/NodeAvDecoder.js';
import { createVideoEncoder } from '../../../../src/media/NodeAvEncoder.js';
import { isRtcp, parseRtcp, type RtcpMessage } from '../../../../src/media/Rtcp.js';
import { RtpVideoReceiver } from '../../../../src/media/RtpVideoReceiver.js';
import { RtpVideoSender } from '../../../../src/media/RtpVideoSender.js';
import type {
  DecodedPicture,
  EncodedFrame,
  I420Picture,
  VideoCodec,
  VideoDecoder,
  VideoEncoder,
} from '../../../../src/media/types.js';
import { DeadlineTimer } from '../../../../src/restorer/DeadlineTimer.js';
import type { RestoreTrackOptions } from '../../../../src/restorer/types.js';
import type { Clip } from './clip.js';

export interface FeederOptions {
  trackId?: string;
  codec?: VideoCodec;
  outputCodec?: VideoCodec;
  bitrateBps?: number;
  fps?: number;
  /** Share of the packets to the track that is lost on the way, evenly. */
  loss?: number;
  /** Keep this many of the newest restored pictures. */
  keep?: number;
}

const identity = (width: number, height: number): { width: number; height: number } => ({ width, height });
const allocate = (byteLength: number): ArrayBuffer => new ArrayBuffer(byteLength);

export class RtpFeeder {
  readonly track: RestoreTrackOptions;
  /** Restored pictures, the newest last. */
  readonly restored: DecodedPicture[] = [];
  /** RTP timestamps sent and received, 32 bits, in order. */
  readonly sentTimestamps: number[] = [];
  readonly restoredTimestamps: number[] = [];
  /** What the track decodes, at the size it was sent: the pictures of the last ten seconds. */
  readonly inputs = new Map<number, DecodedPicture>();
  readonly frameOf = new Map<number, number>();
  readonly rtcp: RtcpMessage[] = [];
  /** The last sender report of the original stream. */
  senderReport: Extract<RtcpMessage, { type: 'sr' }> | null = null;
  restoredKeyFrames = 0;
  restoredCount = 0;
  packetsDropped = 0;

  readonly #options: Required<FeederOptions>;
  readonly #socket: Socket;
  readonly #sender: RtpVideoSender;
  readonly #receiver: RtpVideoReceiver;
  readonly #timer: DeadlineTimer;
  #remote: { ip: string; port: number } | null = null;
  #encoder: { encoder: VideoEncoder; clip: Clip } | null = null;
  #inputDecoder: VideoDecoder | null = null;
  #outputDecoder: VideoDecoder | null = null;
  #decoding: Promise<void> = Promise.resolve();
  #clip: Clip | null = null;
  #keyFrame = true;
  #index = 0;
  #packets = 0;
  #rtpTimestamp90k = 2 ** 32 - 90_000;
  #playing: Promise<void> | null = null;
  #stopped = false;

  private constructor(socket: Socket, options: Required<FeederOptions>) {
    this.#options = options;
    this.#socket = socket;
    const { codec, outputCodec, bitrateBps, fps, trackId } = options;
    const ssrc = Math.floor(Math.random() * 2 ** 30);
    this.track = {
      trackId,
      remote: { ip: '127.0.0.1', port: socket.address().port },
      input: { codec, payloadType: 96, ssrc, rtx: { payloadType: 97, ssrc: ssrc + 1 }, cname: 'camera' },
      output: {
        codec: outputCodec,
        payloadType: 98,
        ssrc: ssrc + 2,
        rtx: { payloadType: 99, ssrc: ssrc + 3 },
        cname: 'camera',
      },
      maxBitrateBps: 2_500_000,
      targetHeight: 720,
      priority: 0,
    };
    this.#sender = new RtpVideoSender({
      stream: this.track.input,
      bitrateBps,
      fps,
      send: (packet) => this.#send(packet),
      onKeyFrameRequest: () => {
        this.#keyFrame = true;
      },
    });
    this.#receiver = new RtpVideoReceiver({
      stream: this.track.output,
      localSsrc: 7,
      cname: 'viewer',
      onFrame: (frame) => this.#onRestored(frame),
      onRtcp: (packet) => this.#sendRaw(packet),
    });
    this.#timer = new DeadlineTimer(
      () => Math.min(this.#sender.nextDeadlineMs, this.#receiver.nextDeadlineMs),
      (nowMs) => {
        this.#sender.tick(nowMs);
        this.#receiver.tick(nowMs);
      },
    );
    socket.on('message', (packet) => this.#receive(packet));
    socket.on('error', () => undefined);
  }

  static async create(options: FeederOptions = {}): Promise<RtpFeeder> {
    const socket = createSocket('udp4');
    await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
    return new RtpFeeder(socket, {
      trackId: 'camera',
      codec: 'VP8',
      outputCodec: 'VP8',
      bitrateBps: 120_000,
      fps: 10,
      loss: 0,
      keep: 8,
      ...options,
    });
  }

  /** Where the track listens. */
  connect(localAddress: { ip: string; port: number }): void {
    this.#remote = localAddress;
  }

  /** Plays from now on, from the beginning; another clip (of another size) may take over at any time. */
  play(clip: Clip): void {
    this.#clip = clip;
    this.#playing ??= this.#play();
  }

  requestKeyFrame(): void {
    const { ssrc } = this.track.output;
    const pli = Buffer.from([0x81, 206, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0]);
    pli.writeUInt32BE(ssrc, 8);
    this.#sendRaw(pli);
  }

  /** Any bytes, straight into the track's port. */
  sendRaw(packet: Buffer): void {
    this.#sendRaw(packet);
  }

  /** Sends nothing more, as a muted camera. */
  async pause(): Promise<void> {
    this.#clip = null;
    await this.#playing;
    this.#playing = null;
  }

  async close(): Promise<void> {
    this.#stopped = true;
    await this.#playing;
    await this.#decoding;
    this.#timer.close();
    this.#receiver.close();
    this.#encoder?.encoder.close();
    this.#inputDecoder?.close();
    this.#outputDecoder?.close();
    await new Promise<void>((resolve) => this.#socket.close(resolve));
  }

  async #play(): Promise<void> {
    const { fps } = this.#options;
    const startMs = performance.now();
    for (let frame = 0; !this.#stopped; frame++) {
      const clip = this.#clip;
      if (clip === null) return;
      await this.#playFrame(clip);
      const dueMs = startMs + ((frame + 1) * 1_000) / fps;
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, dueMs - performance.now())));
    }
  }

  async #playFrame(clip: Clip): Promise<void> {
    const { codec, bitrateBps, fps } = this.#options;
    if (this.#encoder?.clip !== clip) {
      this.#encoder?.encoder.close();
      const { width, height } = clip;
      const encoder = await createVideoEncoder({ codec, width, height, bitrateBps, fps, threads: 1 });
      this.#encoder = { encoder, clip };
      this.#keyFrame = true;
      this.#index = 0;
    }
    this.#rtpTimestamp90k += 90_000 / fps;
    const rtpTimestamp90k = this.#rtpTimestamp90k;
    const index = this.#index++ % clip.frames.length;
    const frame = clip.frames[index];
    if (frame === undefined) return;
    const { width, height } = clip;
    const picture: I420Picture = { buffer: frame.slice(0), width, height, rtpTimestamp90k, fullRange: false };
    const keyFrame = this.#keyFrame;
    this.#keyFrame = false;
    const encoded = await this.#encoder.encoder.encode(picture, { keyFrame });
    if (encoded === null) return;
    const timestamp = rtpTimestamp90k % 2 ** 32;
    this.frameOf.set(timestamp, index);
    this.sentTimestamps.push(timestamp);
    const nowMs = performance.now();
    this.#sender.sendFrame(encoded, nowMs, nowMs);
    this.#timer.update();
    await this.#decodeInput({ ...encoded, rtpTimestamp90k: timestamp });
  }

  async #decodeInput(encoded: {
    data: Uint8Array;
    keyFrame: boolean;
    rtpTimestamp90k: number;
  }): Promise<void> {
    const { codec, fps } = this.#options;
    this.#inputDecoder ??= await createVideoDecoder(codec);
    const times = { firstPacketAtMs: 0, lastPacketAtMs: 0, releasedAtMs: 0, discontinuity: false };
    const decoded = await this.#inputDecoder.decode({ codec, ...encoded, ...times }, identity, allocate);
    if (decoded) this.inputs.set(encoded.rtpTimestamp90k, decoded);
    for (const timestamp of this.inputs.keys()) {
      if (this.inputs.size <= 10 * fps) break;
      this.inputs.delete(timestamp);
    }
  }

  #receive(packet: Buffer): void {
    const nowMs = performance.now();
    if (isRtcp(packet)) {
      const messages = parseRtcp(packet);
      this.rtcp.push(...messages);
      this.#sender.receiveRtcp(messages, nowMs);
      this.#receiver.receiveRtcp(messages, nowMs);
    } else this.#receiver.receive(packet, nowMs);
    this.#timer.update();
  }

  #onRestored(frame: EncodedFrame): void {
    this.restoredTimestamps.push(frame.rtpTimestamp90k % 2 ** 32);
    if (frame.keyFrame) this.restoredKeyFrames += 1;
    this.#decoding = this.#decoding.then(async () => {
      this.#outputDecoder ??= await createVideoDecoder(frame.codec);
      const decoded = await this.#outputDecoder.decode(frame, identity, allocate);
      if (decoded === null) return;
      this.restoredCount += 1;
      this.restored.push(decoded);
      if (this.restored.length > this.#options.keep) this.restored.shift();
    });
  }

  #send(packet: Buffer): void {
    if (isRtcp(packet)) {
      for (const message of parseRtcp(packet)) if (message.type === 'sr') this.senderReport = message;
    }
    this.#packets += 1;
    const { loss } = this.#options;
    if (loss > 0 && !isRtcp(packet) && this.#packets % Math.round(1 / loss) === 0) {
      this.packetsDropped += 1;
      return;
    }
    this.#sendRaw(packet);
  }

  #sendRaw(packet: Buffer): void {
    if (this.#remote && !this.#stopped)
      this.#socket.send(packet, this.#remote.port, this.#remote.ip, () => undefined);
  }
}
