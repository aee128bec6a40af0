/**
 * Degrades one reference clip as a call would and measures what each method makes of it. One pass: reference,
 * uplink picture, encoder, network, decoder, methods and meters advance frame by frame; what is kept are the
 * frames inside of encoders and of models that restore several at a time.
 */
import { basename, extname, join } from 'node:path';
import type { Frame, IRational } from 'node-av';
import { VireoError } from '../errors.js';
import { FrameFilter, type PictureSize, uprightFilter } from '../restoration/filters.js';
import { VideoFileReader } from '../restoration/VideoFileReader.js';
import { stillBudget, worthAStill } from '../signaling/stillBudget.js';
import { blurChain } from './blur.js';
import { LostPixels } from './LostPixels.js';
import type { Method } from './methods.js';
import { QualityMeter } from './QualityMeter.js';
import { StillFocus } from './StillFocus.js';
import { savePicture } from './savePicture.js';
import { standingAtStart } from './standing.js';
import { encodeStill } from './still.js';
import { openUplink, type UplinkCodec } from './uplink.js';
import { WarpMeter } from './WarpMeter.js';

/** As calls send at most. */
export const DEFAULT_FPS = 30;

/** Of so many frames of a reference one is sent, for about `wantedFps`. */
function strideOf(fps: number, wantedFps: number): number {
  return Math.max(1, Math.round(fps / wantedFps));
}

/** Frames a second that are sent of a reference. */
export function sentFps(fps: number, wantedFps: number): number {
  return fps / strideOf(fps, wantedFps);
}

/** As often as the page looks at its camera. */
const LOOK_EVERY_S = 1;

export interface ClipSizes {
  /** The picture the call sends. */
  uplink: PictureSize;
  /** The reference's size for the comparison, and every method's result. */
  reference: PictureSize;
}

export interface ClipOptions {
  path: string;
  sizes: ClipSizes;
  codec: UplinkCodec;
  bitrateBps: number;
  /** Faster references are thinned out, to the nearest whole step. */
  wantedFps: number;
  blurSigma: number;
  lossPercent: number;
  /** 0: none but the first. */
  keyFramesEveryS: number;
  /** Share of the luma that is lost at random before restoration, percent. */
  inpaintPercent: number;
  /** What is left out of the clip's beginning. Its very first picture is the still anyway, which so is that old. */
  startSeconds: number;
  /** Of what is left. */
  seconds: number | null;
  /** PNGs of what the reference and every method show at a time of the clip. */
  pictures: { folder: string; label: string; atSeconds: number } | null;
  /** Whether a still is sent, where the page would send one. */
  references: boolean;
  openMethods: (sendsStill: boolean) => Promise<Method[]>;
  onFrame?: (frames: number) => void;
}

export interface ClipResult {
  frames: number;
  actualBitrateBps: number;
  /** Of the still that the methods with `refer` were given; 0 without one, or where a page would have sent none. */
  stillBytes: number;
  /** Share of the frames that were sent while the still rested, 0 to 1. */
  stillRestedShare: number;
  /** `warpError` and `tOF`: see WarpMeter; null for a single frame. */
  methods: {
    method: string;
    /** It was given the still. */
    referred: boolean;
    psnrY: number;
    ssimY: number;
    warpError: number | null;
    tOF: number | null;
    msPerFrame: number;
  }[];
}

export async function evaluateClip(options: ClipOptions): Promise<ClipResult> {
  const run = await ClipRun.open(options);
  try {
    return await run.run();
  } finally {
    await run.close();
  }
}

/** A method, what it has ready and what was measured of it. */
interface Contender {
  method: Method;
  meter: QualityMeter;
  ready: Frame[];
  ms: number;
}

class ClipRun {
  readonly #options: ClipOptions;
  readonly #reader: VideoFileReader;
  readonly #fps: IRational;
  readonly #stride: number;
  readonly #shrink: FrameFilter;
  readonly #uplink: Awaited<ReturnType<typeof openUplink>>;
  readonly #sendsStill: boolean;
  readonly #contenders: Contender[];
  readonly #lost: LostPixels | null;
  readonly #motion: WarpMeter;
  /** Of the frames that were sent and not shown yet, and of those that not all methods have restored yet. */
  readonly #sent: Frame[] = [];
  readonly #shown: Frame[] = [];
  #upright: FrameFilter | null = null;
  #frames = 0;
  #still: Buffer | null = null;
  #focus: StillFocus | null = null;
  #resting = false;
  #restedFrames = 0;

  private constructor(
    options: ClipOptions,
    reader: VideoFileReader,
    fps: IRational,
    stride: number,
    uplink: Awaited<ReturnType<typeof openUplink>>,
    sendsStill: boolean,
    methods: readonly Method[],
  ) {
    this.#options = options;
    this.#reader = reader;
    this.#fps = fps;
    this.#stride = stride;
    this.#uplink = uplink;
    this.#sendsStill = sendsStill;
    this.#contenders = methods.map((method) => ({ method, meter: new QualityMeter(), ready: [], ms: 0 }));
    const { width, height } = options.sizes.uplink;
    const blur = blurChain(options.blurSigma);
    // A box filter, as libyuv scales a camera's picture down in browsers.
    this.#shrink = new FrameFilter(
      `${blur === '' ? '' : `${blur},`}scale=${width}:${height}:flags=area,format=yuv420p`,
    );
    this.#lost =
      options.inpaintPercent > 0 ? new LostPixels({ width, height }, options.inpaintPercent) : null;
    this.#motion = new WarpMeter(methods.length);
  }

  static async open(options: ClipOptions): Promise<ClipRun> {
    const still = options.references && (await sendsStill(options));
    const reader = await VideoFileReader.open(options.path);
    const { num, den } = reader.info.frameRate;
    const stride = strideOf(num / den, options.wantedFps);
    const fps = { num, den: den * stride };
    const { codec, bitrateBps, lossPercent, keyFramesEveryS, sizes } = options;
    const uplink = await openUplink({
      codec,
      ...sizes.uplink,
      fps,
      bitrateBps,
      lossPercent,
      keyFramesEveryS,
    });
    return new ClipRun(options, reader, fps, stride, uplink, still, await options.openMethods(still));
  }

  async run(): Promise<ClipResult> {
    const { seconds, startSeconds, path } = this.#options;
    const limit =
      seconds === null ? Infinity : Math.max(1, Math.round((seconds * this.#fps.num) / this.#fps.den));
    const start = Math.round((startSeconds * this.#fps.num) / this.#fps.den);
    const looksApart = Math.max(1, Math.round((LOOK_EVERY_S * this.#fps.num) / this.#fps.den));
    let index = 0;
    for (let taken = 0; taken < start + limit; ) {
      const decoded = await this.#reader.next();
      if (decoded === null) break;
      try {
        if (index++ % this.#stride !== 0) continue;
        if (taken === 0) await this.#refer(decoded);
        if (taken % looksApart === 0) await this.#look(decoded);
        if (taken++ < start) continue;
        if (this.#resting) this.#restedFrames++;
        await this.#send(decoded);
      } finally {
        decoded.free();
      }
      await this.#receive();
    }
    await this.#uplink.end();
    await this.#receive();
    for (const contender of this.#contenders) take(contender, await contender.method.flush());
    await this.#measure();
    if (this.#frames === 0) {
      const why = index === 0 ? 'no frame could be decoded' : `--start ${startSeconds}: it ends before that`;
      throw new VireoError('media-invalid', `REF ${path}: ${why}`);
    }
    const frames = this.#frames;
    return {
      frames,
      actualBitrateBps: Math.round((this.#uplink.bytesSent * 8 * this.#fps.num) / this.#fps.den / frames),
      stillBytes: this.#still?.length ?? 0,
      stillRestedShare: this.#restedFrames / frames,
      methods: this.#contenders.map(({ method, meter, ms }, at) => ({
        method: method.name,
        referred: method.refer !== undefined,
        ...meter.result,
        warpError: this.#motion.errors[at] ?? null,
        tOF: this.#motion.flows[at] ?? null,
        msPerFrame: ms / frames,
      })),
    };
  }

  async close(): Promise<void> {
    for (const frame of [...this.#sent, ...this.#shown]) frame.free();
    for (const { method, meter, ready } of this.#contenders) {
      for (const frame of ready) frame.free();
      method.close();
      meter.close();
    }
    await this.#motion.close();
    this.#uplink.close();
    this.#lost?.close();
    this.#focus?.close();
    this.#shrink.close();
    this.#upright?.close();
    await this.#reader.close();
  }

  /** The caller's: a decoded picture as it is compared. */
  async #reference(decoded: Frame): Promise<Frame> {
    this.#upright ??= uprightFilter(this.#options.sizes.reference, this.#reader.info.rotation, decoded);
    return await this.#upright.apply(decoded);
  }

  async #send(decoded: Frame): Promise<void> {
    const reference = await this.#reference(decoded);
    this.#sent.push(reference);
    const small = await this.#shrink.apply(reference);
    try {
      await this.#uplink.send(small);
    } finally {
      small.free();
    }
  }

  /** The first picture is the still: a call has it from the start, or soon after. */
  async #refer(decoded: Frame): Promise<void> {
    if (!this.#sendsStill) return;
    const takers = this.#contenders.flatMap(({ method }) => (method.refer === undefined ? [] : [method]));
    const reference = await this.#reference(decoded);
    try {
      const still = await encodeStill(reference, stillBudget(budgetOf(this.#options)));
      for (const method of takers) await method.refer?.(still);
      this.#still = still;
      this.#focus = new StillFocus();
    } finally {
      reference.free();
    }
  }

  /** The page looks at its camera and lets the still rest, or serve again. */
  async #look(decoded: Frame): Promise<void> {
    if (this.#focus === null) return;
    const resting = await this.#focus.look(decoded);
    if (resting === this.#resting) return;
    this.#resting = resting;
    for (const { method } of this.#contenders) await method.refer?.(resting ? null : this.#still);
  }

  async #receive(): Promise<void> {
    for (let small = this.#uplink.receive(); small !== undefined; small = this.#uplink.receive()) {
      try {
        const reference = this.#sent.shift();
        if (reference === undefined) throw new VireoError('internal', 'more frames came out than went in');
        this.#shown.push(reference);
        tagLike(small, reference);
        await this.#restore(small);
      } finally {
        small.free();
      }
      await this.#measure();
    }
  }

  async #restore(small: Frame): Promise<void> {
    const damaged = (await this.#lost?.apply(small)) ?? null;
    try {
      for (const contender of this.#contenders) {
        take(contender, await contender.method.push(damaged?.picture ?? small, damaged?.lost ?? null));
      }
    } finally {
      damaged?.picture.free();
      damaged?.lost.free();
    }
  }

  /** Every frame that all methods have ready. */
  async #measure(): Promise<void> {
    while (this.#shown.length > 0 && this.#contenders.every(({ ready }) => ready.length > 0)) {
      const reference = this.#shown.shift();
      if (reference === undefined) return;
      const results = this.#contenders.flatMap(({ ready }) => ready.shift() ?? []);
      try {
        for (const [at, { meter }] of this.#contenders.entries()) {
          const frame = results[at];
          if (frame !== undefined) await meter.add(frame, reference);
        }
        await this.#motion.add(reference, results);
        await this.#save(reference, results);
        this.#options.onFrame?.(++this.#frames);
      } finally {
        reference.free();
        for (const frame of results) frame.free();
      }
    }
  }

  async #save(reference: Frame, results: readonly Frame[]): Promise<void> {
    const { pictures, path } = this.#options;
    if (pictures === null) return;
    if (this.#frames !== Math.round((pictures.atSeconds * this.#fps.num) / this.#fps.den)) return;
    const clip = basename(path, extname(path));
    const shown: [string, Frame | undefined][] = [
      ['reference', reference],
      ...this.#contenders.map(({ method }, at): [string, Frame | undefined] => [method.name, results[at]]),
    ];
    for (const [name, frame] of shown) {
      const file = join(pictures.folder, `${clip}-${pictures.label}-${name}.png`);
      if (frame !== undefined) await savePicture(frame, file);
    }
  }
}

function budgetOf({ codec, bitrateBps }: ClipOptions): number | null {
  return codec === 'none' ? null : bitrateBps;
}

/** Whether the page would send one on such an uplink. */
async function sendsStill(options: ClipOptions): Promise<boolean> {
  const budgetBps = budgetOf(options);
  // On a wide uplink it does not matter what stands.
  return worthAStill(budgetBps, 0) || worthAStill(budgetBps, await standingAtStart(options.path));
}

/** Whatever the decoder says of the picture: its code values mean what the reference's do. */
function tagLike(picture: Frame, reference: Frame): void {
  picture.pts = reference.pts;
  picture.timeBase = reference.timeBase;
  picture.colorRange = reference.colorRange;
  picture.colorSpace = reference.colorSpace;
  picture.colorPrimaries = reference.colorPrimaries;
  picture.colorTrc = reference.colorTrc;
  picture.chromaLocation = reference.chromaLocation;
}

function take(contender: Contender, { frames, ms }: { frames: Frame[]; ms: number }): void {
  contender.ready.push(...frames);
  contender.ms += ms;
}
