import type { CallSession } from '../session/CallSession.js';
import { formatAge, formatBitrate } from '../session/options.js';
import type { SentTrackStatistics, Statistics } from '../session/Statistics.js';
import { StatisticsHeader, StatisticsRows } from './statisticsParts.js';
import { useEscape } from './useEscape.js';

export interface SelfStatisticsPanelProps {
  session: CallSession;
  statistics: Statistics;
  /** The camera, as it is sent; undefined: it is not. */
  sent: SentTrackStatistics | undefined;
  onClose: () => void;
}

/** What this person sends: video, and the stills beside it. */
export function SelfStatisticsPanel({ session, statistics, sent, onClose }: SelfStatisticsPanelProps) {
  useEscape(onClose);
  const rows: (readonly [string, string])[] = [
    [
      'Video',
      sent && sent.width > 0
        ? `${sent.width}×${sent.height} · ${sent.fps.toFixed(0)} fps · ${formatBitrate(sent.bitrateBps)}`
        : 'not sent',
    ],
  ];
  if (sent && sent.roundTripMs !== null) {
    const loss = sent.lossShare === null ? '–' : `${(sent.lossShare * 100).toFixed(1)} %`;
    rows.push(['Lost / delay', `${loss} / ${sent.roundTripMs.toFixed(0)} ms there and back`]);
  }
  return (
    <aside class="statistics" aria-label="Your statistics">
      <StatisticsHeader title="What you send" onClose={onClose} />
      <StatisticsRows rows={[...rows, ...stillRows(session, statistics.stillShare.value)]} />
    </aside>
  );
}

function stillRows({ references, publisher }: CallSession, share: number | null): [string, string][] {
  if (!references.possible.value) return [['Sharp stills', 'not possible here']];
  const { count, bytes, lastAtMs, sending, waitsForCamera, resting } = references.sent.value;
  const on = references.enabled.value && publisher.restorable.value;
  const waiting = waitsForCamera ? ' · waiting for the camera to stand still' : '';
  const idle = resting ? ' · not used, the focus has changed' : waiting;
  const state = !on ? ' · off' : sending ? ' · sending one' : idle;
  const rows: [string, string][] = [
    ['Sharp stills', `${count} sent${count > 0 ? ` · ${Math.round(bytes / 1_000)} kB` : ''}${state}`],
  ];
  if (lastAtMs !== null) rows.push(['Last one', `${formatAge(performance.now() - lastAtMs)} ago`]);
  if (share !== null && (count > 0 || sending))
    rows.push(['Their share', `${Math.round(share * 100)} % of the last minute`]);
  return rows;
}
