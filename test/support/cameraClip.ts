import { existsSync, mkdirSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { uprightFilter } from '../../src/restoration/filters.js';
import { VideoFileReader } from '../../src/restoration/VideoFileReader.js';
import { createVideoFileWriter } from '../../src/restoration/VideoFileWriter.js';
import { openY4m, stampFrameNumbers, type Y4mFile } from './frameNumberClip.js';
import { realClip } from './naturalClip.js';

const CACHE_VERSION = 2;
const AUDIO_RATE_HZ = 48_000;
/** Few enough that two browsers, the relay and a model fit on two cores. */
export const CAMERA_FPS = 10;
const SECONDS = 6;

export interface CameraClip {
  video: Y4mFile;
  /** A beep of 60 ms at the start of every second, when the frame number is a multiple of CAMERA_FPS. */
  audioFile: string;
}

/** Real footage as a 720p camera whose frames carry their number, and a microphone that beeps with them. */
export async function cameraClip(name = 'mps-gesture.mp4'): Promise<CameraClip> {
  const folder = join(tmpdir(), `vireo-camera-clips-${CACHE_VERSION}`);
  mkdirSync(folder, { recursive: true });
  const file = join(folder, `${name}.y4m`);
  if (!existsSync(file)) {
    const unfinished = join(folder, `${process.pid}-${name}.y4m`);
    // On a thin uplink no stills are sent of a camera that moves.
    await writeCamera(await realClip(name, { pans: false }), unfinished);
    renameSync(unfinished, file);
  }
  const audioFile = join(folder, 'beeps.wav');
  if (!existsSync(audioFile)) writeFileSync(audioFile, beeps());
  return { video: openY4m(file, statSync(file).size), audioFile };
}

async function writeCamera(source: string, file: string): Promise<void> {
  const reader = await VideoFileReader.open(source);
  const writer = createVideoFileWriter(file, {
    timeBase: { num: 1, den: CAMERA_FPS },
    frameRate: { num: CAMERA_FPS, den: 1 },
    audio: null,
  });
  // Every second frame: at ten a second the motion stays near a camera's.
  const step = 2;
  let filter: ReturnType<typeof uprightFilter> | undefined;
  try {
    let read = 0;
    let written = 0;
    while (written < CAMERA_FPS * SECONDS) {
      const frame = await reader.next();
      if (frame === null) break;
      if (read++ % step === 0) {
        filter ??= uprightFilter({ width: 1280, height: 720 }, reader.info.rotation, frame);
        const scaled = await filter.apply(frame);
        scaled.pts = BigInt(written);
        await writer.write(scaled);
        scaled.free();
        written += 1;
      }
      frame.free();
    }
    await writer.finish();
  } finally {
    filter?.close();
    await writer.abort();
    await reader.close();
  }
  stampFrameNumbers(openY4m(file, statSync(file).size));
}

function beeps(): Buffer {
  const samples = AUDIO_RATE_HZ * SECONDS;
  const wav = Buffer.alloc(44 + samples * 2);
  wav.write('RIFF', 0);
  wav.writeUInt32LE(36 + samples * 2, 4);
  wav.write('WAVEfmt ', 8);
  wav.writeUInt32LE(16, 16);
  wav.writeUInt16LE(1, 20);
  wav.writeUInt16LE(1, 22);
  wav.writeUInt32LE(AUDIO_RATE_HZ, 24);
  wav.writeUInt32LE(AUDIO_RATE_HZ * 2, 28);
  wav.writeUInt16LE(2, 32);
  wav.writeUInt16LE(16, 34);
  wav.write('data', 36);
  wav.writeUInt32LE(samples * 2, 40);
  for (let sample = 0; sample < samples; sample += 1) {
    const inSecond = (sample % AUDIO_RATE_HZ) / AUDIO_RATE_HZ;
    const level = inSecond < 0.06 ? Math.sin(2 * Math.PI * 1_000 * inSecond) * 0.6 : 0;
    wav.writeInt16LE(Math.round(level * 32_767), 44 + sample * 2);
  }
  return wav;
}
