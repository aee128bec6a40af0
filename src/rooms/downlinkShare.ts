import { MIN_RESTORED_BPS } from './DownlinkGate.js';

/** What is held back for each audio track, bits per second (Opus with headers). */
export const AUDIO_BPS = 48_000;
/** An original whose sender names no budget. */
export const DEFAULT_ORIGINAL_BPS = 250_000;
/** Share of an estimate that is handed out; the rest is retransmissions and RTCP. */
const USABLE = 0.95;
/** The part of its room that a receiver votes for as the stream's ceiling: the rest lets it keep the stream. */
const VOTE = 0.85;

export interface DownlinkItem {
  publicationId: string;
  kind: 'audio' | 'video';
  originalBps: number;
  wantsRestored: boolean;
  /** The original runs beside the restored variant. */
  split: boolean;
  /** Higher is served first. */
  priority: number;
  /** The restored stream's bit rate as far as it is known. */
  restoredBps: number | null;
}

export interface DownlinkShare {
  /** All that is left for this publication's restored stream when it is served in its turn. */
  availableBps: number;
  /** The ceiling this receiver votes for: its fair share. */
  voteBps: number;
}

/**
 * Divides one receiver's downlink among the restored streams that it wants. Originals and audio are
 * reserved first: restoration never takes what plain forwarding needs.
 */
export function shareDownlink(
  downlinkBps: number,
  items: readonly DownlinkItem[],
): Map<string, DownlinkShare> {
  const wanting = items.filter((item) => item.wantsRestored).sort((a, b) => b.priority - a.priority);
  let left = downlinkBps * USABLE;
  for (const item of items) {
    if (item.kind === 'audio') left -= AUDIO_BPS;
    else if (!item.wantsRestored || item.split) left -= item.originalBps;
  }
  const shares = new Map<string, DownlinkShare>();
  wanting.forEach((item, index) => {
    // Those behind it keep at least their originals.
    const behind = wanting.slice(index + 1);
    const reserved = behind.reduce((sum, other) => sum + (other.split ? 0 : other.originalBps), 0);
    const availableBps = Math.max(0, left - reserved);
    const fairBps = Math.max(0, left / (behind.length + 1));
    shares.set(item.publicationId, {
      availableBps,
      voteBps: Math.max(MIN_RESTORED_BPS, Math.min(availableBps, fairBps) * VOTE),
    });
    left -= Math.min(availableBps, Math.max(item.originalBps, item.restoredBps ?? MIN_RESTORED_BPS));
  });
  return shares;
}
