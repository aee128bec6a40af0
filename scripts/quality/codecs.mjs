// The judged model on what other encoders than VP8 send.
import { BROWSER, PLAIN } from './comparisons.mjs';
import { distinct, losses, mean, meanCell, signed, table } from './tables.mjs';

/** @type {Record<string, string>} */
const NAMES = { h264: 'H.264', vp9: 'VP9', av1: 'AV1' };

/** @typedef {import('./runs.mjs').Row} Row */

/** @param {import('./report.mjs').Report} report @returns {string} */
export function otherCodecs({ clips, packages, measured }) {
  const { name } = packages.model;
  // A height that the model does not restore has nothing to be compared.
  const points = comparedPoints(measured.codecs, name, clips).filter(({ compared }) => compared.length > 0);
  if (points.length === 0) return '';
  const rows = points.map(({ codec, height, bitrate, compared }) => {
    const gains = compared.map((one) => ({ ...one, gain: one.ours.psnrY - one.browser.psnrY }));
    const least = gains.reduce((low, one) => (one.gain < low.gain ? one : low));
    const flicker = (/** @type {'ours' | 'plain'} */ whose) =>
      meanCell(
        compared.map((one) => one[whose].warpError),
        2,
      );
    return [
      NAMES[codec] ?? codec,
      `${height}p`,
      bitrate / 1_000,
      signed(mean(gains.map(({ gain }) => gain))),
      `${signed(least.gain)} (${least.title})`,
      signed(mean(compared.map(({ ours, browser }) => ours.ssimY - browser.ssimY)), 4),
      signed(mean(compared.map(({ ours, plain }) => ours.psnrY - plain.psnrY))),
      `${flicker('plain')} → ${flicker('ours')}`,
    ];
  });
  const careful = packages.model.manifest.variants
    .filter(({ task, strengths }) => task !== 'inpaint' && strengths !== undefined)
    .map(({ scale, strengths }) => {
      const list = Object.entries(strengths ?? {}).map(
        ([codec, share]) => `${share === 0 ? 'nothing' : share} of ${NAMES[codec] ?? codec}`,
      );
      return ` Of what is added at ${720 / scale}p the manifest has calls take ${list.join(' and ')}.`;
    });
  const all = points.flatMap((point) => point.compared.map((one) => ({ ...point, ...one })));
  const worse = (/** @type {'psnrY' | 'ssimY'} */ key, /** @type {number} */ digits) => {
    const gains = all.map(({ codec, title, height, bitrate, ours, browser }) => ({
      where: `${title} ${NAMES[codec] ?? codec} ${height}p ${bitrate / 1_000}k`,
      gain: ours[key] - browser[key],
    }));
    return losses(gains, digits);
  };
  return `## Other encoders

The same clips, sizes and rates through the other codecs of calls: x264 (ultrafast, zero latency), libvpx VP9 (cpu-used 7), SVT-AV1 (preset 12).${careful.join('')} Gain of
\`${name}\`, mean over the clips; E_warp of ${PLAIN} and of \`${name}\`:

${table(['codec', 'sent', 'kbit/s', `PSNR-Y over ${BROWSER}`, 'the least of all clips', 'SSIM-Y', `PSNR-Y over ${PLAIN}`, 'E_warp'], rows)}

Worse than the browser's ${BROWSER}:

- in PSNR-Y ${worse('psnrY', 2)};
- in SSIM-Y ${worse('ssimY', 4)}.`;
}

/** @param {Row[]} rows @param {string} name @param {import('./clips.mjs').Clip[]} clips */
function comparedPoints(rows, name, clips) {
  const order = Object.keys(NAMES);
  const sorted = [...rows].sort(
    (a, b) =>
      order.indexOf(a.codec) - order.indexOf(b.codec) ||
      a.uplinkHeight - b.uplinkHeight ||
      a.bitrate - b.bitrate,
  );
  return distinct(
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
}
