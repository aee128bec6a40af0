import type { ReferenceReport, Stage } from '../../../src/restorer/types.js';
import type { RemotePublication } from '../session/model.js';
import { formatAge, formatBitrate } from '../session/options.js';
import { reasonSentence } from '../session/reasons.js';
import type { ReceivedTrackStatistics, Statistics } from '../session/Statistics.js';
import { StatisticsHeader, StatisticsRows } from './statisticsParts.js';
import { useEscape } from './useEscape.js';

const STAGES: readonly { stage: Stage; label: string }[] = [
  { stage: 'receive', label: 'receive' },
  { stage: 'decode', label: 'decode' },
  { stage: 'wait', label: 'wait' },
  { stage: 'restore', label: 'restore' },
  { stage: 'encode', label: 'encode' },
  { stage: 'total', label: 'added in all' },
];

const LEVELS = { full: 'full model', lighter: 'lighter model', original: 'not restored' } as const;

function received(entry: ReceivedTrackStatistics | undefined): string {
  if (!entry || entry.bitrateBps === 0) return 'paused';
  return `${entry.width}×${entry.height} · ${entry.fps.toFixed(0)} fps · ${formatBitrate(entry.bitrateBps)} · ${entry.codec}`;
}

function stillText(reference: ReferenceReport | null): string {
  if (!reference) return 'none in use';
  const what = reference.id === null ? 'none; an earlier, larger picture, ' : '';
  const age = `${what}${formatAge(reference.ageMs)} old`;
  return reference.found === null ? age : `${age} · ${Math.round(reference.found * 100)} % of the picture`;
}

export interface StatisticsPanelProps {
  publication: RemotePublication;
  statistics: Statistics;
  onClose: () => void;
}

export function StatisticsPanel({ publication, statistics, onClose }: StatisticsPanelProps) {
  useEscape(onClose);
  const tracks = statistics.received.value.filter(({ publicationId }) => publicationId === publication.id);
  const original = tracks.find(({ variant }) => variant === 'original');
  const restored = tracks.find(({ variant }) => variant === 'restored');
  const report = publication.report.value;
  const description = publication.description.value;
  const reason = reasonSentence(
    publication.selectionReason.value ?? report?.reason ?? description.restoredReason ?? null,
  );
  const rows: [string, string][] = [
    ['Original', received(original)],
    ['Restored', received(restored)],
  ];
  if (original) {
    rows.push(['Lost / jitter', `${original.packetsLost} packets / ${original.jitterMs.toFixed(0)} ms`]);
  }
  if (report) {
    rows.push([
      'Relay in',
      `${report.inputWidth}×${report.inputHeight} · ${report.inputFps.toFixed(0)} fps · ${formatBitrate(report.inputBitrateBps)} · ${report.inputCodec}`,
    ]);
    if (report.level !== 'original') {
      rows.push([
        'Relay out',
        `${report.outputWidth}×${report.outputHeight} · ${report.outputFps.toFixed(0)} fps · ${formatBitrate(report.outputBitrateBps)} · ${report.outputCodec}`,
      ]);
      rows.push(['Model', `${report.model ?? '–'} on ${report.provider ?? '–'} (${LEVELS[report.level]})`]);
      rows.push(['Sharp still', stillText(report.reference)]);
    }
  }
  const stages = report?.level !== 'original' ? report?.stages : null;
  return (
    <aside class="statistics" aria-label="Statistics">
      <StatisticsHeader title="Statistics" onClose={onClose} />
      <StatisticsRows rows={rows} />
      {stages && (
        <table>
          <caption>Added latency, milliseconds</caption>
          <thead>
            <tr>
              <th scope="col">stage</th>
              <th scope="col">median</th>
              <th scope="col">95 %</th>
            </tr>
          </thead>
          <tbody>
            {STAGES.map(({ stage, label }) => (
              <tr key={stage} class={stage === 'total' ? 'total' : ''}>
                <th scope="row">{label}</th>
                <td>{stages[stage].p50Ms.toFixed(1)}</td>
                <td>{stages[stage].p95Ms.toFixed(1)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {reason && <p class="statistics-reason">{reason}</p>}
    </aside>
  );
}
