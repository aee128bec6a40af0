import { VireoError } from '../errors.js';
import type { Restorer, RtpVideoStream, VideoCodec } from '../restorer/types.js';
import type { SfuPlainTransport, SfuProducer, SfuRouter } from '../sfu/types.js';
import { newSsrc } from './ids.js';
import { findCodec, inputStreamOf, outputParameters } from './outputStream.js';

export interface RestoredVariantOptions {
  publicationId: string;
  router: SfuRouter;
  /** The publication's original. */
  source: SfuProducer;
  restorer: Restorer;
  codec: VideoCodec;
  maxBitrateBps: number;
  targetHeight: number;
  priority: number;
}

/** One publication on its way through the restorer: out over a plain port, back in over the same. */
export class RestoredVariant {
  readonly codec: VideoCodec;
  readonly producer: SfuProducer;
  readonly #publicationId: string;
  readonly #restorer: Restorer;
  readonly #transport: SfuPlainTransport;
  #closed = false;

  /**
   * Sets the whole loop up; the first restored frame comes later (`trackStarted`).
   * @throws VireoError when the engine or the restorer refuses; nothing is left behind then
   */
  static async create(options: RestoredVariantOptions): Promise<RestoredVariant> {
    const { publicationId, router, source, restorer, codec } = options;
    const transport = await router.createPlainTransport();
    try {
      const consumer = await transport.consume({
        producerId: source.id,
        rtpCapabilities: router.rtpCapabilities,
        paused: true,
      });
      const input = inputStreamOf(consumer.rtpParameters);
      const cname = source.rtpParameters.rtcp?.cname ?? input.cname;
      const capability = findCodec(router.rtpCapabilities, codec);
      const payloadType = capability?.preferredPayloadType;
      if (payloadType === undefined)
        throw new VireoError('unsupported', `the engine does not offer ${codec}`);
      const output: RtpVideoStream = { codec, payloadType, ssrc: newSsrc(), cname };
      const track = await restorer.startTrack({
        trackId: publicationId,
        remote: transport.localAddress,
        input,
        output,
        maxBitrateBps: options.maxBitrateBps,
        targetHeight: options.targetHeight,
        priority: options.priority,
      });
      try {
        await transport.connect(track.localAddress);
        const rtpParameters = outputParameters(router.rtpCapabilities, output);
        const producer = await transport.produce({ kind: 'video', rtpParameters });
        await consumer.resume();
        return new RestoredVariant(options, transport, producer);
      } catch (error) {
        restorer.stopTrack(publicationId);
        throw error;
      }
    } catch (error) {
      transport.close();
      throw error;
    }
  }

  private constructor(options: RestoredVariantOptions, transport: SfuPlainTransport, producer: SfuProducer) {
    this.codec = options.codec;
    this.producer = producer;
    this.#publicationId = options.publicationId;
    this.#restorer = options.restorer;
    this.#transport = transport;
  }

  /** Idempotent. Ends the track in the restorer, the port, and every consumer of the restored stream. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#restorer.stopTrack(this.#publicationId);
    this.#transport.close();
  }
}
