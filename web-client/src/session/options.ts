/** What a link to a room may say: `/r/ROOM?name=Ann&autojoin=1&uplink=120k&view=split&token=…`. */
import type { View } from '../../../src/signaling/messages.js';

export interface JoinOptions {
  room: string;
  name: string;
  /** Join without the lobby. */
  autojoin: boolean;
  /** Bits per second for everything this participant sends; null: no limit. */
  uplinkBps: number | null;
  view: View;
  token: string | null;
}

export const DEFAULT_UPLINK_BPS = 120_000;
const NAME_MAX = 64;

/** `120k`, `1.5m`, `90000` or `none`; undefined when it is none of these. */
export function parseBitrate(text: string): number | null | undefined {
  if (/^(none|max|unlimited)$/i.test(text)) return null;
  const match = /^(\d+(?:\.\d+)?)([km]?)$/i.exec(text.trim());
  if (!match) return undefined;
  const factor = { '': 1, k: 1_000, m: 1_000_000 }[match[2]?.toLowerCase() ?? ''] ?? 1;
  const bitrateBps = Math.round(Number(match[1]) * factor);
  return bitrateBps >= 20_000 ? bitrateBps : undefined;
}

export function formatBitrate(bitrateBps: number): string {
  if (bitrateBps >= 1_000_000) return `${(bitrateBps / 1_000_000).toFixed(1)} Mbit/s`;
  return `${Math.round(bitrateBps / 1_000)} kbit/s`;
}

/** `12 s`, `3 min`. */
export function formatAge(ageMs: number): string {
  const seconds = Math.round(ageMs / 1_000);
  return seconds < 120 ? `${seconds} s` : `${Math.round(seconds / 60)} min`;
}

function parseView(text: string | null): View | undefined {
  return text === 'restored' || text === 'original' || text === 'split' ? text : undefined;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // A broken escape: shown as it stands, so that the person sees what is wrong.
    return text;
  }
}

/** What the relay takes as a name: one line, at most 64 UTF-16 units, no half character at the end. */
function tidyName(text: string): string {
  return text
    .replace(/\p{Cc}+/gu, ' ')
    .trim()
    .slice(0, NAME_MAX)
    .replace(/[\uD800-\uDBFF]$/, '');
}

/** Reads a page's address; `remembered` are the person's earlier choices, which the link overrides. */
export function parseJoinOptions(url: URL, remembered: Partial<JoinOptions> = {}): JoinOptions {
  const room = /^\/r\/([^/]+)\/?$/.exec(url.pathname)?.[1] ?? '';
  const uplink = parseBitrate(url.searchParams.get('uplink') ?? '');
  const rememberedUplink = remembered.uplinkBps === undefined ? DEFAULT_UPLINK_BPS : remembered.uplinkBps;
  return {
    room: decoded(room),
    name: tidyName(url.searchParams.get('name') ?? remembered.name ?? ''),
    autojoin: ['1', 'true'].includes(url.searchParams.get('autojoin') ?? ''),
    uplinkBps: uplink === undefined ? rememberedUplink : uplink,
    view: parseView(url.searchParams.get('view')) ?? remembered.view ?? 'restored',
    token: url.searchParams.get('token'),
  };
}
