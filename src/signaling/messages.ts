/**
 * The signalling protocol: every request and event, in one place, for both ends.
 *
 * Transport: socket.io. A client emits `request` with `{name, data}` and gets `{ok, data | error}` as the
 * acknowledgement; the relay emits `event` with `{name, data}`. The relay validates requests with the
 * schemas here; the web client imports the types only.
 */
import type {
  DtlsParameters,
  IceCandidate,
  IceParameters,
  RtpCapabilities,
  RtpParameters,
} from 'mediasoup/types';
import { z } from 'zod';
import type { VireoErrorCode } from '../errors.js';
import type { TrackReport } from '../restorer/types.js';
import { ROOM_NAME_MAX, ROOM_NAME_PATTERN, ROOM_NAME_RULE } from './roomName.js';
import { dtlsParametersSchema, rtpCapabilitiesSchema, rtpParametersSchema } from './rtpSchemas.js';

const id = z.string().min(1).max(64);
export const roomNameSchema = z.string().min(1).max(ROOM_NAME_MAX).regex(ROOM_NAME_PATTERN, ROOM_NAME_RULE);
export const participantNameSchema = z
  .string()
  .trim()
  .min(1)
  .max(64)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what must not pass
  .regex(/^[^\u0000-\u001f\u007f]*$/, 'must not contain control characters');

export const variantNameSchema = z.enum(['original', 'restored']);
export const viewSchema = z.enum(['original', 'restored', 'split']);
export const sourceSchema = z.enum(['camera', 'microphone', 'screen', 'screen-audio']);

export const stillMimeTypeSchema = z.enum(['image/webp', 'image/avif']);

export type VariantName = z.infer<typeof variantNameSchema>;
/** What a subscriber wants to see of a publication; `split` needs both variants at once. */
export type View = z.infer<typeof viewSchema>;
export type Source = z.infer<typeof sourceSchema>;
export type StillMimeType = z.infer<typeof stillMimeTypeSchema>;

const join = z.strictObject({
  protocol: z.number().int(),
  room: roomNameSchema,
  name: participantNameSchema,
  /** Needed when the relay is configured with `auth.secret`. */
  token: z.string().max(4096).optional(),
  /** What the client can receive, when it knows before it has seen the router's; see `setRtpCapabilities`. */
  rtpCapabilities: rtpCapabilitiesSchema.optional(),
  /** Secret from an earlier `join`: takes that session up again after a disconnect. */
  resume: z.string().max(128).optional(),
});

export const requestSchemas = {
  join,
  /**
   * What the client can receive: mediasoup-client's `device.rtpCapabilities`, which it only knows after loading
   * the `routerRtpCapabilities` that `join` answered with. Needed (here or in `join`) before `subscribe`.
   */
  setRtpCapabilities: z.strictObject({ rtpCapabilities: rtpCapabilitiesSchema }),
  /** Says that the client goes for good; without it, a lost socket keeps its session for a while. */
  leave: z.strictObject({}),
  createTransport: z.strictObject({ direction: z.enum(['send', 'recv']) }),
  connectTransport: z.strictObject({ transportId: id, dtlsParameters: dtlsParametersSchema }),
  restartIce: z.strictObject({ transportId: id }),
  publish: z.strictObject({
    transportId: id,
    kind: z.enum(['audio', 'video']),
    source: sourceSchema,
    rtpParameters: rtpParametersSchema,
    paused: z.boolean().optional(),
    /** Opt-out: false keeps this publication from ever being restored. Screens are never restored unless true. */
    restorable: z.boolean().optional(),
    /** What the sender's uplink budget allows for this publication, bits per second; null: no limit. */
    uplinkBudgetBps: z.number().int().positive().nullable().optional(),
  }),
  unpublish: z.strictObject({ publicationId: id }),
  updatePublication: z.strictObject({
    publicationId: id,
    paused: z.boolean().optional(),
    restorable: z.boolean().optional(),
    uplinkBudgetBps: z.number().int().positive().nullable().optional(),
  }),
  /** Starts receiving a publication. Answered with a (paused) consumer for each variant there is now. */
  subscribe: z.strictObject({ publicationId: id, view: viewSchema.optional() }),
  unsubscribe: z.strictObject({ publicationId: id }),
  setView: z.strictObject({ publicationId: id, view: viewSchema, pinned: z.boolean().optional() }),
  /** The client has set the consumer up; the relay may resume it. */
  consumerReady: z.strictObject({ consumerId: id }),
  /** The client now displays this variant (its first frame is decoded): the other one may be paused. */
  variantShown: z.strictObject({ publicationId: id, variant: variantNameSchema }),
  /** The client cannot decode a consumer's stream and asks for a key frame. */
  requestKeyFrame: z.strictObject({ consumerId: id }),
  /**
   * Announces a sharp still of a camera that the client publishes; its bytes follow in `stillPart`s. Replaces a
   * still of that publication that is not complete.
   */
  beginStill: z.strictObject({
    publicationId: id,
    mimeType: stillMimeTypeSchema,
    byteLength: z.number().int().positive(),
    width: z.number().int().positive(),
    height: z.number().int().positive(),
  }),
  /** The next bytes of a still, in order; the last ones complete it. */
  stillPart: z.strictObject({
    stillId: id,
    /** Where in the still the bytes belong: where the last part ended. */
    offset: z.number().int().min(0),
    data: z.custom<Uint8Array>(
      (value) => value instanceof Uint8Array && value.byteLength > 0,
      'must be binary and not empty',
    ),
  }),
  /** The last whole still of a publication is kept, but not used, while its camera focuses on something else. */
  restStill: z.strictObject({ publicationId: id, stillId: id, resting: z.boolean() }),
  /** The stills of a publication are not to be used any more, nor asked for, until the next `beginStill`. */
  forgetStills: z.strictObject({ publicationId: id }),
} as const;

export type RequestName = keyof typeof requestSchemas;
export type RequestData<N extends RequestName> = z.infer<(typeof requestSchemas)[N]>;

export interface TransportDescription {
  transportId: string;
  iceParameters: IceParameters;
  iceCandidates: IceCandidate[];
  dtlsParameters: DtlsParameters;
}

export interface ConsumerDescription {
  consumerId: string;
  producerId: string;
  publicationId: string;
  variant: VariantName;
  kind: 'audio' | 'video';
  rtpParameters: RtpParameters;
  producerPaused: boolean;
}

/** Whether a publication's restored variant can be had, as subscribers are told. */
export type RestoredState = 'off' | 'idle' | 'starting' | 'active' | 'unavailable';

export interface PublicationDescription {
  publicationId: string;
  participantId: string;
  kind: 'audio' | 'video';
  source: Source;
  paused: boolean;
  restorable: boolean;
  restored: RestoredState;
  /** One of NotRestoredReason, `opted-out`, `screen`, `audio`, `disabled`, `at-capacity`, `thin-downlink`; null while restored. */
  restoredReason: string | null;
}

export interface ParticipantDescription {
  participantId: string;
  name: string;
  /** False while its socket is gone but its session is kept. */
  connected: boolean;
  publications: PublicationDescription[];
}

/** What a relay takes of stills. */
export interface ReferenceLimits {
  /** Of the sender's uplink budget, on average; 0 to 0.5. */
  uplinkShare: number;
  maxBytes: number;
  /** Longest side, pixels. */
  maxSide: number;
  /** Between the end of one still and the begin of the next of its publication. */
  minIntervalMs: number;
  /** Largest part. */
  partBytes: number;
}

/** `start`: there is none yet; `scene`: the picture is not found in the last one any more; `lost`: the relay lost it. */
export type StillWantedReason = 'start' | 'scene' | 'lost';

export interface ResponseData {
  join: {
    participantId: string;
    /** Secret for `resume`. */
    resume: string;
    /** True: an earlier session was taken up; transports, publications and subscriptions below still live. */
    resumed: boolean;
    room: string;
    routerRtpCapabilities: RtpCapabilities;
    iceServers: { urls: string[]; username?: string; credential?: string }[];
    participants: ParticipantDescription[];
    engine: string;
    /** Null when the relay runs without a restorer. */
    restorer: { model: string | null; provider: string | null } | null;
    sessionGraceMs: number;
    /** Null: this relay takes no stills. */
    references: ReferenceLimits | null;
  };
  setRtpCapabilities: Record<string, never>;
  leave: Record<string, never>;
  createTransport: TransportDescription;
  connectTransport: Record<string, never>;
  restartIce: { iceParameters: IceParameters };
  publish: { publicationId: string };
  unpublish: Record<string, never>;
  updatePublication: Record<string, never>;
  subscribe: { consumers: ConsumerDescription[] };
  unsubscribe: Record<string, never>;
  setView: Record<string, never>;
  consumerReady: Record<string, never>;
  variantShown: Record<string, never>;
  requestKeyFrame: Record<string, never>;
  beginStill: { stillId: string };
  stillPart: { complete: boolean };
  restStill: Record<string, never>;
  forgetStills: Record<string, never>;
}

export interface ProtocolError {
  code: VireoErrorCode;
  message: string;
  retryable: boolean;
}

export type Acknowledgement<N extends RequestName> =
  | { ok: true; data: ResponseData[N] }
  | { ok: false; error: ProtocolError };

export interface EventData {
  participantJoined: ParticipantDescription;
  participantLeft: { participantId: string; reason: 'left' | 'gone' | 'kicked' };
  participantConnection: { participantId: string; connected: boolean };
  publicationAdded: PublicationDescription;
  publicationChanged: PublicationDescription;
  publicationRemoved: { publicationId: string; participantId: string };
  /** A new variant of a subscribed publication: set up a receiver, then `consumerReady`. */
  consumerAdded: ConsumerDescription;
  consumerRemoved: { consumerId: string; publicationId: string; variant: VariantName };
  /**
   * What to display now, as the relay decided it from the wanted view and from what is there. The client
   * swaps when that variant's first frame is decoded, and at once back to `original` when told so.
   */
  variantSelected: { publicationId: string; view: View; reason: string | null };
  /** Loudest first; empty when nobody speaks. */
  activeSpeakers: { participantIds: string[] };
  /** Once a second for every restored publication that the client subscribes to. */
  restorationReport: { publicationId: string; report: TrackReport };
  /** To the publisher: a still of this publication would help those who watch it restored. */
  stillWanted: { publicationId: string; reason: StillWantedReason };
  /** To the publisher: the restorer could not use this still, which is forgotten. */
  stillRefused: { publicationId: string; stillId: string; reason: string };
  /** The relay shuts down; reconnect elsewhere or later. */
  draining: { graceMs: number };
}

export type EventName = keyof EventData;

export interface ClientToServerEvents {
  request: <N extends RequestName>(
    message: { name: N; data: RequestData<N> },
    acknowledge: (answer: Acknowledgement<N>) => void,
  ) => void;
}

export interface ServerToClientEvents {
  event: <N extends EventName>(message: { name: N; data: EventData[N] }) => void;
}
