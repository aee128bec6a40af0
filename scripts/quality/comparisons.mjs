// The report's numbers: methods against each other, by rate, by clip, and the best against the best.
import { hullOf } from '../../dist/evaluation/report.js';
import { BLUR, LOST_PERCENT } from './runs.mjs';
import { distinct, losses, mean, meanCell, signed, table } from './tables.mjs';

export const BROWSER = 'bilinear';
export const PLAIN = 'bicubic';
const HULL_RATES = [60_000, 120_000, 250_000, 500_000];

/**
 * @typedef {import('./runs.mjs').Row} Row
 * @typedef {import('./report.mjs').Report} Report
 */

/** @param {Report} report */
export function inShort({ clips, packages, measured }) {
  const { name } = packages.model;
  const rows = pointsOf(measured.calls).flatMap(({ height, bitrate }) => {
    const gains = (/** @type {string} */ against) =>
      gainsAt(clips, measured.calls, name, against, height, bitrate);
    const [browser, plain] = [gains(BROWSER), gains(PLAIN)];
    if (browser.length === 0) return [];
    const least = browser.reduce((low, one) => (one.gain < low.gain ? one : low));
    return [
      [
        `${height}p`,
        bitrate / 1_000,
        `${signed(mean(browser.map(({ gain }) => gain)))}`,
        `${signed(least.gain)} (${least.title})`,
        `${signed(mean(plain.map(({ gain }) => gain)))}`,
      ],
    ];
  });
  return `## In short

Gain of \`${name}\` in dB of PSNR-Y, mean over the clips:

${table(['sent', 'kbit/s', `over ${BROWSER}, as browsers show it`, 'the least of all clips', `over ${PLAIN}`], rows)}

${neverWorse({ clips, packages, measured })}`;
}

/** @param {Report} report */
function neverWorse({ clips, packages, measured }) {
  const { name } = packages.model;
  const worse = (/** @type {'psnrY' | 'ssimY'} */ key) => {
    const all = pointsOf(measured.calls).flatMap(({ height, bitrate }) =>
      gainsAt(clips, measured.calls, name, BROWSER, height, bitrate, key).map((one) => ({
        ...one,
        where: `${one.title} ${height}p ${bitrate / 1_000}k`,
      })),
    );
    return losses(all, key === 'psnrY' ? 2 : 4);
  };
  return `Worse than the browser's ${BROWSER}, of all combinations of clip, size and rate:

- in PSNR-Y ${worse('psnrY')};
- in SSIM-Y ${worse('ssimY')}.`;
}

/** @param {Report} report */
export function bestAgainstBest({ clips, packages, measured }) {
  const { name } = packages.model;
  const judged = (/** @type {Row[]} */ rows) =>
    rows.map((row) => (row.method === name ? { ...row, method: 'vireo' } : row));
  const rows = judged(measured.calls);
  const hull = hullOf(rows);
  if (hull === null) return '';
  const parts = [];
  for (const against of [PLAIN, BROWSER]) {
    const of = hull.rows.filter((row) => row.against === against && HULL_RATES.includes(row.bitrate));
    if (of.length === 0) continue;
    const rates = distinct(of.map((row) => row.bitrate)).sort((a, b) => a - b);
    const cells = clips.map(({ file, title }) => [
      title,
      ...rates.map((rate) => {
        const row = of.find((one) => one.clip === file && one.bitrate === rate);
        if (row === undefined) return '';
        return `${signed(row.gain)} (${row.restored.uplinkHeight}p for ${row.plain.uplinkHeight}p)`;
      }),
    ]);
    const summary = hull.summary.filter((one) => one.against === against);
    const total = (
      /** @type {string} */ what,
      /** @type {(one: typeof summary[number]) => number} */ value,
    ) => [
      `**${what}**`,
      ...rates.map((rate) => {
        const one = summary.find(({ bitrate }) => bitrate === rate);
        return one === undefined ? '' : `**${signed(value(one))}**`;
      }),
    ];
    const percent = hull.bdRate[`vireo hull vs ${against} hull`];
    parts.push(`Against ${against}${percent === undefined ? '' : `; BD-rate of the hulls, mean over the clips: **${signed(percent, 1)} %** bits`}:

${table(['clip', ...rates.map((rate) => `${rate / 1_000} kbit/s`)], [...cells, total('mean', (one) => one.gain), total('least', (one) => one.minGain)])}`);
  }
  return `## The best against the best

Whoever sends plainly may choose the resolution, too. Here the best height restored by \`${name}\` meets the best of 180p, 360p and 720p sent plainly
at the same rate, clip by clip at the bits really sent: gain in dB, in brackets the two heights. Between two encodes quality is taken to follow
log-rate; a rate below the thriftiest encode stands for what that one took. A height without a variant in the package counts on the plain side alone.

${parts.join('\n\n')}

${withSizesBetween(hullOf([...rows, ...judged(measured.between.filter(({ codec }) => codec === 'vp8'))]), measured)}`;
}

/** @param {ReturnType<typeof hullOf>} hull @param {import('./runs.mjs').Measured} measured */
function withSizesBetween(hull, { between }) {
  if (hull === null || between.length === 0) return '';
  const heights = distinct(between.map((row) => row.uplinkHeight)).sort((a, b) => a - b);
  const summary = hull.summary.filter(
    ({ against, bitrate }) => against === PLAIN && HULL_RATES.includes(bitrate),
  );
  const gains = summary.map(({ bitrate, gain }) => `${signed(gain)} dB at ${bitrate / 1_000} kbit/s`);
  const percent = hull.bdRate[`vireo hull vs ${PLAIN} hull`];
  const total = percent === undefined ? '' : `; BD-rate ${signed(percent, 1)} %`;
  return `Where both sides may send ${heights.map((height) => `${height}p`).join(', ')}, too (at two rates each): against ${PLAIN} ${gains.join(', ')}${total}.`;
}

/** @param {Report} report */
export function byMethod({ packages, measured }) {
  const parts = distinct(measured.calls.map((row) => row.uplinkHeight))
    .sort((a, b) => a - b)
    .map((height) => {
      // At full height plain methods change nothing: one stands for all.
      const same = height === 720 ? [BROWSER, 'lanczos'] : [];
      const rows = measured.calls.filter((row) => row.uplinkHeight === height && !same.includes(row.method));
      const about = same.length > 0 ? `\`${PLAIN}\` is the decoded picture as it is.\n\n` : '';
      const cells = distinct(rows.map((row) => row.bitrate))
        .sort((a, b) => a - b)
        .flatMap((bitrate) =>
          methodRows(
            rows.filter((row) => row.bitrate === bitrate),
            packages,
            bitrate / 1_000,
          ),
        );
      return `### ${height}p\n\n${about}${table(['kbit/s', ...COLUMNS], cells)}`;
    });
  const networks = packages.baselines.map(
    ({ name, manifest }) =>
      `\`${name}\`: ${manifest.description} ${manifest.weights} weights, ${manifest.licence}.`,
  );
  const about =
    networks.length === 0
      ? ''
      : `\n\nPublished networks, converted by \`models/baselines/build.py\` and run like Vireo's own; large ones at 180p alone:\n${networks.map((line) => `- ${line}`).join('\n')}`;
  return `## Method by method

Means over the clips.${about}

${parts.join('\n\n')}`;
}

const COLUMNS = ['method', 'PSNR-Y', `over ${BROWSER}`, 'SSIM-Y', 'E_warp', 'tOF', 'ms'];

/** @param {Row[]} rows of one operating point @param {import('./runs.mjs').Packages} packages @param {string | number} first */
function methodRows(rows, packages, first) {
  const of = (/** @type {string} */ method) => rows.filter((row) => row.method === method);
  const base = of(BROWSER).length > 0 ? of(BROWSER) : of(PLAIN);
  const own = [packages.model, ...packages.tiers].map(({ name }) => name);
  const methods = distinct(rows.map((row) => row.method));
  const order = [...methods.filter((name) => !own.includes(name)), ...own.slice(1), own[0] ?? ''];
  return order
    .filter((name) => methods.includes(name))
    .map((method, index) => {
      const values = of(method);
      const bold = method === own[0] ? '**' : '';
      const gain = mean(
        values.map((row) => row.psnrY - (base.find(({ clip }) => clip === row.clip)?.psnrY ?? Number.NaN)),
      );
      return [
        index === 0 ? first : '',
        `${bold}${method}${bold}`,
        `${bold}${mean(values.map((row) => row.psnrY)).toFixed(2)}${bold}`,
        signed(gain),
        mean(values.map((row) => row.ssimY)).toFixed(4),
        meanCell(
          values.map((row) => row.warpError),
          2,
        ),
        meanCell(
          values.map((row) => row.tOF),
          3,
        ),
        mean(values.map((row) => row.msPerFrame)).toFixed(1),
      ];
    });
}

/** @param {Report} report */
export function clipByClip({ clips, packages, measured }) {
  const { name } = packages.model;
  const points = pointsOf(measured.calls).filter(
    ({ height, bitrate }) => gainsAt(clips, measured.calls, name, BROWSER, height, bitrate).length > 0,
  );
  const part = (/** @type {string} */ against) => {
    const at = points.map(({ height, bitrate }) =>
      gainsAt(clips, measured.calls, name, against, height, bitrate),
    );
    const cells = clips.map(({ title }) => [
      title,
      ...at.map((gains) => signed(gains.find((one) => one.title === title)?.gain ?? Number.NaN)),
    ]);
    const least = [
      '**least**',
      ...at.map((gains) => `**${signed(Math.min(...gains.map(({ gain }) => gain)))}**`),
    ];
    const head = ['clip', ...points.map(({ height, bitrate }) => `${height}p ${bitrate / 1_000}k`)];
    return `Over ${against}:\n\n${table(head, [...cells, least])}`;
  };
  return `## Clip by clip\n\nGain of \`${name}\` in dB of PSNR-Y.\n\n${part(BROWSER)}\n\n${part(PLAIN)}`;
}

/** @param {Report} report */
export function sameSize({ clips, packages, measured }) {
  const { name } = packages.model;
  const part = (
    /** @type {string} */ title,
    /** @type {string} */ about,
    /** @type {Row[] | null} */ rows,
  ) => {
    if (rows === null)
      return `### ${title}\n\n\`${name}\` ${packages.model.manifest.version} has no variant for it.`;
    const gains = clips.flatMap((clip) => {
      const of = (/** @type {string} */ method) =>
        rows.find((row) => row.clip === clip.file && row.method === method);
      const [own, plain] = [of(name), of(PLAIN)];
      if (own === undefined || plain === undefined) return [];
      return [[clip.title, plain.psnrY.toFixed(2), own.psnrY.toFixed(2), signed(own.psnrY - plain.psnrY)]];
    });
    return `### ${title}

${about}

${table(
  COLUMNS.map((column) => column.replace(BROWSER, 'plain')),
  methodRows(rows, packages, '').map((cells) => cells.slice(1)),
)}

${table(['clip', 'plain', name, 'gain'], gains)}`;
  };
  return `## Without a change of size

720 lines, not coded.

${part('Deblurring', `A Gaussian blur of sigma ${BLUR}. \`${PLAIN}\` is the blurred picture as it is.`, measured.deblur)}

${part('Inpainting', `${LOST_PERCENT} % of the luma lost at random, other pixels in every picture. \`${PLAIN}\` fills each in from the known ones around it, weighted by a Gaussian.`, measured.inpaint)}`;
}

/** @param {Row[]} rows */
function pointsOf(rows) {
  const keys = distinct(rows.map((row) => `${row.uplinkHeight} ${row.bitrate}`));
  return keys
    .map((key) => {
      const [height = 0, bitrate = 0] = key.split(' ').map(Number);
      return { height, bitrate };
    })
    .sort((a, b) => a.height - b.height || a.bitrate - b.bitrate);
}

/**
 * @param {import('./clips.mjs').Clip[]} clips @param {Row[]} rows @param {string} method @param {string} against
 * @param {number} height @param {number} bitrate @param {'psnrY' | 'ssimY'} [key]
 */
function gainsAt(clips, rows, method, against, height, bitrate, key = 'psnrY') {
  return clips.flatMap(({ file, title }) => {
    const of = (/** @type {string} */ name) =>
      rows.find(
        (row) =>
          row.clip === file && row.method === name && row.uplinkHeight === height && row.bitrate === bitrate,
      );
    const [own, other] = [of(method), of(against)];
    return own === undefined || other === undefined ? [] : [{ title, gain: own[key] - other[key] }];
  });
}
