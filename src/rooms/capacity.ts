/** One publication that should be restored. */
export interface SlotRequest {
  publicationId: string;
  priority: number;
  /** Has a slot now. */
  running: boolean;
  /** When it was first wanted, for fairness among equals. */
  wantedSinceMs: number;
}

/**
 * Picks which publications are restored when there are more than the restorer takes: the highest
 * priority first; among equals those that run already, then those that wait longest.
 */
export function assignSlots(requests: readonly SlotRequest[], slots: number): Set<string> {
  const ordered = [...requests].sort(
    (a, b) =>
      b.priority - a.priority ||
      Number(b.running) - Number(a.running) ||
      a.wantedSinceMs - b.wantedSinceMs ||
      a.publicationId.localeCompare(b.publicationId),
  );
  return new Set(ordered.slice(0, Math.max(0, slots)).map((request) => request.publicationId));
}
