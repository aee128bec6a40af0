import type { Logger } from '../log.js';
import { isRtcp, parseRtcp } from '../media/Rtcp.js';
import { RtpVideoReceiver, type SenderClock } from '../media/RtpVideoReceiver.js';
import { RtpVideoSender } from '../media/RtpVideoSender.js';
import type { DecodedPicture, EncodedFrame, EncodedPicture } from '../media/types.js';
import { mendsKeyFrames } from '../restoration/keyFrames.js';
import { decodeStill } from '../restoration/stills.js';
import { BitrateController } from './BitrateController.js';
import { DeadlineTimer } from './DeadlineTimer.js';
import { DecodeStage } from './DecodeStage.js';
import { EncodeStage } from './EncodeStage.js';
import { discard, type FrameTimes } from './frames.js';
import { type LadderDecision, MODEL_LEVELS } from './LoadLadder.js';
import type { PipelineContext } from './PipelineContext.js';
import { RestoreStage } from './RestoreStage.js';
import { blankReport } from './reports.js';
import type { ScheduledTrack, TrackLoad } from './Scheduler.js';
import { TrackCondition } from './TrackCondition.js';
import { TrackMeters } from './TrackMeters.js';
import { TrackReference } from './TrackReference.js';
import { TrackSocket } from './TrackSocket.js';
import type { NotRestoredReason, ReferenceStill, RestorationLevel, RestoreTrackOptions } from './types.js';

/** A gap after which what the model remembers is another scene. */
const STATE_GAP_90K = 90_000;
/** Frames between encoder and socket; more are not in flight by any means. */
const MAX_IN_FLIGHT = 64;
const DEFAULT_FPS = 30;
const LOG_EVERY_MS = 5_000;

/**
 * One track's way through the restorer: receive ▸ reorder ▸ depacketize ▸ decode ▸ block ▸ restore ▸ encode ▸
 * packetize ▸ pace ▸ send. Each stage hands its frames on and forgets them; successive frames are in different
 * stages at the same time.
 */
export class TrackPipeline implements ScheduledTrack {
  readonly trackId: string;
  readonly #options: RestoreTrackOptions;
  readonly #context: PipelineContext;
  readonly #logger: Logger;
  readonly #socket: TrackSocket;
  readonly #receiver: RtpVideoReceiver;
  readonly #sender: RtpVideoSender;
  readonly #decode: DecodeStage;
  readonly #reference: TrackReference;
  readonly #restore: RestoreStage;
  readonly #encode: EncodeStage;
  readonly #bitrate: BitrateController;
  readonly #timer: DeadlineTimer;
  readonly #meters = new TrackMeters();
  readonly #condition = new TrackCondition(performance.now());
  readonly #inFlight = new Map<number, FrameTimes>();

  #priority: number;
  #inputChanged = false;
  #output = { width: 0, height: 0 };
  #started = false;
  #keepCredit = 0;
  #lastRtp90k: number | null = null;
  #senderClock: SenderClock | null = null;
  #reported: { level: RestorationLevel; reason: NotRestoredReason | null } = {
    level: 'original',
    reason: 'starting',
  };
  #loggedAtMs = Number.NEGATIVE_INFINITY;
  #closing: Promise<void> | null = null;

  private constructor(
    options: RestoreTrackOptions,
    context: PipelineContext,
    socket: TrackSocket,
    logger: Logger,
  ) {
    const { trackId, input, output, maxBitrateBps } = options;
    this.trackId = trackId;
    this.#options = options;
    this.#context = context;
    this.#logger = logger;
    this.#socket = socket;
    this.#priority = options.priority;
    this.#bitrate = new BitrateController(maxBitrateBps);
    this.#receiver = new RtpVideoReceiver({
      stream: input,
      localSsrc: output.ssrc,
      cname: output.cname,
      onFrame: (frame) => this.#onFrame(frame),
      onRtcp: (packet) => socket.send(packet),
    });
    this.#sender = new RtpVideoSender({
      stream: output,
      bitrateBps: this.#bitrate.targetBps,
      fps: DEFAULT_FPS,
      send: (packet) => {
        this.#meters.bytesOut.add(performance.now(), packet.length);
        socket.send(packet);
      },
      onKeyFrameRequest: () => this.requestKeyFrame(),
      onFrameSent: (rtpTimestamp90k, sentAtMs) => this.#onFrameSent(rtpTimestamp90k, sentAtMs),
    });
    this.#decode = new DecodeStage({
      createDecoder: context.createDecoder,
      logger,
      fit: (width, height) => this.#fit(width, height),
      allocate: (byteLength) => this.#restore.allocate(byteLength),
      onPicture: (picture, times) => this.#onPicture(picture, times),
      onDropped: (frames) => {
        this.#meters.framesDropped += frames;
      },
      onDecoded: (decodeMs) => this.#meters.decoded(decodeMs),
      // Not from within `onFrame`: the receiver would hand out the next frame in the middle of this one.
      needsKeyFrame: () => queueMicrotask(() => this.#requestInputKeyFrame()),
      onUnsupported: () => this.#giveUp(),
    });
    this.#reference = new TrackReference({
      decode: decodeStill,
      onRefused: (referenceId, reason) => {
        logger.info({ referenceId, reason }, 'still refused');
        context.onReferenceRefused(trackId, referenceId, reason);
      },
    });
    this.#restore = new RestoreStage({
      reference: this.#reference,
      device: context.device,
      gate: context.gate,
      costs: context.costs,
      logger,
      onRestored: (restored) => {
        this.#condition.modelWorked();
        this.#encode.push(restored);
      },
      onDropped: (frames) => this.#meters.stale(frames, performance.now()),
      onFailed: (error) => this.#modelFailed(error),
    });
    this.#restore.priority = options.priority;
    this.#encode = new EncodeStage({
      createEncoder: context.createEncoder,
      codec: output.codec,
      bitrateBps: this.#bitrate.targetBps,
      threads: context.encoderThreads,
      logger,
      fps: () => this.#expectedFps(),
      onEncoded: (encoded, times, width, height) => this.#onEncoded(encoded, times, width, height),
      onDropped: (frames) => this.#meters.stale(frames, performance.now()),
      onUnsupported: () => this.#giveUp(),
    });
    this.#timer = new DeadlineTimer(
      () => Math.min(this.#receiver.nextDeadlineMs, this.#sender.nextDeadlineMs),
      (nowMs) => this.#guard(() => this.#tick(nowMs)),
    );
  }

  /** Listens; media flows as soon as the engine sends some. */
  static async create(options: RestoreTrackOptions, context: PipelineContext): Promise<TrackPipeline> {
    const logger = context.logger.child({ trackId: options.trackId });
    let pipeline: TrackPipeline | null = null;
    const socket = await TrackSocket.create({
      remote: options.remote,
      onPacket: (packet) => pipeline?.receive(packet),
      onError: (error) => logger.debug({ err: error }, 'socket'),
    });
    pipeline = new TrackPipeline(options, context, socket, logger);
    return pipeline;
  }

  get localAddress(): { ip: string; port: number } {
    return this.#socket.localAddress;
  }

  get priority(): number {
    return this.#priority;
  }

  set priority(priority: number) {
    this.#priority = priority;
    this.#restore.priority = priority;
  }

  setMaxBitrate(bitrateBps: number): void {
    this.#bitrate.setMax(bitrateBps);
    this.#updateBitrate(performance.now());
  }

  setReference(still: ReferenceStill | null): void {
    if (!this.#closing) this.#reference.set(still);
  }

  requestKeyFrame(): void {
    this.#encode.requestKeyFrame();
  }

  /** One packet from the engine, RTP or RTCP (RFC 5761). Never throws. */
  receive(packet: Buffer): void {
    if (this.#closing) return;
    this.#guard(() => {
      const nowMs = performance.now();
      if (isRtcp(packet)) {
        const messages = parseRtcp(packet);
        this.#receiver.receiveRtcp(messages, nowMs);
        this.#sender.receiveRtcp(messages, nowMs);
        const clock = this.#receiver.senderClock;
        if (clock !== null && clock !== this.#senderClock) {
          this.#senderClock = clock;
          this.#sender.setSenderClock(clock);
        }
      } else {
        this.#meters.bytesIn.add(nowMs, packet.length);
        this.#receiver.receive(packet, nowMs);
      }
      this.#timer.update();
    });
  }

  load(nowMs: number): TrackLoad {
    const { models, costs } = this.#context;
    const costMs: TrackLoad['costMs'] = {};
    const { input } = this.#condition;
    const chosen = input?.fit;
    if (input && chosen?.fits) {
      const { inputWidth, inputHeight, variant } = chosen;
      const size = { outputWidth: inputWidth * variant.scale, outputHeight: inputHeight * variant.scale };
      const offered = this.#reference.offers(size, input.width * input.height);
      for (const level of MODEL_LEVELS) {
        const target = models.targetAt(level, chosen, this.#options.input.codec);
        // Without a still every level is plain.
        if (target === null || (level === 'plain' && !offered)) continue;
        costMs[level] = costs.costMs(target.packageName, offered && target.looksUp);
      }
    }
    return {
      wantsRestoring: chosen?.fits === true && this.#condition.hindrance(nowMs) === null,
      inputFps: this.#meters.framesIn.perSecond(nowMs),
      costMs,
      stageMs: this.#meters.stageMs,
      dropShare: this.#meters.dropShare(nowMs),
      stalledMs: this.#restore.stalledMs(nowMs),
    };
  }

  apply(decision: LadderDecision, admitted: boolean, nowMs: number): void {
    const from = this.#condition.decision.level;
    this.#condition.decide(decision, admitted);
    this.#retarget();
    if (decision.level === 'original' && from !== 'original') {
      this.#encode.clear();
      this.#meters.stopped();
      this.#inFlight.clear();
    }
    this.#decode.keyFramesOnly = this.#condition.idle(nowMs);
    this.#announce(nowMs);
  }

  /** Once a second. */
  report(nowMs: number): void {
    if (this.#closing) return;
    this.#updateBitrate(nowMs);
    this.#emitReport(nowMs);
  }

  /** Idempotent; resolves when everything is freed and the port is closed. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#timer.close();
    this.#receiver.close();
    this.#reference.close();
    await Promise.allSettled([this.#decode.close(), this.#restore.close()]);
    await this.#encode
      .close()
      .catch((error: unknown) => this.#logger.warn({ err: error }, 'encoder did not close'));
    this.#sender.close();
    this.#inFlight.clear();
    await this.#socket.close();
  }

  #requestInputKeyFrame(): void {
    if (this.#closing) return;
    this.#guard(() => this.#receiver.requestKeyFrame(performance.now()));
    this.#timer.update();
  }

  #tick(nowMs: number): void {
    this.#receiver.tick(nowMs);
    this.#sender.tick(nowMs);
  }

  #onFrame(frame: EncodedFrame): void {
    this.#condition.received(frame.lastPacketAtMs);
    this.#meters.framesIn.add(frame.releasedAtMs);
    this.#meters.stages.record('receive', frame.releasedAtMs - frame.lastPacketAtMs, frame.releasedAtMs);
    this.#decode.push(frame);
  }

  /** The decoder asks with every picture; the answer changes only with the size, and for some sizes with a still that serves well, or not any more. */
  #fit(width: number, height: number): { width: number; height: number } {
    let { input } = this.#condition;
    const still = this.#reference.servesWell && this.#restore.target?.looksUp === true;
    if (input?.width !== width || input.height !== height || input.still !== still) {
      const { targetHeight, input: source } = this.#options;
      const fit = this.#context.models.fit(width, height, targetHeight, source.codec, { still });
      if (fit.fits) this.#logger.debug({ width, height, still, scale: fit.variant.scale }, 'restored');
      else this.#logger.info({ reason: fit.reason, detail: fit.detail }, 'not restored');
      input = { width, height, still, fit };
      this.#condition.input = input;
      this.#inputChanged = true;
    }
    const { fit } = input;
    if (fit.fits) return { width: fit.inputWidth, height: fit.inputHeight };
    return { width: Math.max(2, width & ~1), height: Math.max(2, height & ~1) };
  }

  #onPicture(picture: DecodedPicture, times: FrameTimes): void {
    const nowMs = performance.now();
    const tracked = {
      picture,
      times,
      recycle: (buffer: ArrayBuffer) => this.#restore.recycle(buffer),
      ...(mendsKeyFrames(this.#options.input.codec) ? { afterKeyFrame: picture.keyFrame } : {}),
    };
    if (this.#closing) {
      discard(tracked);
      return;
    }
    if (this.#inputChanged) {
      this.#inputChanged = false;
      this.#retarget();
      this.#context.onDemandChanged();
    } else if (this.#reported.reason === 'no-input') this.#context.onDemandChanged();
    if (this.#condition.decision.level === 'original') {
      discard(tracked);
      return;
    }
    if (this.#lastRtp90k !== null && times.rtpTimestamp90k - this.#lastRtp90k > STATE_GAP_90K) {
      this.#restore.resetState();
    }
    this.#lastRtp90k = times.rtpTimestamp90k;
    // Evenly spread: at a ratio of two thirds every third picture is left out, and not the last ten of thirty.
    this.#keepCredit += this.#condition.decision.frameRatio;
    if (this.#keepCredit < 1 - 1e-6) {
      this.#restore.leaveOut(tracked);
      return;
    }
    this.#keepCredit = Math.max(0, this.#keepCredit - 1);
    this.#meters.kept(nowMs);
    this.#restore.push(tracked);
  }

  #onEncoded(encoded: EncodedPicture, times: FrameTimes, width: number, height: number): void {
    if (this.#closing || this.#condition.decision.level === 'original') return;
    const nowMs = performance.now();
    const { stages } = this.#meters;
    const inPipelineMs = nowMs - times.releasedAtMs;
    stages.record('decode', times.decodeMs, nowMs);
    stages.record('restore', times.restoreMs, nowMs);
    stages.record('encode', times.encodeMs, nowMs);
    stages.record('wait', inPipelineMs - times.decodeMs - times.restoreMs - times.encodeMs, nowMs);
    this.#meters.encoded(times.encodeMs);
    this.#output.width = width;
    this.#output.height = height;
    if (this.#inFlight.size >= MAX_IN_FLIGHT) this.#inFlight.clear();
    this.#inFlight.set(times.rtpTimestamp90k, times);
    this.#guard(() => this.#sender.sendFrame(encoded, times.lastPacketAtMs, nowMs));
    this.#timer.update();
  }

  #onFrameSent(rtpTimestamp90k: number, sentAtMs: number): void {
    const times = this.#inFlight.get(rtpTimestamp90k);
    if (times === undefined) return;
    this.#inFlight.delete(rtpTimestamp90k);
    this.#meters.framesOut.add(sentAtMs);
    this.#meters.stages.record('total', sentAtMs - times.lastPacketAtMs, sentAtMs);
    if (this.#condition.flowing || this.#condition.decision.level === 'original') return;
    this.#condition.flowing = true;
    if (!this.#started) {
      this.#started = true;
      this.#context.onStarted(this.trackId);
    }
    this.#announce(sentAtMs);
  }

  /** What the decided level means for pictures of the present size. */
  #retarget(): void {
    const { level } = this.#condition.decision;
    const chosen = this.#condition.input?.fit;
    const restores = level !== 'original' && chosen?.fits;
    const { codec } = this.#options.input;
    this.#restore.setTarget(restores ? this.#context.models.targetAt(level, chosen, codec) : null);
  }

  #modelFailed(error: unknown): void {
    const nowMs = performance.now();
    const retryMs = this.#condition.modelFailed(nowMs);
    this.#logger.error({ err: error, retryMs }, 'model failed, back to the original');
    this.#context.onDemandChanged();
  }

  /** No codec for it on this machine. */
  #giveUp(): void {
    if (this.#condition.unsupported) return;
    this.#condition.unsupported = true;
    this.#context.onDemandChanged();
  }

  #expectedFps(): number {
    const fps = this.#meters.framesIn.perSecond(performance.now());
    return Math.min(60, Math.max(10, Math.round(fps) || DEFAULT_FPS));
  }

  #updateBitrate(nowMs: number): void {
    const { fractionLost, remoteEstimateBps, rttMs } = this.#sender.stats;
    // The same hop, the other way.
    if (rttMs !== null) this.#receiver.setRoundTripMs(rttMs);
    const target = this.#bitrate.update({ fractionLost, remoteEstimateBps }, nowMs);
    if (target === null) return;
    this.#encode.setBitrate(target);
    this.#sender.setBitrate(target);
  }

  /** Reports at once if the level, or why it is what it is, changed. */
  #announce(nowMs: number): void {
    const { level } = this.#condition;
    const reason = this.#condition.reason(nowMs);
    if (level === this.#reported.level && reason === this.#reported.reason) return;
    this.#logger.info({ level, reason, from: this.#reported.level }, 'level');
    this.#emitReport(nowMs);
  }

  #emitReport(nowMs: number): void {
    const { level } = this.#condition;
    const reason = this.#condition.reason(nowMs);
    this.#reported = { level, reason };
    const meters = this.#meters;
    const { packetsLost, nacksSent, plisSent, jitterMs } = this.#receiver.stats;
    const restored = level !== 'original';
    this.#context.onReport({
      ...blankReport(this.#options, 'starting'),
      level,
      reason,
      stages: restored ? meters.stages.snapshot(nowMs) : null,
      model: restored ? (this.#restore.target?.packageName ?? null) : null,
      provider: restored ? this.#context.device.provider : null,
      inputWidth: this.#condition.input?.width ?? 0,
      inputHeight: this.#condition.input?.height ?? 0,
      outputWidth: restored ? this.#output.width : 0,
      outputHeight: restored ? this.#output.height : 0,
      inputFps: meters.framesIn.perSecond(nowMs),
      outputFps: restored ? meters.framesOut.perSecond(nowMs) : 0,
      inputBitrateBps: meters.bytesIn.perSecond(nowMs) * 8,
      outputBitrateBps: restored ? meters.bytesOut.perSecond(nowMs) * 8 : 0,
      packetsLost: Math.max(0, packetsLost),
      nacksSent,
      plisSent,
      framesDropped: meters.framesDropped,
      jitterMs,
      takesStills: restored && this.#restore.target?.looksUp === true,
      reference: restored ? this.#reference.report(nowMs) : null,
    });
  }

  /** Bad media must not end the process, nor fill the log. */
  #guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      const nowMs = performance.now();
      if (nowMs - this.#loggedAtMs < LOG_EVERY_MS) return;
      this.#loggedAtMs = nowMs;
      this.#logger.error({ err: error }, 'ignored a packet');
    }
  }
}
