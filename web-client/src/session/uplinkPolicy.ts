import type { SentHeight } from './ResolutionPolicy.js';

/**
 * What to send within an uplink budget, at most: where that does not fit through, ResolutionPolicy takes less. Resolution follows rate–distortion: at 120 kbit/s 360p already
 * beats 180p, below some 80 kbit/s only 180p is possible, and 720p needs about 400 (docs/quality.md).
 */
export interface UplinkStep {
  /** This step serves budgets up to here, bits per second. */
  upToBps: number;
  /** Short side of the picture sent. */
  height: SentHeight;
  maxFps: number;
}

export const UPLINK_STEPS: readonly UplinkStep[] = [
  { upToBps: 80_000, height: 180, maxFps: 24 },
  { upToBps: 400_000, height: 360, maxFps: 30 },
  { upToBps: Number.POSITIVE_INFINITY, height: 720, maxFps: 30 },
];

/** Ceiling for a budget without limit: what a 720p camera call can use. */
export const UNLIMITED_VIDEO_BPS = 2_000_000;
export const SCREEN_SHARE_BPS = 1_500_000;

export interface UplinkPlan {
  videoBps: number;
  audioBps: number;
  height: SentHeight;
  maxFps: number;
}

/** Splits a budget (null: none) into audio and video and picks the picture that serves it best. */
export function planUplink(budgetBps: number | null): UplinkPlan {
  if (budgetBps === null) return { videoBps: UNLIMITED_VIDEO_BPS, audioBps: 40_000, height: 720, maxFps: 30 };
  const step = UPLINK_STEPS.find(({ upToBps }) => budgetBps <= upToBps) ?? {
    height: 720 as const,
    maxFps: 30,
  };
  // Opus stays good for speech down to 16 kbit/s; a budget's name is the video's rate, as people compare it.
  const audioBps = budgetBps <= 120_000 ? 16_000 : budgetBps <= 250_000 ? 24_000 : 32_000;
  return {
    videoBps: Math.min(budgetBps, UNLIMITED_VIDEO_BPS),
    audioBps,
    height: step.height,
    maxFps: step.maxFps,
  };
}

/** Factor for RTCRtpEncodingParameters.scaleResolutionDownBy: never below 1, the short side as planned. */
export function scaleDownBy(width: number, height: number, targetHeight: number): number {
  return Math.max(1, Math.min(width, height) / targetHeight);
}
