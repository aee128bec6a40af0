/** What `vireo evaluate` takes: its flags, how they are read, and what its help says of them. */
import { InvalidArgumentError } from 'commander';
import { VireoError } from '../errors.js';
import { RESTORED } from '../evaluation/report.js';
import type { UplinkCodec } from '../evaluation/uplink.js';
import type { ProviderFlag } from '../restoration/chooseModel.js';
import type { Kernel } from '../restoration/filters.js';
import { DEFAULT_TARGET_SHORT_SIDE } from '../restoration/fit.js';

export const KERNELS: readonly Kernel[] = ['bilinear', 'bicubic', 'lanczos'];
/** What calls send: the sizes of the family's variants, and those in between that browsers scale to. */
export const UPLINK_HEIGHTS: readonly number[] = [90, 144, 180, 240, 270, 360, 480, 540, 720];

export interface EvaluateFlags {
  codec: UplinkCodec;
  uplinkHeight: number[];
  bitrate: number[];
  /** Pictures a second that are sent. */
  fps: number;
  blur: number;
  loss: number;
  /** Seconds; 0: none but the first. */
  keyFramesEvery: number;
  inpaint: number;
  references: 'off' | 'on';
  /** Seconds. */
  stillEvery: number;
  /** Kernels and names of model packages. */
  against: string[];
  seconds?: number;
  /** Seconds. */
  start: number;
  pictures?: string;
  pictureAt: number;
  model?: string;
  modelDir?: string[];
  provider: ProviderFlag;
  threads: number;
  json?: boolean;
}

export const NOTES = `
Each reference is scaled so that its short side is 720, then to the uplink height (box filter), encoded in real
time at a constant bitrate (libvpx cpu-used -6 for VP8 and 7 for VP9, x264 superfast zerolatency baseline, SVT-AV1 preset 12; one thread),
decoded and restored, as in calls by less where the model's manifest says so of a codec (strengths) and there is no still. Clips of fewer than
720 lines are compared at their own size (or the next smaller one that the model's grid divides: 528 lines of 540), with the same ratio to the uplink. Heights
in between (144, 240, 270 …) are restored as in calls: by the variant whose input is next, to which what was decoded is scaled (with a still up
to 279 lines by x4, if that takes stills). 480 and 540, which
calls leave alone, are enlarged to 720 and deblurred, as 720 is with restoration.sameSize.
References of more pictures a second than --fps are thinned out, to the nearest whole step: of 24 with --fps 10 every second
one is sent. The encoder knows; at the same bitrate each picture gets more bits.

psnrY and ssimY are means over the frames (FFmpeg's psnr and ssim). bitrate is what was asked for, actualBitrate
what the encoder sent; bdRate compares at actualBitrate, from two bitrates on, and is left out where the
qualities do not overlap. VMAF is left out: this FFmpeg is built without libvmaf.

warpError is flicker: how far a method's frame is from its predecessor carried along by the reference's optical
flow, as the mean squared difference of luma code values where the flow holds. tOF is wrong motion: how far the
optical flow between a method's two frames is from the reference's, pixels. Over one pair of frames
in five, and in ten.

--references on gives vireo the first picture of each clip as a sharp still, where and how the page would send it on such
an uplink: AVIF of at most 30 kB, about as good as WebP of quality 46, at 60 kbit/s, to 50 kB and 72 from 250 on; below 150 none
where less than a third of the picture stands still for the first second. (Browsers code it with libaom, this with SVT-AV1 at the
preset that comes nearest to it.) With --start it is still that of the clip's very first picture, and so that old;
it rests, as in calls, while the camera focuses on something else (stillRestedShare of the pictures). Its bytes, spread over --still-every (or the clip, if
that is longer), are part of vireo's actualBitrate, and so of bdRate and hull; each row has them as stillBytes. Other
methods neither have the still nor pay for it.

With several --uplink-height, hull compares the best height restored with the best height sent plainly: at each
bitrate, and as a bdRate over all of them. Quality follows log-rate in straight lines between the encodes of a height.
A height that the model does not restore is sent plainly, and counts on that side alone.

--codec none sends the pictures as they are: with --blur (of the reference, at its own size) and
--uplink-height 720 it measures deblurring. So does --inpaint inpainting: that share of the luma of every picture is
lost at random (always the same pixels) and black; plain methods fill it in from the neighbours, by a Gaussian.

--loss drops RTP packets of 1200 bytes at random (always the same ones): a frame that lacks one is lost whole,
and the receiver shows the last picture until a key frame comes, sent 150 ms later. There is no retransmission.

--key-frames-every forces key frames, as somebody who joins a call does. On a thin uplink they are coarse: for a second the picture is worse than it was.
vireo mends that from the pictures before, as calls do; a model named with --against is the model alone, with neither a still nor that.`;

/** Throws for flags that do not go together. */
export function checkFlags({ codec, loss, keyFramesEvery, inpaint, uplinkHeight }: EvaluateFlags): void {
  const refuse = (why: string) => new VireoError('bad-request', why);
  if (codec === 'none' && loss > 0) throw refuse(`--loss ${loss}: --codec none sends no packets`);
  if (codec === 'none' && keyFramesEvery > 0) {
    throw refuse(`--key-frames-every ${keyFramesEvery}: --codec none has no key frames`);
  }
  if (inpaint === 0) return;
  if (codec !== 'none') throw refuse(`--inpaint ${inpaint}: needs --codec none, not ${codec}`);
  if (uplinkHeight.some((height) => height !== DEFAULT_TARGET_SHORT_SIDE)) {
    throw refuse(`--inpaint ${inpaint}: needs --uplink-height 720, not ${uplinkHeight.join(',')}`);
  }
}

export function bitrates(text: string): number[] {
  return text.split(',').map((part) => {
    const match = /^(\d+(?:\.\d+)?)([kM]?)$/.exec(part.trim());
    const value = Number(match?.[1]) * { '': 1, k: 1_000, M: 1_000_000 }[match?.[2] as '' | 'k' | 'M'];
    if (match === null || !(value >= 5_000 && value <= 50_000_000)) {
      throw new InvalidArgumentError('It must be a list of bitrates from 5k to 50M, such as 60k,120k,1.5M.');
    }
    return value;
  });
}

export function uplinkHeights(text: string): number[] {
  const heights = text.split(',').map((part) => UPLINK_HEIGHTS.find((height) => `${height}` === part.trim()));
  const known = heights.filter((height) => height !== undefined);
  if (known.length < heights.length || new Set(known).size < known.length) {
    throw new InvalidArgumentError(
      `It must be ${UPLINK_HEIGHTS.join(', ')}, or a list of them such as 180,360.`,
    );
  }
  return known;
}

export function methods(text: string): string[] {
  const names = text.split(',').map((part) => part.trim());
  if (names.some((name) => !/^[a-z0-9][a-z0-9-]*$/.test(name) || name === RESTORED)) {
    throw new InvalidArgumentError(`It must be a list of ${KERNELS.join(', ')} and names of model packages.`);
  }
  return [...new Set(names)];
}

export function bounded(low: number, high: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !(value >= low && value <= high)) {
      throw new InvalidArgumentError(`It must be a number from ${low} to ${high}.`);
    }
    return value;
  };
}
