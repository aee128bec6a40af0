/** Camera, microphone and screen of this participant. Owns the tracks; publishing them is the session's. */
import { type Signal, signal } from '@preact/signals';

export type MediaProblem =
  | 'insecure-origin'
  | 'unsupported'
  | 'permission-denied'
  | 'not-found'
  | 'in-use'
  | 'cancelled'
  | 'failed';

/** What to do about devices that share a problem; the detail is the browser's own words. */
export function problemText(problem: MediaProblem, devices: readonly string[], detail = ''): string {
  const which = devices.join(' and ');
  switch (problem) {
    case 'permission-denied':
      return `The browser does not let this page use your ${which}. Allow it with the icon beside the address, then try again.`;
    case 'not-found':
      return `No ${devices.join(' or ')} was found. Connect one and try again, or join without.`;
    case 'in-use':
      return `Your ${which} cannot be opened: another program may be using it. Close that program and try again.`;
    case 'cancelled':
      return 'Screen sharing was cancelled.';
    case 'unsupported':
      return 'This browser cannot use cameras and microphones on web pages.';
    case 'insecure-origin':
      return 'Browsers give cameras and microphones to https:// pages only. Ask whoever runs this relay for its https:// address.';
    case 'failed':
      return `Your ${which} could not be started${detail ? `: ${detail}` : '.'}`;
  }
}

/** Why a device could not be had, in words a person can act on. */
export class LocalMediaError extends Error {
  override readonly name = 'LocalMediaError';
  readonly problem: MediaProblem;

  constructor(problem: MediaProblem, message: string) {
    super(message);
    this.problem = problem;
  }
}

export interface DeviceProblem {
  device: 'camera' | 'microphone';
  error: LocalMediaError;
}

/** A browser that refuses the camera mostly refuses the microphone, too: one message for both. */
export function describeProblems(
  problems: readonly DeviceProblem[],
): { devices: DeviceProblem['device'][]; text: string }[] {
  const [first, second] = problems;
  if (first && first.error.problem === second?.error.problem && first.error.problem !== 'failed') {
    const devices = problems.map(({ device }) => device).sort();
    return [{ devices, text: problemText(first.error.problem, devices) }];
  }
  return problems.map(({ device, error }) => ({ devices: [device], text: error.message }));
}

const PROBLEMS: Record<string, MediaProblem> = {
  NotAllowedError: 'permission-denied',
  SecurityError: 'permission-denied',
  NotFoundError: 'not-found',
  OverconstrainedError: 'not-found',
  NotReadableError: 'in-use',
  AbortError: 'in-use',
};

function explain(thrown: unknown, device: 'camera' | 'microphone' | 'screen'): LocalMediaError {
  const found = (thrown instanceof DOMException && PROBLEMS[thrown.name]) || 'failed';
  const problem = device === 'screen' && found === 'permission-denied' ? 'cancelled' : found;
  return new LocalMediaError(problem, problemText(problem, [device], String(thrown)));
}

function devices(): MediaDevices {
  if (navigator.mediaDevices) return navigator.mediaDevices;
  const problem = window.isSecureContext ? 'unsupported' : 'insecure-origin';
  throw new LocalMediaError(problem, problemText(problem, []));
}

export interface DeviceList {
  cameras: MediaDeviceInfo[];
  microphones: MediaDeviceInfo[];
  speakers: MediaDeviceInfo[];
}

export class LocalMedia {
  readonly camera: Signal<MediaStreamTrack | null> = signal(null);
  readonly microphone: Signal<MediaStreamTrack | null> = signal(null);
  readonly screen: Signal<MediaStreamTrack | null> = signal(null);
  readonly deviceList: Signal<DeviceList> = signal({ cameras: [], microphones: [], speakers: [] });

  /** Labels are empty until a permission was given. */
  async refreshDevices(): Promise<void> {
    if (!navigator.mediaDevices) return;
    const list = await navigator.mediaDevices.enumerateDevices();
    const ofKind = (kind: MediaDeviceKind) => list.filter((device) => device.kind === kind);
    this.deviceList.value = {
      cameras: ofKind('videoinput'),
      microphones: ofKind('audioinput'),
      speakers: ofKind('audiooutput'),
    };
  }

  /**
   * Starts (or switches) the camera at 720p or what it offers: sending scales down, so that the budget can
   * change without touching the camera.
   */
  async startCamera(deviceId?: string): Promise<MediaStreamTrack> {
    const track = await this.#open('camera', {
      video: {
        ...(deviceId ? { deviceId: { exact: deviceId } } : {}),
        width: { ideal: 1280 },
        height: { ideal: 720 },
        frameRate: { ideal: 30, max: 30 },
      },
    });
    track.contentHint = 'motion';
    this.#replace(this.camera, track);
    return track;
  }

  async startMicrophone(deviceId?: string): Promise<MediaStreamTrack> {
    const track = await this.#open('microphone', {
      audio: {
        ...(deviceId ? { deviceId: { exact: deviceId } } : {}),
        echoCancellation: true,
        noiseSuppression: true,
        autoGainControl: true,
      },
    });
    this.#replace(this.microphone, track);
    return track;
  }

  async startScreen(): Promise<MediaStreamTrack> {
    let stream: MediaStream;
    try {
      stream = await devices().getDisplayMedia({ video: { frameRate: { max: 15 } } });
    } catch (thrown) {
      throw thrown instanceof LocalMediaError ? thrown : explain(thrown, 'screen');
    }
    const [track] = stream.getVideoTracks();
    if (!track) throw new LocalMediaError('failed', 'The browser shared no picture.');
    track.contentHint = 'detail';
    this.#replace(this.screen, track);
    return track;
  }

  async #open(
    device: 'camera' | 'microphone',
    constraints: MediaStreamConstraints,
  ): Promise<MediaStreamTrack> {
    let stream: MediaStream;
    try {
      stream = await devices().getUserMedia(constraints);
    } catch (thrown) {
      throw thrown instanceof LocalMediaError ? thrown : explain(thrown, device);
    }
    const [track] = stream.getTracks();
    if (!track) throw new LocalMediaError('failed', `The browser gave no ${device}.`);
    await this.refreshDevices();
    return track;
  }

  #replace(slot: Signal<MediaStreamTrack | null>, track: MediaStreamTrack): void {
    slot.value?.stop();
    slot.value = track;
    // Unplugged, or screen sharing ended from the browser's own bar.
    track.addEventListener('ended', () => {
      if (slot.value === track) slot.value = null;
    });
  }

  stop(slot: 'camera' | 'microphone' | 'screen'): void {
    this[slot].value?.stop();
    this[slot].value = null;
  }

  close(): void {
    this.stop('camera');
    this.stop('microphone');
    this.stop('screen');
  }
}
