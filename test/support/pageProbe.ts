/**
 * Runs inside the pages of an end-to-end test (bundled and injected before the page's own scripts): reads
 * what a person would see and hear, without the page's help.
 */
import { CELLS, STRIP_SHARE } from './frameNumber.js';

export interface ShownFrame {
  frameNumber: number;
  /** performance.now() at which the browser meant to display it. */
  displayedAtMs: number;
  /** The same clock when the camera took it; null for a received frame. */
  capturedAtMs: number | null;
  width: number;
  height: number;
}

export interface CapturedFrame {
  frameNumber: number;
  /** Base64 of 1280×720 luma as displayed, for either matrix the browser may have decoded with. */
  lumaBt601: string;
  lumaBt709: string;
}

const WIDTH = 1280;
const HEIGHT = 720;

/** Reads the number from the strip; null while the picture has none (or is too damaged to read). */
async function readFrameNumber(frame: VideoFrame): Promise<number | null> {
  const width = frame.codedWidth;
  const height = frame.codedHeight;
  const y = Math.floor((height * (1 - STRIP_SHARE / 2)) / 2) * 2;
  const rect = { x: 0, y, width, height: 2 };
  const bytes = new Uint8Array(frame.allocationSize({ rect }));
  const layout = await frame.copyTo(bytes, { rect });
  const offset = layout[0]?.offset ?? 0;
  const level = (cell: number) => bytes[offset + Math.floor(((cell + 0.5) * width) / CELLS)] ?? 0;
  const white = level(0);
  const black = level(1);
  if (white - black < 80) return null;
  let value = 0;
  for (let bit = 0; bit < CELLS - 2; bit += 1) {
    if (level(bit + 2) > (white + black) / 2) value |= 1 << bit;
  }
  return value;
}

/** What the element displays now, held still; what cannot be read of it is null. */
async function withShown<T>(
  video: HTMLVideoElement,
  read: (frame: VideoFrame) => Promise<T | null>,
): Promise<T | null> {
  let frame: VideoFrame | undefined;
  try {
    frame = new VideoFrame(video);
    return await read(frame);
  } catch {
    return null;
  } finally {
    frame?.close();
  }
}

function toBase64(bytes: Uint8Array): string {
  let text = '';
  for (let index = 0; index < bytes.length; index += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(index, index + 0x8000));
  }
  return btoa(text);
}

interface DisplayedLuma {
  bt601: Uint8Array;
  bt709: Uint8Array;
}

/** What is on screen: the frame drawn at 720p with the browser's own scaling, as luma. */
function displayedLuma(frame: VideoFrame, canvas: HTMLCanvasElement): DisplayedLuma {
  canvas.width = WIDTH;
  canvas.height = HEIGHT;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (!context) throw new Error('no 2d context');
  context.drawImage(frame, 0, 0, WIDTH, HEIGHT);
  const { data } = context.getImageData(0, 0, WIDTH, HEIGHT);
  const bt601 = new Uint8Array(WIDTH * HEIGHT);
  const bt709 = new Uint8Array(WIDTH * HEIGHT);
  for (let pixel = 0; pixel < bt601.length; pixel += 1) {
    const r = data[pixel * 4] ?? 0;
    const g = data[pixel * 4 + 1] ?? 0;
    const b = data[pixel * 4 + 2] ?? 0;
    bt601[pixel] = Math.round(16 + 0.256788 * r + 0.504129 * g + 0.097906 * b);
    bt709[pixel] = Math.round(16 + 0.182586 * r + 0.614231 * g + 0.062007 * b);
  }
  return { bt601, bt709 };
}

function videoOf(selector: string): HTMLVideoElement {
  const element = document.querySelector(selector);
  if (!(element instanceof HTMLVideoElement)) throw new Error(`no video element matches ${selector}`);
  return element;
}

function nextFrame(video: HTMLVideoElement, timeoutMs: number): Promise<VideoFrameCallbackMetadata | null> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      video.cancelVideoFrameCallback(handle);
      resolve(null);
    }, timeoutMs);
    const handle = video.requestVideoFrameCallback((_now, metadata) => {
      clearTimeout(timer);
      resolve(metadata);
    });
  });
}

/** Every frame that an element displays during this time. */
async function watch(selector: string, durationMs: number): Promise<ShownFrame[]> {
  const frames: ShownFrame[] = [];
  const until = performance.now() + durationMs;
  while (performance.now() < until) {
    const video = videoOf(selector);
    const metadata = await nextFrame(video, Math.max(1, until - performance.now()));
    if (!metadata) break;
    const frameNumber = await withShown(video, readFrameNumber);
    if (frameNumber === null) continue;
    frames.push({
      frameNumber,
      displayedAtMs: metadata.expectedDisplayTime,
      capturedAtMs: metadata.receiveTime === undefined ? (metadata.captureTime ?? null) : null,
      width: metadata.width,
      height: metadata.height,
    });
  }
  return frames;
}

/**
 * Pictures of frames that both of two elements displayed, each held still while it is read: a busy page moves on in
 * between. As many as there were when there are `count`, or time is up.
 */
async function captureBoth(
  selectors: readonly [string, string],
  count: number,
  timeoutMs: number,
): Promise<[CapturedFrame[], CapturedFrame[]]> {
  const until = performance.now() + timeoutMs;
  const captured = [new Map<number, DisplayedLuma>(), new Map<number, DisplayedLuma>()] as const;
  const both = () => [...captured[0].keys()].filter((frameNumber) => captured[1].has(frameNumber));
  const follow = async (selector: string, into: Map<number, DisplayedLuma>) => {
    const canvas = document.createElement('canvas');
    while (performance.now() < until && both().length < count) {
      const video = videoOf(selector);
      if (!(await nextFrame(video, Math.max(1, until - performance.now())))) break;
      await withShown(video, async (frame) => {
        const frameNumber = await readFrameNumber(frame);
        if (frameNumber !== null && !into.has(frameNumber)) {
          into.set(frameNumber, displayedLuma(frame, canvas));
        }
        return frameNumber;
      });
    }
  };
  await Promise.all([follow(selectors[0], captured[0]), follow(selectors[1], captured[1])]);
  const numbers = both().slice(0, count);
  if (numbers.length === 0) {
    const seen = captured.map((frames) => `[${[...frames.keys()].join(', ')}]`);
    throw new Error(`no frame was displayed by both: ${selectors[0]} ${seen[0]}, ${selectors[1]} ${seen[1]}`);
  }
  const framesOf = (frames: Map<number, DisplayedLuma>) =>
    numbers.flatMap((frameNumber) => {
      const luma = frames.get(frameNumber);
      if (!luma) return [];
      return [{ frameNumber, lumaBt601: toBase64(luma.bt601), lumaBt709: toBase64(luma.bt709) }];
    });
  return [framesOf(captured[0]), framesOf(captured[1])];
}

/** Of the "breakout box" (W3C mediacapture-transform), which Chromium has in windows and TypeScript's library lacks. */
declare class MediaStreamTrackProcessor {
  constructor(init: { track: MediaStreamTrack });
  readonly readable: ReadableStream<AudioData>;
}

const BEEP_LEVEL = 0.1;
const QUIET_BEFORE_BEEP_MS = 200;

/**
 * Times at which a beep begins in a track, on the page's clock: captured for a microphone, handed to the output
 * for a received track. Read with their time stamps where the browser hands samples on; Web Audio would queue them
 * for some tens of milliseconds more, and more again on a busy machine.
 */
async function beepOnsets(source: MediaStreamTrack, durationMs: number): Promise<number[]> {
  const track = source.clone();
  const reader = new MediaStreamTrackProcessor({ track }).readable.getReader();
  const onsetsMs: number[] = [];
  let quietSinceMs: number | null = null;
  // Time stamps have an epoch of their own: the sample that was read with the least delay ties it to the page's clock.
  let epochMs = Number.POSITIVE_INFINITY;
  const until = performance.now() + durationMs;
  const timer = setTimeout(() => void reader.cancel(), durationMs + 1_000);
  while (performance.now() < until) {
    const { value: data, done } = await reader.read();
    if (done) break;
    const stampMs = data.timestamp / 1_000;
    epochMs = Math.min(epochMs, performance.now() - stampMs);
    const samples = new Float32Array(data.numberOfFrames);
    data.copyTo(samples, { planeIndex: 0, format: 'f32-planar' });
    const sampleMs = 1_000 / data.sampleRate;
    data.close();
    for (const [index, sample] of samples.entries()) {
      const atMs = stampMs + index * sampleMs;
      if (Math.abs(sample) <= BEEP_LEVEL) {
        quietSinceMs ??= atMs;
        continue;
      }
      if (quietSinceMs !== null && atMs - quietSinceMs > QUIET_BEFORE_BEEP_MS) onsetsMs.push(atMs);
      quietSinceMs = null;
    }
  }
  clearTimeout(timer);
  await reader.cancel();
  track.stop();
  return onsetsMs.map((atMs) => atMs + epochMs);
}

const connections: RTCPeerConnection[] = [];
const NativeConnection = globalThis.RTCPeerConnection;
globalThis.RTCPeerConnection = class extends NativeConnection {
  constructor(configuration?: RTCConfiguration) {
    super(configuration);
    connections.push(this);
  }
};

/** Key frames decoded by this page so far, over all its tracks. */
async function keyFramesDecoded(): Promise<number> {
  let sum = 0;
  for (const connection of connections) {
    if (connection.connectionState === 'closed') continue;
    const report = await connection.getStats();
    report.forEach((entry: { type: string; keyFramesDecoded?: number }) => {
      if (entry.type === 'inbound-rtp') sum += entry.keyFramesDecoded ?? 0;
    });
  }
  return sum;
}

export interface VideoCounters {
  atMs: number;
  framesSent: number;
  framesDecoded: number;
  keyFramesSent: number;
  /** Of what it receives. */
  packetsMissed: number;
  /** Of the video sent, the newest; null: none yet. */
  roundTripMs: number | null;
}

/** What the browser counts about all video that this page sends and receives. */
async function videoCounters(): Promise<VideoCounters> {
  const sum = {
    framesSent: 0,
    framesDecoded: 0,
    keyFramesSent: 0,
    packetsMissed: 0,
  };
  let roundTripMs: number | null = null;
  for (const connection of connections) {
    if (connection.connectionState === 'closed') continue;
    const report = await connection.getStats();
    report.forEach((entry: Record<string, number> & { type: string; kind?: string }) => {
      if ((entry.kind as string | undefined) !== 'video') return;
      if (entry.type === 'outbound-rtp') {
        sum.framesSent += entry.framesSent ?? 0;
        sum.keyFramesSent += entry.keyFramesEncoded ?? 0;
      }
      if (entry.type === 'remote-inbound-rtp') {
        if (entry.roundTripTime !== undefined) roundTripMs = entry.roundTripTime * 1_000;
      }
      if (entry.type === 'inbound-rtp') {
        sum.framesDecoded += entry.framesDecoded ?? 0;
        sum.packetsMissed += entry.packetsLost ?? 0;
      }
    });
  }
  return { atMs: performance.now(), ...sum, roundTripMs };
}

const localStreams: MediaStream[] = [];
const original = navigator.mediaDevices?.getUserMedia.bind(navigator.mediaDevices);
if (original) {
  navigator.mediaDevices.getUserMedia = async (constraints) => {
    const stream = await original(constraints);
    localStreams.push(stream);
    return stream;
  };
}

/** The microphone's own track, or the one that an audio element of the page plays. */
function audioTrack(side: 'local' | 'remote'): MediaStreamTrack {
  const streams =
    side === 'local'
      ? localStreams
      : [...document.querySelectorAll<HTMLMediaElement>('audio, video')].flatMap((element) =>
          element.srcObject instanceof MediaStream ? [element.srcObject] : [],
        );
  for (const stream of streams) {
    for (const track of stream.getAudioTracks()) {
      const isLocal = localStreams.some((local) => local.getAudioTracks().some(({ id }) => id === track.id));
      if (track.readyState === 'live' && isLocal === (side === 'local')) return track;
    }
  }
  throw new Error(`no ${side} audio track`);
}

export interface BeepOffset {
  /** When the beep was heard, milliseconds since the epoch: comparable between pages of one machine. */
  heardAtMs: number;
  /** How much later than the beep its frame was displayed (of a camera: taken), milliseconds in [−500, 500). */
  videoLateMs: number;
}

/**
 * Video against audio, for each beep: there is one a second, when the frame number is a multiple of `framesPerBeep`.
 * A camera's frames count from when they were taken: a busy page shows its own camera a frame late now and then,
 * which the other side knows nothing of.
 */
async function videoAfterBeep(
  selector: string,
  side: 'local' | 'remote',
  framesPerBeep: number,
  durationMs: number,
): Promise<BeepOffset[]> {
  const [frames, onsets] = await Promise.all([
    watch(selector, durationMs),
    beepOnsets(audioTrack(side), durationMs),
  ]);
  const frameMs = 1_000 / framesPerBeep;
  const atMs = (frame: ShownFrame) =>
    (side === 'local' ? frame.capturedAtMs : frame.displayedAtMs) ?? Number.NaN;
  const offsets: BeepOffset[] = [];
  for (const onset of onsets) {
    const nearest = frames.reduce<ShownFrame | null>(
      (best, frame) =>
        best === null || Math.abs(atMs(frame) - onset) < Math.abs(atMs(best) - onset) ? frame : best,
      null,
    );
    if (!nearest) continue;
    const phase = nearest.frameNumber % framesPerBeep;
    // Where the beep's own frame stood on the display's time line, seen from a frame near it.
    const offset = atMs(nearest) - phase * frameMs - onset;
    offsets.push({
      heardAtMs: performance.timeOrigin + onset,
      videoLateMs: ((((offset + 500) % 1_000) + 1_000) % 1_000) - 500,
    });
  }
  return offsets;
}

/** Milliseconds until an element displays a frame that it had not displayed before the call. */
async function timeToNewFrame(selector: string, timeoutMs: number): Promise<number | null> {
  const startedAt = performance.now();
  const metadata = await nextFrame(videoOf(selector), timeoutMs);
  return metadata ? performance.now() - startedAt : null;
}

const stillTypes: string[] = [];
const rests: boolean[] = [];
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (this: WebSocket, data: Parameters<typeof send>[0]) {
  const type = typeof data === 'string' && /"mimeType":"(image\/\w+)"/.exec(data)?.[1];
  if (type) stillTypes.push(type);
  const resting = typeof data === 'string' && /"resting":(true|false)/.exec(data)?.[1];
  if (resting) rests.push(resting === 'true');
  send.call(this, data);
};

/** Kinds of the stills that this page began to send. */
const stillTypesSent = () => stillTypes;

/** What this page said of its last still, time after time: whether it should rest. */
const stillsRested = () => rests;

const probe = {
  stillTypesSent,
  stillsRested,
  watch,
  captureBoth,
  videoAfterBeep,
  timeToNewFrame,
  keyFramesDecoded,
  videoCounters,
};
export type PageProbe = typeof probe;

declare global {
  var vireoProbe: PageProbe;
}
globalThis.vireoProbe = probe;
