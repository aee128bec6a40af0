import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { Relay } from '../relay/Relay.js';
import type { RestorationLevel, Stage } from '../restorer/types.js';
import type { ProtocolError, RequestName } from '../signaling/messages.js';

const LEVELS: readonly RestorationLevel[] = ['full', 'lighter', 'original'];
const STAGES: readonly Stage[] = ['receive', 'decode', 'wait', 'restore', 'encode', 'total'];

export interface MetricsSources {
  /** Null until the engine is up. */
  relay: () => Relay | null;
  connections: () => number;
}

/** Everything at /metrics. Values are read when asked for; only signalling is counted as it happens. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #requests: Counter<'name'>;
  readonly #errors: Counter<'name' | 'code'>;

  constructor(sources: MetricsSources) {
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    this.#requests = new Counter({
      name: 'vireo_signalling_requests_total',
      help: 'Signalling requests answered, by name.',
      labelNames: ['name'],
      registers,
    });
    this.#errors = new Counter({
      name: 'vireo_signalling_errors_total',
      help: 'Signalling requests answered with an error, by name and error code.',
      labelNames: ['name', 'code'],
      registers,
    });
    this.#addRelayGauges(sources);
    this.#addRestorationGauges(sources);
    this.#addStillCounters(sources);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  countAnswer(name: RequestName | null, error: ProtocolError | null): void {
    this.#requests.inc({ name: name ?? 'unknown' });
    if (error) this.#errors.inc({ name: name ?? 'unknown', code: error.code });
  }

  render(): Promise<string> {
    return this.#registry.metrics();
  }

  #addRelayGauges({ relay, connections }: MetricsSources): void {
    const snapshot = () => relay()?.snapshot();
    this.#gauge('vireo_rooms', 'Open rooms.', () => snapshot()?.rooms ?? 0);
    this.#gauge('vireo_connections', 'Signalling connections.', connections);
    this.#labelled(
      'vireo_participants',
      'Participants in rooms, by whether their signalling is there.',
      'state',
      () => {
        const { participants = 0, participantsConnected = 0 } = snapshot() ?? {};
        return { connected: participantsConnected, away: participants - participantsConnected };
      },
    );
    this.#labelled('vireo_publications', 'Published tracks, by kind.', 'kind', () => ({
      ...(snapshot()?.publications ?? { audio: 0, video: 0 }),
    }));
    this.#labelled('vireo_consumers', "Subscribers' consumers, by variant.", 'variant', () => ({
      ...(snapshot()?.consumers ?? { original: 0, restored: 0 }),
    }));
    this.#labelled('vireo_engine_objects', 'What the SFU engine holds.', 'object', () => ({
      ...(snapshot()?.engine ?? { routers: 0, transports: 0, producers: 0, consumers: 0 }),
    }));
    this.#labelled('vireo_engine_up', 'Which SFU engine runs.', 'engine', () => {
      const kind = relay()?.engine?.kind;
      return { werift: Number(kind === 'werift'), mediasoup: Number(kind === 'mediasoup') };
    });
    new Gauge({
      name: 'vireo_transport_bytes',
      help: 'Bytes of the participants that are here now, by direction as the relay sees it.',
      labelNames: ['direction'],
      registers: [this.#registry],
      async collect() {
        const bytes = (await relay()?.transportBytes()) ?? { received: 0, sent: 0 };
        this.set({ direction: 'received' }, bytes.received);
        this.set({ direction: 'sent' }, bytes.sent);
      },
    });
  }

  #addRestorationGauges({ relay }: MetricsSources): void {
    const info = () => relay()?.restorer?.info;
    const reports = () => relay()?.snapshot().restored ?? [];
    this.#labelled(
      'vireo_restored_tracks',
      'Tracks in the restorer, by level of the load ladder.',
      'level',
      () =>
        Object.fromEntries(
          LEVELS.map((level) => [level, reports().filter((report) => report.level === level).length]),
        ),
    );
    this.#gauge('vireo_restorer_up', '1 while the restorer takes tracks.', () =>
      Number(relay()?.restorer?.state === 'ready'),
    );
    this.#gauge(
      'vireo_restorer_restarts',
      'Restarts of the restorer since the relay began.',
      () => info()?.restarts ?? 0,
    );
    this.#gauge(
      'vireo_restorer_resident_memory_bytes',
      'Resident memory of the restorer process.',
      () => info()?.residentMemoryBytes ?? 0,
    );
    this.#gauge(
      'vireo_restoration_frames_dropped',
      'Frames that the running tracks dropped to keep up.',
      () => reports().reduce((sum, { framesDropped }) => sum + framesDropped, 0),
    );
    new Gauge({
      name: 'vireo_restoration_stage_milliseconds',
      help: 'Time of a frame in each stage, the worst of the running tracks; total: last packet in to last packet out.',
      labelNames: ['stage', 'quantile'],
      registers: [this.#registry],
      collect() {
        this.reset();
        for (const stage of STAGES) {
          const times = reports().flatMap(({ stages }) => stages?.[stage] ?? []);
          if (times.length === 0) continue;
          this.set({ stage, quantile: '0.5' }, Math.max(...times.map(({ p50Ms }) => p50Ms)));
          this.set({ stage, quantile: '0.95' }, Math.max(...times.map(({ p95Ms }) => p95Ms)));
        }
      },
    });
  }

  #addStillCounters({ relay }: MetricsSources): void {
    const stills = () => relay()?.snapshot().stills ?? { accepted: 0, refused: 0, bytes: 0 };
    new Counter({
      name: 'vireo_stills_total',
      help: 'Sharp stills that arrived whole, by what became of them; one that the restorer refuses was accepted before.',
      labelNames: ['result'],
      registers: [this.#registry],
      collect() {
        const { accepted, refused } = stills();
        this.reset();
        this.inc({ result: 'accepted' }, accepted);
        this.inc({ result: 'refused' }, refused);
      },
    });
    new Counter({
      name: 'vireo_still_bytes_total',
      help: 'Bytes of the sharp stills that arrived whole.',
      registers: [this.#registry],
      collect() {
        this.reset();
        this.inc(stills().bytes);
      },
    });
  }

  #gauge(name: string, help: string, value: () => number): void {
    new Gauge({
      name,
      help,
      registers: [this.#registry],
      collect() {
        this.set(value());
      },
    });
  }

  #labelled(name: string, help: string, label: string, values: () => Record<string, number>): void {
    new Gauge({
      name,
      help,
      labelNames: [label],
      registers: [this.#registry],
      collect() {
        for (const [key, value] of Object.entries(values())) this.set({ [label]: key }, value);
      },
    });
  }
}
