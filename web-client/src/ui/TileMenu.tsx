import type { View } from '../../../src/signaling/messages.js';
import type { CallSession } from '../session/CallSession.js';
import type { RemotePublication } from '../session/model.js';
import { Icon } from './Icon.js';

const VIEWS: readonly { view: View; label: string; title: string }[] = [
  { view: 'original', label: 'Original', title: 'The picture as it is sent' },
  { view: 'split', label: 'Split', title: 'Both, with a divider to drag' },
  { view: 'restored', label: 'Restored', title: 'The picture as the relay restores it' },
];

export interface TileMenuProps {
  publication: RemotePublication;
  session: CallSession;
  statisticsShown: boolean;
  onStatistics: () => void;
}

export function TileMenu({ publication, session, statisticsShown, onStatistics }: TileMenuProps) {
  const pinned = publication.pinned.value;
  const isCamera = publication.description.value.source === 'camera';
  return (
    <div class="tile-menu">
      {isCamera && (
        <fieldset class="segmented" aria-label="View">
          {VIEWS.map(({ view, label, title }) => (
            <button
              type="button"
              key={view}
              title={title}
              aria-pressed={publication.wantedView.value === view}
              onClick={() => void session.setView(publication, view)}
            >
              {label}
            </button>
          ))}
        </fieldset>
      )}
      <button
        type="button"
        class="icon-button"
        title={pinned ? 'Unpin' : 'Pin'}
        aria-label={pinned ? 'Unpin' : 'Pin'}
        aria-pressed={pinned}
        onClick={() => void session.setView(publication, publication.wantedView.value, !pinned)}
      >
        <Icon name="pin" />
      </button>
      <button
        type="button"
        class="icon-button"
        title="Statistics"
        aria-label="Statistics"
        aria-expanded={statisticsShown}
        onClick={onStatistics}
      >
        <Icon name="chart" />
      </button>
    </div>
  );
}
