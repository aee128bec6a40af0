/** From RTP payloads to access units: one object a stream. Every input is hostile; nothing here throws. */
export interface Depacketizer {
  /**
   * Called once for every packet, in order of arrival. True when the packet begins a key frame, so that
   * decoding can start with it.
   */
  startsKeyFrame(payload: Buffer): boolean;
  /** The access unit of all its payloads in order; null when they do not make one. */
  assemble(payloads: readonly Buffer[]): AccessUnit | null;
}

export interface AccessUnit {
  data: Buffer;
  keyFrame: boolean;
}

/** Payload of one packet, as segments to write one after the other (views into the frame where possible). */
export type PayloadSegments = readonly Uint8Array[];

/** Splits one access unit into payloads of at most `maxBytes`. */
export type Packetizer = (frame: AccessUnit, maxBytes: number) => PayloadSegments[];

/** Sizes of the fewest near-equal parts of at most `maxBytes` each: even packets pace and protect best. */
export function evenParts(totalBytes: number, maxBytes: number): number[] {
  const count = Math.ceil(totalBytes / maxBytes);
  return Array.from({ length: count }, (_, i) => Math.floor((totalBytes + i) / count));
}
