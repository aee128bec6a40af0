// Rate-distortion curves as SVG: a panel a clip, PSNR-Y over the bits really sent.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Hull } from '../../dist/evaluation/hull.js';

const [WIDTH, HEIGHT] = [520, 340];
const PLOT = { left: 46, right: 12, top: 30, bottom: 36 };
const COLOURS = new Map([
  [180, '#c2571a'],
  [360, '#1b7f5c'],
  [720, '#5b4bb5'],
]);
const PLAIN = 'bicubic';

/**
 * @param {import('./clips.mjs').Clip[]} clips @param {import('./runs.mjs').Measured} measured @param {string} images
 * @returns {Promise<{ title: string, file: string }[]>}
 */
export async function drawCurves(clips, measured, images) {
  const curves = [];
  for (const clip of clips) {
    const of = (/** @type {import('./runs.mjs').Row[] | null} */ rows) =>
      (rows ?? []).filter((row) => row.clip === clip.file);
    const rows = of(measured.calls);
    const file = `curve-${clip.title}.svg`.toLowerCase().replaceAll(' ', '-');
    const judged = rows[0]?.method ?? '';
    await writeFile(join(images, file), draw(clip.title, rows, judged, of(measured.stills)));
    curves.push({ title: clip.title, file });
  }
  return curves;
}

/**
 * @param {string} title @param {import('./runs.mjs').Row[]} rows @param {string} judged
 * @param {import('./runs.mjs').Row[]} stills rows with sharp stills
 */
function draw(title, rows, judged, stills) {
  const shown = [...rows.filter((row) => row.method === PLAIN || row.method === judged), ...stills];
  const rates = shown.map((row) => row.actualBitrate);
  const qualities = shown.map((row) => row.psnrY);
  const logs = [Math.log(Math.min(...rates)) - 0.1, Math.log(Math.max(...rates)) + 0.1];
  const dB = [Math.floor(Math.min(...qualities) * 2) / 2, Math.ceil(Math.max(...qualities) * 2) / 2];
  const across = (/** @type {number} */ rate) =>
    PLOT.left +
    ((Math.log(rate) - (logs[0] ?? 0)) / ((logs[1] ?? 1) - (logs[0] ?? 0))) *
      (WIDTH - PLOT.left - PLOT.right);
  const down = (/** @type {number} */ quality) =>
    HEIGHT -
    PLOT.bottom -
    ((quality - (dB[0] ?? 0)) / ((dB[1] ?? 1) - (dB[0] ?? 0))) * (HEIGHT - PLOT.top - PLOT.bottom);
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" font-family="sans-serif" font-size="11">`,
    `<title>${title}: PSNR-Y over bit rate</title>`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    `<text x="${PLOT.left}" y="16" font-size="13" font-weight="bold" fill="#222">${title}</text>`,
    ...grid(logs, dB, across, down),
  ];
  const sharp = stills[0]?.method;
  for (const method of [PLAIN, judged, ...(sharp === undefined ? [] : [sharp])]) {
    const restored = method !== PLAIN;
    const points = shown.filter((row) => row.method === method);
    parts.push(hullPath(points, logs[1] ?? 0, across, down, restored));
    for (const height of new Set(points.map((row) => row.uplinkHeight))) {
      const own = points
        .filter((row) => row.uplinkHeight === height)
        .sort((a, b) => a.actualBitrate - b.actualBitrate);
      const at = own.map((row) => `${across(row.actualBitrate).toFixed(1)},${down(row.psnrY).toFixed(1)}`);
      const colour = COLOURS.get(height) ?? '#444';
      const pattern = method === sharp ? '1 3' : '4 3';
      const dash = method === judged ? '' : ` stroke-dasharray="${pattern}"`;
      parts.push(
        `<polyline points="${at.join(' ')}" fill="none" stroke="${colour}" stroke-width="1.5"${dash}/>`,
      );
      for (const point of at) {
        const [x, y] = point.split(',');
        parts.push(
          `<circle cx="${x}" cy="${y}" r="3" fill="${restored ? colour : '#fff'}" stroke="${colour}" stroke-width="1.5"/>`,
        );
      }
    }
  }
  parts.push(...legend(judged), '</svg>');
  return `${parts.join('\n')}\n`;
}

/**
 * @param {number[]} logs @param {number[]} dB
 * @param {(rate: number) => number} across @param {(quality: number) => number} down
 */
function grid(logs, dB, across, down) {
  const parts = [];
  const step = (dB[1] ?? 0) - (dB[0] ?? 0) > 5 ? 1 : 0.5;
  for (let quality = dB[0] ?? 0; quality <= (dB[1] ?? 0) + 1e-9; quality += step) {
    const y = down(quality).toFixed(1);
    parts.push(`<line x1="${PLOT.left}" x2="${WIDTH - PLOT.right}" y1="${y}" y2="${y}" stroke="#e4e4e4"/>`);
    parts.push(
      `<text x="${PLOT.left - 6}" y="${Number(y) + 4}" text-anchor="end" fill="#555">${quality.toFixed(1)}</text>`,
    );
  }
  for (const kbps of [30, 60, 120, 250, 500, 1_000]) {
    const log = Math.log(kbps * 1_000);
    if (log < (logs[0] ?? 0) || log > (logs[1] ?? 0)) continue;
    const x = across(kbps * 1_000).toFixed(1);
    parts.push(`<line x1="${x}" x2="${x}" y1="${PLOT.top}" y2="${HEIGHT - PLOT.bottom}" stroke="#e4e4e4"/>`);
    parts.push(
      `<text x="${x}" y="${HEIGHT - PLOT.bottom + 14}" text-anchor="middle" fill="#555">${kbps}</text>`,
    );
  }
  const middle = (PLOT.left + WIDTH - PLOT.right) / 2;
  parts.push(
    `<text x="${middle}" y="${HEIGHT - 6}" text-anchor="middle" fill="#555">kbit/s really sent; PSNR-Y in dB</text>`,
  );
  return parts;
}

/**
 * @param {import('./runs.mjs').Row[]} rows @param {number} end
 * @param {(rate: number) => number} across @param {(quality: number) => number} down @param {boolean} restored
 */
function hullPath(rows, end, across, down, restored) {
  const hull = new Hull(
    rows.map((row) => ({ uplinkHeight: row.uplinkHeight, rate: row.actualBitrate, quality: row.psnrY })),
  );
  const start = Math.log(hull.lowestRate ?? 1);
  const at = [];
  for (let k = 0; k <= 160; k++) {
    // Rounding must not go below the thriftiest encode.
    const rate = k === 0 ? (hull.lowestRate ?? 1) : Math.exp(start + ((end - start) * k) / 160);
    const point = hull.at(rate);
    if (point !== null) at.push(`${across(rate).toFixed(1)},${down(point.quality).toFixed(1)}`);
  }
  return `<polyline points="${at.join(' ')}" fill="none" stroke="${restored ? '#2f6fd0' : '#999'}" stroke-width="6" stroke-opacity="0.3" stroke-linejoin="round"/>`;
}

/** @param {string} judged */
function legend(judged) {
  const parts = [];
  let x = WIDTH - PLOT.right - 376;
  for (const [height, colour] of COLOURS) {
    parts.push(
      `<circle cx="${x}" cy="12" r="3.5" fill="${colour}"/><text x="${x + 7}" y="16" fill="#222">${height}p</text>`,
    );
    x += 44;
  }
  parts.push(
    `<line x1="${x}" x2="${x + 18}" y1="12" y2="12" stroke="#444" stroke-width="1.5"/><text x="${x + 22}" y="16" fill="#222">${judged}</text>`,
  );
  x += 74;
  parts.push(
    `<line x1="${x}" x2="${x + 18}" y1="12" y2="12" stroke="#444" stroke-width="1.5" stroke-dasharray="4 3"/><text x="${x + 22}" y="16" fill="#222">plain</text>`,
  );
  x += 60;
  parts.push(
    `<line x1="${x}" x2="${x + 18}" y1="12" y2="12" stroke="#2f6fd0" stroke-opacity="0.3" stroke-width="6"/><text x="${x + 22}" y="16" fill="#222">best of them</text>`,
  );
  return parts;
}
