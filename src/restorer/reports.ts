import type { NotRestoredReason, RestoreTrackOptions, TrackReport } from './types.js';

/** What is known of a track before anything was measured. */
export function blankReport(options: RestoreTrackOptions, reason: NotRestoredReason): TrackReport {
  return {
    trackId: options.trackId,
    level: 'original',
    reason,
    stages: null,
    model: null,
    provider: null,
    inputCodec: options.input.codec,
    outputCodec: options.output.codec,
    inputWidth: 0,
    inputHeight: 0,
    outputWidth: 0,
    outputHeight: 0,
    inputFps: 0,
    outputFps: 0,
    inputBitrateBps: 0,
    outputBitrateBps: 0,
    packetsLost: 0,
    nacksSent: 0,
    plisSent: 0,
    framesDropped: 0,
    jitterMs: 0,
    takesStills: false,
    reference: null,
  };
}

/** The same track, its restorer gone silent. */
export function downReport(last: TrackReport): TrackReport {
  return {
    ...last,
    level: 'original',
    reason: 'restorer-down',
    stages: null,
    takesStills: false,
    reference: null,
    outputFps: 0,
    outputBitrateBps: 0,
  };
}
