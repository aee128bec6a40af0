/** Fields that lobby and settings share. */
import type { LocalMedia } from '../session/LocalMedia.js';
import { formatBitrate } from '../session/options.js';
import { planUplink } from '../session/uplinkPolicy.js';
import { loadPreferences } from './preferences.js';

const BUDGETS_BPS = [60_000, 80_000, 120_000, 180_000, 250_000, 400_000, 500_000];

export function UplinkField({
  value,
  onChange,
}: {
  value: number | null;
  onChange: (bitrateBps: number | null) => void;
}) {
  const choices =
    value !== null && !BUDGETS_BPS.includes(value)
      ? [value, ...BUDGETS_BPS].sort((a, b) => a - b)
      : BUDGETS_BPS;
  return (
    <label class="field">
      <span>Your uplink for video</span>
      <select
        value={value === null ? 'none' : String(value)}
        onChange={(event) => {
          const chosen = event.currentTarget.value;
          onChange(chosen === 'none' ? null : Number(chosen));
        }}
      >
        {choices.map((bitrateBps) => (
          <option key={bitrateBps} value={String(bitrateBps)}>
            {`${formatBitrate(bitrateBps)} · up to ${planUplink(bitrateBps).height}p`}
          </option>
        ))}
        <option value="none">{`No limit · up to ${planUplink(null).height}p`}</option>
      </select>
    </label>
  );
}

interface SwitchProps {
  value: boolean;
  onChange: (value: boolean) => void;
}

function SwitchField({ value, onChange, label }: SwitchProps & { label: string }) {
  return (
    <label class="switch">
      <input
        type="checkbox"
        role="switch"
        aria-checked={value}
        checked={value}
        onChange={(event) => onChange(event.currentTarget.checked)}
      />
      <span>{label}</span>
    </label>
  );
}

export function RestorableField(props: SwitchProps) {
  return <SwitchField {...props} label="Let the relay restore my picture for the others" />;
}

export function StillsField(props: SwitchProps) {
  return <SwitchField {...props} label="Send sharp stills for this" />;
}

function DeviceSelect({
  label,
  devices,
  value,
  systemDefault = false,
  onChange,
}: {
  label: string;
  devices: MediaDeviceInfo[];
  /** Offers to leave the choice to the system. */
  systemDefault?: boolean;
  value: string;
  onChange: (deviceId: string) => void;
}) {
  if (devices.length === 0) return null;
  // What is off has no device of its own: the list then shows the one that would be taken.
  const fallback = systemDefault ? '' : (devices[0]?.deviceId ?? '');
  const shown = devices.some(({ deviceId }) => deviceId === value) ? value : fallback;
  return (
    <label class="field">
      <span>{label}</span>
      <select value={shown} onChange={(event) => onChange(event.currentTarget.value)}>
        {systemDefault && <option value="">System default</option>}
        {devices.map((device, index) => (
          <option key={device.deviceId} value={device.deviceId}>
            {device.label || `${label} ${index + 1}`}
          </option>
        ))}
      </select>
    </label>
  );
}

export interface DeviceFieldsProps {
  media: LocalMedia;
  speakerId: string;
  onCamera: (deviceId: string) => void;
  onMicrophone: (deviceId: string) => void;
  onSpeaker: (deviceId: string) => void;
}

export function DeviceFields({ media, speakerId, onCamera, onMicrophone, onSpeaker }: DeviceFieldsProps) {
  const { cameras, microphones, speakers } = media.deviceList.value;
  const canChooseSpeaker = 'setSinkId' in HTMLMediaElement.prototype;
  return (
    <>
      <DeviceSelect
        label="Camera"
        devices={cameras}
        value={media.camera.value?.getSettings().deviceId ?? loadPreferences().cameraId ?? ''}
        onChange={onCamera}
      />
      <DeviceSelect
        label="Microphone"
        devices={microphones}
        value={media.microphone.value?.getSettings().deviceId ?? loadPreferences().microphoneId ?? ''}
        onChange={onMicrophone}
      />
      {canChooseSpeaker && (
        <DeviceSelect
          label="Speaker"
          devices={speakers}
          value={speakerId}
          systemDefault
          onChange={onSpeaker}
        />
      )}
    </>
  );
}
