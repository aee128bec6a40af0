import { useEffect } from 'preact/hooks';
import type { CallModel } from '../session/model.js';
import { Icon } from './Icon.js';

const SHOWN_MS = 5_000;

export function Toasts({ model }: { model: CallModel }) {
  return (
    <div class="toasts" role="log" aria-live="polite" aria-label="Notices">
      {model.notices.value.map((notice) => (
        <Toast
          key={notice.id}
          text={notice.text}
          tone={notice.tone}
          onDone={() => model.dismissNotice(notice.id)}
        />
      ))}
    </div>
  );
}

function Toast({ text, tone, onDone }: { text: string; tone: 'info' | 'error'; onDone: () => void }) {
  useEffect(() => {
    const timer = setTimeout(onDone, tone === 'error' ? 2 * SHOWN_MS : SHOWN_MS);
    return () => clearTimeout(timer);
  }, []);
  return (
    <div class={`toast toast-${tone}`}>
      <span>{text}</span>
      <button type="button" class="icon-button" aria-label="Dismiss" onClick={onDone}>
        <Icon name="close" />
      </button>
    </div>
  );
}
