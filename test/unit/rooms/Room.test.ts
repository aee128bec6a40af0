import { beforeEach, describe, expect, it } from 'vitest';
import { Room } from '../../../src/rooms/Room.js';
import type { RoomPolicy } from '../../../src/rooms/types.js';

const POLICY: RoomPolicy = {
  restorationEnabled: true,
  maxRestoredBitrateBps: 2_500_000,
  initialDownlinkBps: 1_500_000,
  maxParticipants: 3,
  maxPublicationsPerParticipant: 2,
};
const ACTIVE = { state: 'active', reason: null, bitrateBps: 800_000 } as const;

let room: Room;
let nowMs: number;

beforeEach(() => {
  nowMs = 1_000_000;
  room = new Room('blue', POLICY);
  room.addParticipant('ann', 'Ann');
  room.addParticipant('ben', 'Ben');
});

function camera(id = 'cam', participantId = 'ann', restorable?: boolean) {
  return room.addPublication({ id, participantId, kind: 'video', source: 'camera', restorable });
}

/** Decides some seconds later. */
function decide(afterMs = 0) {
  nowMs += afterMs;
  return room.decide(nowMs);
}

function seen(participantId = 'ben', publicationId = 'cam') {
  decide();
  return room.subscription(participantId, publicationId).decision;
}

function demand(publicationId = 'cam') {
  return decide().demands.find((candidate) => candidate.publicationId === publicationId);
}

/** Ben watches Ann's camera restored, and holds both consumers. */
function watchRestored() {
  camera();
  const subscription = room.subscribe('ben', 'cam', 'restored');
  room.setRestored('cam', ACTIVE);
  subscription.restoredConsumer = 'held';
  return subscription;
}

describe('participants', () => {
  it('may share a display name but not an id', () => {
    room.addParticipant('ann2', 'Ann');
    expect(() => room.addParticipant('ann', 'Other')).toThrow(/already here/);
  });

  it('are limited in number', () => {
    room.addParticipant('cat', 'Cat');
    expect(() => room.addParticipant('dan', 'Dan')).toThrow(expect.objectContaining({ code: 'room-full' }));
  });

  it('take their publications and subscriptions with them', () => {
    camera('cam', 'ann');
    camera('ben-cam', 'ben');
    room.subscribe('ben', 'cam');
    room.subscribe('ann', 'ben-cam');
    const gone = room.removeParticipant('ann');
    expect(gone.publications.map(({ id }) => id)).toEqual(['cam']);
    expect(gone.subscriptions).toHaveLength(2);
    expect([...room.publications.keys()]).toEqual(['ben-cam']);
    expect(room.participant('ben').subscriptions.size).toBe(0);
    expect(room.publication('ben-cam').subscribers.size).toBe(0);
    expect(room.removeParticipant('ann').publications).toEqual([]);
  });

  it('are described with what they publish', () => {
    camera();
    room.setConnected('ann', false);
    expect(room.describeParticipant('ann')).toMatchObject({
      name: 'Ann',
      connected: false,
      publications: [{ publicationId: 'cam', restored: 'idle', restoredReason: null, restorable: true }],
    });
  });
});

describe('publications', () => {
  it('are limited in number', () => {
    camera('one');
    camera('two');
    expect(() => camera('three')).toThrow(expect.objectContaining({ code: 'limit-reached' }));
  });

  it('have a source that fits their kind', () => {
    const mixed = { id: 'x', participantId: 'ann', kind: 'audio', source: 'camera' } as const;
    expect(() => room.addPublication(mixed)).toThrow(/data.source: "camera" is video/);
  });

  it.each([
    ['audio', { kind: 'audio', source: 'microphone' }, 'off', 'audio'],
    ['a screen', { kind: 'video', source: 'screen' }, 'off', 'screen'],
    ['a screen that asks for it', { kind: 'video', source: 'screen', restorable: true }, 'idle', null],
    ['a camera', { kind: 'video', source: 'camera' }, 'idle', null],
    ['a camera that opted out', { kind: 'video', source: 'camera', restorable: false }, 'off', 'opted-out'],
  ] as const)('%s: restored is %s', (_what, options, restored, restoredReason) => {
    room.addPublication({ id: 'x', participantId: 'ann', ...options });
    expect(room.describePublication('x')).toMatchObject({ restored, restoredReason });
  });

  it('are never restored by a plain relay', () => {
    room = new Room('plain', { ...POLICY, restorationEnabled: false });
    room.addParticipant('ann', 'Ann');
    camera();
    expect(room.describePublication('cam')).toMatchObject({ restored: 'off', restoredReason: 'disabled' });
  });
});

describe('subscriptions', () => {
  it('are refused for what is not there, and for what is your own', () => {
    camera();
    expect(() => room.subscribe('ben', 'nope')).toThrow(expect.objectContaining({ code: 'not-found' }));
    expect(() => room.subscribe('ann', 'cam')).toThrow(expect.objectContaining({ code: 'bad-request' }));
  });

  it('are made once: subscribing again changes the view', () => {
    camera();
    const first = room.subscribe('ben', 'cam', 'original');
    expect(room.subscribe('ben', 'cam', 'split')).toBe(first);
    expect(first.wantedView).toBe('split');
    expect(room.subscribe('ben', 'cam').wantedView).toBe('split');
  });

  it('of audio have one view', () => {
    room.addPublication({ id: 'mic', participantId: 'ann', kind: 'audio', source: 'microphone' });
    room.subscribe('ben', 'mic', 'restored');
    room.setView('ben', 'mic', 'split');
    expect(room.subscription('ben', 'mic').wantedView).toBe('original');
    expect(decide().subscriptions).toEqual([]);
  });
});

describe('who gets which variant', () => {
  it('shows the original, and says why, until there is a restored variant', () => {
    camera();
    room.subscribe('ben', 'cam', 'restored');
    expect(seen()).toEqual({
      view: 'original',
      reason: 'starting',
      run: { original: true, restored: false },
    });
    room.setRestored('cam', { state: 'unavailable', reason: 'at-capacity', bitrateBps: null });
    expect(seen().reason).toBe('at-capacity');
  });

  it('runs both until the restored one is displayed, then rests the original', () => {
    watchRestored();
    expect(seen()).toEqual({ view: 'restored', reason: null, run: { original: true, restored: true } });
    room.setShown('ben', 'cam', 'original');
    expect(seen().run.original).toBe(true);
    room.setShown('ben', 'cam', 'restored');
    expect(seen().run).toEqual({ original: false, restored: true });
  });

  it('needs a consumer that the receiver can decode', () => {
    const subscription = watchRestored();
    subscription.restoredConsumer = 'none';
    expect(seen()).toMatchObject({ view: 'original', reason: 'starting' });
    subscription.restoredConsumer = 'impossible';
    expect(seen()).toMatchObject({ view: 'original', reason: 'unsupported-codec' });
  });

  it('goes back to the original at once when the restored variant dies, and forth with both running', () => {
    watchRestored();
    decide();
    room.setShown('ben', 'cam', 'restored');
    room.setRestored('cam', { state: 'unavailable', reason: 'restorer-down', bitrateBps: null });
    expect(seen()).toEqual({
      view: 'original',
      reason: 'restorer-down',
      run: { original: true, restored: false },
    });
    // Late news of a picture that is not there any more.
    room.setShown('ben', 'cam', 'restored');
    room.setRestored('cam', ACTIVE);
    expect(seen()).toEqual({ view: 'restored', reason: null, run: { original: true, restored: true } });
  });

  it('runs both in split view, however often either is displayed', () => {
    const subscription = watchRestored();
    subscription.wantedView = 'split';
    decide();
    room.setShown('ben', 'cam', 'restored');
    room.setShown('ben', 'cam', 'original');
    expect(seen()).toEqual({ view: 'split', reason: null, run: { original: true, restored: true } });
    // Out of the split view the restored one is on display already.
    room.setView('ben', 'cam', 'restored');
    expect(seen().run).toEqual({ original: false, restored: true });
  });

  it('keeps the restored variant running until a wanted original is displayed', () => {
    watchRestored();
    decide();
    room.setShown('ben', 'cam', 'restored');
    room.setView('ben', 'cam', 'original');
    expect(seen()).toEqual({ view: 'original', reason: null, run: { original: true, restored: true } });
    room.setShown('ben', 'cam', 'original');
    expect(seen().run).toEqual({ original: true, restored: false });
  });

  it('respects an opt-out in the middle of a call', () => {
    watchRestored();
    expect(seen().view).toBe('restored');
    room.updatePublication('cam', { restorable: false });
    expect(seen()).toMatchObject({ view: 'original', reason: 'opted-out', run: { restored: false } });
  });

  it('shows the original of a paused publication', () => {
    watchRestored();
    room.updatePublication('cam', { paused: true });
    expect(seen()).toMatchObject({ view: 'original', reason: 'no-input' });
  });

  it('tells which decisions changed', () => {
    watchRestored();
    expect(decide().subscriptions.map(({ changed }) => changed)).toEqual([true]);
    expect(decide().subscriptions.map(({ changed }) => changed)).toEqual([false]);
  });
});

describe('what should be restored', () => {
  it('is what someone watches and may watch', () => {
    camera();
    expect(demand()).toMatchObject({ wanted: false, watchers: [] });
    room.subscribe('ben', 'cam', 'original');
    expect(demand()?.wanted).toBe(false);
    room.setView('ben', 'cam', 'split');
    expect(demand()).toMatchObject({ wanted: true, forbidden: null, watchers: ['ben'] });
    room.updatePublication('cam', { paused: true });
    expect(demand()?.wanted).toBe(false);
    room.updatePublication('cam', { paused: false, restorable: false });
    expect(demand()).toMatchObject({ wanted: false, forbidden: 'opted-out' });
  });

  it('goes on for a watcher whose signalling is away for a moment', () => {
    watchRestored();
    room.setConnected('ben', false);
    expect(demand()?.wanted).toBe(true);
    room.removeParticipant('ben');
    expect(demand()?.wanted).toBe(false);
  });

  it('has pinned tiles first, then the active speaker', () => {
    watchRestored();
    expect(demand()?.priority).toBe(0);
    room.setSpeakers(['ben', 'ann']);
    expect(demand()?.priority).toBe(0);
    room.setSpeakers(['ann']);
    expect(demand()?.priority).toBe(1);
    room.setView('ben', 'cam', 'restored', true);
    expect(demand()?.priority).toBe(2);
    room.setView('ben', 'cam', 'original');
    expect(demand()?.priority).toBe(1);
  });

  it("has the best receiver's room for its ceiling", () => {
    watchRestored();
    room.addParticipant('cat', 'Cat');
    room.subscribe('cat', 'cam', 'restored');
    room.setDownlink('ben', 700_000);
    room.setDownlink('cat', 1_200_000);
    const both = demand()?.ceilingBps ?? 0;
    expect(both).toBeGreaterThan(900_000);
    expect(both).toBeLessThan(1_200_000);
    room.removeParticipant('cat');
    expect(demand()?.ceilingBps).toBeLessThan(600_000);
    room.setDownlink('ben', 50_000_000);
    expect(demand()?.ceilingBps).toBe(2_500_000);
  });
});

describe('a thin downlink', () => {
  it('gets the original, after a moment of evidence, and the others keep the restored variant', () => {
    watchRestored();
    room.addParticipant('cat', 'Cat');
    room.subscribe('cat', 'cam', 'restored').restoredConsumer = 'held';
    room.setDownlink('ben', 400_000);
    room.setDownlink('cat', 4_000_000);
    decide();
    for (let second = 0; second < 6; second++) decide(1_000);
    expect(seen('ben')).toMatchObject({ view: 'original', reason: 'thin-downlink' });
    expect(seen('cat')).toMatchObject({ view: 'restored', reason: null });
    expect(demand()?.watchers).toEqual(['cat']);
    // Better, but within the margin: stays where it is.
    room.setDownlink('ben', 880_000);
    for (let second = 0; second < 3; second++) decide(1_000);
    expect(seen('ben').view).toBe('original');
    room.setDownlink('ben', 2_000_000);
    for (let second = 0; second < 5; second++) decide(1_000);
    expect(seen('ben').view).toBe('restored');
  });

  it('of the only receiver brings the stream down instead, as long as it is worth sending', () => {
    watchRestored();
    room.setDownlink('ben', 600_000);
    for (let second = 0; second < 10; second++) decide(1_000);
    expect(seen().view).toBe('restored');
    expect(demand()?.ceilingBps).toBeLessThan(600_000);
    room.setDownlink('ben', 200_000);
    for (let second = 0; second < 6; second++) decide(1_000);
    expect(seen()).toMatchObject({ view: 'original', reason: 'thin-downlink' });
    expect(demand()?.wanted).toBe(false);
  });
});
