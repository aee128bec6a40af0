import type { RtpCapabilities } from 'mediasoup/types';
import type { Socket } from 'socket.io';
import { VireoError } from '../errors.js';
import type { Logger } from '../log.js';
import type { ParticipantConnection, ParticipantSession } from '../relay/ParticipantSession.js';
import type { Relay } from '../relay/Relay.js';
import type {
  EventData,
  EventName,
  ProtocolError,
  RequestData,
  RequestName,
  ResponseData,
} from './messages.js';
import { knownRequestName, type ParsedRequest, parseRequest } from './parseRequest.js';
import { TokenBucket } from './TokenBucket.js';

export interface ConnectionOptions {
  socket: Socket;
  relay: Relay;
  requestsPerSecond: number;
  /** Checks who joins; returns the ICE servers for them. @throws VireoError */
  admit: (data: RequestData<'join'>) => ResponseData['join']['iceServers'];
  /** Told of every request that was answered; name null: none of the protocol's. */
  onAnswer: (name: RequestName | null, error: ProtocolError | null) => void;
  logger: Logger;
}

/** An answer, and what has to wait until it is out. */
interface Answer {
  data: ResponseData[RequestName];
  after?: () => void;
}

const WINDOW_SECONDS = 10;
/** Requests that wait for the one before them. */
const MAX_PENDING = 256;
/** Whoever is told so often that it is too fast, and goes on, is cut off. */
const MAX_REFUSALS = 1_000;

/** One signalling connection: takes requests one after another, answers each, passes events on. */
export class ClientConnection implements ParticipantConnection {
  readonly #options: ConnectionOptions;
  readonly #socket: Socket;
  readonly #bucket: TokenBucket;
  #participant: ParticipantSession | null = null;
  #queue: Promise<void> = Promise.resolve();
  #pending = 0;
  #refusals = 0;
  /** Events that came before the answer to `join` was out. */
  #held: (() => void)[] | null = null;
  #leaving = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#socket = options.socket;
    this.#bucket = new TokenBucket(options.requestsPerSecond, WINDOW_SECONDS, Date.now());
    // Anything a client emits costs a token, whatever its name.
    this.#socket.use((packet, next) => {
      if (this.#bucket.take(Date.now())) return next();
      const last: unknown = packet[packet.length - 1];
      this.#refuse(last, new VireoError('rate-limited', 'too many requests; slow down'));
    });
    this.#socket.on('request', (...args: unknown[]) => this.#onRequest(args));
    this.#socket.on('disconnect', () => this.#onDisconnect());
  }

  send<N extends EventName>(name: N, data: EventData[N]): void {
    const emit = () => void this.#socket.emit('event', { name, data });
    if (this.#held) this.#held.push(emit);
    else emit();
  }

  end(): void {
    if (this.#leaving) return;
    const participant = this.#participant;
    this.#participant = null;
    if (!participant) return;
    if (participant.closed) {
      // The room was closed under it: a cut transport makes the client connect and join again.
      this.#socket.conn.close();
      return;
    }
    // Another connection took the session up: this one must not fight for it by connecting again.
    this.send('participantLeft', { participantId: participant.id, reason: 'kicked' });
    this.#socket.disconnect(true);
  }

  #onRequest(args: unknown[]): void {
    const acknowledge = args[args.length - 1];
    const message = args[0];
    if (typeof acknowledge !== 'function') {
      this.#options.onAnswer(
        knownRequestName(message),
        toProtocolError(new VireoError('bad-request', 'no callback')),
      );
      return;
    }
    if (this.#pending >= MAX_PENDING) {
      this.#refuse(
        acknowledge,
        new VireoError('rate-limited', `more than ${MAX_PENDING} requests wait for an answer`),
      );
      return;
    }
    this.#pending++;
    this.#queue = this.#queue.then(() => this.#answer(message, acknowledge as (answer: unknown) => void));
  }

  async #answer(message: unknown, acknowledge: (answer: unknown) => void): Promise<void> {
    const name = knownRequestName(message);
    let answer: Answer | null = null;
    let failure: ProtocolError | null = null;
    try {
      answer = await this.#handle(parseRequest(message));
    } catch (error) {
      failure = this.#describe(error, name);
    }
    this.#pending--;
    acknowledge(answer ? { ok: true, data: answer.data } : { ok: false, error: failure });
    this.#options.onAnswer(name, failure);
    try {
      this.#release();
      answer?.after?.();
    } catch (error) {
      this.#options.logger.error({ err: error, request: name }, 'a request failed after its answer');
    }
  }

  async #handle(request: ParsedRequest): Promise<Answer> {
    if (request.name === 'join') return this.#join(request.data);
    if (request.name === 'leave') return this.#leave();
    const participant = this.#participant;
    if (!participant) throw new VireoError('conflict', `${request.name}: join a room first`);
    switch (request.name) {
      case 'setRtpCapabilities':
        return { data: participant.setRtpCapabilities(request.data) };
      case 'createTransport':
        return { data: await participant.createTransport(request.data) };
      case 'connectTransport':
        return { data: await participant.connectTransport(request.data) };
      case 'restartIce':
        return { data: await participant.restartIce(request.data) };
      case 'publish':
        return { data: await participant.publish(request.data) };
      case 'unpublish':
        return { data: participant.unpublish(request.data) };
      case 'updatePublication':
        return { data: await participant.updatePublication(request.data) };
      case 'subscribe': {
        const { publicationId } = request.data;
        const data = await participant.subscribe(request.data);
        return { data, after: () => participant.subscribed(publicationId) };
      }
      case 'unsubscribe':
        return { data: participant.unsubscribe(request.data) };
      case 'setView':
        return { data: participant.setView(request.data) };
      case 'consumerReady':
        return { data: participant.consumerReady(request.data) };
      case 'variantShown':
        return { data: participant.variantShown(request.data) };
      case 'requestKeyFrame':
        return { data: await participant.requestKeyFrame(request.data) };
      case 'beginStill':
        return { data: participant.beginStill(request.data) };
      case 'stillPart':
        return { data: participant.stillPart(request.data) };
      case 'restStill':
        return { data: participant.restStill(request.data) };
      case 'forgetStills':
        return { data: participant.forgetStills(request.data) };
    }
  }

  async #join(data: RequestData<'join'>): Promise<Answer> {
    if (this.#participant)
      throw new VireoError('conflict', 'join: this connection is in a room already; leave first');
    const { relay, admit } = this.#options;
    const iceServers = admit(data);
    this.#held = [];
    const { participant, response } = await relay.join(
      { ...data, rtpCapabilities: data.rtpCapabilities as RtpCapabilities | undefined, iceServers },
      this,
    );
    this.#participant = participant;
    if (!this.#socket.connected) relay.disconnected(participant, this);
    return {
      data: response,
      ...(response.resumed && { after: () => participant.replay() }),
    };
  }

  #leave(): Answer {
    const participant = this.#participant;
    this.#participant = null;
    this.#leaving = true;
    if (participant) this.#options.relay.leave(participant);
    this.#leaving = false;
    return { data: {} };
  }

  #onDisconnect(): void {
    const participant = this.#participant;
    this.#participant = null;
    if (participant) this.#options.relay.disconnected(participant, this);
  }

  #release(): void {
    const held = this.#held;
    this.#held = null;
    for (const emit of held ?? []) emit();
  }

  #refuse(acknowledge: unknown, error: VireoError): void {
    const failure = toProtocolError(error);
    this.#options.onAnswer(null, failure);
    if (typeof acknowledge === 'function') acknowledge({ ok: false, error: failure });
    if (++this.#refusals >= MAX_REFUSALS) this.#socket.disconnect(true);
  }

  #describe(error: unknown, name: RequestName | null): ProtocolError {
    const failure = VireoError.from(error);
    if (failure.code !== 'internal') return toProtocolError(failure);
    this.#options.logger.error({ err: error, request: name }, 'a request failed');
    // What went wrong inside is for the log, not for the other side.
    return {
      code: 'internal',
      message: `${name ?? 'request'}: internal error of the relay`,
      retryable: false,
    };
  }
}

export function toProtocolError({ code, message, retryable }: VireoError): ProtocolError {
  return { code, message, retryable };
}
