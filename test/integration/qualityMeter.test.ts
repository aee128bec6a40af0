/** PSNR and SSIM are of code values, whatever the pictures' tags say of colours. */
import type { Frame } from 'node-av';
import { afterAll, describe, expect, it } from 'vitest';
import { QualityMeter } from '../../src/evaluation/QualityMeter.js';
import { FrameFilter } from '../../src/restoration/filters.js';
import { VideoFileReader } from '../../src/restoration/VideoFileReader.js';

const open: Frame[] = [];
afterAll(() => {
  for (const frame of open) frame.free();
});

async function picture(chain: string): Promise<Frame> {
  const graph =
    'testsrc2=size=320x192:rate=1,trim=end_frame=1,format=yuv420p,setparams=range=tv:colorspace=bt709';
  const reader = await VideoFileReader.open(graph, { format: 'lavfi' });
  const frame = await reader.next();
  await reader.close();
  if (frame === null) throw new Error('no frame');
  const filter = new FrameFilter(chain);
  const result = await filter.apply(frame);
  filter.close();
  open.push(frame, result);
  return result;
}

async function measured(a: Frame, b: Frame): Promise<{ psnrY: number; ssimY: number }> {
  const meter = new QualityMeter();
  await meter.add(a, b);
  meter.close();
  return meter.result;
}

describe('quality', () => {
  it.each([
    ['BT.601, as VP8 is decoded', 'range=tv:colorspace=bt470bg'],
    ['nothing, as H.264 of a call is', 'range=unknown:colorspace=unknown'],
    ['full range', 'range=pc:colorspace=bt709'],
  ])('is perfect for the same picture tagged %s', async (_what, tags) => {
    const [one, other] = [await picture('null'), await picture(`setparams=${tags}`)];
    expect(await measured(one, other)).toEqual({ psnrY: 100, ssimY: 1 });
    expect(await measured(other, one)).toEqual({ psnrY: 100, ssimY: 1 });
  });

  it('is that of the difference: two code values everywhere', async () => {
    const brighter = await picture('lutyuv=y=val+2,setparams=colorspace=bt470bg');
    const { psnrY } = await measured(brighter, await picture('null'));
    expect(psnrY).toBeCloseTo(10 * Math.log10(255 ** 2 / 4), 1);
  });
});
