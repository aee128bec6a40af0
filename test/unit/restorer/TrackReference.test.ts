import { describe, expect, it, vi } from 'vitest';
import type { I420Picture } from '../../../src/media/types.js';
import type { PictureSize } from '../../../src/restoration/filters.js';
import { TrackReference } from '../../../src/restorer/TrackReference.js';
import type { ReferenceStill } from '../../../src/restorer/types.js';

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));
const still = (id: string): ReferenceStill => ({ id, mimeType: 'image/webp', bytes: Uint8Array.of(1) });

function stream({ width = 8, height = 4, maxReferences = 4, scale = 4 } = {}) {
  const given: ArrayBuffer[][] = [];
  return {
    given,
    inputWidth: width / scale,
    inputHeight: height / scale,
    outputWidth: width,
    outputHeight: height,
    maxReferences,
    setReferences: vi.fn(async (lumas: ArrayBuffer[]) => void given.push(lumas)),
  };
}

type Stream = ReturnType<typeof stream>;

/** I420, all of one value. */
function picture(value = 0, width = 8, height = 4): I420Picture {
  const buffer = new Uint8Array((width * height * 3) / 2).fill(value).buffer;
  return { buffer, width, height, rtpTimestamp90k: 0, fullRange: false };
}

/** Pictures are received as the stream's model takes them. */
const pixelsOf = ({ inputWidth, inputHeight }: Stream): number => inputWidth * inputHeight;
const apply = (reference: TrackReference, to: Stream, looksUp?: boolean): void =>
  reference.applyTo(to, pixelsOf(to), looksUp);
const restored = (reference: TrackReference, by: Stream, made: I420Picture, found: number | null): void =>
  reference.restored(by, made, pixelsOf(by), found);

const values = (lumas: ArrayBuffer[] | undefined): number[] =>
  (lumas ?? []).map((luma) => new Uint8Array(luma)[0] ?? -1);

function setUp() {
  const decode = vi.fn(
    async (_bytes: Uint8Array, { width, height }: PictureSize) => new ArrayBuffer(width * height),
  );
  const onRefused = vi.fn();
  return { decode, onRefused, reference: new TrackReference({ decode, onRefused }) };
}

describe('the still of a track', () => {
  it('reaches the stream with the first block after it is decoded, and once', async () => {
    const { reference } = setUp();
    const used = stream();
    apply(reference, used);
    expect(used.given).toEqual([]);
    reference.set(still('a'));
    await settle();
    apply(reference, used);
    apply(reference, used);
    expect(used.given.flat().map(({ byteLength }) => byteLength)).toEqual([32]);
    expect(reference.report(performance.now())).toMatchObject({ id: 'a', found: null });
  });

  it('is offered as soon as it came, and is neither given nor kept while nothing is to be looked up', async () => {
    const { reference } = setUp();
    const used = stream();
    expect(reference.offers(used, pixelsOf(used))).toBe(false);
    reference.set(still('a'));
    expect(reference.offers(used, pixelsOf(used))).toBe(true);
    apply(reference, used, false);
    await settle();
    apply(reference, used, false);
    expect([reference.offers(used, pixelsOf(used)), reference.used]).toEqual([true, false]);
    expect(used.given).toEqual([]);
    apply(reference, used);
    expect(reference.used).toBe(true);
    apply(reference, used, false);
    expect(used.given.map((lumas) => lumas.length)).toEqual([1, 0]);
    expect(reference.report(performance.now())).toBeNull();
    reference.set(null);
    expect(reference.offers(used, pixelsOf(used))).toBe(false);
  });

  it('serves from the first block on, but not a scene in which nothing of it is found', async () => {
    const { reference } = setUp();
    const used = stream();
    apply(reference, used);
    expect(reference.serves).toBe(false);
    reference.set(still('a'));
    await settle();
    apply(reference, used);
    expect(reference.serves).toBe(true);
    for (let block = 0; block < 100; block += 1) restored(reference, used, picture(), 0.5);
    expect(reference.serves).toBe(true);
    for (let block = 0; block < 100; block += 1) restored(reference, used, picture(), 0.05);
    expect(reference.serves).toBe(false);
    for (let block = 0; block < 100; block += 1) restored(reference, used, picture(), 0.5);
    expect(reference.serves).toBe(true);
  });

  it('serves well from where much is found until little is, also with a stream of another size', async () => {
    const { reference } = setUp();
    const used = stream();
    const found = (share: number, by = used) => {
      apply(reference, by);
      for (let block = 0; block < 100; block += 1) restored(reference, by, picture(), share);
      return reference.servesWell;
    };
    reference.set(still('a'));
    apply(reference, used);
    await settle();
    expect(reference.servesWell).toBe(false);
    expect([0.3, 0.5, 0.3, 0.1, 0.3, 0.5].map((share) => found(share))).toEqual([
      false,
      true,
      true,
      false,
      false,
      true,
    ]);
    const larger = stream({ scale: 2 });
    apply(reference, larger);
    expect(reference.servesWell).toBe(true);
    expect(found(0.3, larger)).toBe(true);
    reference.set(null);
    expect(reference.servesWell).toBe(false);
    // Not by a picture of its own.
    apply(reference, used);
    expect([found(0.6), reference.report(performance.now())?.id]).toEqual([false, null]);
  });

  it('says how much of the pictures was found in it', async () => {
    const { reference } = setUp();
    const used = stream();
    reference.set(still('a'));
    apply(reference, used);
    await settle();
    apply(reference, used);
    restored(reference, used, picture(), 0.8);
    expect(reference.report(performance.now())?.found).toBeCloseTo(0.8);
    for (let block = 0; block < 200; block += 1) restored(reference, used, picture(), 0.2);
    expect(reference.report(performance.now())?.found).toBeCloseTo(0.2);
    // A block of a stream that is gone says nothing.
    restored(reference, stream(), picture(), 1);
    expect(reference.report(performance.now())?.found).toBeCloseTo(0.2);
  });

  it('goes to a new stream, decoded anew only for another size', async () => {
    const { reference, decode } = setUp();
    reference.set(still('a'));
    apply(reference, stream());
    await settle();
    const second = stream();
    apply(reference, second);
    expect(second.given).toHaveLength(1);
    expect(decode).toHaveBeenCalledTimes(1);
    const upright = stream({ width: 4, height: 8 });
    apply(reference, upright);
    await settle();
    apply(reference, upright);
    expect(decode).toHaveBeenCalledTimes(2);
    expect(upright.given.flat().map(({ byteLength }) => byteLength)).toEqual([32]);
  });

  it('that cannot be decoded is refused with the reason, and the one before stays', async () => {
    const { reference, decode, onRefused } = setUp();
    const used = stream();
    reference.set(still('good'));
    apply(reference, used);
    await settle();
    apply(reference, used);
    decode.mockRejectedValueOnce(new Error('the still is damaged'));
    reference.set(still('bad'));
    await settle();
    apply(reference, used);
    expect(onRefused.mock.calls).toEqual([['bad', 'the still is damaged']]);
    expect(used.given).toHaveLength(1);
    expect(reference.report(performance.now())?.id).toBe('good');
  });

  it('of a shape that a later size does not have is put aside, and used again with the old size', async () => {
    const { reference, decode, onRefused } = setUp();
    const wide = stream();
    reference.set(still('a'));
    apply(reference, wide);
    await settle();
    const upright = stream({ width: 4, height: 8 });
    decode.mockRejectedValueOnce(new Error('another shape'));
    apply(reference, upright);
    await settle();
    apply(reference, upright);
    expect(upright.given).toEqual([]);
    expect(onRefused).not.toHaveBeenCalled();
    const again = stream();
    apply(reference, again);
    await settle();
    apply(reference, again);
    expect(again.given).toHaveLength(1);
  });

  it('is forgotten when told, also by the stream', async () => {
    const { reference } = setUp();
    const used = stream();
    reference.set(still('a'));
    apply(reference, used);
    await settle();
    apply(reference, used);
    reference.set(null);
    apply(reference, used);
    expect(used.given.at(-1)).toEqual([]);
    expect(reference.report(performance.now())).toBeNull();
  });

  it('that was overtaken while it was decoded is never used', async () => {
    const { reference } = setUp();
    const used = stream();
    apply(reference, used);
    reference.set(still('a'));
    reference.set(still('b'));
    await settle();
    await settle();
    apply(reference, used);
    expect(used.given).toHaveLength(1);
    expect(reference.report(performance.now())?.id).toBe('b');
  });

  it('is kept from models that take none', async () => {
    const { reference } = setUp();
    const lighter = stream({ maxReferences: 0 });
    reference.set(still('a'));
    apply(reference, lighter);
    await settle();
    apply(reference, lighter);
    expect(lighter.setReferences).not.toHaveBeenCalled();
    expect(reference.report(performance.now())).toBeNull();
  });

  it('that the device refuses is refused, too', async () => {
    const { reference, onRefused } = setUp();
    const used = stream();
    reference.set(still('a'));
    apply(reference, used);
    await settle();
    used.setReferences.mockRejectedValueOnce(new Error('no memory'));
    apply(reference, used);
    await settle();
    expect(onRefused.mock.calls).toEqual([['a', 'no memory']]);
    expect(reference.report(performance.now())).toBeNull();
  });
});

describe('the still before', () => {
  /** A still is its id's first character, as luma. */
  function setUpTwo() {
    const { reference, decode } = setUp();
    decode.mockImplementation(
      async ([value = 0], { width, height }) => new Uint8Array(width * height).fill(value).buffer,
    );
    const send = async (value: number) => {
      reference.set({ id: `${value}`, mimeType: 'image/webp', bytes: Uint8Array.of(value) });
      await settle();
    };
    return { reference, send };
  }

  it('serves beside the newest one while the scene is the same', async () => {
    const { reference, send } = setUpTwo();
    const used = stream();
    apply(reference, used);
    for (const value of [1, 2, 3]) {
      await send(value);
      apply(reference, used);
      restored(reference, used, picture(), 0.6);
    }
    expect(used.given.map(values)).toEqual([[1], [2, 1], [3, 2]]);
    expect(reference.report(performance.now())).toMatchObject({ id: '3', found: 0.6 });
    reference.set(null);
    apply(reference, used);
    expect(used.given.at(-1)).toEqual([]);
  });

  it('is gone where little of the pictures was found in it', async () => {
    const { reference, send } = setUpTwo();
    const used = stream();
    apply(reference, used);
    await send(1);
    apply(reference, used);
    restored(reference, used, picture(), 0.2);
    await send(2);
    apply(reference, used);
    expect(used.given.map(values)).toEqual([[1], [2]]);
  });

  it('gives way to a newer picture of the stream itself', async () => {
    const { reference, send } = setUpTwo();
    const used = stream({ scale: 2 });
    apply(reference, used);
    await send(1);
    apply(reference, used);
    restored(reference, used, picture(), 0.6);
    await send(2);
    apply(reference, used);
    await new Promise((resolve) => setTimeout(resolve, 5));
    const larger = stream({ scale: 1, maxReferences: 0 });
    restored(reference, larger, picture(9), null);
    apply(reference, used);
    expect(used.given.map(values)).toEqual([[1], [2, 1], [2, 9]]);
  });
});

describe("a stream's own sharpest picture", () => {
  it('serves as a still where the pictures received get smaller', () => {
    const { reference } = setUp();
    const sharp = stream({ scale: 2 });
    apply(reference, sharp);
    restored(reference, sharp, picture(7), null);
    // The same size again has nothing to learn from itself.
    apply(reference, sharp);
    expect(sharp.given).toEqual([]);
    const small = stream();
    apply(reference, small);
    apply(reference, small);
    expect(small.given.map(values)).toEqual([[7]]);
    expect(new Uint8Array(small.given[0]?.[0] ?? new ArrayBuffer(0))).toHaveLength(32);
  });

  it("is reported as nobody's still", () => {
    const { reference } = setUp();
    restored(reference, stream({ scale: 2 }), picture(7), null);
    const small = stream();
    apply(reference, small);
    restored(reference, small, picture(), 0.9);
    expect(reference.report(performance.now())).toMatchObject({ id: null, found: 0.9 });
  });

  it('stays behind a still of the sender, and is alone again when that is forgotten', async () => {
    const { reference } = setUp();
    restored(reference, stream({ scale: 2 }), picture(7), null);
    const small = stream();
    apply(reference, small);
    reference.set(still('a'));
    await settle();
    apply(reference, small);
    reference.set(null);
    apply(reference, small);
    expect(small.given.map(values)).toEqual([[7], [0, 7], [7]]);
  });

  it('leaves a model that takes one still the sender’s', async () => {
    const { reference } = setUp();
    restored(reference, stream({ scale: 2 }), picture(7), null);
    const small = stream({ maxReferences: 1 });
    reference.set(still('a'));
    apply(reference, small);
    await settle();
    apply(reference, small);
    expect(small.given.map(values)).toEqual([[7], [0]]);
  });

  it('that the device refuses beside a still leaves that alone', async () => {
    const { reference, onRefused } = setUp();
    restored(reference, stream({ scale: 2 }), picture(7), null);
    reference.set(still('a'));
    const small = stream();
    apply(reference, small);
    await settle();
    small.setReferences.mockRejectedValueOnce(new Error('no memory'));
    apply(reference, small);
    await settle();
    apply(reference, small);
    expect(onRefused).not.toHaveBeenCalled();
    expect(values(small.given.at(-1))).toEqual([0]);
    expect(reference.report(performance.now())?.id).toBe('a');
  });

  it('is none where the same pictures are scaled to a smaller input', () => {
    const { reference } = setUp();
    const [larger, smaller] = [stream({ scale: 2 }), stream({ scale: 4 })];
    reference.applyTo(larger, 5);
    reference.restored(larger, picture(7), 5, null);
    reference.applyTo(smaller, 5);
    expect(smaller.given).toEqual([]);
    reference.applyTo(smaller, 4);
    expect(smaller.given.map(values)).toEqual([[7]]);
  });

  it('is not replaced by what was restored from less', () => {
    const { reference } = setUp();
    restored(reference, stream({ scale: 1, maxReferences: 0 }), picture(7), null);
    restored(reference, stream({ scale: 2 }), picture(8), null);
    const small = stream();
    apply(reference, small);
    expect(small.given.map(values)).toEqual([[7]]);
  });

  it('is dropped when nearly nothing is found in it: the scene is another', () => {
    const { reference } = setUp();
    restored(reference, stream({ scale: 2 }), picture(7), null);
    const small = stream();
    for (let block = 0; block < 60; block += 1) {
      apply(reference, small);
      restored(reference, small, picture(), 0.05);
    }
    expect(small.given.map(values)).toEqual([[7], []]);
  });

  it('is of no use to another size, nor to a model that takes none', () => {
    const { reference } = setUp();
    restored(reference, stream({ scale: 2 }), picture(7), null);
    const upright = stream({ width: 4, height: 8 });
    apply(reference, upright);
    const lighter = stream({ maxReferences: 0 });
    apply(reference, lighter);
    expect([...upright.given, ...lighter.given]).toEqual([]);
  });

  it('that the device refuses is forgotten, and nobody is told', async () => {
    const { reference, onRefused } = setUp();
    restored(reference, stream({ scale: 2 }), picture(7), null);
    const small = stream();
    small.setReferences.mockRejectedValueOnce(new Error('too large'));
    apply(reference, small);
    await settle();
    apply(reference, small);
    expect(onRefused).not.toHaveBeenCalled();
    expect(small.setReferences).toHaveBeenCalledTimes(1);
  });
});
