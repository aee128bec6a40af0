/** Sharp stills over real sockets and a real engine, from the sender to a restorer that only keeps the books. */
import { afterEach, describe, expect, it } from 'vitest';
import type { Config } from '../../src/config/schema.js';
import type { RequestData } from '../../src/signaling/messages.js';
import { ENGINES } from '../contract/sfuSupport.js';
import { RelayClient } from '../support/fakes/RelayClient.js';
import { startTestServer } from '../support/fakes/relayServer.js';
import type { SendStream } from '../support/peer/SendStream.js';
import { avifStill, vp8, webp, webpStill } from '../support/stills.js';

type Relay = Awaited<ReturnType<typeof startTestServer>>;

let open: { close: () => Promise<unknown> | unknown }[] = [];

afterEach(async () => {
  for (const resource of open.reverse()) await resource.close();
  open = [];
});

async function start(
  references: Partial<Config['references']> = {},
  more: { engine?: 'werift' | 'mediasoup'; config?: { [S in keyof Config]?: Partial<Config[S]> } } = {},
): Promise<Relay> {
  const config = { ...more.config, references: { minIntervalMs: 1_000, ...references } };
  const relay = await startTestServer({ ...more, config });
  open.push({ close: () => relay.server.close() });
  // As a restorer does, once a second.
  const reports = setInterval(() => {
    for (const trackId of relay.restorer.tracks.keys()) relay.restorer.report(trackId, 'full');
  }, 100);
  open.push({ close: () => clearInterval(reports) });
  return relay;
}

async function join(relay: Relay, name: string, more = {}): Promise<RelayClient> {
  const client = await RelayClient.join(relay.url, 'blue', name, more);
  open.push(client);
  return client;
}

function film(stream: SendStream): void {
  let count = 0;
  const timer = setInterval(() => stream.sendVp8({ key: count++ % 15 === 0 }), 33);
  open.push({ close: () => clearInterval(timer) });
}

/** Ann, whose camera Ben does not watch yet. */
async function call(relay: Relay) {
  const ann = await join(relay, 'Ann');
  const ben = await join(relay, 'Ben');
  const { publicationId, stream } = await ann.publish('camera', { uplinkBudgetBps: 120_000 });
  film(stream);
  const watch = async () => {
    await ben.subscribe(publicationId, 'restored');
    await ben.until('the restored view', () => ben.selected(publicationId)?.view === 'restored');
  };
  /** And the relay has asked for a still. */
  const watchUnreferred = async () => {
    await watch();
    await ann.until('the wish', () => ann.last('stillWanted')?.reason === 'start');
  };
  /** The restorer dies, and is there again. */
  const restart = async () => {
    const before = ben.all('consumerAdded').length;
    relay.restorer.crash();
    relay.restorer.recover();
    await ben.until('the restored stream anew', () => ben.all('consumerAdded').length > before);
  };
  /** Every still that the restorer's present track was given. */
  const given = () => relay.restorer.tracks.get(publicationId)?.references.map((still) => still?.id ?? null);
  return { ann, ben, publicationId, watch, watchUnreferred, restart, given };
}

const announcement = (publicationId: string, bytes: Uint8Array): RequestData<'beginStill'> => ({
  publicationId,
  mimeType: 'image/webp',
  byteLength: bytes.byteLength,
  width: 1_280,
  height: 720,
});

async function sendStill(
  client: RelayClient,
  publicationId: string,
  bytes: Uint8Array = webpStill(),
  more: Partial<RequestData<'beginStill'>> = {},
): Promise<string> {
  const { stillId } = await client.request('beginStill', { ...announcement(publicationId, bytes), ...more });
  for (let offset = 0; offset < bytes.byteLength; offset += 1_200) {
    const data = bytes.slice(offset, offset + 1_200);
    const { complete } = await client.request('stillPart', { stillId, offset, data });
    expect(complete).toBe(offset + 1_200 >= bytes.byteLength);
  }
  return stillId;
}

const refused = (code: string, message: RegExp) =>
  expect.objectContaining({
    error: expect.objectContaining({ code, message: expect.stringMatching(message) }),
  });

const passed = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe.each(ENGINES.filter(({ skip }) => !skip))('a still on $name', ({ name: engine }) => {
  it('is asked for, reaches the restorer, and is remembered for later tracks', async () => {
    const relay = await start({}, { engine });
    const { ann, ben, publicationId, watch, restart, given } = await call(relay);
    expect(ann.joined?.references).toEqual({
      uplinkShare: 0.2,
      maxBytes: 60_000,
      maxSide: 1_920,
      minIntervalMs: 1_000,
      partBytes: 1_200,
    });
    await watch();
    await ann.until('the wish', () => ann.last('stillWanted')?.reason === 'start');
    const bytes = webpStill(1_280, 720, 5_000);
    const stillId = await sendStill(ann, publicationId, bytes);
    expect(given()).toEqual([stillId]);
    expect(relay.restorer.tracks.get(publicationId)?.references).toEqual([
      { id: stillId, mimeType: 'image/webp', bytes },
    ]);

    await restart();
    expect(given()).toEqual([stillId]);
    expect(ann.all('stillWanted')).toHaveLength(1);
    expect(ben.all('stillWanted')).toEqual([]);

    const metrics = await (await fetch(`${relay.url}/metrics`)).text();
    expect(metrics).toContain('vireo_stills_total{result="accepted"} 1');
    expect(metrics).toContain('vireo_stills_total{result="refused"} 0');
    expect(metrics).toContain('vireo_still_bytes_total 5000');
  });
});

describe('stills', () => {
  it('that came before anybody watched are handed over when somebody does', async () => {
    const relay = await start();
    const { ann, publicationId, watch, given } = await call(relay);
    const still = avifStill();
    const stillId = await sendStill(ann, publicationId, still, { mimeType: 'image/avif' });
    await watch();
    expect(given()).toEqual([stillId]);
    expect(ann.all('stillWanted')).toEqual([]);
  });

  it('are forgotten when the sender declines them, and not asked for again', async () => {
    const relay = await start();
    const { ann, publicationId, watchUnreferred, restart, given } = await call(relay);
    await watchUnreferred();
    const stillId = await sendStill(ann, publicationId);
    await ann.request('forgetStills', { publicationId });
    expect(given()).toEqual([stillId, null]);
    await restart();
    expect(given()).toEqual([]);
    expect(ann.all('stillWanted').map(({ reason }) => reason)).toEqual(['start']);
    await passed(1_000);
    const another = await sendStill(ann, publicationId);
    expect(given()).toEqual([another]);
  });

  it('rest and serve again as their sender says, and the next one serves at once', async () => {
    const relay = await start();
    const { ann, ben, publicationId, watchUnreferred, restart, given } = await call(relay);
    await watchUnreferred();
    const stillId = await sendStill(ann, publicationId);
    const rest = (resting: boolean, id = stillId) =>
      ann.request('restStill', { publicationId, stillId: id, resting });
    await rest(true);
    await rest(true);
    expect(given()).toEqual([stillId, null]);
    await restart();
    expect(given()).toEqual([]);
    await rest(false);
    expect(given()).toEqual([stillId]);
    await rest(true);
    await passed(1_000);
    const another = await sendStill(ann, publicationId);
    expect(given()).toEqual([stillId, null, another]);
    expect(ann.all('stillWanted').map(({ reason }) => reason)).toEqual(['start']);

    const unknown = refused('not-found', new RegExp(`^data\\.stillId: ${stillId} is not the last still`));
    await expect(rest(true)).rejects.toEqual(unknown);
    await ann.request('forgetStills', { publicationId });
    await expect(rest(true, another)).rejects.toEqual(refused('not-found', /^data\.stillId: /));
    await expect(
      ben.request('restStill', { publicationId, stillId: another, resting: true }),
    ).rejects.toEqual(refused('not-found', /^data\.publicationId: you have no publication/));
  });

  it('are forgotten with the permission to restore, and with the publication', async () => {
    const relay = await start();
    const { ann, ben, publicationId, watchUnreferred, given } = await call(relay);
    await watchUnreferred();
    await sendStill(ann, publicationId);
    await ann.request('updatePublication', { publicationId, restorable: false });
    await expect(ann.request('beginStill', announcement(publicationId, webpStill()))).rejects.toEqual(
      refused('forbidden', /^data\.publicationId: /),
    );
    await ann.request('updatePublication', { publicationId, restorable: true });
    await ben.until('the restored view', () => ben.selected(publicationId)?.view === 'restored');
    expect(given()).toEqual([]);
    await ann.until('another wish', () => ann.all('stillWanted').length === 2);

    await passed(1_000);
    const bytes = webpStill();
    const { stillId } = await ann.request('beginStill', announcement(publicationId, bytes));
    await ann.request('unpublish', { publicationId });
    await expect(ann.request('stillPart', { stillId, offset: 0, data: bytes.slice(0, 100) })).rejects.toEqual(
      refused('not-found', /^data\.stillId: /),
    );
  });

  it('that the restorer cannot use are forgotten, with word to the sender', async () => {
    const relay = await start();
    const { ann, publicationId, watchUnreferred, restart, given } = await call(relay);
    await watchUnreferred();
    const stillId = await sendStill(ann, publicationId);
    relay.restorer.emit('referenceRefused', publicationId, stillId, 'the still is damaged');
    await ann.until('the news', () => ann.last('stillRefused')?.stillId === stillId);
    expect(ann.last('stillRefused')).toEqual({ publicationId, stillId, reason: 'the still is damaged' });
    await restart();
    expect(given()).toEqual([]);
    await ann.until('another wish', () => ann.last('stillWanted')?.reason === 'lost');
    const { stills } = relay.server.relay.snapshot();
    expect(stills).toMatchObject({ accepted: 1, refused: 1 });
    // The restorer may go on with one that came before: opting out has to reach it all the same.
    await ann.request('forgetStills', { publicationId });
    expect(given()).toEqual([null]);
  });

  it('are asked for anew when the picture is not found in the last one any more', async () => {
    const relay = await start();
    const { ann, publicationId, watch } = await call(relay);
    await watch();
    const id = await sendStill(ann, publicationId);
    const report = (found: number, ageMs: number) =>
      relay.restorer.report(publicationId, 'full', null, { id, ageMs, found });
    report(0.8, 3_000);
    const reports = setInterval(() => report(0.2, 20_000), 100);
    open.push({ close: () => clearInterval(reports) });
    await ann.until('the wish', () => ann.last('stillWanted')?.reason === 'scene');
  });

  it('are not asked for while the model that runs takes none', async () => {
    const relay = await start();
    relay.restorer.takesStills = false;
    const { ann, watch } = await call(relay);
    await watch();
    await passed(1_000);
    expect(ann.all('stillWanted')).toEqual([]);
    relay.restorer.takesStills = true;
    await ann.until('the wish', () => ann.last('stillWanted')?.reason === 'start');
  });

  it('are asked for again when the sender was away', async () => {
    const relay = await start();
    const { ann, publicationId, watch } = await call(relay);
    await watch();
    await ann.until('the wish', () => ann.last('stillWanted')?.reason === 'start');
    ann.socket.disconnect();
    const resume = ann.joined?.resume ?? '';
    const again = await join(relay, 'Ann', { resume });
    await again.until('the wish again', () => again.last('stillWanted')?.publicationId === publicationId);
    expect(again.all('publicationChanged').at(-1)).toMatchObject({ publicationId, restored: 'active' });
    await sendStill(again, publicationId);
  });
});

describe('a still is refused', () => {
  it('where it does not belong', async () => {
    const relay = await start();
    const { ann, ben, publicationId } = await call(relay);
    const bytes = webpStill();
    const announced = announcement(publicationId, bytes);
    await expect(ben.request('beginStill', announced)).rejects.toEqual(
      refused('not-found', /^data\.publicationId: you have no publication/),
    );
    await expect(ben.request('forgetStills', { publicationId })).rejects.toEqual(
      refused('not-found', /^data\.publicationId: /),
    );
    for (const source of ['screen', 'microphone'] as const) {
      const other = await ann.publish(source, { restorable: true });
      await expect(
        ann.request('beginStill', { ...announced, publicationId: other.publicationId }),
      ).rejects.toEqual(
        refused('bad-request', new RegExp(`^data\\.publicationId: only a camera .*${source}`)),
      );
    }
    const { stillId } = await ann.request('beginStill', announced);
    await expect(ben.request('stillPart', { stillId, offset: 0, data: bytes })).rejects.toEqual(
      refused('not-found', /^data\.stillId: /),
    );
  });

  it('for what is said of it', async () => {
    const relay = await start({ maxBytes: 20_000, maxSide: 1_280 });
    const { ann, publicationId } = await call(relay);
    const begin = (more: object) =>
      ann.request('beginStill', { ...announcement(publicationId, webpStill()), ...more });
    for (const [more, code, message] of [
      [{ byteLength: 20_001 }, 'payload-too-large', /^data\.byteLength: /],
      [{ byteLength: 0 }, 'bad-request', /^data\.byteLength: /],
      [{ byteLength: 1.5 }, 'bad-request', /^data\.byteLength: /],
      [{ width: 1_281 }, 'bad-request', /^data\.width: /],
      [{ height: 65_536 }, 'bad-request', /^data\.height: /],
      [{ height: -1 }, 'bad-request', /^data\.height: /],
      [{ mimeType: 'image/png' }, 'bad-request', /^data\.mimeType: /],
      [{ extra: 1 }, 'bad-request', /^data: unknown key "extra"/],
    ] as const) {
      await expect(begin(more)).rejects.toEqual(refused(code, message));
    }
  });

  it('for what arrives of it', async () => {
    const relay = await start();
    const { ann, publicationId } = await call(relay);
    const bytes = webpStill();
    const begin = async () => (await ann.request('beginStill', announcement(publicationId, bytes))).stillId;
    const part = (stillId: string, offset: number, data: unknown) =>
      ann.request('stillPart', { stillId, offset, data } as RequestData<'stillPart'>);
    for (const data of ['text', [1, 2, 3], {}, null, new Uint8Array(0), { type: 'Buffer', data: [1] }]) {
      await expect(part(await begin(), 0, data)).rejects.toEqual(
        refused('bad-request', /^data\.data: must be binary/),
      );
    }
    await expect(part(await begin(), 100, bytes)).rejects.toEqual(refused('conflict', /^data\.offset: /));
    await expect(part(await begin(), -1, bytes)).rejects.toEqual(refused('bad-request', /^data\.offset: /));
    await expect(part(await begin(), 0, new Uint8Array(5_000))).rejects.toEqual(
      refused('payload-too-large', /^data\.data: /),
    );
    await expect(part('unknown', 0, bytes)).rejects.toEqual(refused('not-found', /^data\.stillId: /));
    expect(relay.server.relay.snapshot().stills).toEqual({ accepted: 0, refused: 0, bytes: 0 });
  });

  it('for what it is, and before a second one may come', async () => {
    const relay = await start();
    const { ann, publicationId, watch, given } = await call(relay);
    await watch();
    await expect(sendStill(ann, publicationId, new Uint8Array(500))).rejects.toEqual(
      refused('media-invalid', /^data\.data: the still is no WebP file/),
    );
    await expect(sendStill(ann, publicationId)).rejects.toEqual(
      refused('rate-limited', /^data\.publicationId: the next still may come in \d+ ms/),
    );
    await passed(1_000);
    await expect(sendStill(ann, publicationId, webp(vp8(9_999, 9_999)))).rejects.toEqual(
      refused('media-invalid', /^data\.data: the still is 9999×9999, but 1280×720 was announced/),
    );
    expect(given()).toEqual([]);
    expect(relay.server.relay.snapshot().stills).toEqual({ accepted: 0, refused: 2, bytes: 530 });
  });

  it.each<[string, { [S in keyof Config]?: Partial<Config[S]> }]>([
    ['references are off', { references: { enabled: false } }],
    ['they may take nothing of the uplink', { references: { uplinkShare: 0 } }],
    ['nothing is restored', { restoration: { enabled: false } }],
  ])('where %s', async (_, config) => {
    const relay = await start(config.references, { config });
    const { ann, publicationId } = await call(relay);
    expect(ann.joined?.references).toBeNull();
    await expect(sendStill(ann, publicationId)).rejects.toEqual(
      refused('unsupported', /^data\.publicationId: this relay takes no stills/),
    );
    await ann.request('forgetStills', { publicationId });
    expect(ann.all('stillWanted')).toEqual([]);
  });
});
