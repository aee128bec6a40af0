import { type Signal, useSignal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import type { CallModel, RemoteParticipant } from '../session/model.js';

/** Plays everybody's audio; asks for a click where the browser wants one first. */
export function AudioOutput({ model, speakerId }: { model: CallModel; speakerId: Signal<string> }) {
  const blocked = useSignal(false);
  const retry = useSignal(0);
  return (
    <>
      {model.participants.value.flatMap((participant) =>
        participant.audio.value.flatMap((publication) => {
          const track = publication.track('original');
          return track
            ? [
                <ParticipantAudio
                  key={`${publication.id}-${track.id}`}
                  participant={participant}
                  track={track}
                  speakerId={speakerId.value}
                  retry={retry.value}
                  onBlocked={() => {
                    blocked.value = true;
                  }}
                />,
              ]
            : [];
        }),
      )}
      {blocked.value && (
        <button
          type="button"
          class="button audio-unblock"
          onClick={() => {
            blocked.value = false;
            retry.value += 1;
          }}
        >
          Click to hear the others
        </button>
      )}
    </>
  );
}

function ParticipantAudio({
  participant,
  track,
  speakerId,
  retry,
  onBlocked,
}: {
  participant: RemoteParticipant;
  track: MediaStreamTrack;
  speakerId: string;
  retry: number;
  onBlocked: () => void;
}) {
  const audio = useRef<HTMLAudioElement>(null);
  useEffect(() => {
    const element = audio.current;
    if (!element) return;
    if (!element.srcObject) element.srcObject = new MediaStream([track]);
    element.play().catch((thrown) => {
      if (thrown instanceof DOMException && thrown.name === 'NotAllowedError') onBlocked();
    });
  }, [track, retry]);
  useEffect(() => {
    if (speakerId && audio.current && 'setSinkId' in audio.current)
      audio.current.setSinkId(speakerId).catch(() => {});
  }, [speakerId]);
  return <audio ref={audio} autoplay data-participant={participant.name} />;
}
