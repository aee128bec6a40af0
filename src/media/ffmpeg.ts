/** What every use of FFmpeg (node-av) in this process shares. */
import { AV_LOG_QUIET, AV_LOG_WARNING } from 'node-av/constants';
import { type Codec, CodecContext, Dictionary, FFmpegError, Log } from 'node-av/lib';

// A call's packets are hostile or broken as a matter of course: FFmpeg would fill stderr. Failures are counted instead.
Log.setLevel(process.env.VIREO_FFMPEG_LOG ? AV_LOG_WARNING : AV_LOG_QUIET);
// SVT-AV1 writes past FFmpeg's log.
process.env.SVT_LOG ??= process.env.VIREO_FFMPEG_LOG ? '2' : '0';

export const AV_TIME_BASE_90K = 90_000;

/** FFmpeg's words for a negative return value. */
export function ffmpegReason(code: number): string {
  return new FFmpegError(code).message;
}

/** An open context, or the reason why FFmpeg refused; nothing leaks either way. */
export async function openCodec(
  codec: Codec,
  configure: (context: CodecContext) => void,
  options: Record<string, string | number> = {},
): Promise<CodecContext | string> {
  const context = new CodecContext();
  try {
    context.allocContext3(codec);
    configure(context);
    using dictionary = Dictionary.fromObject(options);
    const result = await context.open2(codec, dictionary);
    if (result >= 0) return context;
    context.freeContext();
    return ffmpegReason(result);
  } catch (error) {
    context.freeContext();
    return error instanceof Error ? error.message : String(error);
  }
}
