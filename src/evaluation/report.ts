/** The rows `vireo evaluate` prints, and what is summed up from them. */
import { bdRate } from './bdRate.js';

export interface EvaluationRow {
  clip: string;
  codec: string;
  uplinkHeight: number;
  /** Asked for, bits per second. */
  bitrate: number;
  /** What the encoder really sent, bits per second. */
  actualBitrate: number;
  method: string;
  psnrY: number;
  ssimY: number;
  /** Flicker (see WarpMeter), squared luma code values; null for a single frame. */
  warpError: number | null;
  msPerFrame: number;
}

/** Mean over the clips; the fields that a manifest's `evaluation` table takes. */
export interface SummaryRow {
  method: string;
  codec: string;
  uplinkHeight: number;
  bitrate: number;
  psnrY: number;
  ssimY: number;
  warpError: number | null;
}

export interface EvaluationReport {
  rows: EvaluationRow[];
  summary: SummaryRow[];
  /** `vireo vs bicubic`: percent of bits for the same PSNR-Y, mean over the clips; negative: fewer. */
  bdRate: Record<string, number>;
}

export function reportOf(rows: EvaluationRow[]): EvaluationReport {
  return { rows, summary: summaryOf(rows), bdRate: bdRatesOf(rows) };
}

function summaryOf(rows: readonly EvaluationRow[]): SummaryRow[] {
  const groups = new Map<string, EvaluationRow[]>();
  for (const row of rows) {
    const key = `${row.bitrate} ${row.method}`;
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return [...groups.values()].flatMap((group) => {
    const first = group[0];
    if (first === undefined) return [];
    const { method, codec, uplinkHeight, bitrate } = first;
    const psnrY = round(mean(group.map((row) => row.psnrY)), 3);
    const ssimY = round(mean(group.map((row) => row.ssimY)), 4);
    const flicker = group.flatMap((row) => row.warpError ?? []);
    const warpError = flicker.length < group.length ? null : round(mean(flicker), 2);
    return [{ method, codec, uplinkHeight, bitrate, psnrY, ssimY, warpError }];
  });
}

function bdRatesOf(rows: readonly EvaluationRow[]): Record<string, number> {
  const result: Record<string, number> = {};
  for (const other of new Set(rows.map((row) => row.method))) {
    if (other === 'vireo') continue;
    const perClip: number[] = [];
    for (const clip of new Set(rows.map((row) => row.clip))) {
      const points = (method: string) =>
        rows
          .filter((row) => row.clip === clip && row.method === method)
          .map((row) => ({ rate: row.actualBitrate, quality: row.psnrY }));
      const percent = bdRate(points(other), points('vireo'));
      if (percent !== null) perClip.push(percent);
    }
    if (perClip.length > 0) result[`vireo vs ${other}`] = round(mean(perClip), 2);
  }
  return result;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}

export function round(value: number, digits: number): number {
  return Math.round(value * 10 ** digits) / 10 ** digits;
}
