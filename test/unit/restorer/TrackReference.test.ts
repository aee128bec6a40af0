import { describe, expect, it, vi } from 'vitest';
import type { PictureSize } from '../../../src/restoration/filters.js';
import { TrackReference } from '../../../src/restorer/TrackReference.js';
import type { ReferenceStill } from '../../../src/restorer/types.js';

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));
const still = (id: string): ReferenceStill => ({ id, mimeType: 'image/webp', bytes: Uint8Array.of(1) });

function stream({ width = 8, height = 4, takesReferences = true } = {}) {
  const given: ArrayBuffer[][] = [];
  return {
    given,
    outputWidth: width,
    outputHeight: height,
    takesReferences,
    setReferences: vi.fn(async (lumas: ArrayBuffer[]) => void given.push(lumas)),
  };
}

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
    reference.applyTo(used);
    expect(used.given).toEqual([]);
    reference.set(still('a'));
    await settle();
    reference.applyTo(used);
    reference.applyTo(used);
    expect(used.given.flat().map(({ byteLength }) => byteLength)).toEqual([32]);
    expect(reference.report(performance.now())).toMatchObject({ id: 'a', found: null });
  });

  it('says how much of the pictures was found in it', async () => {
    const { reference } = setUp();
    const used = stream();
    reference.set(still('a'));
    reference.applyTo(used);
    await settle();
    reference.applyTo(used);
    reference.restored(used, 0.8);
    expect(reference.report(performance.now())?.found).toBeCloseTo(0.8);
    for (let block = 0; block < 200; block += 1) reference.restored(used, 0.2);
    expect(reference.report(performance.now())?.found).toBeCloseTo(0.2);
    // A block of a stream that is gone says nothing.
    reference.restored(stream(), 1);
    expect(reference.report(performance.now())?.found).toBeCloseTo(0.2);
  });

  it('goes to a new stream, decoded anew only for another size', async () => {
    const { reference, decode } = setUp();
    reference.set(still('a'));
    reference.applyTo(stream());
    await settle();
    const second = stream();
    reference.applyTo(second);
    expect(second.given).toHaveLength(1);
    expect(decode).toHaveBeenCalledTimes(1);
    const upright = stream({ width: 4, height: 8 });
    reference.applyTo(upright);
    await settle();
    reference.applyTo(upright);
    expect(decode).toHaveBeenCalledTimes(2);
    expect(upright.given.flat().map(({ byteLength }) => byteLength)).toEqual([32]);
  });

  it('that cannot be decoded is refused with the reason, and the one before stays', async () => {
    const { reference, decode, onRefused } = setUp();
    const used = stream();
    reference.set(still('good'));
    reference.applyTo(used);
    await settle();
    reference.applyTo(used);
    decode.mockRejectedValueOnce(new Error('the still is damaged'));
    reference.set(still('bad'));
    await settle();
    reference.applyTo(used);
    expect(onRefused.mock.calls).toEqual([['bad', 'the still is damaged']]);
    expect(used.given).toHaveLength(1);
    expect(reference.report(performance.now())?.id).toBe('good');
  });

  it('of a shape that a later size does not have is put aside, and used again with the old size', async () => {
    const { reference, decode, onRefused } = setUp();
    const wide = stream();
    reference.set(still('a'));
    reference.applyTo(wide);
    await settle();
    const upright = stream({ width: 4, height: 8 });
    decode.mockRejectedValueOnce(new Error('another shape'));
    reference.applyTo(upright);
    await settle();
    reference.applyTo(upright);
    expect(upright.given).toEqual([]);
    expect(onRefused).not.toHaveBeenCalled();
    const again = stream();
    reference.applyTo(again);
    await settle();
    reference.applyTo(again);
    expect(again.given).toHaveLength(1);
  });

  it('is forgotten when told, also by the stream', async () => {
    const { reference } = setUp();
    const used = stream();
    reference.set(still('a'));
    reference.applyTo(used);
    await settle();
    reference.applyTo(used);
    reference.set(null);
    reference.applyTo(used);
    expect(used.given.at(-1)).toEqual([]);
    expect(reference.report(performance.now())).toBeNull();
  });

  it('that was overtaken while it was decoded is never used', async () => {
    const { reference } = setUp();
    const used = stream();
    reference.applyTo(used);
    reference.set(still('a'));
    reference.set(still('b'));
    await settle();
    await settle();
    reference.applyTo(used);
    expect(used.given).toHaveLength(1);
    expect(reference.report(performance.now())?.id).toBe('b');
  });

  it('is kept from models that take none', async () => {
    const { reference } = setUp();
    const lighter = stream({ takesReferences: false });
    reference.set(still('a'));
    reference.applyTo(lighter);
    await settle();
    reference.applyTo(lighter);
    expect(lighter.setReferences).not.toHaveBeenCalled();
    expect(reference.report(performance.now())).toBeNull();
  });

  it('that the device refuses is refused, too', async () => {
    const { reference, onRefused } = setUp();
    const used = stream();
    reference.set(still('a'));
    reference.applyTo(used);
    await settle();
    used.setReferences.mockRejectedValueOnce(new Error('no memory'));
    reference.applyTo(used);
    await settle();
    expect(onRefused.mock.calls).toEqual([['a', 'no memory']]);
    expect(reference.report(performance.now())).toBeNull();
  });
});
