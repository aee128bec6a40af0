/**
 * What the header of a still says, read before anything decodes it: a file of the announced kind, one picture,
 * whole, and its dimensions. Decoders are large and the sender is a stranger.
 */
import { VireoError } from '../errors.js';
import type { StillMimeType } from '../signaling/messages.js';

export interface StillSize {
  width: number;
  height: number;
}

/** @throws VireoError `media-invalid` that says what is wrong with the file */
export function readStillHeader(bytes: Uint8Array, mimeType: StillMimeType): StillSize {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = mimeType === 'image/webp' ? readWebp(view) : readAvif(view);
  if (size.width === 0 || size.height === 0) throw invalid('has no extent');
  return size;
}

function invalid(what: string): VireoError {
  return new VireoError('media-invalid', `the still ${what}`);
}

function fourCc(view: DataView, at: number): string {
  return String.fromCharCode(
    view.getUint8(at),
    view.getUint8(at + 1),
    view.getUint8(at + 2),
    view.getUint8(at + 3),
  );
}

// WebP: RFC 9649.

const RIFF_HEADER = 12;
const CHUNK_HEADER = 8;
/** A still has a handful of chunks: picture, alpha, profile, metadata. */
const MAX_CHUNKS = 16;
const VP8X_ANIMATION = 0x02;
const VP8L_SIGNATURE = 0x2f;

interface Chunk {
  type: string;
  at: number;
  byteLength: number;
}

function readWebp(view: DataView): StillSize {
  if (view.byteLength < RIFF_HEADER || fourCc(view, 0) !== 'RIFF' || fourCc(view, 8) !== 'WEBP') {
    throw invalid('is no WebP file');
  }
  // The length counts what follows it; an odd end may be padded.
  const end = CHUNK_HEADER + view.getUint32(4, true);
  if (end !== view.byteLength) throw invalid(`says that it has ${end} bytes, but has ${view.byteLength}`);
  const chunks = webpChunks(view);
  const [first] = chunks;
  const extended = first?.type === 'VP8X' ? first : null;
  const canvas = extended && readVp8x(view, extended);
  if (chunks.some(({ type }) => type === 'ANIM' || type === 'ANMF')) throw invalid('is an animation');
  const pictures = chunks.filter(({ type }) => type === 'VP8 ' || type === 'VP8L');
  const [picture] = pictures;
  if (!picture || pictures.length > 1 || (!extended && picture !== first)) {
    throw invalid(`has ${pictures.length} pictures where it must begin with one`);
  }
  const size = picture.type === 'VP8L' ? readVp8l(view, picture) : readVp8(view, picture);
  if (canvas && (canvas.width !== size.width || canvas.height !== size.height)) {
    throw invalid(
      `is ${size.width}×${size.height} in a canvas of ${canvas.width}×${canvas.height}; they must agree`,
    );
  }
  return size;
}

function webpChunks(view: DataView): Chunk[] {
  const chunks: Chunk[] = [];
  for (let at = RIFF_HEADER; at < view.byteLength; ) {
    if (at + CHUNK_HEADER > view.byteLength) throw invalid('ends within a chunk header');
    const byteLength = view.getUint32(at + 4, true);
    const chunk = { type: fourCc(view, at), at: at + CHUNK_HEADER, byteLength };
    at = chunk.at + byteLength + (byteLength % 2);
    if (at > view.byteLength) throw invalid(`ends within its ${chunk.type.trim()} chunk`);
    chunks.push(chunk);
    if (chunks.length > MAX_CHUNKS) throw invalid(`has more than ${MAX_CHUNKS} chunks`);
  }
  return chunks;
}

function readVp8x(view: DataView, { at, byteLength }: Chunk): StillSize {
  if (byteLength < 10) throw invalid('has a VP8X chunk that is too short');
  if ((view.getUint8(at) & VP8X_ANIMATION) !== 0) throw invalid('is an animation');
  const uint24 = (offset: number) =>
    view.getUint16(at + offset, true) | (view.getUint8(at + offset + 2) << 16);
  return { width: uint24(4) + 1, height: uint24(7) + 1 };
}

/** The frame header of VP8: RFC 6386, section 9.1. */
function readVp8(view: DataView, { at, byteLength }: Chunk): StillSize {
  if (byteLength < 10) throw invalid('has a VP8 picture that is too short');
  const isKeyFrame = (view.getUint8(at) & 1) === 0;
  const startCode =
    view.getUint8(at + 3) === 0x9d && view.getUint8(at + 4) === 0x01 && view.getUint8(at + 5) === 0x2a;
  if (!isKeyFrame || !startCode) throw invalid('has a VP8 picture that does not begin with a key frame');
  return { width: view.getUint16(at + 6, true) & 0x3fff, height: view.getUint16(at + 8, true) & 0x3fff };
}

/** RFC 9649, section 3.4: 14 bits each, less one, least significant first. */
function readVp8l(view: DataView, { at, byteLength }: Chunk): StillSize {
  if (byteLength < 5 || view.getUint8(at) !== VP8L_SIGNATURE)
    throw invalid('has a VP8L picture without its signature');
  const bits = view.getUint32(at + 1, true);
  if (bits >>> 29 !== 0) throw invalid('has a VP8L picture of an unknown version');
  return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
}

// AVIF: boxes of ISO/IEC 14496-12, items of ISO/IEC 23008-12 (HEIF), brands of the AVIF specification.

const STILL_BRAND = 'avif';
/** Boxes on one level; a still written by any encoder has fewer. */
const MAX_BOXES = 64;

interface Box {
  type: string;
  /** Of the content. */
  at: number;
  end: number;
}

function readAvif(view: DataView): StillSize {
  if (view.byteLength < 8 || fourCc(view, 4) !== 'ftyp') throw invalid('is no AVIF file');
  const boxes = readBoxes(view, 0, view.byteLength);
  checkBrands(view, only(boxes, 'ftyp'));
  if (boxes.some(({ type }) => type === 'moov')) throw invalid('is an image sequence');
  const meta = only(boxes, 'meta');
  // A full box: version and flags come first.
  const inner = readBoxes(view, meta.at + 4, meta.end);
  if (![...boxes, ...inner].some(({ type }) => type === 'mdat' || type === 'idat'))
    throw invalid('has no picture data');
  return readSpatialExtents(view, only(inner, 'iprp'));
}

function checkBrands(view: DataView, { at, end }: Box): void {
  const brands: string[] = [];
  // Major brand, minor version, compatible brands.
  for (let offset = at; offset + 4 <= end; offset += 4) {
    if (offset !== at + 4) brands.push(fourCc(view, offset));
  }
  if (!brands.includes(STILL_BRAND)) {
    throw invalid(brands.includes('avis') ? 'is an image sequence' : 'is no AVIF file');
  }
}

/** The largest of the items' extents: tiles and thumbnails are smaller. */
function readSpatialExtents(view: DataView, properties: Box): StillSize {
  const container = only(readBoxes(view, properties.at, properties.end), 'ipco');
  const extents = readBoxes(view, container.at, container.end).filter(({ type }) => type === 'ispe');
  if (extents.length === 0) throw invalid('does not say how large it is');
  const sizes = extents.map(({ at, end }) => {
    if (end - at < 12) throw invalid('has an ispe box that is too short');
    return { width: view.getUint32(at + 4), height: view.getUint32(at + 8) };
  });
  return {
    width: Math.max(...sizes.map(({ width }) => width)),
    height: Math.max(...sizes.map(({ height }) => height)),
  };
}

function only(boxes: readonly Box[], type: string): Box {
  const found = boxes.filter((box) => box.type === type);
  const [box] = found;
  if (!box || found.length > 1) throw invalid(`has ${found.length} ${type} boxes where it must have one`);
  return box;
}

function readBoxes(view: DataView, from: number, to: number): Box[] {
  const boxes: Box[] = [];
  for (let at = from; at < to; ) {
    if (to - at < 8) throw invalid('ends within a box header');
    const type = fourCc(view, at + 4);
    let byteLength = view.getUint32(at);
    let headerBytes = 8;
    if (byteLength === 1) {
      if (to - at < 16) throw invalid('ends within a box header');
      headerBytes = 16;
      // Nothing that fits into a message needs the upper half.
      byteLength = view.getUint32(at + 8) === 0 ? view.getUint32(at + 12) : Number.POSITIVE_INFINITY;
    } else if (byteLength === 0) byteLength = to - at;
    if (byteLength < headerBytes) throw invalid(`has a ${printable(type)} box that is too short`);
    if (byteLength > to - at) throw invalid(`ends within its ${printable(type)} box`);
    boxes.push({ type, at: at + headerBytes, end: at + byteLength });
    if (boxes.length > MAX_BOXES) throw invalid(`has more than ${MAX_BOXES} boxes on a level`);
    at += byteLength;
  }
  return boxes;
}

function printable(type: string): string {
  return type.replace(/[^\x20-\x7e]/g, '?');
}
