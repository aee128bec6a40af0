import { EventEmitter } from 'node:events';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { VireoError } from '../../../src/errors.js';
import { createLogger } from '../../../src/log.js';
import { RestorationController, type RestorationTarget } from '../../../src/relay/RestorationController.js';
import type {
  ReferenceStill,
  Restorer,
  RestorerEvents,
  RestorerState,
  RestoreTrackOptions,
} from '../../../src/restorer/types.js';
import type { RestorationDemand, RestoredAvailability } from '../../../src/rooms/types.js';
import { ROUTER_CODECS } from '../../../src/sfu/codecs.js';
import type { RtpCapabilities, SfuProducer, SfuRouter } from '../../../src/sfu/types.js';
import { fakeReport } from '../../support/fakes/FakeRestorer.js';

const CAPABILITIES = { codecs: ROUTER_CODECS, headerExtensions: [] } as RtpCapabilities;
const VP8_ONLY = {
  codecs: ROUTER_CODECS.filter(({ mimeType }) => mimeType === 'video/VP8'),
} as RtpCapabilities;

/** Answers when the test says so; keeps the books. */
class StubRestorer extends EventEmitter<RestorerEvents> {
  state: RestorerState = 'ready';
  info = { outputCodecs: ['H264', 'VP8'] };
  running = new Map<string, RestoreTrackOptions>();
  starts: RestoreTrackOptions[] = [];
  priorities: [string, number][] = [];
  ceilings: [string, number][] = [];
  references: [string, string | null][] = [];
  refusal: VireoError | null = null;

  async startTrack(options: RestoreTrackOptions) {
    if (this.refusal) throw this.refusal;
    if (this.running.has(options.trackId)) throw new VireoError('conflict', 'runs already');
    this.running.set(options.trackId, options);
    this.starts.push(options);
    return { trackId: options.trackId, localAddress: { ip: '127.0.0.1', port: 9 } };
  }
  stopTrack(trackId: string) {
    this.running.delete(trackId);
  }
  setPriority(trackId: string, priority: number) {
    this.priorities.push([trackId, priority]);
  }
  setMaxBitrate(trackId: string, bitrateBps: number) {
    this.ceilings.push([trackId, bitrateBps]);
  }
  setReference(trackId: string, still: ReferenceStill | null) {
    this.references.push([trackId, still?.id ?? null]);
  }
  lose(trackId: string) {
    this.running.delete(trackId);
    this.emit('trackLost', trackId, 'restorer-down');
  }
}

let restorer: StubRestorer;
let controller: RestorationController;
let openPorts: number;

beforeEach(() => {
  vi.useFakeTimers();
  restorer = new StubRestorer();
  openPorts = 0;
  controller = create();
});

afterEach(() => {
  controller.close();
  expect(openPorts).toBe(0);
  expect(restorer.running.size).toBe(0);
  vi.useRealTimers();
});

function create(maxTracks = 2): RestorationController {
  const settings = { maxTracks, outputCodec: 'auto', maxBitrateBps: 2_000_000, targetHeight: 720 } as const;
  const created = new RestorationController(settings, createLogger('silent', 'test'));
  created.attach(restorer as unknown as Restorer);
  return created;
}

function stubRouter(): SfuRouter {
  const plainTransport = () => ({
    localAddress: { ip: '127.0.0.1', port: 8 },
    consume: async () => ({
      rtpParameters: {
        codecs: [{ mimeType: 'video/VP8', payloadType: 96, clockRate: 90_000 }],
        encodings: [{ ssrc: 5 }],
        rtcp: { cname: 'ann' },
      },
      resume: async () => {},
    }),
    connect: async () => {},
    produce: async () => ({ id: 'restored' }),
    close: () => void openPorts--,
  });
  const createPlainTransport = async () => {
    openPorts++;
    return plainTransport();
  };
  return {
    rtpCapabilities: CAPABILITIES,
    plainVideoMimeTypes: ['video/H264', 'video/VP8'],
    createPlainTransport,
  } as unknown as SfuRouter;
}

class Target implements RestorationTarget {
  readonly publicationId: string;
  readonly router = stubRouter();
  readonly source = { id: 'original', rtpParameters: { rtcp: { cname: 'ann' } } } as unknown as SfuProducer;
  readonly states: string[] = [];
  watchers: RtpCapabilities[] = [CAPABILITIES];
  producer: SfuProducer | null = null;
  reference: ReferenceStill | null = null;
  readonly refused: string[] = [];

  constructor(publicationId: string) {
    this.publicationId = publicationId;
  }
  capabilitiesOf() {
    return this.watchers;
  }
  changed({ state, reason }: RestoredAvailability, producer: SfuProducer | null) {
    const text = reason === null ? state : `${state}: ${reason}`;
    if (this.states.at(-1) !== text) this.states.push(text);
    this.producer = producer;
  }
  reported() {}
  referenceRefused(referenceId: string, reason: string) {
    this.refused.push(`${referenceId}: ${reason}`);
  }
  get last() {
    return this.states.at(-1);
  }

  want(more: Partial<RestorationDemand> = {}) {
    const demand = { publicationId: this.publicationId, wanted: true, forbidden: null, priority: 0, ...more };
    controller.setDemand(this, { ceilingBps: 5_000_000, watchers: ['ben'], ...demand });
  }
}

/** Lets promises settle and the clock run. */
const pass = (ms = 0) => vi.advanceTimersByTimeAsync(ms);

async function active(id: string, more: Partial<RestorationDemand> = {}): Promise<Target> {
  const target = new Target(id);
  target.want(more);
  await pass();
  restorer.emit('trackStarted', id);
  expect(target.last).toBe('active');
  return target;
}

describe('RestorationController', () => {
  it('starts what is wanted and offers it after its first frame', async () => {
    const target = new Target('cam');
    target.want({ wanted: false });
    expect(restorer.starts).toEqual([]);
    target.want({ priority: 1 });
    await pass();
    expect(restorer.starts[0]).toMatchObject({
      trackId: 'cam',
      input: { codec: 'VP8', payloadType: 96, ssrc: 5, cname: 'ann' },
      output: { codec: 'H264', payloadType: 102, cname: 'ann' },
      maxBitrateBps: 2_000_000,
      targetHeight: 720,
      priority: 1,
    });
    expect(target.states).toEqual(['starting: starting']);
    expect(target.producer).toBeNull();
    restorer.emit('trackStarted', 'cam');
    expect(target.states).toEqual(['starting: starting', 'active']);
    expect(target.producer).not.toBeNull();
  });

  it('stops a little after nobody watches, and at once when it is forbidden', async () => {
    const target = await active('cam');
    target.want({ wanted: false });
    await pass(1_500);
    target.want();
    target.want({ wanted: false });
    await pass(1_900);
    expect(restorer.running.size).toBe(1);
    await pass(200);
    expect(restorer.running.size).toBe(0);
    expect(target.last).toBe('idle');
    target.want();
    await pass();
    target.want({ wanted: false, forbidden: 'opted-out' });
    expect(restorer.running.size).toBe(0);
  });

  it('tells of a lost track at once and starts it again with a growing delay', async () => {
    const target = await active('cam');
    restorer.lose('cam');
    expect(target.last).toBe('unavailable: restorer-down');
    expect(target.producer).toBeNull();
    await pass(240);
    expect(restorer.starts).toHaveLength(1);
    await pass(20);
    expect(restorer.starts).toHaveLength(2);
    restorer.lose('cam');
    await pass(490);
    expect(restorer.starts).toHaveLength(2);
    await pass(20);
    expect(restorer.starts).toHaveLength(3);
  });

  it('waits for the restorer to be ready', async () => {
    const target = await active('cam');
    restorer.state = 'restarting';
    restorer.lose('cam');
    await pass(60_000);
    expect(restorer.starts).toHaveLength(1);
    expect(target.last).toBe('unavailable: restorer-down');
    restorer.state = 'ready';
    restorer.emit('state', 'ready');
    await pass();
    expect(restorer.starts).toHaveLength(2);
  });

  it('follows the load ladder without taking the variant away', async () => {
    const target = await active('cam');
    const { producer } = target;
    restorer.emit('report', fakeReport('cam', 'original', 'overloaded'));
    expect(target.last).toBe('unavailable: overloaded');
    expect(target.producer).toBe(producer);
    restorer.emit('report', fakeReport('cam', 'lighter'));
    expect(target.last).toBe('active');
    restorer.emit('report', fakeReport('another', 'original', 'overloaded'));
    expect(target.last).toBe('active');
  });

  it('is not active before the first frame, whatever reports say', async () => {
    const target = new Target('cam');
    target.want();
    await pass();
    restorer.emit('report', fakeReport('cam', 'original', 'starting'));
    expect(target.last).toBe('starting: starting');
    restorer.emit('report', fakeReport('cam', 'original', 'unsupported-size'));
    expect(target.last).toBe('unavailable: unsupported-size');
  });

  it('restores the important first when there is not room for all', async () => {
    controller.close();
    controller = create(1);
    const first = await active('first');
    const second = new Target('second');
    second.want();
    expect(second.last).toBe('unavailable: at-capacity');
    second.want({ priority: 1 });
    await pass();
    expect(first.last).toBe('unavailable: at-capacity');
    expect([...restorer.running.keys()]).toEqual(['second']);
    // The next speaker's turn comes when the last one's has been over for a moment.
    first.want({ priority: 1 });
    second.want({ priority: 0 });
    await pass(1_000);
    expect([...restorer.running.keys()]).toEqual(['second']);
    await pass(2_500);
    expect([...restorer.running.keys()]).toEqual(['first']);
  });

  it('does not start twice what is stopped and wanted again while it starts', async () => {
    const target = new Target('cam');
    target.want();
    target.want({ wanted: false, forbidden: 'opted-out' });
    target.want();
    await pass();
    expect(restorer.running.size).toBe(1);
    expect(openPorts).toBe(1);
    restorer.emit('trackStarted', 'cam');
    expect(target.last).toBe('active');
  });

  it('leaves nothing behind of a publication that goes while it starts', async () => {
    const target = new Target('cam');
    target.want();
    controller.remove('cam');
    await pass();
    expect(openPorts).toBe(0);
    expect(restorer.running.size).toBe(0);
  });

  it('says why the restorer refuses, and tries again', async () => {
    restorer.refusal = new VireoError('limit-reached', 'no more tracks');
    const target = new Target('cam');
    target.want();
    await pass();
    expect(target.last).toBe('unavailable: at-capacity');
    restorer.refusal = null;
    await pass(300);
    expect(restorer.running.size).toBe(1);
  });

  it('encodes in what every watcher has, and starts anew for one who has not', async () => {
    const target = await active('cam');
    expect(restorer.starts[0]?.output.codec).toBe('H264');
    target.watchers = [CAPABILITIES, VP8_ONLY];
    target.want({ watchers: ['ben', 'cat'] });
    await pass();
    expect(restorer.starts[1]?.output.codec).toBe('VP8');
    expect(openPorts).toBe(1);
    target.watchers = [CAPABILITIES];
    target.want();
    await pass();
    expect(restorer.starts).toHaveLength(2);
  });

  it('passes ceilings and priorities on, small changes of the ceiling aside', async () => {
    const target = await active('cam');
    target.want({ ceilingBps: 1_000_000, priority: 2 });
    target.want({ ceilingBps: 1_010_000, priority: 2 });
    target.want({ ceilingBps: 600_000, priority: 2 });
    expect(restorer.ceilings).toEqual([
      ['cam', 1_000_000],
      ['cam', 600_000],
    ]);
    expect(restorer.priorities).toEqual([['cam', 2]]);
  });

  it('hands stills over at once, to what starts later, and to what starts again', async () => {
    const still = (id: string): ReferenceStill => ({ id, mimeType: 'image/webp', bytes: new Uint8Array(1) });
    const target = new Target('cam');
    target.reference = still('first');
    controller.referenceChanged('cam');
    target.want();
    await pass();
    target.reference = still('second');
    controller.referenceChanged('cam');
    restorer.lose('cam');
    controller.referenceChanged('cam');
    await pass(300);
    target.reference = null;
    controller.referenceChanged('cam');
    expect(restorer.references).toEqual([
      ['cam', 'first'],
      ['cam', 'second'],
      ['cam', 'second'],
      ['cam', null],
    ]);
    restorer.emit('referenceRefused', 'cam', 'second', 'damaged');
    restorer.emit('referenceRefused', 'another', 'third', 'damaged');
    expect(target.refused).toEqual(['second: damaged']);
  });

  it('says that models are still warming up', async () => {
    controller.close();
    const settings = { maxTracks: 1, outputCodec: 'auto', maxBitrateBps: 1, targetHeight: 720 } as const;
    controller = new RestorationController(settings, createLogger('silent', 'test'));
    const target = new Target('cam');
    target.want();
    expect(target.last).toBe('unavailable: starting');
    controller.attach(restorer as unknown as Restorer);
    await pass();
    expect(target.last).toBe('starting: starting');
  });
});
