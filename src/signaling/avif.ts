/**
 * A still as an AVIF file around one key frame that an AV1 encoder made: what the page does with its browser's encoder,
 * and what `vireo evaluate` does in its place.
 *
 * Boxes: ISO/IEC 14496-12; items: ISO/IEC 23008-12 (HEIF); `av01` items and `av1C`: the AVIF specification and "AV1 Codec
 * ISO Media File Format Binding"; units of the bitstream (OBUs): AV1 Bitstream & Decoding Process Specification, section 5.
 */

const OBU_SEQUENCE_HEADER = 1;
const OBU_TEMPORAL_DELIMITER = 2;
const ITEM = 1;

export interface Av1Still {
  /** Of 8 bits, 4:2:0, one temporal unit. */
  keyFrame: Uint8Array;
  width: number;
  height: number;
}

/** @throws Error that says what the encoder gave instead of an AV1 key frame of its main profile */
export function avifFile({ keyFrame, width, height }: Av1Still): Uint8Array<ArrayBuffer> {
  const units = readUnits(keyFrame);
  const header = units.find(({ type }) => type === OBU_SEQUENCE_HEADER);
  if (!header) throw new Error('the AV1 picture has no sequence header');
  // Files say by themselves where a picture begins.
  const picture = concat(
    ...units.flatMap(({ type, bytes }) => (type === OBU_TEMPORAL_DELIMITER ? [] : [bytes])),
  );
  const type = box('ftyp', text('avif'), uint32(0), text('avifmif1miaf'));
  const meta = (pictureAt: number) =>
    fullBox(
      'meta',
      fullBox('hdlr', uint32(0), text('pict'), new Uint8Array(13)),
      fullBox('pitm', uint16(ITEM)),
      // Offsets and lengths of 4 bytes, no base; one item, in this file, of one extent.
      fullBox(
        'iloc',
        [0x44, 0x00],
        uint16(1),
        uint16(ITEM),
        uint16(0),
        uint16(1),
        uint32(pictureAt),
        uint32(picture.byteLength),
      ),
      fullBox('iinf', uint16(1), versionedBox('infe', 2, uint16(ITEM), uint16(0), text('av01'), [0])),
      box(
        'iprp',
        box(
          'ipco',
          fullBox('ispe', uint32(width), uint32(height)),
          fullBox('pixi', [3, 8, 8, 8]),
          box('av1C', codecConfiguration(header.payload)),
        ),
        // All three of them; who reads the picture must know the last one.
        fullBox('ipma', uint32(1), uint16(ITEM), [3, 1, 2, 0x80 | 3]),
      ),
    );
  const pictureAt = type.byteLength + meta(0).byteLength + 8;
  return concat(type, meta(pictureAt), box('mdat', picture));
}

interface Unit {
  type: number;
  /** With its header. */
  bytes: Uint8Array;
  payload: Uint8Array;
}

function readUnits(bytes: Uint8Array): Unit[] {
  const units: Unit[] = [];
  for (let at = 0; at < bytes.byteLength; ) {
    const header = bytes[at] ?? 0;
    const hasExtension = (header & 0x04) !== 0;
    const hasSize = (header & 0x02) !== 0;
    let from = at + 1 + (hasExtension ? 1 : 0);
    let end = bytes.byteLength;
    if (hasSize) {
      let size = 0;
      // leb128: seven bits a byte, least significant first.
      for (let shift = 0; ; shift += 7) {
        const byte = bytes[from++];
        if (byte === undefined || shift > 28)
          throw new Error('the AV1 picture ends within the size of a unit');
        size += (byte & 0x7f) * 2 ** shift;
        if ((byte & 0x80) === 0) break;
      }
      end = from + size;
    }
    if (end > bytes.byteLength || from > end) throw new Error('the AV1 picture ends within a unit');
    units.push({
      type: (header >> 3) & 0x0f,
      bytes: bytes.subarray(at, end),
      payload: bytes.subarray(from, end),
    });
    at = end;
  }
  return units;
}

/** `av1C` of an 8-bit 4:2:0 stream, from its sequence header (section 5.5.1). */
function codecConfiguration(header: Uint8Array): number[] {
  let at = 0;
  const bits = (count: number) => {
    let value = 0;
    for (const end = at + count; at < end; at += 1) {
      value = value * 2 + (((header[at >> 3] ?? 0) >> (7 - (at & 7))) & 1);
    }
    return value;
  };
  const profile = bits(3);
  bits(1); // still_picture
  const isReduced = bits(1) === 1;
  if (profile !== 0) throw new Error(`the AV1 picture is of profile ${profile}, not of the main one`);
  if (!isReduced) {
    if (bits(1) === 1)
      throw new Error('the AV1 picture has timing information, which a still has no use for');
    bits(1 + 5 + 12); // initial_display_delay_present_flag, operating_points_cnt_minus_1, operating_point_idc
  }
  const level = bits(5);
  const tier = !isReduced && level > 7 ? bits(1) : 0;
  const subsampledBothWays = 0x0c;
  return [0x81, (profile << 5) | level, (tier << 7) | subsampledBothWays, 0];
}

type Part = Uint8Array | readonly number[];

function concat(...parts: Part[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function box(type: string, ...content: Part[]): Uint8Array {
  const body = concat(...content);
  return concat(uint32(8 + body.byteLength), text(type), body);
}

function versionedBox(type: string, version: number, ...content: Part[]): Uint8Array {
  return box(type, [version, 0, 0, 0], ...content);
}

function fullBox(type: string, ...content: Part[]): Uint8Array {
  return versionedBox(type, 0, ...content);
}

function text(ascii: string): number[] {
  return [...ascii].map((character) => character.charCodeAt(0));
}

function uint16(value: number): number[] {
  return [value >>> 8, value & 0xff];
}

function uint32(value: number): number[] {
  return [value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff];
}
