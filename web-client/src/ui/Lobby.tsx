import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { View } from '../../../src/signaling/messages.js';
import type { LocalMedia } from '../session/LocalMedia.js';
import { LocalMediaError } from '../session/LocalMedia.js';
import type { JoinOptions } from '../session/options.js';
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
  const problems = useSignal<{ device: string; error: LocalMediaError }[]>([]);
  const copied = useSignal(false);

  const attempt = async (device: 'camera' | 'microphone', start: () => Promise<unknown>) => {
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
    const { cameraId, microphoneId } = loadPreferences();
    void media.refreshDevices().then(async () => {
      const known = (list: MediaDeviceInfo[], id?: string) =>
        list.some(({ deviceId }) => deviceId === id) ? id : undefined;
      if (!media.camera.value) await startCamera(known(media.deviceList.value.cameras, cameraId));
      if (!media.microphone.value)
        await startMicrophone(known(media.deviceList.value.microphones, microphoneId));
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
        <section class="preview" aria-label="Camera preview">
          {media.camera.value ? (
            <SelfVideo track={media.camera.value} mirrored />
          ) : (
            <div class="preview-off">
              <Icon name="camera-off" />
              <span>Camera off</span>
            </div>
          )}
          <div class="preview-bar">
            <button
              type="button"
              class="icon-button"
              aria-pressed={media.camera.value !== null}
              aria-label={media.camera.value ? 'Turn camera off' : 'Turn camera on'}
              title={media.camera.value ? 'Turn camera off' : 'Turn camera on'}
              onClick={() => (media.camera.value ? media.stop('camera') : void startCamera())}
            >
              <Icon name={media.camera.value ? 'camera' : 'camera-off'} />
            </button>
            <button
              type="button"
              class="icon-button"
              aria-pressed={media.microphone.value !== null}
              aria-label={media.microphone.value ? 'Turn microphone off' : 'Turn microphone on'}
              title={media.microphone.value ? 'Turn microphone off' : 'Turn microphone on'}
              onClick={() => (media.microphone.value ? media.stop('microphone') : void startMicrophone())}
            >
              <Icon name={media.microphone.value ? 'mic' : 'mic-off'} />
            </button>
            <MicrophoneMeter track={media.microphone.value} />
          </div>
        </section>
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
        <form class="panel" onSubmit={join}>
          <label class="field">
            <span>Your name</span>
            <input
              type="text"
              required
              maxLength={64}
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
                }}
              />
              <button
                type="button"
                class="icon-button"
                title="Copy the link to this room"
                aria-label="Copy the link to this room"
                onClick={() => {
                  void navigator.clipboard?.writeText(link).then(() => {
                    copied.value = true;
                  });
                }}
              >
                <Icon name="link" />
              </button>
            </span>
            {copied.value && <span class="hint">Link copied</span>}
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
          {problems.value.map(({ device, error }) => (
            <p key={device} class="problem" role="alert">
              {error.message}{' '}
              <button
                type="button"
                class="link"
                onClick={() => void (device === 'camera' ? startCamera() : startMicrophone())}
              >
                Try again
              </button>
            </p>
          ))}
          <button type="submit" class="button primary">
            {media.camera.value || media.microphone.value ? 'Join' : 'Join without camera and microphone'}
          </button>
        </form>
      </div>
    </main>
  );
}
