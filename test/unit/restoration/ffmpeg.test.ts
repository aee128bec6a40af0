import {
  AVCHROMA_LOC_LEFT,
  AVCOL_PRI_BT709,
  AVCOL_RANGE_MPEG,
  AVCOL_SPC_BT709,
  AVCOL_TRC_BT709,
} from 'node-av/constants';
import { describe, expect, it } from 'vitest';
import { copyLuma, frameOf, lumaOf } from '../../../src/restoration/ffmpeg.js';

const tags = {
  pts: 7n,
  duration: 2n,
  timeBase: { num: 1, den: 30 },
  colorSpace: AVCOL_SPC_BT709,
  colorPrimaries: AVCOL_PRI_BT709,
  colorTrc: AVCOL_TRC_BT709,
  colorRange: AVCOL_RANGE_MPEG,
  chromaLocation: AVCHROMA_LOC_LEFT,
};

describe('a frame made of a picture', () => {
  it.each([
    [64, 32],
    [854, 480],
  ])(
    '%ix%i: keeps its own copy, and the tags, when the buffer is used for something else',
    (width, height) => {
      const buffer = new ArrayBuffer((width * height * 3) / 2);
      const bytes = new Uint8Array(buffer).map((_, at) => at % 251);
      new Uint8Array(buffer).set(bytes);
      const frame = frameOf({ buffer, width, height, rtpTimestamp90k: 0, fullRange: false }, tags);
      new Uint8Array(buffer).fill(0);
      expect(Buffer.compare(frame.toBuffer(), bytes)).toBe(0);
      const { pts, duration, timeBase, colorSpace, sampleAspectRatio } = frame;
      expect([pts, duration, timeBase.den, colorSpace, sampleAspectRatio.num]).toEqual([
        7n,
        2n,
        30,
        AVCOL_SPC_BT709,
        1,
      ]);
      expect(Buffer.compare(lumaOf(frame), bytes.subarray(0, width * height))).toBe(0);
      expect(() => copyLuma(frame, new ArrayBuffer(5))).toThrow(/does not fit 5 bytes/);
      frame.free();
    },
  );
});
