import { type Signal, useSignal } from '@preact/signals';
import type { CallSession } from '../session/CallSession.js';
import type { LocalMedia } from '../session/LocalMedia.js';
import { formatBitrate } from '../session/options.js';
import type { Statistics } from '../session/Statistics.js';
import { Avatar } from './Avatar.js';
import { Icon } from './Icon.js';
import { SelfStatisticsPanel } from './SelfStatisticsPanel.js';
import { SelfVideo } from './SelfVideo.js';

export interface SelfTileProps {
  session: CallSession;
  statistics: Statistics;
  media: LocalMedia;
  name: string;
  /** Width by height of the person's own camera. */
  aspect: Signal<number | null>;
  /** In a corner above the only other picture, instead of among the tiles. */
  floating: boolean;
}

/** The person's own camera, with what is really sent of it. */
export function SelfTile({ session, statistics, media, name, aspect, floating }: SelfTileProps) {
  const showStatistics = useSignal(false);
  const track = media.camera.value;
  if (!track && floating) return null;
  const muted = !media.microphone.value || session.publisher.muted.value;
  const sent = statistics.sent.value.find(
    ({ kind, trackId }) => kind === 'video' && trackId === session.publisher.producer('camera')?.track?.id,
  );
  const sending = track && session.model.phase.value === 'joined' && sent && sent.width > 0;
  const panel = showStatistics.value && (
    <SelfStatisticsPanel
      session={session}
      statistics={statistics}
      sent={sending ? sent : undefined}
      onClose={() => {
        showStatistics.value = false;
      }}
    />
  );
  const tile = (
    <section
      class={`self-tile ${floating ? 'self-floating' : 'tile'}`}
      aria-label="You"
      style={floating && aspect.value ? { aspectRatio: String(aspect.value) } : {}}
    >
      {track ? (
        <SelfVideo
          track={track}
          mirrored
          onSize={(width, height) => {
            aspect.value = width > 0 && height > 0 ? width / height : null;
          }}
        />
      ) : (
        <Avatar name={name} />
      )}
      <div class="tile-name">
        {muted && <Icon name="mic-off" label="muted" />}
        <span>You</span>
        {sending && (
          <span class="self-sent" title={`Sending ${sent.width}×${sent.height}`}>
            {`${Math.min(sent.width, sent.height)}p · ${formatBitrate(sent.bitrateBps)}`}
          </span>
        )}
      </div>
      <div class="tile-menu">
        <button
          type="button"
          class="icon-button"
          title="What you send"
          aria-label="What you send"
          aria-expanded={showStatistics.value}
          onClick={() => {
            showStatistics.value = !showStatistics.value;
          }}
        >
          <Icon name="chart" />
        </button>
      </div>
      {!floating && panel}
    </section>
  );
  if (!floating) return tile;
  // In the corner the tile is too small for a panel inside it.
  return (
    <>
      {tile}
      {panel && <div class="self-panel">{panel}</div>}
    </>
  );
}
