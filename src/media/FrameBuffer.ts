/** A packet that waits for the rest of its frame or for the frames before it. */
export interface BufferedPacket {
  /** Unwrapped. */
  sequence: number;
  timestamp: number;
  marker: boolean;
  payload: Buffer;
  arrivalAtMs: number;
  startsKeyFrame: boolean;
}

const CAPACITY = 1024;
const MAX_BYTES = 4 * 1024 * 1024;
/** Packets this far before the first one seen may still come, reordered. */
const REORDERING_WINDOW = 64;

/**
 * Puts packets in order and hands out complete frames. It knows what comes next (`following`), or, at the
 * start and after a loss, waits for a complete key frame.
 */
export class FrameBuffer {
  /** Frames (or what came of them) that were freed without having been handed out. */
  framesDropped = 0;
  readonly #slots: (BufferedPacket | undefined)[] = new Array(CAPACITY).fill(undefined);
  /** Everything before was handed out or given up. */
  #floor: number | null = null;
  /** Everything from the floor up to here is there; meaningful while following. */
  #scanned = 0;
  #highest = 0;
  #following = false;
  #packets = 0;
  #bytes = 0;
  #keyFrameStarts: number[] = [];

  get following(): boolean {
    return this.#following;
  }

  get packets(): number {
    return this.#packets;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get floor(): number {
    return this.#floor ?? 0;
  }

  /** Whether a key frame is on its way, though not complete. */
  get keyFramePending(): boolean {
    return this.#keyFrameStarts.length > 0;
  }

  /** The packet that keeps the next frame back although later ones are there; null when none is. */
  get hole(): number | null {
    return this.#following && this.#scanned <= this.#highest && this.#packets > 0 ? this.#scanned : null;
  }

  insert(packet: BufferedPacket): 'stored' | 'duplicate' | 'late' | 'full' {
    const { sequence } = packet;
    this.#floor ??= Math.max(0, sequence - REORDERING_WINDOW);
    if (sequence < this.#floor) return 'late';
    if (sequence >= this.#floor + CAPACITY) {
      if (this.#following) return 'full';
      this.#dropBefore(sequence - CAPACITY + 1);
    }
    const slot = sequence % CAPACITY;
    if (this.#slots[slot]) return 'duplicate';
    if (this.#bytes + packet.payload.length > MAX_BYTES) return 'full';
    this.#slots[slot] = packet;
    this.#packets += 1;
    this.#bytes += packet.payload.length;
    this.#highest = Math.max(this.#highest, sequence);
    if (packet.startsKeyFrame) this.#keyFrameStarts.push(sequence);
    // Nothing of this can be decoded; only packets that a key frame's first one may still overtake are kept.
    if (!this.#following && this.#keyFrameStarts.length === 0) {
      this.#dropBefore(Math.max(this.#floor, this.#highest + 1 - REORDERING_WINDOW));
    }
    return 'stored';
  }

  /** The next frame in order; null while it is not complete. */
  takeFrame(): BufferedPacket[] | null {
    if (!this.#following || this.#floor === null) return null;
    for (let packet = this.#at(this.#scanned); packet; packet = this.#at(this.#scanned)) {
      // A frame without a marker ends where another timestamp begins.
      if (this.#scanned > this.#floor && packet.timestamp !== this.#at(this.#floor)?.timestamp) {
        return this.#takeUntil(this.#scanned);
      }
      this.#scanned += 1;
      if (packet.marker) return this.#takeUntil(this.#scanned);
    }
    return null;
  }

  /** Goes on with the latest complete key frame; false when there is none. */
  skipToKeyFrame(): boolean {
    for (let i = this.#keyFrameStarts.length - 1; i >= 0; i -= 1) {
      const start = this.#firstOfFrame(this.#keyFrameStarts[i] ?? 0);
      if (!this.#isComplete(start)) continue;
      this.#dropBefore(start);
      this.#following = true;
      this.#scanned = start;
      return true;
    }
    return false;
  }

  /** Gives up what is missing: drops all that is before a key frame and waits for one. */
  abandon(): void {
    this.#following = false;
    if (this.#floor === null) return;
    const keyFrame = this.#keyFrameStarts[0];
    const start = keyFrame === undefined ? null : this.#firstOfFrame(keyFrame);
    this.#dropBefore(start ?? Math.max(this.#floor, this.#highest + 1 - REORDERING_WINDOW));
  }

  clear(): void {
    this.#slots.fill(undefined);
    this.#keyFrameStarts = [];
    this.#packets = 0;
    this.#bytes = 0;
    this.#floor = null;
    this.#highest = 0;
    this.#following = false;
  }

  #at(sequence: number): BufferedPacket | undefined {
    const packet = this.#slots[sequence % CAPACITY];
    return packet?.sequence === sequence ? packet : undefined;
  }

  /** Parameter sets of an H.264 key frame, for one, may come in packets before the one that is sure to begin it. */
  #firstOfFrame(sequence: number): number {
    const timestamp = this.#at(sequence)?.timestamp;
    let first = sequence;
    while (this.#at(first - 1)?.timestamp === timestamp && this.#at(first - 1)?.marker === false) first -= 1;
    return first;
  }

  #isComplete(start: number): boolean {
    const timestamp = this.#at(start)?.timestamp;
    for (let sequence = start; ; sequence += 1) {
      const packet = this.#at(sequence);
      if (!packet) return false;
      if (packet.timestamp !== timestamp || packet.marker) return true;
    }
  }

  #takeUntil(end: number): BufferedPacket[] {
    const frame: BufferedPacket[] = [];
    for (let sequence = this.#floor ?? end; sequence < end; sequence += 1) {
      const packet = this.#at(sequence);
      if (packet) frame.push(packet);
    }
    const { framesDropped } = this;
    this.#dropBefore(end);
    this.framesDropped = framesDropped;
    return frame;
  }

  /** Frees everything before `end`. */
  #dropBefore(end: number): void {
    let timestamp = -1;
    const from = this.#floor ?? end;
    for (let sequence = from; sequence < Math.min(end, from + CAPACITY); sequence += 1) {
      const packet = this.#at(sequence);
      if (!packet) continue;
      if (packet.timestamp !== timestamp) this.framesDropped += 1;
      timestamp = packet.timestamp;
      this.#slots[sequence % CAPACITY] = undefined;
      this.#packets -= 1;
      this.#bytes -= packet.payload.length;
    }
    if (this.#keyFrameStarts.length > 0) {
      this.#keyFrameStarts = this.#keyFrameStarts.filter((sequence) => sequence >= end);
    }
    this.#floor = end;
    this.#scanned = Math.max(this.#scanned, end);
  }
}
