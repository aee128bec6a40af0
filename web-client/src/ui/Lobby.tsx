import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { View } from '../../../src/signaling/messages.js';
import type { LocalMedia } from '../session/LocalMedia.js';
import { type DeviceProblem, describeProblems, LocalMediaError } from '../session/LocalMedia.js';
import type { JoinOptions } from '../session/options.js';
import { copyText } from './copyText.js';
import { DeviceFields, RestorableField, UplinkField } from './fields.js';
import { Icon } from './Icon.js';
import { MicrophoneMeter } from './MicrophoneMeter.js';
import { loadPreferences, savePreferences } from './preferences.js';
import { SelfVideo } from './SelfVideo.js';

export interface LobbyChoice {
  join: JoinOptions;
  restorable: boolean;
}

export interface LobbyProps {
  initial: JoinOptions;
  media: LocalMedia;
  /** Why the last attempt did not work. */
  failure: { title: string; advice: string } | null;
  onJoin: (choice: LobbyChoice) => void;
}

const WORDS = [
  'amber',
  'birch',
  'cedar',
  'delta',
  'ember',
  'fjord',
  'grove',
  'heron',
  'iris',
  'juniper',
  'kelp',
  'linden',
];

function friendlyRoomName(): string {
  const pick = () => WORDS[Math.floor(Math.random() * WORDS.length)] ?? 'room';
  return `${pick()}-${pick()}-${Math.floor(Math.random() * 90 + 10)}`;
}

const VIEWS: { view: View; label: string }[] = [
  { view: 'restored', label: 'Restored' },
  { view: 'split', label: 'Split: original and restored' },
  { view: 'original', label: 'Original' },
];

export function Lobby({ initial, media, failure, onJoin }: LobbyProps) {
  const name = useSignal(initial.name);
  const room = useSignal(initial.room || friendlyRoomName());
  const uplinkBps = useSignal(initial.uplinkBps);
  const view = useSignal(initial.view);
  const restorable = useSignal(loadPreferences().restorable ?? true);
  const problems = useSignal<DeviceProblem[]>([]);
  /** Until the browser has said yes or no to both devices. */
  const asking = useSignal(true);
  const copied = useSignal<boolean | null>(null);
  const nameField = useRef<HTMLInputElement>(null);

  const attempt = async (device: DeviceProblem['device'], start: () => Promise<unknown>) => {
    try {
      await start();
      problems.value = problems.value.filter((problem) => problem.device !== device);
    } catch (thrown) {
      const error =
        thrown instanceof LocalMediaError ? thrown : new LocalMediaError('failed', String(thrown));
      problems.value = [...problems.value.filter((problem) => problem.device !== device), { device, error }];
    }
  };
  const startCamera = (deviceId?: string) => attempt('camera', () => media.startCamera(deviceId));
  const startMicrophone = (deviceId?: string) => attempt('microphone', () => media.startMicrophone(deviceId));

  useEffect(() => {
    // On a phone this would bring up the keyboard over the preview.
    if (!initial.name && matchMedia('(hover: hover)').matches) nameField.current?.focus();
    const { cameraId, microphoneId } = loadPreferences();
    const start = async () => {
      await media.refreshDevices();
      const known = (list: MediaDeviceInfo[], id?: string) =>
        list.some(({ deviceId }) => deviceId === id) ? id : undefined;
      if (!media.camera.value) await startCamera(known(media.deviceList.value.cameras, cameraId));
      if (!media.microphone.value)
        await startMicrophone(known(media.deviceList.value.microphones, microphoneId));
    };
    void start().finally(() => {
      asking.value = false;
    });
  }, []);

  const join = (event: Event) => {
    event.preventDefault();
    savePreferences({
      name: name.value.trim(),
      uplinkBps: uplinkBps.value,
      view: view.value,
      restorable: restorable.value,
    });
    onJoin({
      join: {
        ...initial,
        name: name.value.trim(),
        room: room.value.trim(),
        uplinkBps: uplinkBps.value,
        view: view.value,
      },
      restorable: restorable.value,
    });
  };

  const retry = async (devices: readonly DeviceProblem['device'][]) => {
    // One after the other: browsers ask for one permission at a time.
    for (const device of devices) await (device === 'camera' ? startCamera() : startMicrophone());
  };
  const missing = [
    ...(media.camera.value ? [] : ['camera']),
    ...(media.microphone.value ? [] : ['microphone']),
  ];
  const link = `${location.origin}/r/${encodeURIComponent(room.value)}`;
  return (
    <main class="lobby">
      <header class="brand">
        <img src="/icon.svg" alt="" width="36" height="36" />
        <h1>Vireo</h1>
        <p>Calls that look sharp on a bad connection.</p>
      </header>
      {failure && (
        <div class="alert" role="alert">
          <strong>{failure.title}</strong>
          <span>{failure.advice}</span>
        </div>
      )}
      <div class="lobby-columns">
        <div class="lobby-preview">
          <section class="preview" aria-label="Camera preview">
            {media.camera.value ? (
              <SelfVideo track={media.camera.value} mirrored />
            ) : (
              <div class="preview-off">
                <Icon name="camera-off" />
                <span>{asking.value ? 'Waiting for your camera…' : 'Camera off'}</span>
              </div>
            )}
            <div class="preview-bar">
              <button
                type="button"
                class="icon-button"
                data-on={media.camera.value !== null}
                aria-label={media.camera.value ? 'Turn camera off' : 'Turn camera on'}
                title={media.camera.value ? 'Turn camera off' : 'Turn camera on'}
                onClick={() => (media.camera.value ? media.stop('camera') : void startCamera())}
              >
                <Icon name={media.camera.value ? 'camera' : 'camera-off'} />
              </button>
              <button
                type="button"
                class="icon-button"
                data-on={media.microphone.value !== null}
                aria-label={media.microphone.value ? 'Turn microphone off' : 'Turn microphone on'}
                title={media.microphone.value ? 'Turn microphone off' : 'Turn microphone on'}
                onClick={() => (media.microphone.value ? media.stop('microphone') : void startMicrophone())}
              >
                <Icon name={media.microphone.value ? 'mic' : 'mic-off'} />
              </button>
              <MicrophoneMeter track={media.microphone.value} />
            </div>
          </section>
          {describeProblems(problems.value).map(({ devices, text }) => (
            <p key={devices.join()} class="problem" role="alert">
              {text}{' '}
              <button type="button" class="link" onClick={() => void retry(devices)}>
                Try again
              </button>
            </p>
          ))}
        </div>
        <form class="panel" onSubmit={join}>
          <label class="field">
            <span>Your name</span>
            <input
              ref={nameField}
              type="text"
              required
              pattern=".*\S.*"
              title="A name that the others see"
              maxLength={64}
              dir="auto"
              autocomplete="name"
              value={name.value}
              onInput={(event) => {
                name.value = event.currentTarget.value;
              }}
            />
          </label>
          <label class="field">
            <span>Room</span>
            <span class="with-button">
              <input
                type="text"
                required
                maxLength={64}
                pattern="[\p{L}\p{N}][\p{L}\p{N}_.\-]*"
                title="Letters, digits, dots, hyphens and underscores"
                value={room.value}
                onInput={(event) => {
                  room.value = event.currentTarget.value;
                  copied.value = null;
                }}
              />
              <button
                type="button"
                class="icon-button"
                title="Copy the link to this room"
                aria-label="Copy the link to this room"
                onClick={() => {
                  void copyText(link).then((done) => {
                    copied.value = done;
                  });
                }}
              >
                <Icon name="link" />
              </button>
            </span>
            <span class="hint" role="status">
              {copied.value === null ? null : copied.value ? 'Link copied' : link}
            </span>
          </label>
          <UplinkField
            value={uplinkBps.value}
            onChange={(bitrateBps) => {
              uplinkBps.value = bitrateBps;
            }}
          />
          <label class="field">
            <span>Show me the others</span>
            <select
              value={view.value}
              onChange={(event) => {
                view.value = event.currentTarget.value as View;
              }}
            >
              {VIEWS.map((choice) => (
                <option key={choice.view} value={choice.view}>
                  {choice.label}
                </option>
              ))}
            </select>
          </label>
          <RestorableField
            value={restorable.value}
            onChange={(value) => {
              restorable.value = value;
            }}
          />
          <button type="submit" class="button primary">
            {missing.length === 0 || asking.value ? 'Join' : `Join without ${missing.join(' and ')}`}
          </button>
        </form>
        <section class="lobby-devices" aria-label="Devices">
          <DeviceFields
            media={media}
            speakerId={loadPreferences().speakerId ?? ''}
            onCamera={(cameraId) => {
              savePreferences({ cameraId });
              void startCamera(cameraId);
            }}
            onMicrophone={(microphoneId) => {
              savePreferences({ microphoneId });
              void startMicrophone(microphoneId);
            }}
            onSpeaker={(speakerId) => savePreferences({ speakerId })}
          />
        </section>
      </div>
    </main>
  );
}
