import { useEffect, useRef } from 'preact/hooks';
import type { VariantName } from '../../../src/signaling/messages.js';
import type { ShownFrame } from '../session/model.js';

export interface VariantVideoProps {
  track: MediaStreamTrack;
  variant: VariantName;
  participant: string;
  /** Whether a person sees it now (the other variant keeps decoding underneath until the swap). */
  active: boolean;
  /** Called for every frame that is displayed; null where the browser does not tell its RTP time. */
  onFrame: (frame: ShownFrame | null) => void;
  /** The picture's size, at first and whenever it changes (somebody turned a phone). */
  onSize: (width: number, height: number) => void;
}

/** One variant of one camera. It stays mounted while its track lives, so that a swap never shows black. */
export function VariantVideo({ track, variant, participant, active, onFrame, onSize }: VariantVideoProps) {
  const video = useRef<HTMLVideoElement>(null);
  const latestOnFrame = useRef(onFrame);
  latestOnFrame.current = onFrame;

  useEffect(() => {
    const element = video.current;
    if (!element) return;
    element.srcObject = new MediaStream([track]);
    // Muted video may always play; a rejection only means that it was removed meanwhile.
    element.play().catch(() => {});
    let handle = 0;
    let stopped = false;
    const next = (_nowMs: number, { rtpTimestamp, expectedDisplayTime }: VideoFrameCallbackMetadata) => {
      if (stopped) return;
      latestOnFrame.current(
        rtpTimestamp === undefined ? null : { rtpTimestamp90k: rtpTimestamp, shownAtMs: expectedDisplayTime },
      );
      handle = element.requestVideoFrameCallback(next);
    };
    handle = element.requestVideoFrameCallback(next);
    return () => {
      stopped = true;
      element.cancelVideoFrameCallback(handle);
      element.srcObject = null;
    };
  }, [track]);

  return (
    <video
      ref={video}
      class={active ? 'variant variant-active' : 'variant'}
      data-participant={participant}
      data-variant={variant}
      data-active={active ? 'true' : 'false'}
      onResize={({ currentTarget }) => onSize(currentTarget.videoWidth, currentTarget.videoHeight)}
      autoplay
      playsinline
      muted
      disablePictureInPicture
    />
  );
}
