/** Between tiles, as in the style sheet, pixels. */
export const TILE_GAP = 8;

export interface GridLayout {
  columns: number;
  rows: number;
  tileWidth: number;
  tileHeight: number;
}

const WIDEST = 16 / 9;
/** Phones held upright. */
const NARROWEST = 9 / 16;

/**
 * Shape of the tiles for these pictures (width by height; null where there is none yet): the widest decides,
 * so that nothing is made small by bars at its sides only because somebody else holds a phone upright.
 */
export function tileAspect(aspects: readonly (number | null)[]): number {
  const known = aspects.filter((aspect) => aspect !== null);
  if (known.length === 0) return WIDEST;
  return Math.min(WIDEST, Math.max(NARROWEST, ...known));
}

/** Columns and rows that make tiles of this shape as large as they can be in this space, pixels. */
export function gridLayout(
  count: number,
  width: number,
  height: number,
  gap = TILE_GAP,
  aspect = WIDEST,
): GridLayout {
  let best: GridLayout = { columns: 1, rows: 1, tileWidth: 0, tileHeight: 0 };
  for (let columns = 1; columns <= Math.max(1, count); columns += 1) {
    const rows = Math.max(1, Math.ceil(count / columns));
    const maxWidth = (width - gap * (columns - 1)) / columns;
    const maxHeight = (height - gap * (rows - 1)) / rows;
    const tileWidth = Math.floor(Math.max(0, Math.min(maxWidth, maxHeight * aspect)));
    if (tileWidth > best.tileWidth) {
      best = { columns, rows, tileWidth, tileHeight: Math.floor(tileWidth / aspect) };
    }
  }
  return best;
}
