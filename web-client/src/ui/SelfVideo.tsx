import { useEffect, useRef } from 'preact/hooks';

/** The person's own picture, mirrored as people know themselves. */
export function SelfVideo({
  track,
  mirrored,
  onSize,
}: {
  track: MediaStreamTrack;
  mirrored: boolean;
  onSize?: (width: number, height: number) => void;
}) {
  const video = useRef<HTMLVideoElement>(null);
  useEffect(() => {
    const element = video.current;
    if (!element) return;
    element.srcObject = new MediaStream([track]);
    element.play().catch(() => {});
    return () => {
      element.srcObject = null;
    };
  }, [track]);
  return (
    <video
      ref={video}
      class={mirrored ? 'self mirrored' : 'self'}
      onResize={({ currentTarget }) => onSize?.(currentTarget.videoWidth, currentTarget.videoHeight)}
      autoplay
      playsinline
      muted
      aria-label="Your camera"
    />
  );
}
