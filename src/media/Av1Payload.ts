/** AV1 over RTP (AOM "RTP Payload Format For AV1", version 1.0), to and from low-overhead temporal units. */
import type { AccessUnit, Depacketizer, PayloadSegments } from './Payload.js';

const SEQUENCE_HEADER = 1;
const TEMPORAL_DELIMITER = 2;
const TILE_LIST = 8;
const PADDING = 15;
const HAS_SIZE = 0x02;
const HAS_EXTENSION = 0x04;
const DELIMITER_UNIT = Buffer.from([(TEMPORAL_DELIMITER << 3) | HAS_SIZE, 0]);

function unitType(unit: Uint8Array): number {
  return ((unit[0] ?? 0) >> 3) & 0x0f;
}

/** Unsigned LEB128 of up to 4 bytes; null when it runs past the end or is longer. */
function readLeb128(data: Uint8Array, start: number): { value: number; next: number } | null {
  let value = 0;
  for (let i = 0; i < 4; i += 1) {
    const byte = data[start + i];
    if (byte === undefined) return null;
    value |= (byte & 0x7f) << (7 * i);
    if (!(byte & 0x80)) return { value, next: start + i + 1 };
  }
  return null;
}

function leb128(value: number): Buffer {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>>= 7) {
    if (rest < 0x80) {
      bytes.push(rest);
      return Buffer.from(bytes);
    }
    bytes.push((rest & 0x7f) | 0x80);
  }
}

/** The OBU elements after an aggregation header (section 4.3); null when a length points past the end. */
function splitElements(payload: Buffer): Buffer[] | null {
  const count = ((payload[0] ?? 0) >> 4) & 3;
  const elements: Buffer[] = [];
  for (let at = 1; at < payload.length; ) {
    if (count > 0 && elements.length === count - 1) {
      elements.push(payload.subarray(at));
      break;
    }
    const length = readLeb128(payload, at);
    if (!length || length.next + length.value > payload.length) return null;
    elements.push(payload.subarray(length.next, length.next + length.value));
    at = length.next + length.value;
  }
  return count > 0 && elements.length !== count ? null : elements;
}

export class Av1Depacketizer implements Depacketizer {
  startsKeyFrame(payload: Buffer): boolean {
    const header = payload[0] ?? 0;
    if (header & 0x80 || payload.length < 2) return false;
    if (header & 0x08) return true;
    return (splitElements(payload) ?? []).some((element) => unitType(element) === SEQUENCE_HEADER);
  }

  assemble(payloads: readonly Buffer[]): AccessUnit | null {
    /** Fragments of each unit. */
    const units: Buffer[][] = [];
    let open = false;
    for (const payload of payloads) {
      const header = payload[0] ?? 0;
      const elements = splitElements(payload);
      if (!elements || elements.length === 0 || open !== ((header & 0x80) !== 0)) return null;
      for (const [i, element] of elements.entries()) {
        const unit = i === 0 && open ? units.at(-1) : undefined;
        if (unit) unit.push(element);
        else units.push([element]);
      }
      open = (header & 0x40) !== 0;
    }
    if (open) return null;
    const parts: Buffer[] = [DELIMITER_UNIT];
    let keyFrame = false;
    for (const fragments of units) {
      const unit = fragments.length === 1 ? fragments[0] : Buffer.concat(fragments);
      const type = unit ? unitType(unit) : TEMPORAL_DELIMITER;
      if (!unit?.length || type === TEMPORAL_DELIMITER || type === TILE_LIST || type === PADDING) continue;
      if (type === SEQUENCE_HEADER) keyFrame = true;
      const sized = withSize(unit);
      if (!sized) return null;
      parts.push(...sized);
    }
    return parts.length > 1 ? { data: Buffer.concat(parts), keyFrame } : null;
  }
}

/** Header, size and payload of a unit that may lack its size field. */
function withSize(unit: Buffer): Buffer[] | null {
  const first = unit[0] ?? 0;
  if (first & 0x80) return null;
  if (first & HAS_SIZE) return [unit];
  const headerBytes = first & HAS_EXTENSION ? 2 : 1;
  if (unit.length < headerBytes) return null;
  const header = Buffer.from(unit.subarray(0, headerBytes));
  header[0] = first | HAS_SIZE;
  return [header, leb128(unit.length - headerBytes), unit.subarray(headerBytes)];
}

/** One OBU as header and payload, without its size field. */
interface Unit {
  header: Buffer;
  payload: Buffer;
}

/** The units of a temporal unit, without those that must not or need not be sent (section 5). */
function splitTemporalUnit(data: Buffer): Unit[] {
  const units: Unit[] = [];
  for (let at = 0; at < data.length; ) {
    const first = data[at] ?? 0;
    const headerBytes = first & HAS_EXTENSION ? 2 : 1;
    let start = at + headerBytes;
    let end = data.length;
    if (first & HAS_SIZE) {
      const size = readLeb128(data, start);
      if (!size || size.next + size.value > data.length) break;
      start = size.next;
      end = start + size.value;
    }
    const type = (first >> 3) & 0x0f;
    if (type !== TEMPORAL_DELIMITER && type !== TILE_LIST && type !== PADDING) {
      const header = Buffer.from(data.subarray(at, at + headerBytes));
      header[0] = first & ~HAS_SIZE;
      units.push({ header, payload: data.subarray(start, end) });
    }
    at = end;
  }
  return units;
}

/** Every element carries its length (W = 0): one or two bytes more, and no packet needs to be looked at twice. */
export function packetizeAv1(frame: AccessUnit, maxBytes: number): PayloadSegments[] {
  const packets: Uint8Array[][] = [];
  let packet: Uint8Array[] = [];
  let room = 0;
  const begin = (continues: boolean): void => {
    const starts = frame.keyFrame && packets.length === 0 ? 0x08 : 0;
    packet = [Buffer.from([(continues ? 0x80 : 0) | starts])];
    packets.push(packet);
    room = maxBytes - 1;
  };
  begin(false);
  for (const unit of splitTemporalUnit(frame.data)) {
    let header: Buffer = unit.header;
    let rest = unit.payload;
    // A fragment of fewer bytes than this is not worth a packet's tail: 2 of length, 2 of header.
    if (room < 16 && packet.length > 1) begin(false);
    for (;;) {
      const bytes = Math.min(rest.length, room - 2 - header.length);
      packet.push(leb128(header.length + bytes), header, rest.subarray(0, bytes));
      room -= header.length + bytes + 2;
      rest = rest.subarray(bytes);
      if (rest.length === 0) break;
      const aggregation = packet[0];
      if (aggregation) aggregation[0] = (aggregation[0] ?? 0) | 0x40;
      header = Buffer.alloc(0);
      begin(true);
    }
  }
  return packets.filter((segments) => segments.length > 1);
}
