import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { SfuEngine } from '../../src/sfu/types.js';
import type { MediaPeer } from '../support/peer/MediaPeer.js';
import { opusFrame } from '../support/peer/payloads.js';
import { encodeRtcp } from '../support/peer/rtcp.js';
import { encodeRtp } from '../support/peer/rtp.js';
import type { SendStream } from '../support/peer/SendStream.js';
import {
  Call,
  createEngine,
  ENGINES,
  type Leg,
  mutate,
  pause,
  seededRandom,
  sendParameters,
  type WebRtcLeg,
} from './sfuSupport.js';

const MUTATIONS = 10_000;
const BATCH = 100;

function udpHandles(): number {
  return process.getActiveResourcesInfo().filter((kind) => /^UDP/.test(kind)).length;
}

/** Every kind of RTCP a browser sends, about one stream. */
function rtcpSeeds(peer: MediaPeer, ssrc: number, sequenceNumber: number): Buffer[] {
  const from = { senderSsrc: peer.localSsrc, mediaSsrc: ssrc };
  const block = {
    ssrc,
    fractionLost: 3,
    cumulativeLost: 9,
    extendedHighestSequence: sequenceNumber,
    jitter: 20,
    lastSenderReport: 1,
    delaySinceLastSenderReport: 2,
  };
  const packets = [0, 1, 2, 3, 4, 5, 6, 7, 8].map((i) => ({
    sequenceNumber: i,
    deltaMicros: i % 3 ? 2500 * i : null,
  }));
  return [
    encodeRtcp([{ type: 'rr', ssrc: peer.localSsrc, reports: [block] }]),
    encodeRtcp([
      {
        type: 'sr',
        ssrc,
        ntpTimestamp: 1n << 63n,
        rtpTimestamp: 1,
        packetCount: 1,
        octetCount: 1,
        reports: [block],
      },
      { type: 'sdes', chunks: [{ ssrc, cname: 'a@b' }] },
    ]),
    encodeRtcp([{ type: 'nack', ...from, sequenceNumbers: [sequenceNumber, (sequenceNumber + 3) & 0xffff] }]),
    encodeRtcp([{ type: 'pli', ...from }]),
    encodeRtcp([{ type: 'fir', ...from, entries: [{ ssrc, sequenceNumber: 1 }] }]),
    encodeRtcp([{ type: 'remb', senderSsrc: peer.localSsrc, bitrateBps: 500_000, ssrcs: [ssrc] }]),
    encodeRtcp([{ type: 'twcc', ...from, referenceTime: 5, feedbackCount: 1, packets }]),
    encodeRtcp([{ type: 'bye', ssrcs: [ssrc] }]),
    encodeRtcp([{ type: 'other', packetType: 207, count: 0, body: Buffer.alloc(20, 4) }]),
  ];
}

function rtpSeeds(stream: SendStream): Buffer[] {
  return [
    ...stream.sendVp8({ key: true, bytes: 1500, lose: true }),
    ...stream.sendVp8({ bytes: 300, lose: true }),
    stream.send(opusFrame(), { lose: true }),
  ].map(encodeRtp);
}

describe.each(ENGINES)('$name', ({ name, skip }) => {
  describe.skipIf(skip)('SfuEngine under stress', () => {
    let engine: SfuEngine;
    let call: Call;
    const thrown: unknown[] = [];
    const note = (error: unknown) => thrown.push(error);

    beforeAll(async () => {
      engine = await createEngine(name);
      engine.on('died', note);
      process.on('uncaughtException', note);
      process.on('unhandledRejection', note);
    });

    afterAll(async () => {
      process.off('uncaughtException', note);
      process.off('unhandledRejection', note);
      await engine?.close();
    });

    beforeEach(async () => {
      thrown.length = 0;
      call = await Call.create(engine);
    });

    afterEach(async () => {
      await call?.close();
      expect(thrown).toEqual([]);
      expect(engine.counts()).toEqual({ routers: 0, transports: 0, producers: 0, consumers: 0 });
    });

    async function expectForwarding(
      from: Leg<MediaPeer, WebRtcLeg['transport']>,
      to: WebRtcLeg,
    ): Promise<void> {
      const { producer, stream } = await call.publish(from, 'VP8');
      const { ssrc } = await call.subscribe(to, producer, { resume: true });
      const sent = stream.sendVp8({ key: true });
      for (let i = 0; i < 10; i += 1) sent.push(...stream.sendVp8());
      await to.peer.until('forwarding to work', () => to.peer.received(ssrc).length === sent.length);
    }

    async function flood(count: number, send: (i: number) => void): Promise<void> {
      for (let i = 0; i < count; i += 1) {
        send(i);
        if (i % BATCH === BATCH - 1) await pause(2);
      }
      await pause(50);
    }

    test('200 publish and unpublish cycles leave nothing behind', async () => {
      const publisher = await call.join();
      const subscriber = await call.join();
      const before = engine.counts();
      for (let i = 0; i < 200; i += 1) {
        const { producer, stream } = await call.publish(publisher, i % 2 ? 'VP8' : 'opus', {
          mid: String(i),
        });
        const { consumer } = await call.subscribe(subscriber, producer, { resume: true });
        stream.send(opusFrame());
        if (i % 3 === 0) consumer.close();
        producer.close();
      }
      await subscriber.peer.until('all consumers to close', () => engine.counts().consumers === 0);
      expect(engine.counts()).toEqual(before);
      await expectForwarding(publisher, subscriber);
    });

    test('transports opened and closed leave no sockets behind', async () => {
      await pause(20);
      const before = udpHandles();
      for (let i = 0; i < 50; i += 1) {
        const transports = [
          await call.router.createWebRtcTransport(),
          await call.router.createPlainTransport(),
        ];
        await transports[1]?.produce({ kind: 'video', rtpParameters: sendParameters('VP8') });
        for (const transport of transports) transport.close();
      }
      const peer = await call.plainPeer();
      await peer.until('sockets to close', () => udpHandles() <= before + 1);
      expect(engine.counts()).toEqual({ routers: 1, transports: 0, producers: 0, consumers: 0 });
    });

    test('an engine that is closed has closed everything', async () => {
      const before = udpHandles();
      const second = await createEngine(name);
      const other = await Call.create(second);
      const a = await other.join();
      const { producer } = await other.publish(a, 'VP8');
      await second.close();
      await second.close();
      expect([other.router.closed, a.transport.closed, producer.closed]).toEqual([true, true, true]);
      expect(second.counts()).toEqual({ routers: 0, transports: 0, producers: 0, consumers: 0 });
      await expect(second.createRouter()).rejects.toThrow();
      await other.close();
      const peer = await call.plainPeer();
      await peer.until('sockets to close', () => udpHandles() <= before + 1);
    });

    test('10,000 mutated packets into a plain port', async () => {
      const random = seededRandom(20_261_123);
      const plain = await call.joinPlain();
      const subscriber = await call.join();
      const { producer, stream } = await call.publish(plain, 'VP8');
      const back = await call.subscribe(plain, producer, { resume: true });
      await call.subscribe(subscriber, producer, { resume: true });
      stream.sendVp8({ key: true });
      await plain.peer.until('video', () => plain.peer.received(back.ssrc).length > 0);
      const sequenceNumber = plain.peer.received(back.ssrc)[0]?.sequenceNumber ?? 0;
      const seeds = [
        ...rtpSeeds(stream),
        ...rtcpSeeds(plain.peer, stream.ssrc, stream.sequenceNumber),
        ...rtcpSeeds(plain.peer, back.ssrc, sequenceNumber),
        subscriber.peer.bindingRequest(),
      ];
      await flood(MUTATIONS, () => plain.peer.sendRaw(mutate(seeds[random(seeds.length)] as Buffer, random)));
      const fresh = await call.joinPlain();
      const after = await call.publish(fresh, 'VP8');
      const { ssrc } = await call.subscribe(subscriber, after.producer, { resume: true });
      for (let i = 0; i < 10; i += 1) after.stream.sendVp8({ key: i === 0 });
      await subscriber.peer.until('forwarding to work', () => subscriber.peer.received(ssrc).length === 10);
      expect(subscriber.peer.malformed).toEqual([]);
    });

    test('10,000 mutated packets into the WebRTC port', async () => {
      const random = seededRandom(20_261_124);
      const attacker = await call.join();
      const victim = await call.join();
      const stranger = await call.plainPeer();
      stranger.remote = attacker.peer.remoteAddress;
      const { producer, stream } = await call.publish(attacker, 'VP8');
      const subscription = await call.subscribe(attacker, producer, { resume: true });
      stream.sendVp8({ key: true });
      await attacker.peer.until('video', () => attacker.peer.received(subscription.ssrc).length > 0);
      const rtp = rtpSeeds(stream);
      const rtcp = [
        ...rtcpSeeds(attacker.peer, stream.ssrc, stream.sequenceNumber),
        ...rtcpSeeds(attacker.peer, subscription.ssrc, 1),
      ];
      const clientHello = Buffer.from('16feff0000000000000000002c010000200000000000000020fefd', 'hex');
      const alert = Buffer.from('15fefd000000000000000500020100', 'hex');
      const outside = [
        // Not with the right passwords: who has them may move the session to another address.
        attacker.peer.bindingRequest('not the password'),
        victim.peer.bindingRequest('not the password'),
        clientHello,
        alert,
        ...rtp,
        ...rtcp,
      ];
      const own = [...outside, attacker.peer.bindingRequest()];
      await flood(MUTATIONS, (i) => {
        // One third each: from nowhere, from a peer's own address unauthenticated, and properly encrypted.
        if (i % 3 === 0) stranger.sendRaw(mutate(outside[random(outside.length)] as Buffer, random));
        else if (i % 3 === 1) attacker.peer.sendRaw(mutate(own[random(own.length)] as Buffer, random));
        else if (random(2)) attacker.peer.sendRawRtp(mutate(rtp[random(rtp.length)] as Buffer, random));
        else {
          const datagram = attacker.peer.protectRtcp(mutate(rtcp[random(rtcp.length)] as Buffer, random));
          if (datagram) attacker.peer.sendRaw(datagram);
        }
      });
      const other = await call.join();
      await expectForwarding(other, victim);
      await expectForwarding(victim, attacker);
      expect(victim.peer.malformed).toEqual([]);
      expect(victim.peer.undecryptable).toBe(0);
    });

    test('a forged DTLS alert does not end a session', async () => {
      const publisher = await call.join();
      const subscriber = await call.join();
      publisher.peer.sendRaw(Buffer.from('15fefd000000000000000500020100', 'hex'));
      publisher.peer.sendRaw(Buffer.from('15fefd000000000000000600020228', 'hex'));
      await pause(50);
      expect(publisher.transport.state).toBe('connected');
      await expectForwarding(publisher, subscriber);
    });
  });
});
