import { useRef } from 'preact/hooks';

export interface SplitDividerProps {
  /** Share of the width left of the divider, 0 to 1: what shows the original. */
  position: number;
  onMove: (position: number) => void;
}

const STEP = 0.02;
const clamp = (value: number) => Math.min(0.98, Math.max(0.02, value));

/** The handle between original and restored: mouse, touch, and arrow keys. */
export function SplitDivider({ position, onMove }: SplitDividerProps) {
  const handle = useRef<HTMLDivElement>(null);

  const moveTo = (clientX: number) => {
    const box = handle.current?.parentElement?.getBoundingClientRect();
    if (box && box.width > 0) onMove(clamp((clientX - box.left) / box.width));
  };

  const onKeyDown = (event: KeyboardEvent) => {
    const move = { ArrowLeft: -STEP, ArrowRight: STEP, PageDown: -5 * STEP, PageUp: 5 * STEP }[event.key];
    const jump = { Home: 0, End: 1 }[event.key];
    if (move === undefined && jump === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    onMove(clamp(jump ?? position + (move ?? 0)));
  };

  return (
    <div
      ref={handle}
      class="split-divider"
      role="slider"
      tabIndex={0}
      aria-label="Divider between original and restored picture"
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(position * 100)}
      aria-valuetext={`${Math.round(position * 100)} percent original`}
      onPointerDown={(event) => {
        event.preventDefault();
        handle.current?.setPointerCapture(event.pointerId);
        handle.current?.focus();
      }}
      onPointerMove={(event) => {
        if (handle.current?.hasPointerCapture(event.pointerId)) moveTo(event.clientX);
      }}
      onKeyDown={onKeyDown}
    >
      <span class="split-grip" aria-hidden="true" />
    </div>
  );
}
