import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { VariantName } from '../../../src/signaling/messages.js';
import type { CallSession } from '../session/CallSession.js';
import type { RemoteParticipant, RemotePublication, ShownFrame } from '../session/model.js';
import { reasonLabel, reasonSentence } from '../session/reasons.js';
import type { Statistics } from '../session/Statistics.js';
import { Avatar } from './Avatar.js';
import { Icon } from './Icon.js';
import { SplitDivider } from './SplitDivider.js';
import { StatisticsPanel } from './StatisticsPanel.js';
import { TileMenu } from './TileMenu.js';
import { VariantVideo } from './VariantVideo.js';

export interface RemoteTileProps {
  session: CallSession;
  statistics: Statistics;
  participant: RemoteParticipant;
  /** Camera or screen; null: a participant without picture. */
  publication: RemotePublication | null;
}

/** Frames older than this say nothing about whether a variant is alive. */
const FRESH_FRAME_MS = 1_500;

export function RemoteTile({ session, statistics, participant, publication }: RemoteTileProps) {
  // Levels take a moment to fall after somebody muted.
  const speaking =
    session.model.activeSpeakerIds.value.includes(participant.id) &&
    !participant.muted.value &&
    publication?.description.value.source !== 'screen';
  const showStatistics = useSignal(false);
  const name = participant.name;
  const isScreen = publication?.description.value.source === 'screen';
  return (
    <section
      class={`tile ${speaking ? 'tile-speaking' : ''} ${participant.connected.value ? '' : 'tile-away'} ${isScreen ? 'tile-screen' : ''}`}
      aria-label={isScreen ? `${name}'s screen` : name}
      data-tile={name}
    >
      {publication && !publication.description.value.paused ? (
        <RemotePicture session={session} participant={participant} publication={publication} />
      ) : (
        <Avatar name={name} />
      )}
      <div class="tile-name">
        {participant.muted.value && <Icon name="mic-off" label="muted" />}
        {isScreen && <Icon name="screen" label="shared screen of" />}
        <bdi>{name}</bdi>
        {!participant.connected.value && <span class="tile-note">reconnecting…</span>}
      </div>
      {publication && (
        <TileMenu
          publication={publication}
          session={session}
          statisticsShown={showStatistics.value}
          onStatistics={() => {
            showStatistics.value = !showStatistics.value;
          }}
        />
      )}
      {publication && showStatistics.value && (
        <StatisticsPanel
          publication={publication}
          statistics={statistics}
          onClose={() => {
            showStatistics.value = false;
          }}
        />
      )}
    </section>
  );
}

function RemotePicture({
  session,
  participant,
  publication,
}: {
  session: CallSession;
  participant: RemoteParticipant;
  publication: RemotePublication;
}) {
  /** When each variant last showed a frame: the tile swaps to a variant that really has one. */
  const lastFrameAtMs = useSignal<Record<VariantName, number>>({ original: 0, restored: 0 });
  const shown = useSignal<VariantName>('original');
  const divider = useSignal(0.5);
  const selected = publication.selectedView.value;
  const original = publication.track('original');
  const restored = publication.track('restored');
  const split = selected === 'split' && restored !== null && lastFrameAtMs.value.restored > 0;

  const onFrame = (variant: VariantName, frame: ShownFrame | null) => {
    publication.lastFrame[variant] = frame;
    const now = performance.now();
    const previous = lastFrameAtMs.value[variant];
    // Only a first frame changes what is on screen; re-rendering for every frame would cost for nothing.
    if (previous === 0 || now - previous > FRESH_FRAME_MS / 3) {
      lastFrameAtMs.value = { ...lastFrameAtMs.value, [variant]: now };
    }
    const wanted: VariantName = publication.selectedView.value === 'restored' ? 'restored' : 'original';
    if (variant === wanted && shown.value !== wanted) {
      shown.value = wanted;
      void session.variantShown(publication, wanted);
    }
  };

  useEffect(() => {
    // A variant that went away must not stay on screen as a frozen picture.
    if (!restored) {
      lastFrameAtMs.value = { ...lastFrameAtMs.value, restored: 0 };
      shown.value = 'original';
    }
  }, [restored, lastFrameAtMs, shown]);

  useEffect(() => {
    if (selected === 'original') shown.value = 'original';
  }, [selected, shown]);

  const active = (variant: VariantName) => split || shown.value === variant;
  const onSize = (width: number, height: number) => {
    if (width > 0 && height > 0) publication.aspect.value = width / height;
  };
  return (
    <div
      class="picture"
      data-shown={split ? 'split' : shown.value}
      style={{ '--divider': `${divider.value * 100}%` }}
    >
      {lastFrameAtMs.value.original === 0 && lastFrameAtMs.value.restored === 0 && (
        <Avatar name={participant.name} />
      )}
      {original && (
        <VariantVideo
          track={original}
          variant="original"
          participant={participant.name}
          active={active('original')}
          onFrame={(frame) => onFrame('original', frame)}
          onSize={onSize}
        />
      )}
      {restored && (
        <div class="restored-layer" style={{ clipPath: split ? 'inset(0 0 0 var(--divider))' : 'none' }}>
          <VariantVideo
            track={restored}
            variant="restored"
            participant={participant.name}
            active={active('restored')}
            onFrame={(frame) => onFrame('restored', frame)}
            onSize={onSize}
          />
        </div>
      )}
      {split && (
        <>
          <span class="split-label split-label-left">Original</span>
          <span class="split-label split-label-right">Restored</span>
          <SplitDivider
            position={divider.value}
            onMove={(position) => {
              divider.value = position;
            }}
          />
        </>
      )}
      {!split && <Badge publication={publication} shown={shown.value} />}
    </div>
  );
}

/** Says that the picture is restored, or why it is not although the person wants it so. */
function Badge({ publication, shown }: { publication: RemotePublication; shown: VariantName }) {
  if (shown === 'restored') {
    return (
      <span class="badge" title="This picture is restored by the relay">
        <Icon name="sparkle" /> Restored
      </span>
    );
  }
  if (publication.wantedView.value === 'original') return null;
  const reason = publication.selectionReason.value ?? publication.description.value.restoredReason ?? null;
  const label = reasonLabel(reason);
  if (!label) return null;
  return (
    <span class="badge badge-original" title={reasonSentence(reason) ?? undefined}>
      {label}
    </span>
  );
}
