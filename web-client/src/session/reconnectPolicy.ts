/** Delays before each further attempt, milliseconds; the last one repeats while the session's grace lasts. */
const DELAYS_MS = [0, 300, 600, 1_200, 2_400, 4_800] as const;
const JITTER = 0.3;

/** Delay before attempt `attempt` (0 is the first after a loss), spread so that clients do not come back at once. */
export function reconnectDelayMs(attempt: number, random: () => number = Math.random): number {
  const base = DELAYS_MS[Math.min(attempt, DELAYS_MS.length - 1)] ?? 0;
  return Math.round(base * (1 + JITTER * (2 * random() - 1)));
}
