/** Stills by their headers alone, as the relay reads them: no picture data that a decoder could make anything of. */

type Part = string | number[] | Uint8Array;

export function concat(...parts: Part[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(
    Buffer.concat(
      parts.map((part) => (typeof part === 'string' ? Buffer.from(part, 'latin1') : Buffer.from(part))),
    ),
  );
}

export function uint32le(value: number): number[] {
  return [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
}

export function uint32be(value: number): number[] {
  return uint32le(value).reverse();
}

const uint24le = (value: number) => uint32le(value).slice(0, 3);

/** A chunk of RIFF, padded to even length. */
export function chunk(type: string, ...content: Part[]): Uint8Array {
  const body = concat(...content);
  return concat(type, uint32le(body.byteLength), body, body.byteLength % 2 ? [0] : []);
}

export function webp(...chunks: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const body = concat('WEBP', ...chunks);
  return concat('RIFF', uint32le(body.byteLength), body);
}

/** Lossy picture: the frame header of VP8, then `padding` bytes. */
export function vp8(width: number, height: number, padding = 0): Uint8Array {
  const size = [width & 0xff, width >> 8, height & 0xff, height >> 8];
  return chunk('VP8 ', [0x10, 0, 0, 0x9d, 0x01, 0x2a], size, new Uint8Array(padding));
}

/** Lossless picture. */
export function vp8l(width: number, height: number): Uint8Array {
  return chunk('VP8L', [0x2f], uint32le((width - 1) | ((height - 1) << 14)));
}

export function vp8x(width: number, height: number, flags = 0): Uint8Array {
  return chunk('VP8X', [flags, 0, 0, 0], uint24le(width - 1), uint24le(height - 1));
}

/** A WebP of about this many bytes. */
export function webpStill(width = 1_280, height = 720, byteLength = 3_000): Uint8Array<ArrayBuffer> {
  return webp(vp8(width, height, Math.max(0, byteLength - 30)));
}

/** A box of ISO/IEC 14496-12. */
export function box(type: string, ...content: Part[]): Uint8Array {
  const body = concat(...content);
  return concat(uint32be(8 + body.byteLength), type, body);
}

export function ispe(width: number, height: number): Uint8Array {
  return box('ispe', [0, 0, 0, 0], uint32be(width), uint32be(height));
}

export const avifType = (...brands: string[]) => box('ftyp', brands[0] ?? 'avif', [0, 0, 0, 0], ...brands);

export function avifMeta(...properties: Uint8Array[]): Uint8Array {
  return box('meta', [0, 0, 0, 0], box('iprp', box('ipco', ...properties)));
}

export function avifStill(width = 1_280, height = 720): Uint8Array<ArrayBuffer> {
  return concat(
    avifType('avif', 'mif1', 'miaf'),
    avifMeta(ispe(width, height)),
    box('mdat', new Uint8Array(20)),
  );
}
