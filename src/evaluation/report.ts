/** The rows `vireo evaluate` prints, and what is summed up from them. */
import { bdRate } from './bdRate.js';
import { type HeightPoint, Hull, hullBdRate } from './hull.js';

/** The restored method's name in rows; the others are kernels and model packages. */
export const RESTORED = 'vireo';
/** Plain methods, which a hull may be compared with. */
const PLAIN: readonly string[] = ['bilinear', 'bicubic', 'lanczos'];

export interface EvaluationRow {
  clip: string;
  codec: string;
  uplinkHeight: number;
  /** Pictures a second that were sent. */
  fps: number;
  /** Asked for, bits per second; 0 without a codec. */
  bitrate: number;
  /** What the encoder really sent, bits per second; 0 without a codec. */
  actualBitrate: number;
  /** Of the still that the method had; left out without one. */
  stillBytes?: number;
  /** Share of the pictures that were sent while it rested (`StillFocus`), 0 to 1; left out without one. */
  stillRestedShare?: number;
  method: string;
  psnrY: number;
  ssimY: number;
  /** Flicker (see WarpMeter), squared luma code values; null for a single frame. */
  warpError: number | null;
  /** Wrong motion (see WarpMeter), pixels; null for a single frame. */
  tOF: number | null;
  msPerFrame: number;
}

/** Mean over the clips; the fields that a manifest's `evaluation` table takes, and tOF. */
export interface SummaryRow {
  method: string;
  codec: string;
  uplinkHeight: number;
  bitrate: number;
  psnrY: number;
  ssimY: number;
  warpError: number | null;
  tOF: number | null;
}

/** What restoring is worth when both sides send at the best of several heights. */
export interface HullReport {
  /** By clip, bitrate asked for and plain method. */
  rows: HullRow[];
  /** Over the clips. */
  summary: { against: string; bitrate: number; clips: number; gain: number; minGain: number }[];
  /** `vireo hull vs bicubic hull`: percent of bits for the same PSNR-Y, mean over the clips; negative: fewer. */
  bdRate: Record<string, number>;
}

export interface HullRow {
  clip: string;
  /** Asked for, bits per second. */
  bitrate: number;
  /** What both sides may spend: `bitrate`, or what the thriftiest encode took where even that took more. */
  rate: number;
  against: string;
  plain: { uplinkHeight: number; psnrY: number };
  restored: { uplinkHeight: number; psnrY: number };
  /** dB. */
  gain: number;
}

export interface EvaluationReport {
  rows: EvaluationRow[];
  summary: SummaryRow[];
  /**
   * `vireo vs bicubic`: percent of bits for the same PSNR-Y, mean over the clips; negative: fewer. With several
   * uplink heights `vireo vs bicubic, 180p`.
   */
  bdRate: Record<string, number>;
  /** With several uplink heights. */
  hull?: HullReport;
}

export function reportOf(rows: EvaluationRow[]): EvaluationReport {
  const heights = distinct(rows.map((row) => row.uplinkHeight));
  const report: EvaluationReport = { rows, summary: summaryOf(rows), bdRate: {} };
  for (const height of heights) {
    const rates = bdRatesOf(rows.filter((row) => row.uplinkHeight === height));
    for (const [pair, percent] of Object.entries(rates)) {
      report.bdRate[heights.length > 1 ? `${pair}, ${height}p` : pair] = percent;
    }
  }
  const hull = heights.length > 1 ? hullOf(rows) : null;
  return hull === null ? report : { ...report, hull };
}

function summaryOf(rows: readonly EvaluationRow[]): SummaryRow[] {
  const groups = new Map<string, EvaluationRow[]>();
  for (const row of rows) {
    const key = `${row.uplinkHeight} ${row.bitrate} ${row.method}`;
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return [...groups.values()].flatMap((group) => {
    const first = group[0];
    if (first === undefined) return [];
    const { method, codec, uplinkHeight, bitrate } = first;
    const psnrY = round(mean(group.map((row) => row.psnrY)), 3);
    const ssimY = round(mean(group.map((row) => row.ssimY)), 4);
    const meanOf = (key: 'warpError' | 'tOF', digits: number) => {
      const values = group.flatMap((row) => row[key] ?? []);
      return values.length < group.length ? null : round(mean(values), digits);
    };
    return [
      {
        method,
        codec,
        uplinkHeight,
        bitrate,
        psnrY,
        ssimY,
        warpError: meanOf('warpError', 2),
        tOF: meanOf('tOF', 3),
      },
    ];
  });
}

function bdRatesOf(rows: readonly EvaluationRow[]): Record<string, number> {
  const result: Record<string, number> = {};
  for (const other of distinct(rows.map((row) => row.method))) {
    if (other === RESTORED) continue;
    const perClip: number[] = [];
    for (const clip of distinct(rows.map((row) => row.clip))) {
      const points = (method: string) =>
        rows
          .filter((row) => row.clip === clip && row.method === method)
          .map((row) => ({ rate: row.actualBitrate, quality: row.psnrY }));
      const percent = bdRate(points(other), points(RESTORED));
      if (percent !== null) perClip.push(percent);
    }
    if (perClip.length > 0) result[`${RESTORED} vs ${other}`] = round(mean(perClip), 2);
  }
  return result;
}

/** The best restored height against the best plain one, at the rates asked for. Null where nothing can be compared. */
export function hullOf(rows: readonly EvaluationRow[]): HullReport | null {
  const plain = PLAIN.filter((method) => rows.some((row) => row.method === method));
  const bitrates = distinct(rows.map((row) => row.bitrate)).sort((a, b) => a - b);
  const report: HullReport = { rows: [], summary: [], bdRate: {} };
  for (const against of plain) {
    const ofMethod: HullRow[] = [];
    const percents: number[] = [];
    for (const clip of distinct(rows.map((row) => row.clip))) {
      const ofClip = rows.filter((row) => row.clip === clip);
      const [anchor, test] = [hullOfMethod(ofClip, against), hullOfMethod(ofClip, RESTORED)];
      for (const bitrate of bitrates) ofMethod.push(...hullRow(ofClip, bitrate, anchor, test, against));
      const percent = hullBdRate(anchor, test);
      if (percent !== null) percents.push(percent);
    }
    report.rows.push(...ofMethod);
    for (const bitrate of bitrates) {
      const gains = ofMethod.filter((row) => row.bitrate === bitrate).map((row) => row.gain);
      if (gains.length === 0) continue;
      const [gain, minGain] = [round(mean(gains), 3), Math.min(...gains)];
      report.summary.push({ against, bitrate, clips: gains.length, gain, minGain });
    }
    if (percents.length > 0) {
      report.bdRate[`${RESTORED} hull vs ${against} hull`] = round(mean(percents), 2);
    }
  }
  return report.rows.length === 0 ? null : report;
}

function hullOfMethod(rows: readonly EvaluationRow[], method: string): Hull {
  const points = rows
    .filter((row) => row.method === method)
    .map(({ uplinkHeight, actualBitrate, psnrY }): HeightPoint => {
      return { uplinkHeight, rate: actualBitrate, quality: psnrY };
    });
  return new Hull(points);
}

function hullRow(
  ofClip: readonly EvaluationRow[],
  bitrate: number,
  anchor: Hull,
  test: Hull,
  against: string,
): HullRow[] {
  const spent = ofClip.filter((row) => row.bitrate <= bitrate).map((row) => row.actualBitrate);
  const rate = Math.max(bitrate, Math.min(...spent));
  const [plain, restored] = [anchor.at(rate), test.at(rate)];
  if (plain === null || restored === null) return [];
  const point = ({ uplinkHeight, quality }: typeof plain) => ({ uplinkHeight, psnrY: round(quality, 3) });
  return [
    {
      clip: ofClip[0]?.clip ?? '',
      bitrate,
      rate,
      against,
      plain: point(plain),
      restored: point(restored),
      gain: round(restored.quality - plain.quality, 3),
    },
  ];
}

function distinct<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}

export function round(value: number, digits: number): number {
  return Math.round(value * 10 ** digits) / 10 ** digits;
}
