/** A Markdown table. @param {string[]} head @param {(string | number)[][]} rows */
export function table(head, rows) {
  const line = (/** @type {(string | number)[]} */ cells) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** @param {number[]} values */
export function mean(values) {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}

/** @param {number} value @param {number} [digits] */
export function signed(value, digits = 2) {
  const text = Math.abs(value).toFixed(digits);
  if (Number(text) === 0) return text;
  return `${value < 0 ? '−' : '+'}${text}`;
}

/** The mean of a column that some rows lack: then of none. @param {(number | null)[]} values @param {number} digits */
export function meanCell(values, digits) {
  const known = values.filter((value) => value !== null);
  return known.length < values.length || known.length === 0 ? '' : mean(known).toFixed(digits);
}

/** Which of all are losses, in words. @param {{ where: string, gain: number }[]} all @param {number} digits */
export function losses(all, digits) {
  const lower = all.filter(({ gain }) => gain < 0);
  const list = lower.map(({ where, gain }) => `${where} (${signed(gain, digits)})`);
  return lower.length === 0
    ? `on none of ${all.length}`
    : `on ${lower.length} of ${all.length}: ${list.join(', ')}`;
}

/** @template T @param {readonly T[]} values */
export function distinct(values) {
  return [...new Set(values)];
}
