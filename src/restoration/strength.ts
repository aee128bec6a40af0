import type { Variant } from './manifest.js';

/** How much of a variant's restoration the pictures of a codec (`VP8`, `h264`, …) take, 0 to 1; 0: they are left as they are. */
export function strengthFor({ strengths }: Pick<Variant, 'strengths'>, codec: string): number {
  return (strengths as Record<string, number> | undefined)?.[codec.toLowerCase()] ?? 1;
}
