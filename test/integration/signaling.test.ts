/** The signalling endpoint over real sockets: who is let in, what is refused and how, and that nothing breaks it. */
import { io } from 'socket.io-client';
import { afterEach, describe, expect, it } from 'vitest';
import type { Config } from '../../src/config/schema.js';
import { signJoinToken } from '../../src/signaling/joinToken.js';
import { seededRandom } from '../contract/sfuSupport.js';
import { mutateJson } from '../support/fakes/mutateJson.js';
import { RelayClient } from '../support/fakes/RelayClient.js';
import { startTestServer } from '../support/fakes/relayServer.js';

type Relay = Awaited<ReturnType<typeof startTestServer>>;
let relay: Relay | null = null;
let clients: RelayClient[] = [];

afterEach(async () => {
  for (const client of clients) await client.close();
  clients = [];
  await relay?.server.close();
  relay = null;
});

async function start(config: { [S in keyof Config]?: Partial<Config[S]> } = {}): Promise<Relay> {
  relay = await startTestServer({ config });
  return relay;
}

async function connect(url: string): Promise<RelayClient> {
  const client = await RelayClient.connect(url);
  clients.push(client);
  return client;
}

const join = (room = 'blue', name = 'Ann') => ({ protocol: 1, room, name });
const refusal = (code: string) => expect.objectContaining({ error: expect.objectContaining({ code }) });

describe('requests', () => {
  it('need a room first, and only one', async () => {
    const { url } = await start();
    const client = await connect(url);
    await expect(client.request('createTransport', { direction: 'send' })).rejects.toEqual(
      refusal('conflict'),
    );
    await expect(client.request('leave', {})).resolves.toEqual({});
    await client.join('blue', 'Ann');
    await expect(client.request('join', join())).rejects.toEqual(refusal('conflict'));
    await client.request('leave', {});
    await client.join('red', 'Ann');
  });

  it('are refused with the path of what is wrong', async () => {
    const { url } = await start();
    const client = await connect(url);
    expect(await client.raw({ name: 'join', data: { ...join(), room: 7 } })).toEqual({
      ok: false,
      error: { code: 'bad-request', message: expect.stringMatching(/^data\.room: /), retryable: false },
    });
    await expect(client.request('join', { ...join(), protocol: 99 })).rejects.toEqual(refusal('unsupported'));
  });

  it('that name what is not theirs are refused', async () => {
    const { url } = await start();
    const ann = await connect(url);
    const ben = await connect(url);
    await ann.join('blue', 'Ann');
    await ben.join('blue', 'Ben');
    const { publicationId } = await ann.publish('camera');
    const { transportId } = await ann.request('createTransport', { direction: 'recv' });
    await expect(ben.request('unpublish', { publicationId })).rejects.toEqual(refusal('not-found'));
    await expect(ben.request('restartIce', { transportId })).rejects.toEqual(refusal('not-found'));
    await expect(ben.request('subscribe', { publicationId })).rejects.toEqual(refusal('conflict'));
    await expect(ann.request('subscribe', { publicationId })).rejects.toEqual(refusal('bad-request'));
    await expect(ben.request('consumerReady', { consumerId: 'x' })).rejects.toEqual(refusal('not-found'));
    await expect(ben.request('setView', { publicationId, view: 'split' })).rejects.toEqual(
      refusal('not-found'),
    );
  });

  it('that come too fast are refused, and the connection cut when they go on', async () => {
    const { url } = await start({ limits: { requestsPerSecond: 2 } as Config['limits'] });
    const client = await connect(url);
    const answers = await Promise.all(
      Array.from({ length: 30 }, () => client.raw({ name: 'leave', data: {} })),
    );
    const refused = answers.filter((answer) => (answer as { ok: boolean }).ok === false);
    expect(refused).toHaveLength(10);
    expect(refused[0]).toMatchObject({ error: { code: 'rate-limited', retryable: true } });
    for (let i = 0; i < 1_000; i++) client.socket.emit('request', { name: 'leave', data: {} }, () => {});
    await client.until('the cut', () => client.socket.disconnected);
  });

  it('that are too large cut the connection', async () => {
    const { url } = await start();
    const client = await connect(url);
    client.socket.emit('request', { name: 'leave', data: { x: 'x'.repeat(100_000) } } as never, () => {});
    await client.until('the cut', () => client.socket.disconnected);
    await (await connect(url)).join('blue', 'Ann');
  });
});

describe('limits', () => {
  it('hold for rooms and participants', async () => {
    const { url } = await start({ limits: { rooms: 1, participantsPerRoom: 1 } as Config['limits'] });
    const ann = await connect(url);
    await ann.join('blue', 'Ann');
    const ben = await connect(url);
    await expect(ben.request('join', join('blue', 'Ben'))).rejects.toEqual(refusal('room-full'));
    await expect(ben.request('join', join('red', 'Ben'))).rejects.toEqual(refusal('limit-reached'));
  });

  it('hold for connections from one address', async () => {
    const { url } = await start({ limits: { connectionsPerAddress: 2 } as Config['limits'] });
    const first = await connect(url);
    await connect(url);
    await expect(RelayClient.connect(url)).rejects.toMatchObject({ data: { code: 'limit-reached' } });
    await first.close();
    await new Promise((resolve) => setTimeout(resolve, 100));
    await connect(url);
  });
});

describe('join tokens and TURN credentials', () => {
  const secret = 'a secret of some length';

  it('are wanted where there is a secret', async () => {
    const { url } = await start({ auth: { secret } });
    const client = await connect(url);
    await expect(client.request('join', join())).rejects.toEqual(refusal('unauthorized'));
    const token = signJoinToken(secret, { room: 'blue', name: 'Ann' }, 60);
    await expect(client.request('join', { ...join('red'), token })).rejects.toEqual(refusal('forbidden'));
    await expect(client.request('join', { ...join(), token })).resolves.toMatchObject({ room: 'blue' });
  });

  it('are given out with the join', async () => {
    const servers = [{ urls: ['turn:turn.example'] }];
    const { url } = await start({ ice: { servers, turnSecret: 'north secret' } });
    const client = await connect(url);
    const { iceServers } = await client.join('blue', 'Ann');
    expect(iceServers[0]?.username).toMatch(/^\d+:Ann$/);
    expect(iceServers[0]?.credential).toMatch(/=$/);
  });
});

describe('draining', () => {
  it('tells everyone, lets nobody in, and closes everything', async () => {
    const { url, server, restorer } = await start({ limits: { drainMs: 400 } as Config['limits'] });
    const ann = await connect(url);
    await ann.join('blue', 'Ann');
    const ben = await connect(url);
    const drained = server.drain();
    await ann.until('the news', () => ann.last('draining')?.graceMs === 400);
    expect((await fetch(`${url}/readyz`)).status).toBe(503);
    await expect(ben.request('join', join('blue', 'Ben'))).rejects.toEqual(refusal('draining'));
    await drained;
    expect(restorer.closed).toBe(true);
    await ann.until('the cut', () => ann.socket.disconnected);
    await expect(fetch(`${url}/healthz`)).rejects.toThrow();
  });
});

describe('10,000 mutated messages', () => {
  it('get clear errors, crash nothing and leave nothing behind', { timeout: 180_000 }, async () => {
    const limits = {
      requestsPerSecond: 10_000,
      sessionGraceMs: 100,
      participantsPerRoom: 100,
    } as Config['limits'];
    const { url, server } = await start({ limits });
    const ann = await connect(url);
    const ben = await connect(url);
    await ann.join('blue', 'Ann');
    await ben.join('blue', 'Ben');
    const { publicationId, stream } = await ann.publish('camera');
    const camera = setInterval(() => stream.sendVp8({ key: true }), 50);
    const [consumer] = await ben.subscribe(publicationId, 'original');
    await ben.until('packets', () => ben.packets(consumer) > 0);
    const dan = await connect(url);
    await dan.join('fuzzed', 'Dan');
    const target = await dan.publish('camera');
    const before = server.relay.snapshot();

    const random = seededRandom(7);
    let sent = 0;
    let refused = 0;
    while (sent < 10_000) {
      const fuzzer = await RelayClient.connect(url);
      let valid = validMessages(target.publicationId, 'abc');
      // Most of them inside a room, with a transport, where the messages reach the engine.
      if (random(4) > 0) {
        await fuzzer.join('fuzzed', 'Fuzz');
        const { transportId } = await fuzzer.request('createTransport', { direction: 'send' });
        await fuzzer.request('createTransport', { direction: 'recv' });
        valid = validMessages(target.publicationId, transportId);
      }
      for (let batch = 0; batch < 5 && fuzzer.socket.connected; batch++) {
        const messages = Array.from({ length: 50 }, () => mutateJson(valid[random(valid.length)], random));
        const answers = await Promise.all(messages.map((message) => fuzzer.raw(message).catch(() => null)));
        sent += messages.length;
        // Only what was too large, and so cut the connection, may go unanswered.
        if (fuzzer.socket.connected) expect(answers).not.toContain(null);
        for (const answer of answers) {
          if (answer === null) continue;
          const { ok, error } = answer as { ok: boolean; error?: { code: string; message: string } };
          if (ok) continue;
          refused++;
          expect(error?.code).not.toBe('internal');
          expect(error?.message).toBeTruthy();
          expect(error?.message).not.toMatch(/\bat .*:\d+:\d+|node_modules/);
        }
      }
      // Raw events that are no requests, too.
      (fuzzer.socket as unknown as { emit(name: string, ...args: unknown[]): void }).emit(
        'nonsense',
        1,
        null,
      );
      await fuzzer.close();
    }
    expect(sent).toBeGreaterThanOrEqual(10_000);
    expect(refused).toBeGreaterThan(5_000);

    const packets = ben.packets(consumer);
    await ben.until('packets after all that', () => ben.packets(consumer) > packets);
    await ann.request('updatePublication', { publicationId, restorable: false });
    await ben.until(
      'an event after all that',
      () => ben.last('publicationChanged')?.restoredReason === 'opted-out',
    );
    // Restoration that a fuzzer asked for lingers for a moment.
    const counts = ({ rooms, participants, publications, engine }: typeof before) =>
      JSON.stringify({ rooms, participants, publications, engine });
    await ben.until('the fuzzers to be gone', () => counts(server.relay.snapshot()) === counts(before));
    clearInterval(camera);
  });

  function validMessages(publicationId: string, transportId: string): unknown[] {
    const rtpParameters = {
      mid: '0',
      codecs: [
        {
          mimeType: 'video/VP8',
          payloadType: 96,
          clockRate: 90_000,
          parameters: {},
          rtcpFeedback: [{ type: 'nack' }],
        },
      ],
      headerExtensions: [{ uri: 'urn:ietf:params:rtp-hdrext:sdes:mid', id: 1 }],
      encodings: [{ ssrc: 12_345 }],
      rtcp: { cname: 'c' },
    };
    const dtlsParameters = { role: 'client', fingerprints: [{ algorithm: 'sha-256', value: 'AA:BB' }] };
    const video = { kind: 'video', mimeType: 'video/VP8', clockRate: 90_000, preferredPayloadType: 96 };
    return [
      {
        name: 'join',
        data: { protocol: 1, room: 'fuzzed', name: 'Fuzz', rtpCapabilities: { codecs: [video] } },
      },
      { name: 'setRtpCapabilities', data: { rtpCapabilities: { codecs: [video], headerExtensions: [] } } },
      { name: 'leave', data: {} },
      { name: 'createTransport', data: { direction: 'send' } },
      { name: 'createTransport', data: { direction: 'recv' } },
      { name: 'connectTransport', data: { transportId, dtlsParameters } },
      { name: 'restartIce', data: { transportId } },
      { name: 'publish', data: { transportId, kind: 'video', source: 'camera', rtpParameters } },
      { name: 'subscribe', data: { publicationId, view: 'restored' } },
      { name: 'unsubscribe', data: { publicationId } },
      { name: 'setView', data: { publicationId, view: 'split', pinned: true } },
      { name: 'updatePublication', data: { publicationId, paused: true, uplinkBudgetBps: null } },
      { name: 'consumerReady', data: { consumerId: 'abc' } },
      { name: 'variantShown', data: { publicationId, variant: 'restored' } },
      { name: 'requestKeyFrame', data: { consumerId: 'abc' } },
      {
        name: 'beginStill',
        data: { publicationId, mimeType: 'image/webp', byteLength: 9_000, width: 1_280, height: 720 },
      },
      { name: 'stillPart', data: { stillId: 'abc', offset: 0, data: 'abc' } },
      { name: 'restStill', data: { publicationId, stillId: 'abc', resting: true } },
      { name: 'forgetStills', data: { publicationId } },
    ];
  }
});

describe('connections that never join', () => {
  it('leave nothing behind', async () => {
    const { url, server } = await start();
    const sockets = Array.from({ length: 10 }, () =>
      io(url, { transports: ['polling'], forceNew: true, reconnection: false }),
    );
    await Promise.all(
      sockets.map((socket) => new Promise((resolve) => socket.once('connect', () => resolve(null)))),
    );
    for (const socket of sockets) socket.disconnect();
    expect(server.relay.snapshot()).toMatchObject({ rooms: 0, participants: 0 });
  });
});
