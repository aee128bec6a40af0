// What sharp stills of the sender are worth, at equal bits: theirs are counted.
import { Hull, hullBdRate } from '../../dist/evaluation/hull.js';
import { PLAIN } from './comparisons.mjs';
import { AGED_CALL, AGES_S, STILL_EVERY_S } from './runs.mjs';
import { mean, signed, table } from './tables.mjs';

const RATES = [60_000, 120_000, 240_000, 500_000];

/** @typedef {import('./runs.mjs').Row} Row */

/** @param {import('./report.mjs').Report} report @returns {string} */
export function sharpStills({ clips, seconds, packages, measured }) {
  const { stills } = measured;
  if (stills === null) return '';
  const { name } = packages.model;
  const compared = clips.map((clip) => {
    const of = (/** @type {Row[]} */ rows, /** @type {(row: Row) => boolean} */ chosen) =>
      hullOf(rows.filter((row) => row.clip === clip.file && chosen(row)));
    // What is not restored at 720 lines is sent plainly by whoever may choose.
    const sharp = of(
      [...stills, ...measured.calls],
      (row) => stills.includes(row) || (row.method === PLAIN && row.uplinkHeight === 720),
    );
    const without = of(measured.calls, (row) => row.method === name);
    const plain = of(measured.calls, (row) => row.method === PLAIN);
    const bytes = stills.flatMap((row) => (row.clip === clip.file ? [row.stillBytes ?? 0] : []));
    return { clip, sharp, without, plain, bytes };
  });
  const part = (/** @type {'plain' | 'without'} */ against) => {
    const rows = compared.map(({ clip, sharp, bytes, ...others }) => {
      const gains = RATES.map((rate) => gainAt(others[against], sharp, rate));
      return { clip, bytes, gains, bdRate: hullBdRate(others[against], sharp) };
    });
    const total = (/** @type {string} */ what, /** @type {typeof rows} */ of) => [
      `**${what}**`,
      '',
      ...RATES.map((_, at) => `**${signed(mean(of.map(({ gains }) => gains[at] ?? Number.NaN)))}**`),
      `**${signed(mean(of.map(({ bdRate }) => bdRate ?? Number.NaN)), 1)} %**`,
    ];
    const cells = rows.map(({ clip, bytes, gains, bdRate }) => [
      clip.title,
      `${kilobytes(Math.min(...bytes))} to ${kilobytes(Math.max(...bytes))} kB`,
      ...gains.map((gain) => signed(gain)),
      bdRate === null ? '' : `${signed(bdRate, 1)} %`,
    ]);
    const still = rows.filter(({ clip }) => clip.camera === 'still');
    const head = ['clip', 'still', ...RATES.map((rate) => `${rate / 1_000} kbit/s`), 'BD-rate'];
    const sums =
      still.length > 0 && still.length < rows.length ? [total('mean, camera that stands still', still)] : [];
    return table(head, [...cells, ...sums, total('mean', rows)]);
  };
  return `## Sharp stills

The first picture of each clip as an AVIF still as the page sends it on such an uplink (at most 30 kB, and about as good as WebP of
quality 46, at 60 kbit/s; 50 kB and 72 from 250 on; below 150 kbit/s none where the camera moves); its bytes, spread over ${STILL_EVERY_S} s (a still serves that
long, at least), are counted. Clips are ${seconds} s long, so the still is ${seconds} s old at most. Gain in dB of PSNR-Y at the same bits in all, best height against best height.

Over the best plain sending of 180p, 360p and 720p (${PLAIN}):

${part('plain')}

Over \`${name}\` without stills:

${part('without')}

${asTheyAge(clips, measured, seconds)}`;
}

/**
 * @param {import('./clips.mjs').Clip[]} clips @param {import('./runs.mjs').Measured} measured @param {number} seconds
 */
function asTheyAge(clips, { calls, stills, aged }, seconds) {
  if (aged.length === 0) return '';
  const { height, rates } = AGED_CALL;
  const fresh = [
    ...calls.map((row) => ({ startS: 0, sharp: false, row })),
    ...(stills ?? []).map((row) => ({ startS: 0, sharp: true, row })),
  ];
  const every = [...fresh, ...aged].filter(({ row }) => row.uplinkHeight === height);
  const judged = new Set(aged.map(({ row }) => row.method));
  const cell = (/** @type {string} */ clip, /** @type {number} */ startS, /** @type {number} */ rate) => {
    const rowOf = (/** @type {boolean} */ sharp) =>
      every.find(
        ({ row, ...one }) =>
          one.sharp === sharp &&
          one.startS === startS &&
          row.clip === clip &&
          row.bitrate === rate * 1_000 &&
          (sharp || judged.has(row.method)),
      )?.row;
    const [sharp, plain] = [rowOf(true), rowOf(false)];
    if (sharp === undefined || plain === undefined) return null;
    return { gain: sharp.psnrY - plain.psnrY, rests: sharp.stillRestedShare === 1 };
  };
  const ages = [0, ...AGES_S];
  const rows = clips.map(({ title, file }) => [
    title,
    ...ages.map((age) => {
      const cells = rates.flatMap((rate) => cell(file, age, rate) ?? []);
      if (cells.length < rates.length) return '';
      if (cells.every(({ rests }) => rests)) return 'rests';
      return cells.map(({ gain }) => signed(gain)).join(', ');
    }),
  ]);
  const head = ['clip', ...ages.map((age) => `${age} to ${age + seconds} s`)];
  return `How long a still serves: what it adds to \`${[...judged].join()}\` from ${height}p at ${rates.join(' and ')} kbit/s in the same pictures (its bytes not counted), by its age. Each
time a call begins there, with the still of the clip's very first picture. While the camera focuses on something else (a hand held
before a face, in gesture) the still rests, as in calls, where the page sends another as soon as the picture is calm.

${table(head, rows)}`;
}

/** @param {Row[]} rows */
function hullOf(rows) {
  return new Hull(
    rows.map((row) => ({ uplinkHeight: row.uplinkHeight, rate: row.actualBitrate, quality: row.psnrY })),
  );
}

/** At the thriftiest rate that both have where the rate is below it. @param {Hull} anchor @param {Hull} test @param {number} rate */
function gainAt(anchor, test, rate) {
  const usable = Math.max(rate, anchor.lowestRate ?? rate, test.lowestRate ?? rate);
  return (test.at(usable)?.quality ?? Number.NaN) - (anchor.at(usable)?.quality ?? Number.NaN);
}

/** @param {number} bytes */
function kilobytes(bytes) {
  return (bytes / 1_000).toFixed(1);
}
