/** Small video files for tests, made from FFmpeg's own sources, and ways to look into them. */
import { readFile, writeFile } from 'node:fs/promises';
import { Encoder, type Frame, Muxer } from 'node-av';
import { AVCOL_RANGE_UNSPECIFIED, AVCOL_SPC_UNSPECIFIED, type FFEncoderCodec } from 'node-av/constants';
import { QualityMeter } from '../../src/evaluation/QualityMeter.js';
import { type Kernel, scaleFilter, uprightFilter } from '../../src/restoration/filters.js';
import { VideoFileReader } from '../../src/restoration/VideoFileReader.js';
import { createVideoFileWriter } from '../../src/restoration/VideoFileWriter.js';

/** Writes what a `lavfi` graph gives, first through Vireo's own writer (sound copied). */
export async function makeVideo(path: string, graph: string): Promise<string> {
  let onAudio: Parameters<typeof VideoFileReader.open>[1] = { format: 'lavfi' };
  let sink: ReturnType<typeof createVideoFileWriter> | null = null;
  onAudio = { ...onAudio, onAudio: async (packet) => await sink?.writeAudio(packet) };
  const reader = await VideoFileReader.open(graph, onAudio);
  const { timeBase, frameRate } = reader.info;
  const writer = createVideoFileWriter(path, { timeBase, frameRate, audio: reader.audio });
  sink = writer;
  for (let frame = await reader.next(); frame !== null; frame = await reader.next()) {
    await writer.write(frame);
    frame.free();
  }
  await writer.finish();
  await reader.close();
  return path;
}

/** Encodes in the pixel format that the graph gives (10 bit, 4:2:2, RGB …). */
export async function makeVideoWith(path: string, graph: string, encoderName: string): Promise<string> {
  const reader = await VideoFileReader.open(graph, { format: 'lavfi' });
  const encoder = await Encoder.create(encoderName as FFEncoderCodec, {});
  const muxer = await Muxer.open(path);
  const stream = muxer.addStream(encoder);
  for (let frame = await reader.next(); frame !== null; frame = await reader.next()) {
    for (const packet of await encoder.encodeAll(frame)) {
      await muxer.writePacket(packet, stream);
      packet.free();
    }
    frame.free();
  }
  for await (const packet of encoder.flushPackets()) {
    await muxer.writePacket(packet, stream);
    packet.free();
  }
  await muxer.close();
  encoder.close();
  await reader.close();
  return path;
}

/** Marks an MP4 to be shown turned by 90 degrees clockwise, as telephones do. */
export async function rotateMp4(path: string): Promise<void> {
  const bytes = await readFile(path);
  const matrix = bytes.indexOf('tkhd') + 4 + 40;
  [0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000].forEach((value, index) => {
    bytes.writeInt32BE(value, matrix + index * 4);
  });
  await writeFile(path, bytes);
}

export interface VideoFacts {
  width: number;
  height: number;
  frames: number;
  /** Presentation times, milliseconds, from the first frame on. */
  timesMs: number[];
  colorSpace: Frame['colorSpace'];
  colorRange: Frame['colorRange'];
  hasAudio: boolean;
  audioPackets: number;
}

export async function inspect(path: string): Promise<VideoFacts> {
  let audioPackets = 0;
  const reader = await VideoFileReader.open(path, {
    onAudio: async () => {
      audioPackets++;
    },
  });
  const facts: VideoFacts = {
    width: 0,
    height: 0,
    frames: 0,
    timesMs: [],
    colorSpace: AVCOL_SPC_UNSPECIFIED,
    colorRange: AVCOL_RANGE_UNSPECIFIED,
    hasAudio: reader.audio !== null,
    audioPackets: 0,
  };
  let first: bigint | null = null;
  for (let frame = await reader.next(); frame !== null; frame = await reader.next()) {
    first ??= frame.pts;
    const { num, den } = frame.timeBase;
    facts.timesMs.push(Math.round((Number(frame.pts - first) * num * 1_000) / den));
    facts.width = frame.width;
    facts.height = frame.height;
    facts.colorSpace = frame.colorSpace;
    facts.colorRange = frame.colorRange;
    facts.frames++;
    frame.free();
  }
  await reader.close();
  return { ...facts, audioPackets };
}

/** Mean PSNR-Y against a reference, the picture scaled to the reference's size by a kernel first where it is smaller. */
export async function psnrY(path: string, reference: string, kernel: Kernel = 'bilinear'): Promise<number> {
  const [a, b] = [await VideoFileReader.open(path), await VideoFileReader.open(reference)];
  const size = { width: b.info.width, height: b.info.height };
  const scale = scaleFilter(size, kernel);
  const meter = new QualityMeter();
  let upright: ReturnType<typeof uprightFilter> | null = null;
  for (;;) {
    const [picture, original] = [await a.next(), await b.next()];
    if (picture === null || original === null) {
      picture?.free();
      original?.free();
      break;
    }
    upright ??= uprightFilter(size, b.info.rotation, original);
    const [large, sharp] = [await scale.apply(picture), await upright.apply(original)];
    large.pts = sharp.pts;
    large.timeBase = sharp.timeBase;
    await meter.add(large, sharp);
    for (const frame of [picture, original, large, sharp]) frame.free();
  }
  upright?.close();
  scale.close();
  const { psnrY: result } = meter.result;
  meter.close();
  await a.close();
  await b.close();
  return result;
}
