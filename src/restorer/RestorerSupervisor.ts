import { EventEmitter } from 'node:events';
import { restorerEntryUrl } from '../entrypoints.js';
import { VireoError } from '../errors.js';
import type { Logger } from '../log.js';
import { HealthMonitor } from './HealthMonitor.js';
import type { FromChild } from './ipc.js';
import { RestartPolicy } from './RestartPolicy.js';
import { RestorerChild } from './RestorerChild.js';
import { blankReport, downReport } from './reports.js';
import type {
  ReferenceStill,
  RestoredTrack,
  Restorer,
  RestorerEvents,
  RestorerInfo,
  RestorerOptions,
  RestorerState,
  RestoreTrackOptions,
  TrackReport,
} from './types.js';

/** What tests turn down; everything an operator may change is in `RestorerOptions`. */
export interface SupervisorSettings {
  entry: URL;
  policy: RestartPolicy;
  /** Loading and warming up models (TensorRT builds engines for half an hour); longer than the device's own patience. */
  startTimeoutMs: number;
  /** Between SIGTERM and SIGKILL. */
  graceMs: number;
  /** Answer to `startTrack`. */
  requestTimeoutMs: number;
  /** Starts before `createRestorer` gives up on a child that keeps dying for no permanent reason. */
  firstStartAttempts: number;
}

/** Unanswered pings in a row after which viewers are put back on the original. */
const MISSED_FOR_SILENT = 3;
/** Pongs in a row above the memory limit: one peak is no leak. */
const OVER_LIMIT_PONGS = 5;

interface Track {
  options: RestoreTrackOptions;
  /** Null until the child listens. */
  started: RestoredTrack | null;
  last: TrackReport;
  request: {
    id: number;
    resolve: (track: RestoredTrack) => void;
    reject: (error: VireoError) => void;
  } | null;
  timer: NodeJS.Timeout | null;
}

/**
 * Starts a restorer child and resolves once its models are warm. Rejects with the child's own one-line reason
 * when it cannot start at all (`model-invalid` names the package and the file).
 */
export async function createRestorer(
  options: RestorerOptions,
  logger: Logger,
  settings: Partial<SupervisorSettings> = {},
): Promise<Restorer> {
  return await RestorerSupervisor.create(options, logger, settings);
}

/** Keeps one restorer child running, and the relay informed of what became of each track. */
export class RestorerSupervisor extends EventEmitter<RestorerEvents> implements Restorer {
  readonly #options: RestorerOptions;
  readonly #logger: Logger;
  readonly #settings: SupervisorSettings;
  readonly #health: HealthMonitor;
  readonly #tracks = new Map<string, Track>();
  readonly #info: RestorerInfo = {
    provider: null,
    providerNotes: [],
    models: [],
    outputCodecs: [],
    pid: null,
    residentMemoryBytes: 0,
    restarts: 0,
  };
  #state: RestorerState = 'starting';
  #child: RestorerChild | null = null;
  #failure: VireoError | null = null;
  #permanent = false;
  #silent = false;
  #overLimit = 0;
  #ids = 0;
  #pingTimer: NodeJS.Timeout | null = null;
  #startTimer: NodeJS.Timeout | null = null;
  #restartTimer: NodeJS.Timeout | null = null;
  #first: { resolve: () => void; reject: (error: VireoError) => void } | null = null;
  #closing: Promise<void> | null = null;
  #onGone: (() => void) | null = null;

  private constructor(options: RestorerOptions, logger: Logger, settings: Partial<SupervisorSettings>) {
    super();
    this.#options = options;
    this.#logger = logger;
    this.#settings = {
      entry: restorerEntryUrl,
      policy: new RestartPolicy(),
      startTimeoutMs: options.provider === 'tensorrt' ? 1_860_000 : 240_000,
      graceMs: 5_000,
      requestTimeoutMs: 10_000,
      firstStartAttempts: 3,
      ...settings,
    };
    this.#health = new HealthMonitor({ ...options, missedForSilent: MISSED_FOR_SILENT });
  }

  static async create(
    options: RestorerOptions,
    logger: Logger,
    settings: Partial<SupervisorSettings> = {},
  ): Promise<RestorerSupervisor> {
    const supervisor = new RestorerSupervisor(options, logger, settings);
    await new Promise<void>((resolve, reject) => {
      supervisor.#first = { resolve, reject };
      supervisor.#start();
    });
    return supervisor;
  }

  get state(): RestorerState {
    return this.#state;
  }

  get info(): RestorerInfo {
    return this.#info;
  }

  startTrack(options: RestoreTrackOptions): Promise<RestoredTrack> {
    const child = this.#child;
    const { trackId } = options;
    if (this.#state !== 'ready' || child === null || this.#silent) {
      return Promise.reject(
        new VireoError('unavailable', `restorer is ${this.#state}: track ${trackId} not started`),
      );
    }
    if (this.#tracks.has(trackId)) {
      return Promise.reject(new VireoError('conflict', `track ${trackId} is being restored already`));
    }
    return new Promise((resolve, reject) => {
      const id = this.#ids++;
      const last = blankReport(options, 'starting');
      const timer = setTimeout(() => {
        child.send({ type: 'stopTrack', trackId });
        this.#refuse(trackId, new VireoError('timeout', `restorer did not start track ${trackId} in time`));
      }, this.#settings.requestTimeoutMs);
      this.#tracks.set(trackId, { options, started: null, last, request: { id, resolve, reject }, timer });
      try {
        child.send({ type: 'startTrack', requestId: id, options });
      } catch (error) {
        this.#refuse(trackId, VireoError.from(error, 'bad-request'));
      }
    });
  }

  stopTrack(trackId: string): void {
    const track = this.#tracks.get(trackId);
    if (track === undefined) return;
    this.#child?.send({ type: 'stopTrack', trackId });
    if (track.request) this.#refuse(trackId, new VireoError('unavailable', `track ${trackId} was stopped`));
    this.#tracks.delete(trackId);
  }

  setPriority(trackId: string, priority: number): void {
    if (this.#tracks.has(trackId)) this.#child?.send({ type: 'setPriority', trackId, priority });
  }

  setMaxBitrate(trackId: string, bitrateBps: number): void {
    if (this.#tracks.has(trackId)) this.#child?.send({ type: 'setMaxBitrate', trackId, bitrateBps });
  }

  setReference(trackId: string, still: ReferenceStill | null): void {
    if (this.#tracks.has(trackId)) this.#child?.send({ type: 'setReference', trackId, still });
  }

  requestKeyFrame(trackId: string): void {
    if (this.#tracks.has(trackId)) this.#child?.send({ type: 'requestKeyFrame', trackId });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#restartTimer) clearTimeout(this.#restartTimer);
    this.#restartTimer = null;
    const child = this.#child;
    const gone = new Promise<void>((resolve) => {
      this.#onGone = resolve;
    });
    this.#setState('stopped');
    this.#loseTracks();
    if (child === null || child.gone) return;
    child.terminate(this.#settings.graceMs);
    await gone;
  }

  #start(): void {
    this.#restartTimer = null;
    this.#failure = null;
    this.#permanent = false;
    this.#silent = false;
    this.#overLimit = 0;
    const child = RestorerChild.start(this.#settings.entry, this.#options, this.#logger, {
      onMessage: (message) => this.#receive(message),
      onExit: (how) => this.#exited(how),
    });
    this.#child = child;
    this.#info.pid = child.pid;
    this.#startTimer = setTimeout(() => {
      this.#failure = new VireoError(
        'timeout',
        `restorer was not ready in ${this.#settings.startTimeoutMs} ms`,
      );
      child.kill();
    }, this.#settings.startTimeoutMs);
  }

  #receive(message: FromChild): void {
    this.#health.heard();
    if (this.#silent) this.#recovered();
    switch (message.type) {
      case 'ready':
        this.#ready(message);
        return;
      case 'failed':
        this.#failure = new VireoError(message.code, message.message);
        this.#permanent = message.permanent;
        return;
      case 'pong':
        this.#checkMemory(message.residentMemoryBytes);
        return;
      case 'trackListening':
        this.#listening(message.requestId, { ip: message.ip, port: message.port });
        return;
      case 'trackRefused': {
        const track = this.#trackOfRequest(message.requestId);
        if (track) this.#refuse(track.options.trackId, new VireoError(message.code, message.message));
        return;
      }
      case 'report': {
        const track = this.#tracks.get(message.report.trackId);
        if (track === undefined) return;
        track.last = message.report;
        this.emit('report', message.report);
        return;
      }
      case 'trackStarted':
        if (this.#tracks.has(message.trackId)) this.emit('trackStarted', message.trackId);
        return;
      case 'referenceRefused': {
        const { trackId, referenceId, reason } = message;
        if (this.#tracks.has(trackId)) this.emit('referenceRefused', trackId, referenceId, reason);
        return;
      }
      case 'trackLost':
        if (this.#tracks.delete(message.trackId)) this.emit('trackLost', message.trackId, message.reason);
    }
  }

  #ready(message: Extract<FromChild, { type: 'ready' }>): void {
    if (this.#startTimer) clearTimeout(this.#startTimer);
    const { provider, providerNotes, models, outputCodecs } = message;
    Object.assign(this.#info, { provider, providerNotes, models, outputCodecs });
    this.#settings.policy.ready(performance.now());
    this.#health.reset();
    this.#pingTimer = setInterval(() => this.#ping(), this.#options.pingIntervalMs);
    this.#logger.info({ pid: this.#info.pid, provider, models }, 'restorer: ready');
    this.#setState('ready');
    this.#first?.resolve();
    this.#first = null;
  }

  #ping(): void {
    const health = this.#health.tick();
    if (health === 'dead') {
      this.#logger.error({ pid: this.#info.pid }, 'restorer: no sign of life, killed');
      this.#stopPinging();
      this.#child?.kill();
      return;
    }
    this.#child?.send({ type: 'ping', id: this.#ids++ });
    if (health !== 'silent' || this.#silent) return;
    this.#silent = true;
    this.#logger.warn({ pid: this.#info.pid }, 'restorer: silent, viewers go back to the original');
    for (const track of this.#tracks.values()) {
      if (track.started) this.emit('report', downReport(track.last));
    }
  }

  #recovered(): void {
    this.#silent = false;
    this.#logger.info({ pid: this.#info.pid }, 'restorer: answers again');
    this.#child?.send({ type: 'reportNow' });
  }

  #checkMemory(residentMemoryBytes: number): void {
    this.#info.residentMemoryBytes = residentMemoryBytes;
    this.#overLimit = residentMemoryBytes > this.#options.memoryLimitBytes ? this.#overLimit + 1 : 0;
    if (this.#overLimit !== OVER_LIMIT_PONGS || this.#state !== 'ready') return;
    const limit = this.#options.memoryLimitBytes;
    this.#logger.warn({ residentMemoryBytes, limit }, 'restorer: above its memory limit, restarting');
    this.#stopPinging();
    this.#state = 'restarting';
    this.#loseTracks();
    this.emit('state', 'restarting');
    this.#child?.terminate(this.#settings.graceMs);
  }

  #exited(how: string): void {
    this.#stopPinging();
    if (this.#startTimer) clearTimeout(this.#startTimer);
    this.#child = null;
    this.#info.pid = null;
    this.#info.residentMemoryBytes = 0;
    if (this.#closing !== null) {
      this.#onGone?.();
      return;
    }
    const delayMs = this.#settings.policy.failed(performance.now());
    const failure = this.#failure ?? new VireoError('unavailable', `restorer ended: ${how}`);
    const attempts = this.#settings.policy.failuresInARow;
    if (this.#first !== null && (this.#permanent || attempts >= this.#settings.firstStartAttempts)) {
      this.#setState('stopped');
      this.#first.reject(failure);
      this.#first = null;
      return;
    }
    this.#logger.error({ err: failure, how, delayMs }, 'restorer: ended, starting again');
    const announce = this.#first === null && this.#state !== 'restarting';
    if (announce) this.#state = 'restarting';
    this.#loseTracks();
    if (announce) this.emit('state', 'restarting');
    // A listener may have closed us.
    if (this.#closing !== null) return;
    this.#info.restarts += 1;
    this.#restartTimer = setTimeout(() => this.#start(), delayMs);
  }

  #loseTracks(): void {
    const lost = [...this.#tracks.values()];
    for (const track of lost) {
      const { trackId } = track.options;
      if (track.request)
        this.#refuse(trackId, new VireoError('unavailable', `restorer went away: track ${trackId}`));
      this.#tracks.delete(trackId);
    }
    for (const track of lost)
      if (track.started) this.emit('trackLost', track.options.trackId, 'restorer-down');
  }

  #listening(requestId: number, localAddress: { ip: string; port: number }): void {
    const track = this.#trackOfRequest(requestId);
    if (track === undefined) return;
    const { request, timer } = track;
    if (timer) clearTimeout(timer);
    track.request = null;
    track.timer = null;
    track.started = { trackId: track.options.trackId, localAddress };
    request?.resolve(track.started);
  }

  #refuse(trackId: string, error: VireoError): void {
    const track = this.#tracks.get(trackId);
    if (track === undefined) return;
    if (track.timer) clearTimeout(track.timer);
    this.#tracks.delete(trackId);
    track.request?.reject(error);
    track.request = null;
  }

  #trackOfRequest(requestId: number): Track | undefined {
    for (const track of this.#tracks.values()) if (track.request?.id === requestId) return track;
    return undefined;
  }

  #stopPinging(): void {
    if (this.#pingTimer) clearInterval(this.#pingTimer);
    this.#pingTimer = null;
  }

  #setState(state: RestorerState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.emit('state', state);
  }
}
