import { io, type Socket } from 'socket.io-client';
import type { RtpCapabilities } from '../../../src/sfu/types.js';
import type {
  Acknowledgement,
  ClientToServerEvents,
  ConsumerDescription,
  EventData,
  EventName,
  ProtocolError,
  RequestData,
  RequestName,
  ResponseData,
  ServerToClientEvents,
  Source,
  TransportDescription,
  View,
} from '../../../src/signaling/messages.js';
import { sendParameters } from '../../contract/sfuSupport.js';
import type { SendStream } from '../peer/SendStream.js';
import { TestPeer } from '../peer/TestPeer.js';

type AnyEvent = { [N in EventName]: { name: N; data: EventData[N]; atMs: number } }[EventName];

/** The relay's refusal of a request. */
export class Refused extends Error {
  readonly error: ProtocolError;

  constructor(name: string, error: ProtocolError) {
    super(`${name}: ${error.code}: ${error.message}`);
    this.error = error;
  }
}

/** A participant as the page is one, but with a test peer for a browser: real signalling, real media transports. */
export class RelayClient {
  readonly socket: Socket<ServerToClientEvents, ClientToServerEvents>;
  readonly events: AnyEvent[] = [];
  readonly consumers = new Map<string, ConsumerDescription>();
  joined: ResponseData['join'] | null = null;
  peers: Partial<Record<'send' | 'recv', { peer: TestPeer; transport: TransportDescription }>> = {};
  /** Answers every `consumerAdded` and `subscribe` with `consumerReady`. */
  autoReady = true;
  readonly #waiting = new Set<() => void>();

  private constructor(url: string) {
    this.socket = io(url, { transports: ['websocket'], reconnection: false, forceNew: true });
    this.socket.on('event', (message) => {
      this.events.push({ ...message, atMs: performance.now() } as AnyEvent);
      if (message.name === 'consumerAdded') this.#onConsumer(message.data as ConsumerDescription);
      if (message.name === 'consumerRemoved') {
        this.consumers.delete((message.data as EventData['consumerRemoved']).consumerId);
      }
      for (const check of this.#waiting) check();
    });
  }

  static async connect(url: string): Promise<RelayClient> {
    const client = new RelayClient(url);
    await new Promise<void>((resolve, reject) => {
      client.socket.once('connect', resolve);
      client.socket.once('connect_error', reject);
    });
    return client;
  }

  /** Connects and joins; `rtpCapabilities` default to all that the router has. */
  static async join(url: string, room: string, name: string, more: Partial<RequestData<'join'>> = {}) {
    const client = await RelayClient.connect(url);
    await client.join(room, name, more);
    return client;
  }

  get id(): string {
    if (!this.joined) throw new Error('not joined');
    return this.joined.participantId;
  }

  async join(
    room: string,
    name: string,
    more: Partial<RequestData<'join'>> = {},
  ): Promise<ResponseData['join']> {
    this.joined = await this.request('join', { protocol: 1, room, name, ...more });
    const rtpCapabilities = more.rtpCapabilities ?? (this.joined.routerRtpCapabilities as RtpCapabilities);
    await this.request('setRtpCapabilities', { rtpCapabilities } as RequestData<'setRtpCapabilities'>);
    return this.joined;
  }

  async request<N extends RequestName>(name: N, data: RequestData<N>): Promise<ResponseData[N]> {
    const answer = (await this.raw({ name, data })) as Acknowledgement<N>;
    if (!answer.ok) throw new Refused(name, answer.error);
    return answer.data;
  }

  /** Any message, valid or not. Rejects at once when the connection goes, after 10 s when no answer comes. */
  raw(message: unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const cut = () => reject(new Error('the connection was cut'));
      if (this.socket.disconnected) return cut();
      this.socket.once('disconnect', cut);
      this.socket
        .timeout(10_000)
        .emitWithAck('request', message as never)
        .then(resolve, reject)
        .finally(() => this.socket.off('disconnect', cut));
    });
  }

  /** A connected media transport. */
  async transport(direction: 'send' | 'recv'): Promise<{ peer: TestPeer; transport: TransportDescription }> {
    const transport = await this.request('createTransport', { direction });
    const peer = await TestPeer.create();
    await this.request('connectTransport', {
      transportId: transport.transportId,
      dtlsParameters: peer.dtlsParameters,
    } as RequestData<'connectTransport'>);
    await peer.connect(transport);
    const both = { peer, transport };
    this.peers[direction] = both;
    return both;
  }

  async publish(
    source: Source,
    more: Partial<RequestData<'publish'>> = {},
  ): Promise<{ publicationId: string; stream: SendStream }> {
    const kind = source === 'camera' || source === 'screen' ? 'video' : 'audio';
    const { peer, transport } = this.peers.send ?? (await this.transport('send'));
    const rtpParameters = sendParameters(kind === 'video' ? 'VP8' : 'opus');
    const { transportId } = transport;
    const data = { transportId, kind, source, rtpParameters, ...more } as RequestData<'publish'>;
    const { publicationId } = await this.request('publish', data);
    return { publicationId, stream: peer.addStream(kind, rtpParameters) };
  }

  async subscribe(publicationId: string, view?: View): Promise<ConsumerDescription[]> {
    if (!this.peers.recv) await this.transport('recv');
    const { consumers } = await this.request('subscribe', { publicationId, ...(view && { view }) });
    for (const consumer of consumers) this.#onConsumer(consumer);
    return consumers;
  }

  all<N extends EventName>(name: N): EventData[N][] {
    return this.events.filter((event) => event.name === name).map((event) => event.data as EventData[N]);
  }

  last<N extends EventName>(name: N): EventData[N] | undefined {
    return this.all(name).at(-1);
  }

  /** Waits until a condition on what has arrived holds. */
  async until(what: string, condition: () => boolean, timeoutMs = 8_000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!condition()) {
      if (Date.now() > deadline) {
        const recent = this.events
          .slice(-12)
          .map(({ name, data }) => `${name} ${JSON.stringify(data).slice(0, 160)}`);
        throw new Error(`waited ${timeoutMs} ms for ${what}; last events:\n${recent.join('\n')}`);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(done, 20);
        const waiting = this.#waiting;
        function done() {
          clearTimeout(timer);
          waiting.delete(done);
          resolve();
        }
        waiting.add(done);
      });
    }
  }

  /** The view that the relay selected last, and why. */
  selected(publicationId: string): EventData['variantSelected'] | undefined {
    return this.all('variantSelected').findLast((event) => event.publicationId === publicationId);
  }

  consumer(publicationId: string, variant: 'original' | 'restored'): ConsumerDescription | undefined {
    return [...this.consumers.values()].find(
      (consumer) => consumer.publicationId === publicationId && consumer.variant === variant,
    );
  }

  /** Packets that arrived of a consumer. */
  packets(consumer: ConsumerDescription | undefined): number {
    const ssrc = consumer?.rtpParameters.encodings?.[0]?.ssrc;
    return this.peers.recv?.peer.rtp.filter((packet) => packet.ssrc === ssrc).length ?? 0;
  }

  async close(): Promise<void> {
    this.socket.disconnect();
    for (const { peer } of Object.values(this.peers)) await peer.close();
  }

  #onConsumer(consumer: ConsumerDescription): void {
    this.consumers.set(consumer.consumerId, consumer);
    if (this.autoReady) {
      void this.request('consumerReady', { consumerId: consumer.consumerId }).catch(() => {});
    }
  }
}
