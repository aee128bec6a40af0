// docs/quality.md, put together from what was measured.
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { fewPictures, otherCodecs, sizesBetween } from './codecs.mjs';
import { BROWSER, bestAgainstBest, byMethod, clipByClip, inShort, PLAIN, sameSize } from './comparisons.mjs';
import { MEASURED_BEFORE, PUBLISHED } from './published.mjs';
import { sharpStills } from './stills.mjs';
import { table } from './tables.mjs';

const models = fileURLToPath(new URL('../../models/', import.meta.url));

/**
 * @typedef {object} Report
 * @property {import('./clips.mjs').Clip[]} clips
 * @property {number} seconds of each clip
 * @property {import('./runs.mjs').Packages} packages
 * @property {import('./runs.mjs').Measured} measured
 * @property {{ title: string, file: string }[]} curves
 * @property {import('./strips.mjs').Strip[]} strips
 * @property {string} machine
 */

/** @param {Report} report @returns {Promise<string>} */
export async function writeReport(report) {
  const { clips, seconds, packages, machine } = report;
  const { manifest } = packages.model;
  const sections = [
    `# Picture quality

<!-- Written by \`npm run quality\`: what is changed here by hand is lost. -->

\`${manifest.name}\` ${manifest.version} on ${clips.length} clips${clips.every(({ from }) => from !== undefined) ? ' kept out of its training' : ''}, the first ${seconds} s of each, sent as a call
sends them: VP8 in real time at a constant bitrate, scaled down from 720 lines. All of it is made by one command,
\`npm run quality -- --data DIR\`; every number comes from \`vireo evaluate --json\`, whose \`--help\` says how it is measured.

- **PSNR-Y** in dB and **SSIM-Y**: closeness to the reference, frame by frame. Higher is better.
- **E_warp**: flicker (Lai et al., 2018), squared luma code values. **tOF**: wrong motion (Chu et al., 2020), pixels. Lower is better. Both
  with the optical flow of \`models/metrics\`, so they compare with one another, not with other papers' numbers.
- **ms** a frame, 720p out: ${machine}, whatever else ran on it; \`npx vireo bench\` and [Numbers](performance.md) are the place for speed.
- **${BROWSER}** is what a browser does with a small picture, **${PLAIN}** what plain methods are usually compared with.`,
    inShort(report),
    pictures(report),
    bestAgainstBest(report),
    sharpStills(report),
    curves(report),
    byMethod(report),
    clipByClip(report),
    otherCodecs(report),
    fewPictures(report),
    sizesBetween(report),
    sameSize(report),
    await precision(),
    published(),
    clipTable(clips),
  ];
  return `${sections.filter((section) => section !== '').join('\n\n')}\n`;
}

/** @param {Report} report */
function pictures({ strips }) {
  if (strips.length === 0) return '';
  /** @type {Record<string, string>} */
  const names = {
    bilinear: 'decoded and enlarged bilinearly',
    bicubic: 'bicubically',
    vireo: 'restored',
    sharp: 'restored with a still',
  };
  const lines = strips.map(({ title, under, file, methods }) => {
    const from = under.includes('restored')
      ? ''
      : `: reference, ${methods.map((method) => names[method] ?? method).join(', ')}`;
    return `![${title}, ${under}](images/quality/${file})\n*${title}, ${under}${from}*`;
  });
  return `## Side by side

Cut-outs at 100 %, from left to right, the same moment of each clip; the reference comes first.

${lines.join('\n\n')}`;
}

/** @param {Report} report */
function curves({ curves }) {
  const lines = curves.map(
    ({ title, file }) => `![Rate-distortion curves of ${title}](images/quality/${file})`,
  );
  return `## Curves\n\nBroken lines: sent plainly and enlarged with ${PLAIN}. Dotted lines: restored with a sharp still, whose bits are counted. Bands: the best of all heights.\n\n${lines.join('\n')}`;
}

/**
 * The cost of eight bits, where a package's evaluation.json says what its network scores without rounding:
 * `rounding`, by scale and kind of input.
 */
async function precision() {
  const rows = [];
  for (const name of existsSync(models) ? (await readdir(models)).sort() : []) {
    const path = `${models}${name}/evaluation.json`;
    if (!existsSync(path)) continue;
    const { version, rounding = [] } = JSON.parse(await readFile(path, 'utf8'));
    for (const { scale, codec, bitrate, blur, lost, floatMinusInt8 } of rounding) {
      const how = [
        codec === 'none' ? 'not coded' : `${bitrate / 1_000} kbit/s`,
        ...(blur > 0 ? [`blur ${blur}`] : []),
        ...(lost > 0 ? [`${lost * 100} % lost`] : []),
      ];
      rows.push([`${name} ${version}`, `${720 / scale}p`, how.join(', '), floatMinusInt8.toFixed(3)]);
    }
  }
  if (rows.length === 0) return '';
  return `## What eight bits cost

How many dB of PSNR-Y the network gains in floating point over the int8 graph that processors run, the same weights on the
same frames (\`models/*/evaluation.json\`, written by \`models/training/evaluate.py\`):

${table(['model', 'sent', 'how', 'dB'], rows)}`;
}

function published() {
  const { about, columns, rows } = MEASURED_BEFORE;
  const before = rows.map(({ method, source, values }) => [
    method,
    ...values.map((value) => value ?? ''),
    source,
  ]);
  return `## What others reach

${about} Gain over bicubic in dB:

${table(['method', ...columns, 'from'], before)}

From papers, on other data and mostly without a call's coding; none is a like-for-like comparison:

${table(
  ['method', 'task', 'figure', 'source'],
  PUBLISHED.map(({ method, task, figure, source }) => [method, task, figure, source]),
)}`;
}

/** @param {import('./clips.mjs').Clip[]} clips */
function clipTable(clips) {
  const rows = clips.map(({ title, file, shows = '', from = '', licence = '' }) => [
    title,
    `\`${file}\``,
    shows,
    from,
    licence,
  ]);
  return `## The clips

They are not part of Vireo. Pictures are shown of those whose licence or standing as a test sequence allows it.

${table(['clip', 'file', 'shows', 'from', 'licence as found'], rows)}`;
}
