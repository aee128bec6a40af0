const SPEAKING_DBOV = -50;
/** Weight of a new level in the running mean. */
const ATTACK = 0.6;
const RELEASE = 0.15;
/** Someone who spoke stays a speaker through the pauses between words. */
const HOLD_MS = 1_500;
/** The loudest keeps the first place until another is louder by this much. */
const TAKEOVER_DB = 6;
const MAX_SPEAKERS = 5;
const EVENT_INTERVAL_MS = 300;
const SILENCE_DBOV = -127;

interface Speaker {
  levelDbov: number;
  spokeAtMs: number;
}

/** Turns raw audio levels into a steady list of who speaks, loudest first. */
export class ActiveSpeakers {
  readonly #speakers = new Map<string, Speaker>();
  #current: readonly string[] = [];
  #changedAtMs = Number.NEGATIVE_INFINITY;

  get current(): readonly string[] {
    return this.#current;
  }

  /**
   * Takes the levels of one interval; participants that are not among them are silent.
   * @returns the new list when it changed and the last change is long enough ago, else null
   */
  update(
    nowMs: number,
    levels: readonly { participantId: string; volumeDbov: number }[],
  ): readonly string[] | null {
    const heard = new Map<string, number>();
    for (const { participantId, volumeDbov } of levels) {
      heard.set(participantId, Math.max(volumeDbov, heard.get(participantId) ?? SILENCE_DBOV));
    }
    for (const [id, dbov] of heard) this.#feed(nowMs, id, dbov);
    for (const id of this.#speakers.keys()) if (!heard.has(id)) this.#feed(nowMs, id, SILENCE_DBOV);
    return this.#settle(nowMs);
  }

  remove(participantId: string): void {
    this.#speakers.delete(participantId);
    this.#current = this.#current.filter((id) => id !== participantId);
  }

  #feed(nowMs: number, id: string, dbov: number): void {
    const before = this.#speakers.get(id) ?? { levelDbov: SILENCE_DBOV, spokeAtMs: Number.NEGATIVE_INFINITY };
    const clamped = Math.max(dbov, -80);
    const from = Math.max(before.levelDbov, -80);
    const levelDbov = from + (clamped - from) * (clamped > from ? ATTACK : RELEASE);
    const spokeAtMs = dbov > SPEAKING_DBOV ? nowMs : before.spokeAtMs;
    if (nowMs - spokeAtMs > HOLD_MS) this.#speakers.delete(id);
    else this.#speakers.set(id, { levelDbov, spokeAtMs });
  }

  #settle(nowMs: number): readonly string[] | null {
    const first = this.#current[0];
    const rank = (id: string, speaker: Speaker) => speaker.levelDbov + (id === first ? TAKEOVER_DB : 0);
    const next = [...this.#speakers]
      .filter(([, speaker]) => speaker.levelDbov > SPEAKING_DBOV - 15)
      .sort((a, b) => rank(...b) - rank(...a))
      .slice(0, MAX_SPEAKERS)
      .map(([id]) => id);
    const same = next.length === this.#current.length && next.every((id, i) => id === this.#current[i]);
    if (same || nowMs - this.#changedAtMs < EVENT_INTERVAL_MS) return null;
    this.#changedAtMs = nowMs;
    this.#current = next;
    return next;
  }
}
