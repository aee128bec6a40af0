/**
 * Degrades one reference clip as a call would and measures what each method makes of it. One pass: reference,
 * uplink picture, encoder, network, decoder, methods and meters advance frame by frame, nothing is kept.
 */
import type { Frame, IRational } from 'node-av';
import { VireoError } from '../errors.js';
import { FrameFilter, type Kernel, type PictureSize, uprightFilter } from '../restoration/filters.js';
import type { RestorationStream } from '../restoration/types.js';
import { VideoFileReader } from '../restoration/VideoFileReader.js';
import { CallCodec, type CallCodecName } from './CallCodec.js';
import { kernelMethod, type Method, vireoMethod } from './methods.js';
import { QualityMeter } from './QualityMeter.js';
import { WarpMeter } from './WarpMeter.js';

/** Calls send no more frames a second; faster references are thinned out. */
const MAX_FPS = 31;

export interface ClipSizes {
  /** The picture the call sends. */
  uplink: PictureSize;
  /** The reference's size for the comparison, and every method's result. */
  reference: PictureSize;
}

export interface ClipOptions {
  path: string;
  sizes: ClipSizes;
  codec: CallCodecName;
  bitrateBps: number;
  blurSigma: number;
  lossPercent: number;
  against: readonly Kernel[];
  seconds: number | null;
  openStream: () => Promise<RestorationStream>;
  onFrame?: (frames: number) => void;
}

export interface ClipResult {
  frames: number;
  actualBitrateBps: number;
  /** `warpError`: see WarpMeter; null for a single frame. */
  methods: { method: string; psnrY: number; ssimY: number; warpError: number | null; msPerFrame: number }[];
}

interface Contender {
  method: Method;
  meter: QualityMeter;
  ms: number;
}

export async function evaluateClip(options: ClipOptions): Promise<ClipResult> {
  const { sizes } = options;
  const reader = await VideoFileReader.open(options.path);
  const { frameRate, rotation } = reader.info;
  const stride = Math.max(1, Math.round(frameRate.num / frameRate.den / (MAX_FPS - 1)));
  const fps: IRational = { num: frameRate.num, den: frameRate.den * stride };
  const limit =
    options.seconds === null ? Infinity : Math.max(1, Math.round((options.seconds * fps.num) / fps.den));
  let upright: FrameFilter | null = null;
  const blur = options.blurSigma > 0 ? `gblur=sigma=${options.blurSigma},` : '';
  // A box filter, as libyuv scales a camera's picture down in browsers.
  const shrink = new FrameFilter(
    `${blur}scale=${sizes.uplink.width}:${sizes.uplink.height}:flags=area,format=yuv420p`,
  );
  const { codec: name, bitrateBps, lossPercent } = options;
  const codec = await CallCodec.create({ codec: name, ...sizes.uplink, fps, bitrateBps, lossPercent });
  const contenders = await openContenders(options);
  const flicker = new WarpMeter(contenders.length);
  const waiting: Frame[] = [];
  let frames = 0;

  const compare = async (): Promise<void> => {
    for (let small = codec.receive(); small !== undefined; small = codec.receive()) {
      const reference = waiting.shift();
      try {
        if (reference === undefined) throw new VireoError('internal', 'more frames came out than went in');
        small.pts = reference.pts;
        small.timeBase = reference.timeBase;
        await measure(contenders, small, reference, flicker);
        options.onFrame?.(++frames);
      } finally {
        small.free();
        reference?.free();
      }
    }
  };

  try {
    let index = 0;
    for (let sent = 0; sent < limit; ) {
      const decoded = await reader.next();
      if (decoded === null) break;
      const taken = index++ % stride === 0;
      try {
        if (!taken) continue;
        upright ??= uprightFilter(sizes.reference, rotation, decoded);
        const reference = await upright.apply(decoded);
        waiting.push(reference);
        const small = await shrink.apply(reference);
        try {
          await codec.send(small);
        } finally {
          small.free();
        }
        sent++;
      } finally {
        decoded.free();
      }
      await compare();
    }
    await codec.end();
    await compare();
    if (frames === 0) throw new VireoError('media-invalid', `REF ${options.path}: no frame could be decoded`);
    return {
      frames,
      actualBitrateBps: Math.round((codec.bytesSent * 8 * fps.num) / fps.den / frames),
      methods: contenders.map(({ method, meter, ms }, at) => ({
        method: method.name,
        ...meter.result,
        warpError: flicker.errors[at] ?? null,
        msPerFrame: ms / frames,
      })),
    };
  } finally {
    for (const frame of waiting) frame.free();
    for (const { method, meter } of contenders) {
      method.close();
      meter.close();
    }
    await flicker.close();
    codec.close();
    shrink.close();
    upright?.close();
    await reader.close();
  }
}

async function openContenders(options: ClipOptions): Promise<Contender[]> {
  const methods = [
    vireoMethod(await options.openStream()),
    ...options.against.map((kernel) => kernelMethod(kernel, options.sizes.reference)),
  ];
  return methods.map((method) => ({ method, meter: new QualityMeter(), ms: 0 }));
}

async function measure(
  contenders: readonly Contender[],
  small: Frame,
  reference: Frame,
  flicker: WarpMeter,
): Promise<void> {
  const results: Frame[] = [];
  try {
    for (const contender of contenders) {
      const { frame, ms } = await contender.method.apply(small);
      results.push(frame);
      contender.ms += ms;
      await contender.meter.add(frame, reference);
    }
    await flicker.add(reference, results);
  } finally {
    for (const frame of results) frame.free();
  }
}
