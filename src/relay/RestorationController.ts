import type { RtpCapabilities } from 'mediasoup/types';
import { VireoError } from '../errors.js';
import type { Logger } from '../log.js';
import type { NotRestoredReason, ReferenceStill, Restorer, TrackReport } from '../restorer/types.js';
import { assignSlots } from '../rooms/capacity.js';
import type { RestorationDemand, RestoredAvailability } from '../rooms/types.js';
import type { SfuProducer, SfuRouter } from '../sfu/types.js';
import { chooseOutputCodec, findCodec, type OutputCodecSetting } from './outputStream.js';
import { RestoredVariant } from './RestoredVariant.js';

/** A publication that may be restored, and who wants to know of it. */
export interface RestorationTarget {
  readonly publicationId: string;
  readonly router: SfuRouter;
  /** The original. */
  readonly source: SfuProducer;
  /** The sender's newest sharp still; see `referenceChanged`. */
  readonly reference: ReferenceStill | null;
  capabilitiesOf(participantIds: readonly string[]): RtpCapabilities[];
  /** `producer`: the restored stream, as long as there is one that has begun. */
  changed(availability: RestoredAvailability, producer: SfuProducer | null): void;
  reported(report: TrackReport): void;
  /** The restorer could not use a still. */
  referenceRefused(referenceId: string, reason: string): void;
}

export interface RestorationSettings {
  maxTracks: number;
  outputCodec: OutputCodecSetting;
  maxBitrateBps: number;
  targetHeight: number;
}

interface Entry {
  target: RestorationTarget;
  demand: RestorationDemand;
  wantedSinceMs: number;
  /** Not wanted any more, but kept until then. */
  lingerUntilMs: number;
  /** Falls only after a while, so that a dialogue does not throw tracks in and out. */
  heldPriority: number;
  holdUntilMs: number;
  variant: RestoredVariant | null;
  /** A track is being set up; `abandoned`: it is to be closed as soon as it is there. */
  starting: { abandoned: boolean } | null;
  startedAtMs: number;
  /** The first restored frame was sent. */
  begun: boolean;
  failures: number;
  retryAtMs: number;
  failureReason: string | null;
  ceilingBps: number;
  report: TrackReport | null;
  availability: RestoredAvailability;
}

const LINGER_MS = 2_000;
const PRIORITY_HOLD_MS = 3_000;
const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 10_000;
/** What will not mend by itself is tried again that seldom. */
const REFUSED_RETRY_MS = 30_000;
/** A track that ran for this long starts its back-off anew. */
const HEALTHY_AFTER_MS = 30_000;
const CEILING_STEP = 0.05;
const REFUSALS: ReadonlySet<string> = new Set(['unsupported-codec', 'unsupported-size', 'model-failed']);
const IDLE: RestoredAvailability = { state: 'idle', reason: null, bitrateBps: null };

/**
 * Runs the restored variants of all rooms on one restorer: starts what is wanted as far as there is room
 * for it, the important first; stops what nobody watches; starts again what was lost.
 */
export class RestorationController {
  readonly #settings: RestorationSettings;
  readonly #logger: Logger;
  readonly #entries = new Map<string, Entry>();
  #restorer: Restorer | null = null;
  #timer: NodeJS.Timeout | null = null;
  #planning = false;
  #planAgain = false;
  #closed = false;

  constructor(settings: RestorationSettings, logger: Logger) {
    this.#settings = settings;
    this.#logger = logger;
  }

  get restorer(): Restorer | null {
    return this.#restorer;
  }

  /** Publications that have a track in the restorer now, with their last reports. */
  get tracks(): { publicationId: string; report: TrackReport | null }[] {
    return [...this.#entries.values()]
      .filter((entry) => entry.variant !== null)
      .map(({ target, report }) => ({ publicationId: target.publicationId, report }));
  }

  /** From here on tracks can be restored. The restorer stays its creator's to close. */
  attach(restorer: Restorer): void {
    this.#restorer = restorer;
    restorer.on('state', () => this.#plan());
    restorer.on('report', (report) => this.#onReport(report));
    restorer.on('trackStarted', (trackId) => this.#onTrackStarted(trackId));
    restorer.on('referenceRefused', (trackId, referenceId, reason) =>
      this.#entries.get(trackId)?.target.referenceRefused(referenceId, reason),
    );
    restorer.on('trackLost', (trackId, reason) => this.#onTrackLost(trackId, reason));
    this.#plan();
  }

  setDemand(target: RestorationTarget, demand: RestorationDemand): void {
    if (this.#closed) return;
    const nowMs = Date.now();
    let entry = this.#entries.get(demand.publicationId);
    if (!entry) {
      if (!demand.wanted) return;
      entry = newEntry(target, demand, nowMs);
      this.#entries.set(demand.publicationId, entry);
    }
    const was = entry.demand.wanted;
    if (demand.wanted && !was) entry.wantedSinceMs = nowMs;
    if (!demand.wanted && was) entry.lingerUntilMs = nowMs + LINGER_MS;
    if (demand.forbidden !== null) entry.lingerUntilMs = nowMs;
    if (demand.priority >= entry.heldPriority) {
      this.#setHeldPriority(entry, demand.priority);
      entry.holdUntilMs = nowMs + PRIORITY_HOLD_MS;
    }
    entry.demand = demand;
    this.#applyCeiling(entry);
    this.#plan();
  }

  /** The publication's still is another, or gone. */
  referenceChanged(publicationId: string): void {
    const entry = this.#entries.get(publicationId);
    // One that is being set up gets it once it stands.
    if (entry?.variant) this.#restorer?.setReference(publicationId, entry.target.reference);
  }

  /** The publication is gone. Idempotent. */
  remove(publicationId: string): void {
    const entry = this.#entries.get(publicationId);
    if (!entry) return;
    this.#entries.delete(publicationId);
    this.#closeVariant(entry);
    this.#plan();
  }

  close(): void {
    this.#closed = true;
    if (this.#timer) clearTimeout(this.#timer);
    for (const entry of this.#entries.values()) this.#closeVariant(entry);
    this.#entries.clear();
  }

  /** Brings what runs in line with what is wanted. Cheap, idempotent, and safe to call from its own call-backs. */
  #plan(): void {
    this.#planAgain = true;
    if (this.#planning) return;
    this.#planning = true;
    try {
      while (this.#planAgain && !this.#closed) {
        this.#planAgain = false;
        this.#planOnce();
      }
    } finally {
      this.#planning = false;
    }
  }

  #planOnce(): void {
    const nowMs = Date.now();
    const ready = this.#restorer?.state === 'ready';
    for (const entry of this.#entries.values()) {
      if (nowMs >= entry.holdUntilMs) this.#setHeldPriority(entry, entry.demand.priority);
      if (entry.variant && !this.#codecStillFits(entry)) this.#closeVariant(entry);
    }
    const eligible = [...this.#entries.values()].filter(
      (entry) =>
        (entry.demand.wanted && nowMs >= entry.retryAtMs) || (hasTrack(entry) && nowMs < entry.lingerUntilMs),
    );
    const slots = assignSlots(
      eligible.map((entry) => ({
        publicationId: entry.target.publicationId,
        priority: entry.demand.wanted ? entry.heldPriority : -1,
        running: hasTrack(entry),
        wantedSinceMs: entry.wantedSinceMs,
      })),
      this.#settings.maxTracks,
    );
    // Make room first: the restorer counts what it has.
    for (const entry of this.#entries.values()) {
      if (!slots.has(entry.target.publicationId)) this.#closeVariant(entry);
    }
    for (const entry of this.#entries.values()) {
      if (slots.has(entry.target.publicationId)) {
        if (ready && entry.demand.wanted && !entry.variant && !entry.starting) this.#start(entry);
      }
      this.#announce(entry, slots.has(entry.target.publicationId));
    }
    for (const [id, entry] of this.#entries) {
      const idle = !entry.demand.wanted && !entry.variant && !entry.starting;
      if (idle && nowMs >= entry.lingerUntilMs && entry.failures === 0) this.#entries.delete(id);
    }
    this.#schedule(nowMs);
  }

  #start(entry: Entry): void {
    const restorer = this.#restorer;
    if (!restorer) return;
    const { target, demand } = entry;
    const codec = chooseOutputCodec({
      setting: this.#settings.outputCodec,
      encoders: restorer.info.outputCodecs,
      router: target.router.rtpCapabilities,
      plainVideoMimeTypes: target.router.plainVideoMimeTypes,
      watchers: target.capabilitiesOf(demand.watchers),
    });
    if (!codec) {
      this.#failed(entry, 'unsupported-codec');
      return;
    }
    entry.begun = false;
    entry.report = null;
    entry.ceilingBps = Math.min(demand.ceilingBps, this.#settings.maxBitrateBps);
    const starting = { abandoned: false };
    entry.starting = starting;
    const creation = RestoredVariant.create({
      publicationId: target.publicationId,
      router: target.router,
      source: target.source,
      restorer,
      codec,
      maxBitrateBps: Math.round(entry.ceilingBps),
      targetHeight: this.#settings.targetHeight,
      priority: Math.max(0, entry.heldPriority),
    });
    creation.then(
      (variant) => {
        entry.starting = null;
        if (starting.abandoned) {
          variant.close();
        } else {
          entry.variant = variant;
          entry.startedAtMs = Date.now();
          if (target.reference) restorer.setReference(target.publicationId, target.reference);
          this.#logger.info({ publicationId: target.publicationId, codec }, 'restoration started');
        }
        this.#plan();
      },
      (error: unknown) => {
        entry.starting = null;
        if (!starting.abandoned) {
          this.#logger.warn(
            { err: error, publicationId: target.publicationId },
            'restoration could not start',
          );
          this.#failed(entry, reasonOf(VireoError.from(error)));
        }
        this.#plan();
      },
    );
  }

  #failed(entry: Entry, reason: string): void {
    const nowMs = Date.now();
    if (entry.variant && nowMs - entry.startedAtMs > HEALTHY_AFTER_MS) entry.failures = 0;
    const delayMs = REFUSALS.has(reason)
      ? REFUSED_RETRY_MS
      : Math.min(FIRST_RETRY_MS * 2 ** entry.failures, LAST_RETRY_MS);
    entry.failures++;
    entry.retryAtMs = nowMs + delayMs;
    entry.failureReason = reason;
  }

  #onTrackStarted(trackId: string): void {
    const entry = this.#entries.get(trackId);
    if (!entry) return;
    entry.begun = true;
    this.#plan();
  }

  #onTrackLost(trackId: string, reason: NotRestoredReason): void {
    const entry = this.#entries.get(trackId);
    if (!entry || !hasTrack(entry)) return;
    this.#logger.warn({ publicationId: trackId, reason }, 'restored track lost');
    this.#failed(entry, reason);
    this.#closeVariant(entry);
    this.#plan();
  }

  #onReport(report: TrackReport): void {
    const entry = this.#entries.get(report.trackId);
    if (!entry || !hasTrack(entry)) return;
    entry.report = report;
    if (entry.failures > 0 && entry.begun && Date.now() - entry.startedAtMs > HEALTHY_AFTER_MS)
      entry.failures = 0;
    this.#announce(entry, true);
    entry.target.reported(report);
  }

  #closeVariant(entry: Entry): void {
    const { variant, starting } = entry;
    const had = variant !== null || (starting !== null && !starting.abandoned);
    entry.variant = null;
    // A second start has to wait until this one is through: track ids are unique.
    if (starting) starting.abandoned = true;
    entry.begun = false;
    entry.report = null;
    if (!had) return;
    // Subscribers first: they are on the original before their restored consumers go.
    if (this.#entries.has(entry.target.publicationId)) this.#announce(entry, false);
    variant?.close();
  }

  #announce(entry: Entry, slot: boolean): void {
    const next = this.#availabilityOf(entry, slot);
    const { state, reason, bitrateBps } = entry.availability;
    if (state === next.state && reason === next.reason && bitrateBps === next.bitrateBps) return;
    entry.availability = next;
    entry.target.changed(next, entry.begun && entry.variant ? entry.variant.producer : null);
  }

  #availabilityOf(entry: Entry, slot: boolean): RestoredAvailability {
    const unavailable = (reason: string): RestoredAvailability => ({
      state: 'unavailable',
      reason,
      bitrateBps: null,
    });
    const { report } = entry;
    if (hasTrack(entry)) {
      if (report?.level === 'original' && report.reason !== 'starting')
        return unavailable(report.reason ?? 'overloaded');
      if (entry.variant && entry.begun) {
        return { state: 'active', reason: null, bitrateBps: report ? report.outputBitrateBps : null };
      }
      return { state: 'starting', reason: 'starting', bitrateBps: null };
    }
    if (!entry.demand.wanted) return IDLE;
    if (!this.#restorer || this.#restorer.state === 'starting') return unavailable('starting');
    if (this.#restorer.state !== 'ready') return unavailable('restorer-down');
    if (Date.now() < entry.retryAtMs) return unavailable(entry.failureReason ?? 'restorer-down');
    return slot ? { state: 'starting', reason: 'starting', bitrateBps: null } : unavailable('at-capacity');
  }

  /** A watcher came who cannot decode what the track is encoded with, while another codec would do. */
  #codecStillFits(entry: Entry): boolean {
    const { variant, target, demand } = entry;
    const restorer = this.#restorer;
    if (!variant || !restorer || !demand.wanted) return true;
    const watchers = target.capabilitiesOf(demand.watchers);
    if (watchers.every((watcher) => findCodec(watcher, variant.codec) !== undefined)) return true;
    const better = chooseOutputCodec({
      setting: this.#settings.outputCodec,
      encoders: restorer.info.outputCodecs,
      router: target.router.rtpCapabilities,
      plainVideoMimeTypes: target.router.plainVideoMimeTypes,
      watchers,
    });
    return better === null || better === variant.codec;
  }

  #setHeldPriority(entry: Entry, priority: number): void {
    if (entry.heldPriority === priority) return;
    entry.heldPriority = priority;
    if (entry.variant) this.#restorer?.setPriority(entry.target.publicationId, priority);
  }

  #applyCeiling(entry: Entry): void {
    const ceilingBps = Math.min(entry.demand.ceilingBps, this.#settings.maxBitrateBps);
    if (!entry.variant || Math.abs(ceilingBps - entry.ceilingBps) <= entry.ceilingBps * CEILING_STEP) return;
    entry.ceilingBps = ceilingBps;
    this.#restorer?.setMaxBitrate(entry.target.publicationId, Math.round(ceilingBps));
  }

  /** One timer for whatever is due next. */
  #schedule(nowMs: number): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    let dueMs = Number.POSITIVE_INFINITY;
    for (const entry of this.#entries.values()) {
      for (const atMs of [entry.lingerUntilMs, entry.retryAtMs, entry.holdUntilMs]) {
        if (atMs > nowMs) dueMs = Math.min(dueMs, atMs);
      }
    }
    if (dueMs === Number.POSITIVE_INFINITY) return;
    this.#timer = setTimeout(() => this.#plan(), dueMs - nowMs + 1);
    this.#timer.unref();
  }
}

function hasTrack({ variant, starting }: Entry): boolean {
  return variant !== null || (starting !== null && !starting.abandoned);
}

function newEntry(target: RestorationTarget, demand: RestorationDemand, nowMs: number): Entry {
  return {
    target,
    demand,
    wantedSinceMs: nowMs,
    lingerUntilMs: 0,
    heldPriority: demand.priority,
    holdUntilMs: 0,
    variant: null,
    starting: null,
    startedAtMs: 0,
    begun: false,
    failures: 0,
    retryAtMs: 0,
    failureReason: null,
    ceilingBps: demand.ceilingBps,
    report: null,
    availability: IDLE,
  };
}

function reasonOf({ code }: VireoError): string {
  if (code === 'limit-reached') return 'at-capacity';
  if (code === 'unsupported') return 'unsupported-codec';
  return 'restorer-down';
}
