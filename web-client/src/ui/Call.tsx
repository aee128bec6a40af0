import { useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { CallSession } from '../session/CallSession.js';
import type { LocalMedia } from '../session/LocalMedia.js';
import { LocalMediaError } from '../session/LocalMedia.js';
import type { RemoteParticipant, RemotePublication } from '../session/model.js';
import type { Statistics } from '../session/Statistics.js';
import { AudioOutput } from './AudioOutput.js';
import { Controls } from './Controls.js';
import { copyText } from './copyText.js';
import { gridLayout, TILE_GAP, tileAspect } from './gridLayout.js';
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
  const selfAspect = useSignal<number | null>(null);

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
  const screens = entries.filter(({ publication }) => publication?.description.value.source === 'screen');
  const large = pinned.length > 0 ? pinned : screens;
  const others = large.length > 0 ? entries.filter((entry) => !large.includes(entry)) : [];
  const main = large.length > 0 ? large : entries;
  const phase = model.phase.value;
  const failure = model.failure.value;
  // With one other person the own picture lies in a corner of theirs; among more it is a tile as any.
  const place = others.length > 0 ? 'strip' : main.length > 1 ? 'grid' : 'corner';
  const aspects = main.map(({ publication }) => publication?.aspect.value ?? null);
  const layout = gridLayout(
    main.length + (place === 'grid' ? 1 : 0),
    size.value.width,
    size.value.height,
    TILE_GAP,
    tileAspect(place === 'grid' ? [...aspects, selfAspect.value] : aspects),
  );
  const link = `${location.origin}/r/${encodeURIComponent(model.room.value)}`;
  const self = (
    <SelfTile
      session={session}
      statistics={statistics}
      media={media}
      name={session.name}
      aspect={selfAspect}
      floating={place === 'corner'}
    />
  );

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
    <div class="call" data-phase={phase}>
      {phase === 'reconnecting' && (
        <div class="banner" role="status">
          {failure?.message}
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
            {place === 'grid' && self}
          </div>
          {phase === 'joining' && (
            <div class="alone" role="status">
              <h2>{failure ? failure.message : `Joining ${model.room.value}…`}</h2>
            </div>
          )}
          {entries.length === 0 && phase === 'joined' && <Alone link={link} />}
        </div>
        {place === 'strip' && (
          <div class="strip">
            {others.map(tile)}
            {self}
          </div>
        )}
        {place === 'corner' && self}
      </main>
      <Controls
        model={model}
        media={media}
        muted={session.publisher.muted}
        onToggle={(slot) => void toggle(slot)}
        onCopyLink={() =>
          void copyText(link).then((done) =>
            model.notify(done ? 'The link to this room is copied.' : `The link to this room: ${link}`),
          )
        }
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
          references={session.references}
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

function Alone({ link }: { link: string }) {
  const copied = useSignal(false);
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
          void copyText(link).then((done) => {
            copied.value = done;
          })
        }
      >
        {copied.value ? 'Copied' : 'Copy link'}
      </button>
    </div>
  );
}
