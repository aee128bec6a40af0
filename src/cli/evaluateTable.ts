/** What `vireo evaluate` prints without `--json`. */
import { type EvaluationReport, type EvaluationRow, type HullReport, round } from '../evaluation/report.js';

const WIDTHS = [28, 6, 9, 14, 9, 8, 9, 8, 8];

export function printTable(report: EvaluationReport): void {
  const lines = [
    line(['clip', 'lines', 'kbit/s', 'method', 'PSNR-Y', 'SSIM-Y', 'flicker', 'tOF', 'ms/frame']),
  ];
  for (const row of report.rows)
    lines.push(line([row.clip, ...cells(row, row.actualBitrate), row.msPerFrame]));
  for (const row of report.summary) lines.push(line(['mean', ...cells(row, row.bitrate)]));
  for (const [pair, percent] of Object.entries(report.bdRate)) lines.push(`BD-rate ${pair}: ${percent} %`);
  if (report.hull !== undefined) lines.push(...hullLines(report.hull));
  process.stdout.write(`${lines.join('\n')}\n`);
}

function cells(row: Omit<EvaluationRow, 'clip' | 'fps' | 'actualBitrate' | 'msPerFrame'>, bitrate: number) {
  const { uplinkHeight, method, psnrY, ssimY, warpError, tOF } = row;
  const kbps = row.codec === 'none' ? 'none' : round(bitrate / 1_000, 1);
  return [uplinkHeight, kbps, method, psnrY.toFixed(2), ssimY.toFixed(4), warpError ?? '', tOF ?? ''];
}

function hullLines(hull: HullReport): string[] {
  const lines: string[] = [];
  for (const { clip, bitrate, against, plain, restored, gain } of hull.rows) {
    const sides = `restored ${restored.uplinkHeight}p ${restored.psnrY.toFixed(2)}, ${against} ${plain.uplinkHeight}p ${plain.psnrY.toFixed(2)}`;
    lines.push(`hull at ${bitrate / 1_000} kbit/s, ${clip}: ${signed(gain)} dB (${sides})`);
  }
  for (const { against, bitrate, gain, minGain } of hull.summary) {
    lines.push(
      `hull at ${bitrate / 1_000} kbit/s, mean: ${signed(gain)} dB over ${against}, ${signed(minGain)} at least`,
    );
  }
  for (const [pair, percent] of Object.entries(hull.bdRate)) lines.push(`BD-rate ${pair}: ${percent} %`);
  return lines;
}

function signed(value: number): string {
  return `${value < 0 ? '' : '+'}${value.toFixed(2)}`;
}

function line(values: readonly (string | number)[]): string {
  return values
    .map((value, index) => String(value).padEnd(WIDTHS[index] ?? 8))
    .join(' ')
    .trimEnd();
}
