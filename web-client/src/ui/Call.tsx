import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { CallSession } from '../session/CallSession.js';
import type { LocalMedia } from '../session/LocalMedia.js';
import { LocalMediaError } from '../session/LocalMedia.js';
import type { RemoteParticipant, RemotePublication } from '../session/model.js';
import { failureText } from '../session/reasons.js';
import type { Statistics } from '../session/Statistics.js';
import { AudioOutput } from './AudioOutput.js';
import { Controls } from './Controls.js';
import { gridLayout, TILE_GAP } from './gridLayout.js';
import { loadPreferences } from './preferences.js';
import { RemoteTile } from './RemoteTile.js';
import { SelfTile } from './SelfTile.js';
import { SettingsDialog } from './SettingsDialog.js';
import { Toasts } from './Toasts.js';

export interface CallProps {
  session: CallSession;
  statistics: Statistics;
  media: LocalMedia;
  onLeave: () => void;
}

interface TileEntry {
  key: string;
  participant: RemoteParticipant;
  publication: RemotePublication | null;
}

function tileEntries(participants: readonly RemoteParticipant[]): TileEntry[] {
  return participants.flatMap((participant): TileEntry[] => {
    const pictures = [participant.screen.value, participant.camera.value].filter((entry) => entry !== null);
    if (pictures.length === 0) return [{ key: participant.id, participant, publication: null }];
    return pictures.map((publication) => ({ key: publication.id, participant, publication }));
  });
}

export function Call({ session, statistics, media, onLeave }: CallProps) {
  const { model } = session;
  const settingsOpen = useSignal(false);
  const speakerId = useSignal(loadPreferences().speakerId ?? '');
  const stage = useRef<HTMLDivElement>(null);
  const size = useSignal({ width: 0, height: 0 });

  useEffect(() => {
    const element = stage.current;
    if (!element) return;
    const observer = new ResizeObserver(([entry]) => {
      if (entry) size.value = { width: entry.contentRect.width, height: entry.contentRect.height };
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, [size]);

  const toggle = async (slot: 'camera' | 'microphone' | 'screen') => {
    try {
      if (slot === 'microphone' && media.microphone.value) {
        session.publisher.muted.value = !session.publisher.muted.value;
      } else if (media[slot].value) media.stop(slot);
      else if (slot === 'camera') await media.startCamera(loadPreferences().cameraId || undefined);
      else if (slot === 'microphone')
        await media.startMicrophone(loadPreferences().microphoneId || undefined);
      else await media.startScreen();
    } catch (thrown) {
      if (thrown instanceof LocalMediaError && thrown.problem === 'cancelled') return;
      model.notify(thrown instanceof Error ? thrown.message : String(thrown), 'error');
    }
  };

  const entries = tileEntries(model.participants.value);
  const pinned = entries.filter(({ publication }) => publication?.pinned.value);
  const others = pinned.length > 0 ? entries.filter((entry) => !pinned.includes(entry)) : [];
  const main = pinned.length > 0 ? pinned : entries;
  const layout = gridLayout(main.length, size.value.width, size.value.height);
  const phase = model.phase.value;
  const failure = model.failure.value;

  const tile = ({ key, participant, publication }: TileEntry) => (
    <RemoteTile
      key={key}
      session={session}
      statistics={statistics}
      participant={participant}
      publication={publication}
    />
  );

  return (
    <div class="call">
      {(phase === 'reconnecting' || phase === 'joining') && (
        <div class="banner" role="status">
          {phase === 'joining' && !failure
            ? 'Joining…'
            : `${failureText('unavailable').title}. Trying to get back…`}
        </div>
      )}
      <main class="stage" aria-label={`Call in room ${model.room.value}`}>
        <div
          ref={stage}
          class="grid"
          style={{ '--tile-width': `${layout.tileWidth}px`, '--tile-height': `${layout.tileHeight}px` }}
        >
          <div class="grid-rows" style={{ maxWidth: `${layout.columns * (layout.tileWidth + TILE_GAP)}px` }}>
            {main.map(tile)}
          </div>
          {entries.length === 0 && phase === 'joined' && <Alone room={model.room.value} />}
        </div>
        {others.length > 0 && <div class="strip">{others.map(tile)}</div>}
        <SelfTile session={session} statistics={statistics} media={media} />
      </main>
      <Controls
        model={model}
        media={media}
        muted={session.publisher.muted}
        onToggle={(slot) => void toggle(slot)}
        onSettings={() => {
          settingsOpen.value = true;
        }}
        onLeave={onLeave}
      />
      <AudioOutput model={model} speakerId={speakerId} />
      {settingsOpen.value && (
        <SettingsDialog
          media={media}
          publisher={session.publisher}
          speakerId={speakerId}
          onError={(text) => model.notify(text, 'error')}
          onClose={() => {
            settingsOpen.value = false;
          }}
        />
      )}
      <Toasts model={model} />
    </div>
  );
}

function Alone({ room }: { room: string }) {
  const copied = useSignal(false);
  const link = `${location.origin}/r/${encodeURIComponent(room)}`;
  return (
    <div class="alone">
      <h2>Nobody else is here yet</h2>
      <p>Send this link to the people you want to talk to:</p>
      <p>
        <code>{link}</code>
      </p>
      <button
        type="button"
        class="button"
        onClick={() =>
          void navigator.clipboard?.writeText(link).then(() => {
            copied.value = true;
          })
        }
      >
        {copied.value ? 'Copied' : 'Copy link'}
      </button>
    </div>
  );
}
