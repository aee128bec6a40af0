import type { CallSession } from '../session/CallSession.js';
import type { LocalMedia } from '../session/LocalMedia.js';
import { formatBitrate } from '../session/options.js';
import type { Statistics } from '../session/Statistics.js';
import { SelfVideo } from './SelfVideo.js';

/** The person's own camera, small, with what is really sent of it. */
export function SelfTile({
  session,
  statistics,
  media,
}: {
  session: CallSession;
  statistics: Statistics;
  media: LocalMedia;
}) {
  const track = media.camera.value;
  if (!track) return null;
  const sent = statistics.sent.value.find(
    ({ kind, trackId }) => kind === 'video' && trackId === session.publisher.producer('camera')?.track?.id,
  );
  return (
    <aside class="self-tile" aria-label="You">
      <SelfVideo track={track} mirrored />
      <span class="self-sent">
        {sent && sent.width > 0
          ? `Sending ${sent.width}×${sent.height} · ${formatBitrate(sent.bitrateBps)}`
          : 'You'}
      </span>
    </aside>
  );
}
