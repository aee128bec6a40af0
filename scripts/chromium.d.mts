/** Path of a Chromium or Chrome, or null. `VIREO_CHROMIUM` names one explicitly. */
export function findChromium(): string | null;
/** The same, installing Debian's when there is none and this is root. */
export function ensureChromium(say: (text: string) => void): string | null;
