import { pino } from 'pino';
import { describe, expect, it, vi } from 'vitest';
import type { CountingVideoDecoder } from '../../../src/media/NodeAvDecoder.js';
import {
  type EncodedFrame,
  type EncodedPicture,
  type I420Picture,
  i420ByteLength,
  type VideoEncoder,
} from '../../../src/media/types.js';
import type { Variant } from '../../../src/restoration/manifest.js';
import type { InputPicture, RestorationStream, RestoredBlock } from '../../../src/restoration/types.js';
import { CostModel } from '../../../src/restorer/CostModel.js';
import { DecodeStage, type DecodeStageOptions } from '../../../src/restorer/DecodeStage.js';
import { DeviceGate } from '../../../src/restorer/DeviceGate.js';
import { EncodeStage, type EncodeStageOptions } from '../../../src/restorer/EncodeStage.js';
import type { FrameTimes, TrackedPicture } from '../../../src/restorer/frames.js';
import { RestoreStage, type RestoreTarget } from '../../../src/restorer/RestoreStage.js';
import { TrackReference } from '../../../src/restorer/TrackReference.js';

const logger = pino({ level: 'silent' });
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

function frame(rtpTimestamp90k: number, more: Partial<EncodedFrame> = {}): EncodedFrame {
  return {
    codec: 'VP8',
    data: new Uint8Array(1),
    keyFrame: false,
    rtpTimestamp90k,
    firstPacketAtMs: 0,
    lastPacketAtMs: 0,
    releasedAtMs: 0,
    discontinuity: false,
    ...more,
  };
}

function times(rtpTimestamp90k: number): FrameTimes {
  const nowMs = performance.now();
  return {
    rtpTimestamp90k,
    receivedPixels: 8,
    lastPacketAtMs: nowMs,
    releasedAtMs: nowMs,
    decodeMs: 0,
    restoreMs: 0,
    encodeMs: 0,
  };
}

/** A promise that the test settles. */
function gatekeeper<T>(): {
  wait: () => Promise<T>;
  next: (value: T) => Promise<void>;
  waiting: () => number;
} {
  const waiting: ((value: T) => void)[] = [];
  return {
    wait: () => new Promise((resolve) => waiting.push(resolve)),
    next: async (value) => {
      waiting.shift()?.(value);
      await settle();
    },
    waiting: () => waiting.length,
  };
}

describe('decode stage', () => {
  function setUp(decode: CountingVideoDecoder['decode']): {
    stage: DecodeStage;
    options: DecodeStageOptions;
    decoded: number[];
    decoder: CountingVideoDecoder & { close: ReturnType<typeof vi.fn> };
  } {
    const decoded: number[] = [];
    const decoder = {
      codec: 'VP8' as const,
      decoderName: 'fake',
      errors: 0,
      needsKeyFrame: false,
      decode: (...given: Parameters<CountingVideoDecoder['decode']>) => {
        decoded.push(given[0].rtpTimestamp90k);
        return decode(...given);
      },
      close: vi.fn(),
    };
    const options: DecodeStageOptions = {
      createDecoder: async () => decoder,
      logger,
      fit: (width, height) => ({ width, height }),
      allocate: (byteLength) => new ArrayBuffer(byteLength),
      onPicture: vi.fn(),
      onDropped: vi.fn(),
      onDecoded: vi.fn(),
      needsKeyFrame: vi.fn(),
      onUnsupported: vi.fn(),
    };
    return { stage: new DecodeStage(options), options, decoded, decoder };
  }

  it('decodes every frame, in order, from the first key frame on', async () => {
    const { stage, decoded } = setUp(async () => null);
    stage.push(frame(0));
    stage.push(frame(1, { keyFrame: true }));
    for (let at = 2; at < 10; at++) stage.push(frame(at));
    await settle();
    expect(decoded.slice(0, 2)).toEqual([1, 2]);
    await stage.close();
  });

  it('waits for a key frame after a gap, and asks for it', async () => {
    const picture = { buffer: new ArrayBuffer(6), width: 2, height: 2, rtpTimestamp90k: 0, fullRange: false };
    const { stage, decoded, options } = setUp(async () => ({
      ...picture,
      decodedWidth: 2,
      decodedHeight: 2,
      keyFrame: false,
    }));
    stage.push(frame(1, { keyFrame: true }));
    await settle();
    stage.push(frame(3, { discontinuity: true }));
    stage.push(frame(4));
    expect(options.needsKeyFrame).toHaveBeenCalledTimes(1);
    stage.push(frame(5, { keyFrame: true, discontinuity: true }));
    stage.push(frame(6));
    await settle();
    expect(decoded).toEqual([1, 5, 6]);
    expect(options.onPicture).toHaveBeenCalledTimes(3);
    await stage.close();
  });

  it('drops what it cannot keep up with, up to the next key frame', async () => {
    const gate = gatekeeper<null>();
    const { stage, decoded, options } = setUp(gate.wait);
    stage.push(frame(1, { keyFrame: true }));
    for (let at = 2; at < 40; at++) stage.push(frame(at));
    expect(options.needsKeyFrame).toHaveBeenCalledTimes(1);
    stage.push(frame(40, { keyFrame: true }));
    await settle();
    await gate.next(null);
    expect(decoded).toEqual([1, 40]);
    await gate.next(null);
    await stage.close();
  });

  it('opens the decoder again when it throws', async () => {
    const { stage, options, decoder } = setUp(async () => {
      throw new Error('damaged');
    });
    stage.push(frame(1, { keyFrame: true }));
    await settle();
    expect(decoder.close).toHaveBeenCalledTimes(1);
    expect(options.needsKeyFrame).toHaveBeenCalledTimes(1);
    await stage.close();
  });

  it('looks at key frames only while nobody watches, and asks for one to go on from', async () => {
    const { stage, decoded, options } = setUp(async () => null);
    stage.keyFramesOnly = true;
    stage.push(frame(1, { keyFrame: true }));
    stage.push(frame(2));
    await settle();
    expect(decoded).toEqual([1]);
    expect(options.needsKeyFrame).not.toHaveBeenCalled();
    stage.keyFramesOnly = false;
    expect(options.needsKeyFrame).toHaveBeenCalledTimes(1);
    await stage.close();
  });
});

const variant = { task: 'sr', scale: 4, T: 1 } as Variant;
const target: RestoreTarget = {
  packageName: 'fake',
  variant,
  width: 4,
  height: 2,
  strength: 1,
  looksUp: true,
};

class FakeStream implements RestorationStream {
  readonly variant = variant;
  readonly inputWidth = 4;
  readonly inputHeight = 2;
  readonly outputWidth = 16;
  readonly outputHeight = 8;
  priority = 0;
  strength = 1;
  readonly maxReferences = 4;
  closed = false;
  recycled = 0;
  blocks: number[][] = [];
  strengths: number[] = [];
  afterKeyFrames: (boolean | undefined)[] = [];
  readonly gate = gatekeeper<RestoredBlock>();
  async restore(pictures: InputPicture[]): Promise<RestoredBlock> {
    this.afterKeyFrames.push(...pictures.map(({ afterKeyFrame }) => afterKeyFrame));
    this.strengths.push(this.strength);
    this.blocks.push(pictures.map(({ rtpTimestamp90k }) => rtpTimestamp90k));
    return await this.gate.wait();
  }
  async finish(rtpTimestamp90k: number): Promise<void> {
    await this.gate.next({ pictures: [pictureOf(16, 8, rtpTimestamp90k)], runMs: 7, found: null });
  }
  recycle(): void {
    this.recycled += 1;
  }
  allocateInput(): ArrayBuffer {
    return new ArrayBuffer(12);
  }
  allocateMask(): ArrayBuffer {
    return new ArrayBuffer(8);
  }
  async setReferences(): Promise<void> {}
  reset(): void {}
  close(): void {
    this.closed = true;
  }
}

function pictureOf(width: number, height: number, rtpTimestamp90k: number): I420Picture {
  return {
    buffer: new ArrayBuffer(i420ByteLength(width, height)),
    width,
    height,
    rtpTimestamp90k,
    fullRange: false,
  };
}

describe('restore stage', () => {
  function setUp() {
    const streams: FakeStream[] = [];
    const openStream = vi.fn(async () => {
      const stream = new FakeStream();
      streams.push(stream);
      return stream;
    });
    const restored: number[] = [];
    const gate = new DeviceGate(1);
    const options = {
      device: { openStream },
      gate,
      costs: new CostModel(),
      reference: new TrackReference({
        decode: async (_bytes, { width, height }) => new ArrayBuffer(width * height),
        onRefused: vi.fn(),
      }),
      logger,
      onRestored: vi.fn((tracked: TrackedPicture) => {
        restored.push(tracked.times.rtpTimestamp90k);
        tracked.recycle(tracked.picture.buffer);
      }),
      onDropped: vi.fn(),
      onFailed: vi.fn(),
    };
    const stage = new RestoreStage(options);
    const recycle = vi.fn();
    const push = (at: number, width = 4, height = 2): void =>
      stage.push({ picture: pictureOf(width, height, at), times: times(at), recycle });
    return { stage, streams, options, gate, restored, recycle, push };
  }

  it('restores only the newest picture that came while a block ran, and frees the others', async () => {
    const { stage, streams, options, restored, recycle, push, gate } = setUp();
    stage.setTarget(target);
    push(1);
    await settle();
    for (const at of [2, 3, 4]) push(at);
    expect(recycle).toHaveBeenCalledTimes(2);
    await streams[0]?.finish(1);
    await streams[0]?.finish(4);
    expect(streams[0]?.blocks).toEqual([[1], [4]]);
    expect(restored).toEqual([1, 4]);
    expect(options.onDropped).toHaveBeenCalledTimes(2);
    expect(gate.running).toBe(0);
    await stage.close();
    expect(streams[0]?.closed).toBe(true);
  });

  it('tells the stream of a key frame with the next picture that is restored, whatever was left out', async () => {
    const { stage, streams, recycle } = setUp();
    stage.setTarget(target);
    const received = (at: number, afterKeyFrame: boolean): TrackedPicture => ({
      picture: pictureOf(4, 2, at),
      times: times(at),
      recycle,
      afterKeyFrame,
    });
    stage.push(received(1, true));
    await settle();
    // Stale before its turn came, and left out by the ladder.
    stage.push(received(2, true));
    stage.push(received(3, false));
    await streams[0]?.finish(1);
    await streams[0]?.finish(3);
    stage.leaveOut(received(4, true));
    for (const at of [5, 6]) {
      stage.push(received(at, false));
      await settle();
      await streams[0]?.finish(at);
    }
    expect(streams[0]?.blocks).toEqual([[1], [3], [5], [6]]);
    expect(streams[0]?.afterKeyFrames).toEqual([true, true, true, false]);
    await stage.close();
  });

  it('takes as much as the codec is given while it guesses, and all while a still serves', async () => {
    const { stage, streams, options, push } = setUp();
    stage.setTarget({ ...target, strength: 0.7 });
    for (const [at, reference] of ['none', 'still', 'still', 'none'].entries()) {
      const bytes = Uint8Array.of(1);
      if (at === 1) options.reference.set({ id: 'a', mimeType: 'image/webp', bytes });
      if (reference === 'none' && at > 0) options.reference.set(null);
      await settle();
      push(at);
      await settle();
      await streams[0]?.finish(at);
    }
    expect(streams[0]?.strengths).toEqual([0.7, 1, 1, 0.7]);
    await stage.close();
  });

  it('opens a stream with a state of its own when the size changes', async () => {
    const { stage, streams, push } = setUp();
    stage.setTarget(target);
    push(1);
    await settle();
    await streams[0]?.finish(1);
    stage.setTarget({ ...target, width: 8 });
    push(2, 4);
    push(3, 8);
    await settle();
    expect(streams[0]?.closed).toBe(true);
    expect(streams[1]?.blocks).toEqual([[3]]);
    await streams[1]?.finish(3);
    await stage.close();
  });

  it('hands nothing on after the target went away, and gives the device back', async () => {
    const { stage, streams, restored, push, gate } = setUp();
    stage.setTarget(target);
    push(1);
    await settle();
    push(2);
    stage.setTarget(null);
    await streams[0]?.finish(1);
    expect(restored).toEqual([]);
    expect(streams[0]?.recycled).toBe(1);
    expect(streams[0]?.closed).toBe(true);
    expect(gate.running).toBe(0);
    await stage.close();
  });

  it('gathers a block of T pictures, and drops the oldest of more than one block', async () => {
    const { stage, streams, options, push } = setUp();
    stage.setTarget({ ...target, variant: { ...variant, T: 2 } });
    push(1);
    await settle();
    expect(streams).toHaveLength(0);
    push(2);
    await settle();
    expect(streams[0]?.blocks).toEqual([[1, 2]]);
    for (const at of [3, 4, 5]) push(at);
    expect(options.onDropped).toHaveBeenCalledTimes(1);
    await streams[0]?.finish(1);
    expect(streams[0]?.blocks).toEqual([
      [1, 2],
      [4, 5],
    ]);
    await streams[0]?.finish(4);
    await stage.close();
  });

  it('reports a failing model and leaves the gate open', async () => {
    const { stage, options, push, gate } = setUp();
    options.device.openStream.mockRejectedValueOnce(new Error('no memory'));
    stage.setTarget(target);
    push(1);
    await settle();
    expect(options.onFailed).toHaveBeenCalledTimes(1);
    expect(gate.running).toBe(0);
    await stage.close();
  });

  it('knows for how long nothing has moved', async () => {
    const { stage, streams, push } = setUp();
    stage.setTarget(target);
    expect(stage.stalledMs(performance.now())).toBe(0);
    push(1);
    await settle();
    expect(stage.stalledMs(performance.now() + 500)).toBeGreaterThan(400);
    await streams[0]?.finish(1);
    expect(stage.stalledMs(performance.now() + 500)).toBe(0);
    await stage.close();
  });
});

describe('encode stage', () => {
  function setUp() {
    const gate = gatekeeper<EncodedPicture | null>();
    const encoded: { at: number; keyFrame: boolean; width: number }[] = [];
    const closed = vi.fn();
    const setBitrate = vi.fn();
    const createEncoder = vi.fn(
      async (): Promise<VideoEncoder> => ({
        codec: 'VP8',
        encoderName: 'fake',
        encode: async (picture, { keyFrame }) => {
          encoded.push({ at: picture.rtpTimestamp90k, keyFrame, width: picture.width });
          return await gate.wait();
        },
        setBitrate,
        close: closed,
      }),
    );
    const options = {
      createEncoder,
      codec: 'VP8',
      bitrateBps: 1_000_000,
      threads: 1,
      logger,
      fps: () => 30,
      onEncoded: vi.fn(),
      onDropped: vi.fn(),
      onUnsupported: vi.fn(),
    } satisfies EncodeStageOptions;
    const stage = new EncodeStage(options);
    const recycle = vi.fn();
    const push = (at: number, width = 16): void =>
      stage.push({ picture: pictureOf(width, 8, at), times: times(at), recycle });
    const finish = (at: number): Promise<void> =>
      gate.next({ data: new Uint8Array(1), keyFrame: false, rtpTimestamp90k: at });
    return { stage, options, encoded, recycle, push, finish, closed, gate, setBitrate };
  }

  it('begins with a key frame and makes one when asked', async () => {
    const { stage, encoded, push, finish } = setUp();
    for (const at of [1, 2, 3]) {
      push(at);
      await settle();
      await finish(at);
      if (at === 2) stage.requestKeyFrame();
    }
    expect(encoded.map(({ keyFrame }) => keyFrame)).toEqual([true, false, true]);
    await stage.close();
  });

  it('keeps the newest picture while it is busy, and gives every buffer back once', async () => {
    const { stage, encoded, options, recycle, push, finish } = setUp();
    push(1);
    await settle();
    for (const at of [2, 3, 4]) push(at);
    await finish(1);
    await finish(4);
    expect(encoded.map(({ at }) => at)).toEqual([1, 4]);
    expect(recycle).toHaveBeenCalledTimes(4);
    expect(options.onEncoded).toHaveBeenCalledTimes(2);
    await stage.close();
  });

  it('opens another encoder for another size only, with the bitrate of the day', async () => {
    const { stage, options, encoded, push, finish, closed, setBitrate } = setUp();
    push(1);
    await settle();
    await finish(1);
    stage.setBitrate(400_000);
    expect(setBitrate).toHaveBeenCalledWith(400_000);
    push(2, 32);
    await settle();
    await finish(2);
    expect(closed).toHaveBeenCalledTimes(1);
    expect(options.createEncoder).toHaveBeenLastCalledWith(
      expect.objectContaining({ width: 32, bitrateBps: 400_000 }),
    );
    expect(encoded.at(-1)).toMatchObject({ keyFrame: true, width: 32 });
    await stage.close();
  });

  it('asks again for a key frame that the encoder swallowed', async () => {
    const { stage, encoded, push, gate, finish } = setUp();
    push(1);
    await settle();
    await gate.next(null);
    push(2);
    await settle();
    await finish(2);
    expect(encoded.map(({ keyFrame }) => keyFrame)).toEqual([true, true]);
    await stage.close();
  });

  it('says when there is no encoder', async () => {
    const { stage, options, push, recycle } = setUp();
    options.createEncoder.mockRejectedValueOnce(new Error('none'));
    push(1);
    await settle();
    expect(options.onUnsupported).toHaveBeenCalledTimes(1);
    expect(recycle).toHaveBeenCalledTimes(1);
    await stage.close();
  });
});
