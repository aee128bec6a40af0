import type { types } from 'mediasoup-client';
import { Device } from 'mediasoup-client';
import type {
  ConsumerDescription,
  RequestData,
  ResponseData,
  Source,
} from '../../../src/signaling/messages.js';
import type { SignalingClient } from './SignalingClient.js';

export interface PublishOptions {
  track: MediaStreamTrack;
  source: Source;
  encoding?: types.RtpEncodingParameters;
  codecOptions?: types.ProducerCodecOptions;
  /** Codec to send, when the relay has it. */
  codec?: 'VP8' | 'VP9' | 'H264' | 'AV1';
  restorable: boolean;
  uplinkBudgetBps: number | null;
}

interface ProducerAppData extends types.AppData {
  source: Source;
  restorable: boolean;
  uplinkBudgetBps: number | null;
}

export type Producer = types.Producer;
export type Consumer = types.Consumer;

/** How long ICE may stay `disconnected` (it often recovers by itself) before it is restarted. */
const DISCONNECTED_GRACE_MS = 2_000;

/** The two WebRTC transports of one joined session, and what flows over them. */
export class MediaTransports {
  readonly #signaling: SignalingClient;
  readonly #device: types.Device;
  readonly #iceServers: RTCIceServer[];
  #send: Promise<types.Transport> | undefined;
  #recv: Promise<types.Transport> | undefined;
  #restartTimer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  private constructor(signaling: SignalingClient, device: types.Device, iceServers: RTCIceServer[]) {
    this.#signaling = signaling;
    this.#device = device;
    this.#iceServers = iceServers;
  }

  /** Loads the device with the router's capabilities and tells the relay what this browser can receive. */
  static async create(signaling: SignalingClient, joined: ResponseData['join']): Promise<MediaTransports> {
    const device = await Device.factory();
    await device.load({ routerRtpCapabilities: joined.routerRtpCapabilities as types.RtpCapabilities });
    await signaling.request('setRtpCapabilities', {
      rtpCapabilities: device.recvRtpCapabilities as RequestData<'setRtpCapabilities'>['rtpCapabilities'],
    });
    const transports = new MediaTransports(signaling, device, joined.iceServers);
    // The relay puts the consumers that `subscribe` answers with on the receiving transport: it comes first.
    transports.#recv = transports.#createTransport('recv');
    await transports.#recv;
    return transports;
  }

  async publish(options: PublishOptions): Promise<Producer> {
    this.#send ??= this.#createTransport('send');
    const transport = await this.#send;
    const codec = this.#device.sendRtpCapabilities.codecs?.find(
      ({ mimeType }) => mimeType.toLowerCase() === `video/${options.codec ?? ''}`.toLowerCase(),
    );
    const { source, restorable, uplinkBudgetBps } = options;
    return transport.produce<ProducerAppData>({
      track: options.track,
      ...(options.encoding ? { encodings: [options.encoding] } : {}),
      ...(options.codecOptions ? { codecOptions: options.codecOptions } : {}),
      ...(codec && options.track.kind === 'video' ? { codec } : {}),
      stopTracks: false,
      disableTrackOnPause: false,
      zeroRtpOnPause: true,
      appData: { source, restorable, uplinkBudgetBps },
    });
  }

  async consume(description: ConsumerDescription, streamId: string): Promise<Consumer> {
    this.#recv ??= this.#createTransport('recv');
    const transport = await this.#recv;
    return transport.consume({
      id: description.consumerId,
      producerId: description.producerId,
      kind: description.kind,
      rtpParameters: description.rtpParameters as types.RtpParameters,
      streamId,
    });
  }

  async #createTransport(direction: 'send' | 'recv'): Promise<types.Transport> {
    const description = await this.#signaling.request('createTransport', { direction });
    const options: types.TransportOptions = {
      id: description.transportId,
      iceParameters: description.iceParameters as types.IceParameters,
      iceCandidates: description.iceCandidates as types.IceCandidate[],
      dtlsParameters: description.dtlsParameters as types.DtlsParameters,
      iceServers: this.#iceServers,
    };
    const transport =
      direction === 'send'
        ? this.#device.createSendTransport(options)
        : this.#device.createRecvTransport(options);
    transport.on('connect', ({ dtlsParameters }, done, failed) => {
      this.#signaling
        .request('connectTransport', {
          transportId: transport.id,
          dtlsParameters: dtlsParameters as RequestData<'connectTransport'>['dtlsParameters'],
        })
        .then(done, failed);
    });
    transport.on('produce', ({ kind, rtpParameters, appData }, done, failed) => {
      const { source, restorable, uplinkBudgetBps } = appData as ProducerAppData;
      this.#signaling
        .request('publish', {
          transportId: transport.id,
          kind,
          source,
          rtpParameters: rtpParameters as RequestData<'publish'>['rtpParameters'],
          restorable,
          uplinkBudgetBps,
        })
        .then(({ publicationId }) => done({ id: publicationId }), failed);
    });
    transport.on('connectionstatechange', (state) => {
      if (state === 'failed') void this.restartIce();
      if (state === 'disconnected') {
        clearTimeout(this.#restartTimer);
        this.#restartTimer = setTimeout(() => {
          if (transport.connectionState === 'disconnected') void this.restartIce();
        }, DISCONNECTED_GRACE_MS);
      }
    });
    return transport;
  }

  /** New ICE credentials for both transports: after a network change, or when a session was resumed. */
  async restartIce(): Promise<void> {
    for (const pending of [this.#send, this.#recv]) {
      const transport = await pending?.catch(() => undefined);
      if (!transport || transport.closed || this.#closed) continue;
      try {
        const { iceParameters } = await this.#signaling.request('restartIce', { transportId: transport.id });
        await transport.restartIce({ iceParameters: iceParameters as types.IceParameters });
      } catch {
        // Without signalling there is nothing to restart with; resuming the session comes back here.
      }
    }
  }

  async stats(): Promise<{ send: RTCStatsReport | null; recv: RTCStatsReport | null }> {
    const [send, recv] = await Promise.all(
      [this.#send, this.#recv].map(async (pending) => {
        const transport = await pending?.catch(() => undefined);
        return transport && !transport.closed ? transport.getStats() : null;
      }),
    );
    return { send: send ?? null, recv: recv ?? null };
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#restartTimer);
    for (const pending of [this.#send, this.#recv]) {
      pending?.then((transport) => transport.close()).catch(() => {});
    }
  }
}
