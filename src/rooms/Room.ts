import { VireoError } from '../errors.js';
import type { ParticipantDescription, PublicationDescription } from '../signaling/messages.js';
import { DownlinkGate, MIN_RESTORED_BPS } from './DownlinkGate.js';
import { DEFAULT_ORIGINAL_BPS, type DownlinkItem, shareDownlink } from './downlinkShare.js';
import type {
  Participant,
  Publication,
  RestorationDemand,
  RestoredAvailability,
  RoomPolicy,
  Source,
  Subscription,
  VariantName,
  View,
} from './types.js';
import { decideView, forbiddenReason, showsRestored } from './viewDecision.js';

export interface RoomDecision {
  /** Video subscriptions whose decision was made; `changed` ones show another view or reason than before. */
  subscriptions: { subscription: Subscription; changed: boolean }[];
  demands: RestorationDemand[];
}

/**
 * One room: who is in it, what they publish, who watches what, and from that who gets which variant.
 *
 * Pure logic. Methods change the state; `decide` says what follows from it, and whoever owns the room
 * makes it so.
 */
export class Room {
  readonly name: string;
  readonly #policy: RoomPolicy;
  readonly #participants = new Map<string, Participant>();
  readonly #publications = new Map<string, Publication>();
  readonly #gates = new WeakMap<Subscription, DownlinkGate>();
  #speakers: readonly string[] = [];

  constructor(name: string, policy: RoomPolicy) {
    this.name = name;
    this.#policy = policy;
  }

  get participants(): ReadonlyMap<string, Participant> {
    return this.#participants;
  }

  get publications(): ReadonlyMap<string, Publication> {
    return this.#publications;
  }

  get empty(): boolean {
    return this.#participants.size === 0;
  }

  /** @throws VireoError `room-full` */
  addParticipant(id: string, name: string): Participant {
    if (this.#participants.has(id)) throw new VireoError('conflict', `participant ${id} is already here`);
    if (this.#participants.size >= this.#policy.maxParticipants) {
      throw new VireoError(
        'room-full',
        `room "${this.name}" is full (${this.#policy.maxParticipants} participants)`,
      );
    }
    const participant: Participant = {
      id,
      name,
      connected: true,
      downlinkBps: null,
      publications: new Map(),
      subscriptions: new Map(),
    };
    this.#participants.set(id, participant);
    return participant;
  }

  /** Idempotent. Takes what the participant published and subscribed to with it. */
  removeParticipant(id: string): { publications: Publication[]; subscriptions: Subscription[] } {
    const participant = this.#participants.get(id);
    if (!participant) return { publications: [], subscriptions: [] };
    const subscriptions = [...participant.subscriptions.values()];
    for (const { publication } of subscriptions) this.unsubscribe(id, publication.id);
    const publications = [...participant.publications.values()];
    for (const publication of publications) subscriptions.push(...this.removePublication(publication.id));
    this.#participants.delete(id);
    this.#speakers = this.#speakers.filter((speaker) => speaker !== id);
    return { publications, subscriptions };
  }

  /** Whether the participant's signalling is there. @returns whether that is news */
  setConnected(id: string, connected: boolean): boolean {
    const participant = this.participant(id);
    if (participant.connected === connected) return false;
    participant.connected = connected;
    return true;
  }

  /** @throws VireoError `limit-reached`, `bad-request` */
  addPublication(options: {
    id: string;
    participantId: string;
    kind: 'audio' | 'video';
    source: Source;
    paused?: boolean | undefined;
    restorable?: boolean | undefined;
    uplinkBudgetBps?: number | null | undefined;
  }): Publication {
    const participant = this.participant(options.participantId);
    this.assertMayPublish(participant.id, options.kind, options.source);
    const publication: Publication = {
      id: options.id,
      participantId: participant.id,
      kind: options.kind,
      source: options.source,
      paused: options.paused ?? false,
      restorable: options.restorable ?? null,
      uplinkBudgetBps: options.uplinkBudgetBps ?? null,
      restored: { state: 'idle', reason: null, bitrateBps: null },
      subscribers: new Map(),
    };
    participant.publications.set(publication.id, publication);
    this.#publications.set(publication.id, publication);
    return publication;
  }

  /** The checks of `addPublication` alone, for before media is set up. */
  assertMayPublish(participantId: string, kind: 'audio' | 'video', source: Source): void {
    const participant = this.participant(participantId);
    const limit = this.#policy.maxPublicationsPerParticipant;
    if (participant.publications.size >= limit) {
      throw new VireoError('limit-reached', `a participant may publish ${limit} tracks; unpublish one first`);
    }
    const sourceKind = source === 'camera' || source === 'screen' ? 'video' : 'audio';
    if (sourceKind !== kind) {
      throw new VireoError(
        'bad-request',
        `data.source: "${source}" is ${sourceKind}, but data.kind is "${kind}"`,
      );
    }
  }

  /** Idempotent. @returns the subscriptions that ended with it */
  removePublication(publicationId: string): Subscription[] {
    const publication = this.#publications.get(publicationId);
    if (!publication) return [];
    const ended = [...publication.subscribers.values()];
    for (const { participantId } of ended) this.unsubscribe(participantId, publicationId);
    this.#participants.get(publication.participantId)?.publications.delete(publicationId);
    this.#publications.delete(publicationId);
    return ended;
  }

  updatePublication(
    publicationId: string,
    patch: {
      paused?: boolean | undefined;
      restorable?: boolean | undefined;
      uplinkBudgetBps?: number | null | undefined;
    },
  ): Publication {
    const publication = this.publication(publicationId);
    if (patch.paused !== undefined) publication.paused = patch.paused;
    if (patch.restorable !== undefined) publication.restorable = patch.restorable;
    if (patch.uplinkBudgetBps !== undefined) publication.uplinkBudgetBps = patch.uplinkBudgetBps;
    return publication;
  }

  /** @returns whether subscribers would be told something new */
  setRestored(publicationId: string, availability: RestoredAvailability): boolean {
    const publication = this.#publications.get(publicationId);
    if (!publication) return false;
    const before = publication.restored;
    publication.restored = availability;
    return before.state !== availability.state || before.reason !== availability.reason;
  }

  /** Idempotent: subscribing again changes the view only. @throws VireoError `bad-request`, `not-found` */
  subscribe(participantId: string, publicationId: string, view?: View): Subscription {
    const participant = this.participant(participantId);
    const publication = this.publication(publicationId);
    if (publication.participantId === participantId) {
      throw new VireoError('bad-request', 'data.publicationId: is your own publication');
    }
    const existing = participant.subscriptions.get(publicationId);
    if (existing) {
      if (view) existing.wantedView = view;
      return existing;
    }
    const subscription: Subscription = {
      participantId,
      publication,
      wantedView: publication.kind === 'audio' ? 'original' : (view ?? 'restored'),
      pinned: false,
      restoredConsumer: 'none',
      shown: { original: false, restored: false },
      decision: { view: 'original', reason: null, run: { original: true, restored: false } },
    };
    participant.subscriptions.set(publicationId, subscription);
    publication.subscribers.set(participantId, subscription);
    return subscription;
  }

  /** Idempotent. */
  unsubscribe(participantId: string, publicationId: string): Subscription | undefined {
    const participant = this.#participants.get(participantId);
    const subscription = participant?.subscriptions.get(publicationId);
    participant?.subscriptions.delete(publicationId);
    subscription?.publication.subscribers.delete(participantId);
    return subscription;
  }

  setView(participantId: string, publicationId: string, view: View, pinned?: boolean): void {
    const subscription = this.subscription(participantId, publicationId);
    if (subscription.publication.kind === 'video') subscription.wantedView = view;
    if (pinned !== undefined) subscription.pinned = pinned;
  }

  /** The receiver displays this variant. Stale news of a variant that was taken back is ignored. */
  setShown(participantId: string, publicationId: string, variant: VariantName): void {
    const { shown, decision } = this.subscription(participantId, publicationId);
    if (variant === 'restored' && !showsRestored(decision.view)) return;
    shown[variant] = true;
    if (decision.view !== 'split') shown[variant === 'original' ? 'restored' : 'original'] = false;
  }

  setDownlink(participantId: string, bitrateBps: number): void {
    const participant = this.#participants.get(participantId);
    if (participant) participant.downlinkBps = bitrateBps;
  }

  /** Loudest first. */
  setSpeakers(participantIds: readonly string[]): void {
    this.#speakers = participantIds;
  }

  /** What follows from the state: the view of every subscription, and what should be restored. */
  decide(nowMs: number): RoomDecision {
    const thin = new Set<Subscription>();
    const ceilings = this.#judgeDownlinks(nowMs, thin);
    const subscriptions: RoomDecision['subscriptions'] = [];
    const demands: RestorationDemand[] = [];
    for (const publication of this.#publications.values()) {
      if (publication.kind === 'audio') continue;
      const forbidden = forbiddenReason(publication, this.#policy.restorationEnabled);
      const watchers: string[] = [];
      let pinned = false;
      for (const subscription of publication.subscribers.values()) {
        const decision = decideView(subscription, { forbidden, thin: thin.has(subscription) });
        const before = subscription.decision;
        const changed = decision.view !== before.view || decision.reason !== before.reason;
        if (!showsRestored(decision.view) && decision.reason !== null) subscription.shown.restored = false;
        subscription.decision = decision;
        subscriptions.push({ subscription, changed });
        if (!showsRestored(subscription.wantedView) || thin.has(subscription)) continue;
        watchers.push(subscription.participantId);
        pinned ||= subscription.pinned;
      }
      demands.push({
        publicationId: publication.id,
        wanted: forbidden === null && !publication.paused && watchers.length > 0,
        forbidden,
        priority: pinned ? 2 : this.#speakers[0] === publication.participantId ? 1 : 0,
        ceilingBps: ceilings.get(publication.id) ?? this.#policy.maxRestoredBitrateBps,
        watchers,
      });
    }
    return { subscriptions, demands };
  }

  describe(): ParticipantDescription[] {
    return [...this.#participants.keys()].map((id) => this.describeParticipant(id));
  }

  describeParticipant(id: string): ParticipantDescription {
    const { name, connected, publications } = this.participant(id);
    return {
      participantId: id,
      name,
      connected,
      publications: [...publications.keys()].map((publicationId) => this.describePublication(publicationId)),
    };
  }

  describePublication(publicationId: string): PublicationDescription {
    const publication = this.publication(publicationId);
    const forbidden = forbiddenReason(publication, this.#policy.restorationEnabled);
    return {
      publicationId,
      participantId: publication.participantId,
      kind: publication.kind,
      source: publication.source,
      paused: publication.paused,
      restorable: forbiddenReason(publication, true) === null,
      restored: forbidden ? 'off' : publication.restored.state,
      restoredReason: forbidden ?? publication.restored.reason,
    };
  }

  /** @throws VireoError `not-found` */
  participant(id: string): Participant {
    const participant = this.#participants.get(id);
    if (!participant) throw new VireoError('not-found', `participant ${id} is not in room "${this.name}"`);
    return participant;
  }

  /** @throws VireoError `not-found` */
  publication(id: string): Publication {
    const publication = this.#publications.get(id);
    if (!publication)
      throw new VireoError('not-found', `data.publicationId: no publication ${id} in this room`);
    return publication;
  }

  /** @throws VireoError `not-found` */
  subscription(participantId: string, publicationId: string): Subscription {
    const subscription = this.participant(participantId).subscriptions.get(publicationId);
    if (!subscription)
      throw new VireoError('not-found', `data.publicationId: you do not subscribe to ${publicationId}`);
    return subscription;
  }

  /** Fills `thin`; returns the bit-rate ceiling of each publication that someone wants restored. */
  #judgeDownlinks(nowMs: number, thin: Set<Subscription>): Map<string, number> {
    const wanting: { subscription: Subscription; availableBps: number; voteBps: number }[] = [];
    for (const participant of this.#participants.values()) {
      const items = [...participant.subscriptions.values()].map((subscription) =>
        this.#downlinkItem(subscription),
      );
      if (!items.some((item) => item.wantsRestored)) continue;
      const shares = shareDownlink(participant.downlinkBps ?? this.#policy.initialDownlinkBps, items);
      for (const subscription of participant.subscriptions.values()) {
        const share = shares.get(subscription.publication.id);
        if (share) wanting.push({ subscription, ...share });
      }
    }
    const ceilings = new Map<string, number>();
    for (const { subscription, voteBps } of wanting) {
      const { id } = subscription.publication;
      const vote = Math.min(voteBps, this.#policy.maxRestoredBitrateBps);
      ceilings.set(id, Math.max(vote, ceilings.get(id) ?? 0));
    }
    for (const { subscription, availableBps } of wanting) {
      const { id, restored } = subscription.publication;
      const ceilingBps = ceilings.get(id) ?? this.#policy.maxRestoredBitrateBps;
      // The stream is about to come down to the ceiling: that is what a receiver has to carry.
      const neededBps = Math.min(ceilingBps, Math.max(MIN_RESTORED_BPS, restored.bitrateBps ?? 0));
      if (
        this.#gateOf(subscription).update(nowMs, availableBps, neededBps, subscription.decision.run.restored)
      ) {
        thin.add(subscription);
      }
    }
    return ceilings;
  }

  #downlinkItem({ publication, wantedView, pinned }: Subscription): DownlinkItem {
    const allowed =
      forbiddenReason(publication, this.#policy.restorationEnabled) === null && !publication.paused;
    return {
      publicationId: publication.id,
      kind: publication.kind,
      originalBps: publication.paused ? 0 : (publication.uplinkBudgetBps ?? DEFAULT_ORIGINAL_BPS),
      wantsRestored: allowed && showsRestored(wantedView),
      split: wantedView === 'split',
      priority: pinned ? 2 : this.#speakers[0] === publication.participantId ? 1 : 0,
      restoredBps: publication.restored.bitrateBps,
    };
  }

  #gateOf(subscription: Subscription): DownlinkGate {
    let gate = this.#gates.get(subscription);
    if (!gate) {
      gate = new DownlinkGate();
      this.#gates.set(subscription, gate);
    }
    return gate;
  }
}
