/** What the call looks like to this participant, as signals that the UI reads. The session writes, nobody else. */
import { computed, type ReadonlySignal, type Signal, signal } from '@preact/signals';
import type { TrackReport } from '../../../src/restorer/types.js';
import type {
  ParticipantDescription,
  PublicationDescription,
  VariantName,
  View,
} from '../../../src/signaling/messages.js';

export type CallPhase = 'idle' | 'joining' | 'joined' | 'reconnecting' | 'left' | 'failed';

export interface ReceivedVariant {
  consumerId: string;
  variant: VariantName;
  track: MediaStreamTrack;
}

/** A frame on its way to the screen: its RTP time, and when it is displayed (performance.now()). */
export interface ShownFrame {
  rtpTimestamp90k: number;
  shownAtMs: number;
}

/** One track that somebody else publishes, with the variants of it that are received. */
export class RemotePublication {
  readonly id: string;
  readonly participantId: string;
  readonly description: Signal<PublicationDescription>;
  readonly variants: Signal<readonly ReceivedVariant[]> = signal([]);
  /** What the person asked for. */
  readonly wantedView: Signal<View>;
  /** What the relay can deliver now; its reason when that is less. */
  readonly selectedView: Signal<View> = signal('original');
  readonly selectionReason: Signal<string | null> = signal(null);
  readonly pinned: Signal<boolean> = signal(false);
  readonly report: Signal<TrackReport | null> = signal(null);
  /** Width by height of what arrives; null before the first frame. Layouts follow it. */
  readonly aspect: Signal<number | null> = signal(null);
  /** The newest frame of each variant; no signal, because it changes with every frame. */
  readonly lastFrame: Record<VariantName, ShownFrame | null> = { original: null, restored: null };

  constructor(description: PublicationDescription, wantedView: View) {
    this.id = description.publicationId;
    this.participantId = description.participantId;
    this.description = signal(description);
    this.wantedView = signal(wantedView);
  }

  track(variant: VariantName): MediaStreamTrack | null {
    return this.variants.value.find((received) => received.variant === variant)?.track ?? null;
  }
}

export class RemoteParticipant {
  readonly id: string;
  readonly name: string;
  readonly connected: Signal<boolean>;
  readonly publications: Signal<readonly RemotePublication[]> = signal([]);
  readonly audio: ReadonlySignal<readonly RemotePublication[]> = computed(() =>
    this.publications.value.filter(({ description }) => description.value.kind === 'audio'),
  );
  readonly camera: ReadonlySignal<RemotePublication | null> = computed(() => this.#bySource('camera'));
  readonly screen: ReadonlySignal<RemotePublication | null> = computed(() => this.#bySource('screen'));
  readonly muted: ReadonlySignal<boolean> = computed(() => {
    const microphone = this.#bySource('microphone');
    return !microphone || microphone.description.value.paused;
  });

  constructor(description: ParticipantDescription) {
    this.id = description.participantId;
    this.name = description.name;
    this.connected = signal(description.connected);
  }

  #bySource(source: PublicationDescription['source']): RemotePublication | null {
    return this.publications.value.find(({ description }) => description.value.source === source) ?? null;
  }
}

export interface CallFailure {
  code: string;
  message: string;
}

export class CallModel {
  readonly phase: Signal<CallPhase> = signal('idle');
  readonly failure: Signal<CallFailure | null> = signal(null);
  readonly room: Signal<string> = signal('');
  readonly participantId: Signal<string> = signal('');
  readonly participants: Signal<readonly RemoteParticipant[]> = signal([]);
  readonly activeSpeakerIds: Signal<readonly string[]> = signal([]);
  readonly engine: Signal<string> = signal('');
  readonly restorer: Signal<{ model: string | null; provider: string | null } | null> = signal(null);
  /** Short notices for the toast area; the UI removes them. */
  readonly notices: Signal<readonly { id: number; text: string; tone: 'info' | 'error' }[]> = signal([]);
  #noticeId = 0;

  notify(text: string, tone: 'info' | 'error' = 'info'): void {
    this.#noticeId += 1;
    this.notices.value = [...this.notices.value.slice(-3), { id: this.#noticeId, text, tone }];
  }

  dismissNotice(id: number): void {
    this.notices.value = this.notices.value.filter((notice) => notice.id !== id);
  }

  publication(publicationId: string): RemotePublication | null {
    for (const participant of this.participants.value) {
      const found = participant.publications.value.find(({ id }) => id === publicationId);
      if (found) return found;
    }
    return null;
  }

  participant(participantId: string): RemoteParticipant | null {
    return this.participants.value.find(({ id }) => id === participantId) ?? null;
  }
}
