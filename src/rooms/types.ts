/** The state that rooms are made of. Plain data: `Room` is the only one who changes it. */
import type { RestoredState, Source, VariantName, View } from '../signaling/messages.js';

export type { RestoredState, Source, VariantName, View };

/** How a publication's restored variant stands, as whoever runs it reports. */
export interface RestoredAvailability {
  state: 'idle' | 'starting' | 'active' | 'unavailable';
  reason: string | null;
  /** What the restored stream measured last, bits per second; null before the first report. */
  bitrateBps: number | null;
}

export interface Participant {
  readonly id: string;
  readonly name: string;
  /** False in the grace period after a lost connection. */
  connected: boolean;
  /** Bits per second of all that this participant can receive; null before any feedback. */
  downlinkBps: number | null;
  readonly publications: Map<string, Publication>;
  /** By publication id. */
  readonly subscriptions: Map<string, Subscription>;
}

export interface Publication {
  readonly id: string;
  readonly participantId: string;
  readonly kind: 'audio' | 'video';
  readonly source: Source;
  paused: boolean;
  /** The publisher's word: null leaves it to the kind of source. */
  restorable: boolean | null;
  uplinkBudgetBps: number | null;
  restored: RestoredAvailability;
  /** By participant id. */
  readonly subscribers: Map<string, Subscription>;
}

export interface Subscription {
  readonly participantId: string;
  readonly publication: Publication;
  wantedView: View;
  pinned: boolean;
  /** Whether the receiver can be given the restored variant as it is encoded now, and holds a consumer. */
  restoredConsumer: 'none' | 'held' | 'impossible';
  /** Which variants the receiver has said it displays. */
  readonly shown: Record<VariantName, boolean>;
  /** What was decided last. */
  decision: ViewDecision;
}

/** What one subscriber gets of one publication. */
export interface ViewDecision {
  /** The effective view. */
  view: View;
  /** Why it is not the wanted one; null when it is. */
  reason: string | null;
  /** Which consumers have to run. */
  run: Readonly<Record<VariantName, boolean>>;
}

/** What the restoration of one publication should be like. */
export interface RestorationDemand {
  publicationId: string;
  /** Someone watches it restored, it is allowed, and there is something to restore. */
  wanted: boolean;
  /** Why it is not even allowed; null when it is. */
  forbidden: ForbiddenReason | null;
  /** 2 pinned, 1 active speaker, 0 neither. */
  priority: number;
  /** Highest bit rate that a watching receiver has room for. */
  ceilingBps: number;
  /** Participants who watch it restored. */
  watchers: string[];
}

/** Why a publication may never be restored. */
export type ForbiddenReason = 'audio' | 'screen' | 'opted-out' | 'disabled';

export interface RoomPolicy {
  restorationEnabled: boolean;
  maxRestoredBitrateBps: number;
  /** A receiver's downlink before its own feedback. */
  initialDownlinkBps: number;
  maxParticipants: number;
  maxPublicationsPerParticipant: number;
}
