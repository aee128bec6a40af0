/**
 * Codecs whose key frames in mid-call are mended. x264's are as good as the pictures before them, and there is nothing to be gained (models/mending/README.md).
 */
const MENDED: ReadonlySet<string> = new Set(['vp8', 'vp9', 'av1']);

/** `VP8`, `h264`, … */
export function mendsKeyFrames(codec: string): boolean {
  return MENDED.has(codec.toLowerCase());
}
