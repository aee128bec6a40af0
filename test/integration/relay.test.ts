/** The relay over real sockets, a real engine and real transports; what the restorer does is under the test's control. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ENGINES } from '../contract/sfuSupport.js';
import { RelayClient } from '../support/fakes/RelayClient.js';
import { startTestServer } from '../support/fakes/relayServer.js';
import type { SendStream } from '../support/peer/SendStream.js';

describe.each(ENGINES.filter(({ skip }) => !skip))('a relay on $name', ({ name: engine }) => {
  let relay: Awaited<ReturnType<typeof startTestServer>>;
  let clients: RelayClient[] = [];
  let timers: NodeJS.Timeout[] = [];

  beforeEach(async () => {
    relay = await startTestServer({ engine, config: { limits: { sessionGraceMs: 1_500 } } });
  });

  afterEach(async () => {
    for (const timer of timers) clearInterval(timer);
    for (const client of clients) await client.close();
    timers = [];
    clients = [];
    await relay.server.close();
  });

  async function join(room: string, name: string) {
    const client = await RelayClient.join(relay.url, room, name);
    clients.push(client);
    return client;
  }

  /** Keeps frames coming, as a camera does. */
  function film(stream: SendStream): void {
    let count = 0;
    timers.push(setInterval(() => stream.sendVp8({ key: count++ % 15 === 0 }), 33));
  }

  async function callWithRestoredVideo() {
    const ann = await join('blue', 'Ann');
    const ben = await join('blue', 'Ben');
    const { publicationId, stream } = await ann.publish('camera', { uplinkBudgetBps: 120_000 });
    film(stream);
    await ben.subscribe(publicationId, 'restored');
    await ben.until('the restored view', () => ben.selected(publicationId)?.view === 'restored');
    return { ann, ben, publicationId };
  }

  it('tells participants of each other, of publications, and of both ends', async () => {
    const ann = await join('blue', 'Ann');
    const ben = await join('blue', 'Ben');
    await ann.until('Ben', () => ann.last('participantJoined')?.name === 'Ben');
    expect(ben.joined?.participants.map(({ name }) => name)).toEqual(['Ann']);
    const { publicationId } = await ann.publish('camera');
    await ben.until('the publication', () => ben.last('publicationAdded')?.publicationId === publicationId);
    await ann.request('unpublish', { publicationId });
    await ben.until('its end', () => ben.last('publicationRemoved')?.publicationId === publicationId);
    await ben.request('leave', {});
    await ben.request('leave', {});
    await ann.until('Ben to go', () => ann.last('participantLeft')?.reason === 'left');
    await ann.request('leave', {});
    expect(relay.server.relay.snapshot()).toMatchObject({
      rooms: 0,
      participants: 0,
      engine: { routers: 0, transports: 0, producers: 0, consumers: 0 },
    });
  });

  it('makes one room of joins that come at the same time', async () => {
    const names = ['a', 'b', 'c', 'd'];
    await Promise.all(names.map((name) => join('same', name)));
    expect(relay.server.relay.rooms.size).toBe(1);
    expect(relay.server.relay.snapshot().engine?.routers).toBe(1);
    expect(relay.server.relay.rooms.get('same')?.participants.size).toBe(4);
  });

  it('forwards audio and the original of a video', async () => {
    const ann = await join('blue', 'Ann');
    const ben = await join('blue', 'Ben');
    const { publicationId, stream } = await ann.publish('camera');
    film(stream);
    const [consumer] = await ben.subscribe(publicationId, 'original');
    await ben.until('packets', () => ben.packets(consumer) > 5);
    await ben.until('the selection', () => ben.selected(publicationId) !== undefined);
    expect(ben.selected(publicationId)).toEqual({ publicationId, view: 'original', reason: null });
    expect(relay.restorer.started).toEqual([]);
  });

  it('restores what is watched: offers the variant, and rests the original once it is displayed', async () => {
    const { ben, publicationId } = await callWithRestoredVideo();
    const track = relay.restorer.tracks.get(publicationId);
    expect(track?.options).toMatchObject({
      input: { codec: 'VP8', cname: 'sender@test' },
      output: { codec: 'VP8', cname: 'sender@test' },
    });
    const order = ben.events.filter(({ name }) => name === 'consumerAdded' || name === 'variantSelected');
    expect(order.at(-1)).toMatchObject({ name: 'variantSelected', data: { view: 'restored', reason: null } });
    const restored = ben.consumer(publicationId, 'restored');
    const original = ben.consumer(publicationId, 'original');
    await ben.until('restored packets', () => ben.packets(restored) > 5);
    const both = ben.packets(original);
    await ben.until('more of the original meanwhile', () => ben.packets(original) > both);
    await ben.request('variantShown', { publicationId, variant: 'restored' });
    await new Promise((resolve) => setTimeout(resolve, 200));
    const rested = ben.packets(original);
    const running = ben.packets(restored);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(ben.packets(original)).toBe(rested);
    expect(ben.packets(restored)).toBeGreaterThan(running);
  });

  it('is back on the original within 500 ms when the restorer dies, and restored again when it is back', async () => {
    const { ben, publicationId } = await callWithRestoredVideo();
    const original = ben.consumer(publicationId, 'original');
    await ben.until('restored packets', () => ben.packets(ben.consumer(publicationId, 'restored')) > 3);
    await ben.request('variantShown', { publicationId, variant: 'restored' });
    await new Promise((resolve) => setTimeout(resolve, 150));
    const before = ben.packets(original);
    const diedAtMs = performance.now();
    relay.restorer.crash();
    await ben.until('the original to run', () => ben.packets(original) > before);
    expect(performance.now() - diedAtMs).toBeLessThan(500);
    expect(ben.selected(publicationId)).toMatchObject({ view: 'original', reason: 'restorer-down' });
    await ben.until('the old variant to go', () => ben.consumer(publicationId, 'restored') === undefined);
    relay.restorer.recover();
    await ben.until('the restored view again', () => ben.selected(publicationId)?.view === 'restored');
    await ben.until('restored packets', () => ben.packets(ben.consumer(publicationId, 'restored')) > 3);
  });

  it('follows the load ladder: back to the original at level original, and forth again', async () => {
    const { ben, publicationId } = await callWithRestoredVideo();
    const restored = ben.consumer(publicationId, 'restored');
    relay.restorer.report(publicationId, 'original', 'overloaded');
    await ben.until('the original', () => ben.selected(publicationId)?.view === 'original');
    expect(ben.selected(publicationId)?.reason).toBe('overloaded');
    await ben.until('the report', () => ben.last('restorationReport')?.report.level === 'original');
    relay.restorer.report(publicationId, 'lighter');
    await ben.until('the restored view', () => ben.selected(publicationId)?.view === 'restored');
    expect(ben.consumer(publicationId, 'restored')?.consumerId).toBe(restored?.consumerId);
  });

  it('stops restoring when nobody watches, and when the publisher opts out', async () => {
    const { ann, ben, publicationId } = await callWithRestoredVideo();
    await ben.request('setView', { publicationId, view: 'original' });
    await ben.until('the track to linger out', () => relay.restorer.stopped.includes(publicationId), 5_000);
    await ben.request('setView', { publicationId, view: 'split' });
    await ben.until('the split view', () => ben.selected(publicationId)?.view === 'split');
    await ann.request('updatePublication', { publicationId, restorable: false });
    await ben.until('the opt-out', () => ben.selected(publicationId)?.reason === 'opted-out');
    expect(ben.last('publicationChanged')).toMatchObject({ restored: 'off', restoredReason: 'opted-out' });
    expect(relay.restorer.tracks.size).toBe(0);
  });

  it('never restores a screen unless it is asked for', async () => {
    const ann = await join('blue', 'Ann');
    const ben = await join('blue', 'Ben');
    const { publicationId, stream } = await ann.publish('screen');
    film(stream);
    await ben.subscribe(publicationId, 'restored');
    await ben.until('the reason', () => ben.selected(publicationId)?.reason === 'screen');
    await ann.request('updatePublication', { publicationId, restorable: true });
    await ben.until('the restored view', () => ben.selected(publicationId)?.view === 'restored');
  });

  it('keeps a session over a lost connection: media flows on, events are caught up with', async () => {
    const { ann, ben, publicationId } = await callWithRestoredVideo();
    const original = ben.consumer(publicationId, 'original');
    const { resume } = ben.joined ?? {};
    ben.socket.disconnect();
    await ann.until('the news', () => ann.last('participantConnection')?.connected === false);
    const before = ben.packets(original);
    relay.restorer.crash();
    await ben.until('media without signalling', () => ben.packets(original) > before);
    const again = await RelayClient.connect(relay.url);
    clients.push(again);
    const joined = await again.request('join', { protocol: 1, room: 'blue', name: 'Ben', resume });
    expect(joined).toMatchObject({ resumed: true, participantId: ben.id });
    await ann.until('Ben to be back', () => ann.last('participantConnection')?.connected === true);
    await again.until('what was missed', () => again.last('consumerRemoved')?.variant === 'restored');
    await again.until('the selection', () => again.selected(publicationId)?.view === 'original');
    relay.restorer.recover();
    await again.until('the restored view', () => again.selected(publicationId)?.view === 'restored');
  });

  it('lets a second connection take a session over, and says so to the first', async () => {
    const ann = await join('blue', 'Ann');
    const thief = await RelayClient.connect(relay.url);
    clients.push(thief);
    const joined = await thief.join('blue', 'Ann', { resume: ann.joined?.resume ?? '' });
    expect(joined.resumed).toBe(true);
    await ann.until('the cut', () => ann.socket.disconnected);
    expect(ann.last('participantLeft')).toEqual({ participantId: ann.id, reason: 'kicked' });
    expect(relay.server.relay.snapshot()).toMatchObject({ participants: 1, participantsConnected: 1 });
  });

  it('ends a session when the grace period is over', async () => {
    const ann = await join('blue', 'Ann');
    const ben = await join('blue', 'Ben');
    await ben.publish('camera');
    ben.socket.disconnect();
    await ann.until('Ben to be gone', () => ann.last('participantLeft')?.reason === 'gone', 4_000);
    expect(relay.server.relay.snapshot()).toMatchObject({ participants: 1, publications: { video: 0 } });
  });
});
