import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { isRoomName, ROOM_NAME_MAX, ROOM_NAME_RULE } from '../../../src/signaling/roomName.js';
import { publishGlobals } from '../globals.js';
import { CallSession } from '../session/CallSession.js';
import type { LocalMedia } from '../session/LocalMedia.js';
import { type DeviceProblem, describeProblems, LocalMediaError } from '../session/LocalMedia.js';
import { type JoinOptions, parseJoinOptions } from '../session/options.js';
import { failureText } from '../session/reasons.js';
import { Statistics } from '../session/Statistics.js';
import { Call } from './Call.js';
import { Lobby } from './Lobby.js';
import { loadPreferences } from './preferences.js';

interface RunningCall {
  session: CallSession;
  statistics: Statistics;
}

export function App({ media }: { media: LocalMedia }) {
  const options = useSignal<JoinOptions>(parseJoinOptions(new URL(location.href), loadPreferences()));
  const call = useSignal<RunningCall | null>(null);
  const failure = useSignal<{ title: string; advice: string } | null>(
    options.value.room === '' || isRoomName(options.value.room)
      ? null
      : {
          title: 'A room cannot have this name',
          advice: `Use ${ROOM_NAME_RULE}; at most ${ROOM_NAME_MAX} characters.`,
        },
  );

  const join = (chosen: JoinOptions, restorable: boolean) => {
    failure.value = null;
    options.value = { ...chosen, autojoin: false };
    const path = `/r/${encodeURIComponent(chosen.room)}`;
    if (location.pathname !== path) history.replaceState(null, '', path + location.search);
    const sendStills = loadPreferences().sendStills ?? true;
    const session = new CallSession({ join: chosen, media, restorable, sendStills });
    const statistics = new Statistics(session);
    call.value = { session, statistics };
    publishGlobals(statistics);
    session.model.phase.subscribe((phase) => {
      if (phase !== 'failed') return;
      const { code, message } = session.model.failure.value ?? { code: 'internal', message: '' };
      failure.value = failureText(code, message);
      media.stop('screen');
      statistics.close();
      session.references.close();
      session.adaptation.close();
      session.publisher.close();
      call.value = null;
    });
    session.start();
    return session;
  };

  useEffect(() => {
    const { autojoin, room, name } = options.value;
    if (!autojoin || !isRoomName(room) || !name) return;
    void (async () => {
      const problems: DeviceProblem[] = [];
      // Without lobby: join with whatever devices there are.
      for (const device of ['camera', 'microphone'] as const) {
        const started = device === 'camera' ? media.startCamera() : media.startMicrophone();
        await started.catch((thrown) => {
          if (!(thrown instanceof LocalMediaError)) throw thrown;
          problems.push({ device, error: thrown });
        });
      }
      const session = join(options.value, loadPreferences().restorable ?? true);
      for (const { text } of describeProblems(problems)) session.model.notify(text, 'error');
    })();
  }, []);

  const running = call.value;
  useEffect(() => {
    document.title = running ? `${running.session.model.room.value} · Vireo` : 'Vireo';
  }, [running]);
  if (running) {
    return (
      <Call
        session={running.session}
        statistics={running.statistics}
        media={media}
        onLeave={() => {
          running.statistics.close();
          void running.session.leave();
          media.stop('screen');
          call.value = null;
        }}
      />
    );
  }
  if (options.value.autojoin && isRoomName(options.value.room) && options.value.name) {
    return (
      <main class="joining" aria-busy="true">
        Joining {options.value.room}…
      </main>
    );
  }
  return (
    <Lobby
      initial={options.value}
      media={media}
      failure={failure.value}
      onJoin={({ join: chosen, restorable }) => join(chosen, restorable)}
    />
  );
}
