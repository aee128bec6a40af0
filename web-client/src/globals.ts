/** What outside programs (tests, monitoring probes) may ask the page; see docs/protocol.md. */
import type { Snapshot, Statistics } from './session/Statistics.js';

declare global {
  var vireo: { snapshot: () => Promise<Snapshot> };
}

let current: Statistics | null = null;

globalThis.vireo = {
  snapshot: async () => current?.snapshot() ?? { participants: [] },
};

export function publishGlobals(statistics: Statistics): void {
  current = statistics;
}
