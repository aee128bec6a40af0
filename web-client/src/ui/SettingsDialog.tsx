import type { Signal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { LocalMedia } from '../session/LocalMedia.js';
import type { Publisher } from '../session/Publisher.js';
import type { References } from '../session/References.js';
import { DeviceFields, RestorableField, StillsField, UplinkField } from './fields.js';
import { savePreferences } from './preferences.js';

export interface SettingsDialogProps {
  media: LocalMedia;
  publisher: Publisher;
  references: References;
  speakerId: Signal<string>;
  onError: (text: string) => void;
  onClose: () => void;
}

export function SettingsDialog(props: SettingsDialogProps) {
  const { media, publisher, references, speakerId, onError, onClose } = props;
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
    void media.refreshDevices();
  }, [media]);
  const attempt = (change: Promise<unknown>) => {
    change.catch((thrown) => onError(thrown instanceof Error ? thrown.message : String(thrown)));
  };
  return (
    <dialog ref={dialog} class="panel" aria-label="Settings" onClose={onClose}>
      <h2>Settings</h2>
      <UplinkField
        value={publisher.uplinkBps.value}
        onChange={(uplinkBps) => {
          savePreferences({ uplinkBps });
          publisher.uplinkBps.value = uplinkBps;
        }}
      />
      <RestorableField
        value={publisher.restorable.value}
        onChange={(restorable) => {
          savePreferences({ restorable });
          publisher.restorable.value = restorable;
        }}
      />
      {references.possible.value && publisher.restorable.value && (
        <StillsField
          value={references.enabled.value}
          onChange={(sendStills) => {
            savePreferences({ sendStills });
            references.enabled.value = sendStills;
          }}
        />
      )}
      <DeviceFields
        media={media}
        speakerId={speakerId.value}
        onCamera={(cameraId) => {
          savePreferences({ cameraId });
          attempt(media.startCamera(cameraId));
        }}
        onMicrophone={(microphoneId) => {
          savePreferences({ microphoneId });
          attempt(media.startMicrophone(microphoneId));
        }}
        onSpeaker={(id) => {
          savePreferences({ speakerId: id });
          speakerId.value = id;
        }}
      />
      <form method="dialog">
        <button type="submit" class="button primary">
          Done
        </button>
      </form>
    </dialog>
  );
}
