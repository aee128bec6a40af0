// The judged model on what other encoders than VP8 send, and on calls with few pictures a second.
import { BROWSER, PLAIN } from './comparisons.mjs';
import { FEW } from './runs.mjs';
import { distinct, losses, mean, meanCell, signed, table } from './tables.mjs';

/** @type {Record<string, string>} */
const NAMES = { vp8: 'VP8', h264: 'H.264', vp9: 'VP9', av1: 'AV1' };

/** Lines of a picture, of 720, that is no longer scaled to a variant that enlarges. */
const LEFT_ALONE_FROM = 397;

/**
 * @typedef {import('./runs.mjs').Row} Row
 * @typedef {{ codec: string, height: number, bitrate: number, compared: { title: string, ours: Row, browser: Row, plain: Row }[] }} Point
 */

/** @param {import('./report.mjs').Report} report @returns {string} */
export function otherCodecs({ clips, packages, measured }) {
  const { name } = packages.model;
  const points = comparedPoints(measured.codecs, name, clips);
  if (points.length === 0) return '';
  const careful = packages.model.manifest.variants
    .filter(({ task, strengths }) => task !== 'inpaint' && strengths !== undefined)
    .map(({ scale, strengths }) => {
      const list = Object.entries(strengths ?? {}).map(
        ([codec, share]) => `${share === 0 ? 'nothing' : share} of ${NAMES[codec] ?? codec}`,
      );
      return ` Of what is added at ${720 / scale}p the manifest has calls take ${list.join(' and ')}.`;
    });
  return `## Other encoders

The same clips, sizes and rates through the other codecs of calls: x264 (superfast, zero latency, baseline), libvpx VP9 (cpu-used 7), SVT-AV1 (preset 12).${careful.join('')} Gain of
\`${name}\`, mean over the clips; E_warp of ${PLAIN} and of \`${name}\`:

${gains(points)}`;
}

/** @param {import('./report.mjs').Report} report @returns {string} */
export function fewPictures({ clips, packages, measured }) {
  const { name } = packages.model;
  const points = comparedPoints(measured.few, name, clips);
  if (points.length === 0) return '';
  return `## ${FEW} pictures a second

On a thin uplink browsers send fewer pictures, each with more bits, and what moves is further away from one to the next. Every third picture of 30 or
25, every second of 24; VP8, twice as long. Gain of \`${name}\`, mean over the clips; E_warp of ${PLAIN} and of \`${name}\`:

${gains(points)}`;
}

/** @param {import('./report.mjs').Report} report @returns {string} */
export function sizesBetween({ clips, packages, measured }) {
  const { name } = packages.model;
  const points = comparedPoints(measured.between, name, clips);
  if (points.length === 0) return '';
  const enlarged = points.filter(({ height }) => height < LEFT_ALONE_FROM);
  const full = points.filter(({ height }) => height >= LEFT_ALONE_FROM);
  return `## Sizes in between

What browsers choose by themselves on a thin uplink (three eighths of 720 lines; the page sends 144 and 270 lines, too), and cameras of 320x240 have. The relay enlarges such a picture
bicubically to the input of the variant that is next. Gain of \`${name}\`, mean over the clips; E_warp of ${PLAIN} and of \`${name}\`:

${gains(enlarged)}${full.length === 0 ? '' : `\n\nFrom ${LEFT_ALONE_FROM} to 719 lines calls leave pictures alone. Enlarged to 720 lines and restored there, as \`vireo restore\` does it:\n\n${gains(full)}`}`;
}

/** What is gained at each point, and where something is lost. @param {Point[]} points */
function gains(points) {
  const rows = points.map(({ codec, height, bitrate, compared }) => {
    const over = compared.map((one) => ({ ...one, gain: one.ours.psnrY - one.browser.psnrY }));
    const least = over.reduce((low, one) => (one.gain < low.gain ? one : low));
    const flicker = (/** @type {'ours' | 'plain'} */ whose) =>
      meanCell(
        compared.map((one) => one[whose].warpError),
        2,
      );
    return [
      NAMES[codec] ?? codec,
      `${height}p`,
      bitrate / 1_000,
      signed(mean(over.map(({ gain }) => gain))),
      `${signed(least.gain)} (${least.title})`,
      signed(mean(compared.map(({ ours, browser }) => ours.ssimY - browser.ssimY)), 4),
      signed(mean(compared.map(({ ours, plain }) => ours.psnrY - plain.psnrY))),
      `${flicker('plain')} → ${flicker('ours')}`,
    ];
  });
  const all = points.flatMap((point) => point.compared.map((one) => ({ ...point, ...one })));
  const worse = (/** @type {'psnrY' | 'ssimY'} */ key, /** @type {number} */ digits) => {
    const differences = all.map(({ codec, title, height, bitrate, ours, browser }) => ({
      where: `${title} ${NAMES[codec] ?? codec} ${height}p ${bitrate / 1_000}k`,
      gain: ours[key] - browser[key],
    }));
    return losses(differences, digits);
  };
  return `${table(['codec', 'sent', 'kbit/s', `PSNR-Y over ${BROWSER}`, 'the least of all clips', 'SSIM-Y', `PSNR-Y over ${PLAIN}`, 'E_warp'], rows)}

Worse than the browser's ${BROWSER}:

- in PSNR-Y ${worse('psnrY', 2)};
- in SSIM-Y ${worse('ssimY', 4)}.`;
}

/**
 * Without the heights that the model does not restore, which have nothing to be compared.
 * @param {Row[]} rows @param {string} name @param {import('./clips.mjs').Clip[]} clips @returns {Point[]}
 */
function comparedPoints(rows, name, clips) {
  const order = Object.keys(NAMES);
  const sorted = [...rows].sort(
    (a, b) =>
      order.indexOf(a.codec) - order.indexOf(b.codec) ||
      a.uplinkHeight - b.uplinkHeight ||
      a.bitrate - b.bitrate,
  );
  const points = distinct(
    sorted.map(({ codec, uplinkHeight, bitrate }) => `${codec} ${uplinkHeight} ${bitrate}`),
  ).map((key) => {
    const [codec = '', height = '', bitrate = ''] = key.split(' ');
    const of = rows.filter((row) => `${row.codec} ${row.uplinkHeight} ${row.bitrate}` === key);
    const compared = clips.flatMap(({ file, title }) => {
      const by = (/** @type {string} */ method) =>
        of.find((row) => row.clip === file && row.method === method);
      const [ours, browser, plain] = [by(name), by(BROWSER), by(PLAIN)];
      return ours && browser && plain ? [{ title, ours, browser, plain }] : [];
    });
    return { codec, height: Number(height), bitrate: Number(bitrate), compared };
  });
  return points.filter(({ compared }) => compared.length > 0);
}
