import type { Signal } from '@preact/signals';
import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { LocalMedia } from '../session/LocalMedia.js';
import type { CallModel } from '../session/model.js';
import { Icon, type IconName } from './Icon.js';
import { useEscape } from './useEscape.js';

export interface ControlsProps {
  model: CallModel;
  media: LocalMedia;
  muted: Signal<boolean>;
  onToggle: (slot: 'camera' | 'microphone' | 'screen') => void;
  onCopyLink: () => void;
  onSettings: () => void;
  onLeave: () => void;
}

const SHORTCUTS = [
  { key: 'm', label: 'Mute or unmute' },
  { key: 'v', label: 'Camera on or off' },
  { key: 's', label: 'Share your screen' },
  { key: 'Shift+L', label: 'Leave the call' },
  { key: 'Esc', label: 'Close what is open' },
  { key: '← →', label: 'Move the divider of a split view (when focused)' },
] as const;

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName);
}

export function Controls({ model, media, muted, onToggle, onCopyLink, onSettings, onLeave }: ControlsProps) {
  const helpOpen = useSignal(false);
  const canShareScreen = typeof navigator.mediaDevices?.getDisplayMedia === 'function';
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => {
      if (isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
      if (document.querySelector('dialog[open]')) return;
      if (event.key === 'm') onToggle('microphone');
      else if (event.key === 'v') onToggle('camera');
      else if (event.key === 's' && canShareScreen) onToggle('screen');
      else if (event.key === 'L') onLeave();
      else return;
      event.preventDefault();
    };
    window.addEventListener('keydown', onKeyDown);
    return () => window.removeEventListener('keydown', onKeyDown);
  }, [onToggle, onLeave, canShareScreen]);

  const audible = media.microphone.value !== null && !muted.value;
  const button = (icon: IconName, label: string, on: boolean, onClick: () => void) => (
    <button type="button" class="control" title={label} aria-label={label} data-on={on} onClick={onClick}>
      <Icon name={icon} />
    </button>
  );
  return (
    <section class="controls" aria-label="Call controls">
      <span class="controls-room" title="Room">
        {model.room.value}
      </span>
      <div class="controls-main">
        {button(audible ? 'mic' : 'mic-off', audible ? 'Mute (m)' : 'Unmute (m)', audible, () =>
          onToggle('microphone'),
        )}
        {button(
          media.camera.value ? 'camera' : 'camera-off',
          media.camera.value ? 'Turn camera off (v)' : 'Turn camera on (v)',
          media.camera.value !== null,
          () => onToggle('camera'),
        )}
        {canShareScreen &&
          button(
            'screen',
            media.screen.value ? 'Stop sharing (s)' : 'Share your screen (s)',
            media.screen.value !== null,
            () => onToggle('screen'),
          )}
        <button
          type="button"
          class="control leave"
          title="Leave (Shift+L)"
          aria-label="Leave"
          onClick={onLeave}
        >
          <Icon name="leave" />
        </button>
      </div>
      <div class="controls-side">
        <button
          type="button"
          class="icon-button"
          title="Copy the link to this room"
          aria-label="Copy the link to this room"
          onClick={onCopyLink}
        >
          <Icon name="link" />
        </button>
        <button type="button" class="icon-button" title="Settings" aria-label="Settings" onClick={onSettings}>
          <Icon name="settings" />
        </button>
        <button
          type="button"
          class="icon-button controls-help"
          title="Keyboard shortcuts"
          aria-label="Keyboard shortcuts"
          aria-expanded={helpOpen.value}
          onClick={() => {
            helpOpen.value = !helpOpen.value;
          }}
        >
          <Icon name="help" />
        </button>
        {helpOpen.value && (
          <Help
            onClose={() => {
              helpOpen.value = false;
            }}
          />
        )}
      </div>
    </section>
  );
}

function Help({ onClose }: { onClose: () => void }) {
  useEscape(onClose);
  return (
    <div class="help" role="note">
      <h3>Keyboard</h3>
      <dl>
        {SHORTCUTS.map(({ key, label }) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{label}</dd>
          </div>
        ))}
      </dl>
    </div>
  );
}
