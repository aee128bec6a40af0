/** H.264 over RTP (RFC 6184, packetization mode 1), to and from Annex B. */
import { type AccessUnit, type Depacketizer, evenParts, type PayloadSegments } from './Payload.js';

const IDR = 5;
const SEI = 6;
const SPS = 7;
const PPS = 8;
const DELIMITER = 9;
const FILLER = 12;
const STAP_A = 24;
const FU_A = 28;
const START_CODE = Buffer.from([0, 0, 0, 1]);
const SHORT_START_CODE = START_CODE.subarray(1);
/** A stream may have 32 SPS and 256 PPS; nobody in a call has more than a few. */
const MAX_PARAMETER_SETS = 16;

function unitType(unit: Uint8Array): number {
  return (unit[0] ?? 0) & 0x1f;
}

/** The units of a STAP-A; null when a length points past the end. */
function splitAggregate(payload: Buffer): Buffer[] | null {
  const units: Buffer[] = [];
  for (let at = 1; at < payload.length; ) {
    if (at + 2 > payload.length) return null;
    const end = at + 2 + payload.readUInt16BE(at);
    if (end > payload.length || end === at + 2) return null;
    units.push(payload.subarray(at + 2, end));
    at = end;
  }
  return units;
}

/** Parameter sets that came earlier are repeated before an IDR picture that has none of its own. */
export class H264Depacketizer implements Depacketizer {
  readonly #sps = new Map<number, Buffer>();
  readonly #pps = new Map<number, Buffer>();

  startsKeyFrame(payload: Buffer): boolean {
    const type = unitType(payload);
    if (type === STAP_A) {
      const units = splitAggregate(payload) ?? [];
      for (const unit of units) this.#keepParameterSet(unit);
      return units.some((unit) => unitType(unit) === SPS || isFirstIdrSlice(unit, 1));
    }
    this.#keepParameterSet(payload);
    if (type === SPS) return true;
    if (this.#sps.size === 0) return false;
    if (type === FU_A) {
      const header = payload[1] ?? 0;
      return (header & 0x80) !== 0 && (header & 0x1f) === IDR && ((payload[2] ?? 0) & 0x80) !== 0;
    }
    return isFirstIdrSlice(payload, 1);
  }

  assemble(payloads: readonly Buffer[]): AccessUnit | null {
    const parts: Buffer[] = [];
    const seen = new Set<number>();
    let fragmented = false;
    const append = (unit: Buffer): void => {
      seen.add(unitType(unit));
      parts.push(START_CODE, unit);
    };
    for (const payload of payloads) {
      const type = unitType(payload);
      if (type === FU_A) {
        const header = payload[1];
        if (header === undefined || payload.length < 3 || fragmented === ((header & 0x80) !== 0)) return null;
        if (!fragmented) append(Buffer.from([((payload[0] ?? 0) & 0xe0) | (header & 0x1f)]));
        parts.push(payload.subarray(2));
        fragmented = (header & 0x40) === 0;
        continue;
      }
      if (fragmented) return null;
      if (type === STAP_A) {
        const units = splitAggregate(payload);
        if (!units) return null;
        for (const unit of units) append(unit);
      } else if (type >= 1 && type < STAP_A) {
        append(payload);
      } else {
        return null;
      }
    }
    if (fragmented || parts.length === 0) return null;
    const keyFrame = seen.has(IDR);
    if (keyFrame && !(seen.has(SPS) && seen.has(PPS))) {
      const repeated = [...this.#sps.values(), ...this.#pps.values()];
      parts.unshift(...repeated.flatMap((unit) => [START_CODE, unit]));
    }
    return { data: Buffer.concat(parts), keyFrame };
  }

  #keepParameterSet(unit: Buffer): void {
    const type = unitType(unit);
    if (type !== SPS && type !== PPS) return;
    const sets = type === SPS ? this.#sps : this.#pps;
    // SPS: profile, constraints and level come before the id; PPS: the id comes first (sections 7.3.2.1 and 7.3.2.2).
    const id = readExpGolomb(unit, type === SPS ? 4 : 1);
    if (id === null || (sets.size >= MAX_PARAMETER_SETS && !sets.has(id))) return;
    sets.set(id, Buffer.from(unit));
  }
}

/** First byte of the slice header: first_mb_in_slice is 0, which ue(v) writes as one set bit. */
function isFirstIdrSlice(unit: Buffer, at: number): boolean {
  return unitType(unit) === IDR && ((unit[at] ?? 0) & 0x80) !== 0;
}

/** ue(v) of up to 17 bits at a byte boundary, enough for parameter set ids. */
function readExpGolomb(unit: Buffer, at: number): number | null {
  const bits = ((unit[at] ?? 0) << 16) | ((unit[at + 1] ?? 0) << 8) | (unit[at + 2] ?? 0);
  const zeros = Math.clz32(bits << 8);
  if (zeros > 8 || at >= unit.length) return null;
  return (bits >> (23 - 2 * zeros)) - 1;
}

/** The units of an Annex B access unit, without start codes and trailing zeros. */
export function splitAnnexB(data: Buffer): Buffer[] {
  const units: Buffer[] = [];
  let start = data.indexOf(SHORT_START_CODE);
  while (start >= 0) {
    const next = data.indexOf(SHORT_START_CODE, start + 3);
    let end = next < 0 ? data.length : next;
    while (end > start + 3 && data[end - 1] === 0) end -= 1;
    if (end > start + 3) units.push(data.subarray(start + 3, end));
    start = next;
  }
  return units;
}

/** Leaves out delimiters, filler and supplemental information: nothing that a call's receiver needs. */
export function packetizeH264(data: Buffer, maxBytes: number): PayloadSegments[] {
  const packets: PayloadSegments[] = [];
  let aggregate: Buffer[] = [];
  let aggregateBytes = 1;
  const flush = (): void => {
    if (aggregate.length === 1) packets.push(aggregate);
    else if (aggregate.length > 1) packets.push(aggregated(aggregate));
    aggregate = [];
    aggregateBytes = 1;
  };
  for (const unit of splitAnnexB(data)) {
    const type = unitType(unit);
    if (type === DELIMITER || type === FILLER || type === SEI) continue;
    if (unit.length > maxBytes) {
      flush();
      packets.push(...fragments(unit, maxBytes));
      continue;
    }
    if (aggregateBytes + 2 + unit.length > maxBytes) flush();
    aggregate.push(unit);
    aggregateBytes += 2 + unit.length;
  }
  flush();
  return packets;
}

function aggregated(units: readonly Buffer[]): PayloadSegments {
  const importance = Math.max(...units.map((unit) => (unit[0] ?? 0) & 0x60));
  const segments: Uint8Array[] = [Buffer.from([importance | STAP_A])];
  for (const unit of units) segments.push(Buffer.from([unit.length >> 8, unit.length & 0xff]), unit);
  return segments;
}

function fragments(unit: Buffer, maxBytes: number): PayloadSegments[] {
  const header = unit[0] ?? 0;
  let at = 1;
  return evenParts(unit.length - 1, maxBytes - 2).map((bytes) => {
    const edges = (at === 1 ? 0x80 : 0) | (at + bytes === unit.length ? 0x40 : 0);
    const part = unit.subarray(at, at + bytes);
    at += bytes;
    return [Buffer.from([(header & 0xe0) | FU_A, edges | (header & 0x1f)]), part];
  });
}
