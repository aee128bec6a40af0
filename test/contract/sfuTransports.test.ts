import { describe, expect, test } from 'vitest';
import type { TransportState } from '../../src/sfu/types.js';
import { opusFrame } from '../support/peer/payloads.js';
import { sequenceDistance } from '../support/peer/rtp.js';
import type { SendStream } from '../support/peer/SendStream.js';
import { describeEngines, expectContinuous, expectSamePayloads, failure } from './sfuHarness.js';
import {
  Call,
  capabilities,
  hasIpv6Loopback,
  type PlainLeg,
  pause,
  pump,
  sendParameters,
} from './sfuSupport.js';

describeEngines((under) => {
  describe('WebRTC transports', () => {
    test('tells its ICE and DTLS parameters as mediasoup-client wants them', async () => {
      const { transport } = await under.call.dial();
      expect(transport.iceParameters).toMatchObject({ iceLite: true });
      expect(transport.iceParameters.usernameFragment.length).toBeGreaterThanOrEqual(4);
      expect(transport.iceParameters.password.length).toBeGreaterThanOrEqual(22);
      expect(transport.iceCandidates.length).toBeGreaterThan(0);
      for (const candidate of transport.iceCandidates) {
        expect(candidate).toMatchObject({ protocol: 'udp', type: 'host' });
        expect(candidate.port).toBeGreaterThan(0);
        expect(candidate.address).not.toBe('0.0.0.0');
      }
      const sha256 = transport.dtlsParameters.fingerprints.find(({ algorithm }) => algorithm === 'sha-256');
      expect(sha256?.value).toMatch(/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/);
      expect(transport.state).toBe('new');
    });

    test('connects over IPv4 and says so', async () => {
      const { peer, transport } = await under.call.dial();
      const states: TransportState[] = [];
      transport.on('state', (state) => states.push(state));
      await transport.connect({ dtlsParameters: peer.dtlsParameters });
      await peer.connect(transport);
      await peer.until('state connected', () => transport.state === 'connected');
      expect(states.at(-1)).toBe('connected');
      expect(states.slice(0, -1).every((state) => state === 'new' || state === 'connecting')).toBe(true);
    });

    test.runIf(hasIpv6Loopback)('connects over IPv6', async () => {
      const { transport } = await under.call.join({ family: 6 });
      expect(transport.state).toBe('connected');
    });

    test.each(['aead-aes128-gcm', 'aes128-cm-sha1-80'] as const)('speaks SRTP with %s', async (profile) => {
      const publisher = await under.call.join({ srtpProfiles: [profile] });
      const subscriber = await under.call.join({ srtpProfiles: [profile] });
      expect(publisher.peer.srtpProfile).toBe(profile);
      const { producer, stream } = await under.call.publish(publisher, 'opus');
      const { ssrc } = await under.call.subscribe(subscriber, producer, { resume: true });
      const sent = Array.from({ length: 5 }, () => stream.send(opusFrame()));
      await subscriber.peer.until('audio', () => subscriber.peer.received(ssrc).length === 5);
      expectSamePayloads(subscriber.peer.received(ssrc), sent);
      expect(subscriber.peer.undecryptable).toBe(0);
    });

    test('connects when DTLS starts before the server knows the fingerprint', async () => {
      const { peer, transport } = await under.call.dial();
      const connecting = peer.connect(transport);
      await pause(150);
      await transport.connect({ dtlsParameters: peer.dtlsParameters });
      await connecting;
      await peer.until('state connected', () => transport.state === 'connected');
    });

    test('refuses ICE checks with a wrong password', async () => {
      const { peer, transport } = await under.call.dial();
      await transport.connect({ dtlsParameters: peer.dtlsParameters });
      const iceParameters = { ...transport.iceParameters, password: 'x'.repeat(24) };
      await expect(
        peer.connectIce({ ...transport, iceParameters, iceCandidates: transport.iceCandidates }, 400),
      ).rejects.toThrow();
      expect(transport.state).not.toBe('connected');
    });

    test('never connects to a peer with another certificate than announced', async () => {
      const { peer, transport } = await under.call.dial();
      const states: TransportState[] = [];
      transport.on('state', (state) => states.push(state));
      const value = Array.from({ length: 32 }, () => 'AB').join(':');
      await transport.connect({
        dtlsParameters: { role: 'client', fingerprints: [{ algorithm: 'sha-256', value }] },
      });
      await peer.connect(transport, 2000).catch(() => {});
      await peer.until('state failed', () => transport.state === 'failed');
      expect(states).not.toContain('connected');
    });

    test('is no longer connected once the browser closes its side', async () => {
      const { peer, transport } = await under.call.join();
      await peer.sendCloseNotify();
      await peer.until('the transport to notice', () => transport.state !== 'connected');
      expect(['failed', 'disconnected']).toContain(transport.state);
    });

    test.each([{ newSocket: false }, { newSocket: true }])(
      'keeps media flowing over an ICE restart %o',
      async (options) => {
        const { publisher, subscriber, stream, ssrc } = await under.startedVideo();
        const before = publisher.transport.iceParameters;
        for (const { peer, transport } of [publisher, subscriber]) {
          const iceParameters = await transport.restartIce();
          expect(iceParameters.usernameFragment).not.toBe(before.usernameFragment);
          expect(iceParameters).toEqual(transport.iceParameters);
          await peer.restartIce(iceParameters, options);
        }
        const already = subscriber.peer.received(ssrc).length;
        for (let i = 0; i < 10; i += 1) stream.sendVp8();
        await subscriber.peer.until(
          'video after the restart',
          () => subscriber.peer.received(ssrc).length === already + 10,
        );
        expectContinuous(subscriber.peer.received(ssrc));
        expect(subscriber.transport.state).toBe('connected');
      },
    );

    test('counts bytes both ways', async () => {
      const { publisher, subscriber, stream, ssrc } = await under.startedVideo();
      for (let i = 0; i < 20; i += 1) stream.sendVp8({ bytes: 900 });
      await subscriber.peer.until('video', () => subscriber.peer.received(ssrc).length > 20);
      expect((await publisher.transport.stats()).bytesReceived).toBeGreaterThan(20 * 900);
      expect((await subscriber.transport.stats()).bytesSent).toBeGreaterThan(20 * 900);
    });
  });

  describe('plain transports', () => {
    test('to a restorer: RTP as published, and its PLI and NACK are heard', async () => {
      const publisher = await under.call.join();
      const { peer, transport }: PlainLeg = await under.call.joinPlain();
      expect(transport.localAddress.ip).toBe('127.0.0.1');
      const { producer, stream } = await under.call.publish(publisher, 'VP8');
      const { ssrc, rtxSsrc } = await under.call.subscribe({ peer, transport }, producer, { resume: true });
      const sent = stream.sendVp8({ key: true, bytes: 2500 });
      for (let i = 0; i < 10; i += 1) sent.push(...stream.sendVp8());
      await peer.until('video', () => peer.received(ssrc).length === sent.length);
      expectSamePayloads(peer.received(ssrc), sent);
      expectContinuous(peer.received(ssrc));
      const [, wanted] = peer.received(ssrc);
      peer.sendNack(ssrc, [wanted?.sequenceNumber ?? 0]);
      await peer.until('a retransmission', () => peer.received(rtxSsrc ?? 0).length === 1);
      expect(peer.received(rtxSsrc ?? 0)[0]?.payload.readUInt16BE(0)).toBe(wanted?.sequenceNumber);
      await pause(400);
      publisher.peer.forgetReceived();
      peer.sendPli(ssrc);
      await publisher.peer.waitForRtcp('pli');
    });

    test('from a restorer: forwarded, and it hears of key frames wanted and packets lost', async () => {
      const { peer, transport } = await under.call.joinPlain();
      const subscriber = await under.call.join();
      const { producer, stream } = await under.call.publish({ peer, transport }, 'VP8');
      const { ssrc } = await under.call.subscribe(subscriber, producer, { resume: true });
      stream.sendVp8({ key: false });
      await peer.waitForRtcp('pli', ({ mediaSsrc }) => mediaSsrc === stream.ssrc);
      peer.answerNacks = true;
      const sent = stream.sendVp8({ key: true, bytes: 2500 });
      await pump(20, 5, (i) => sent.push(...stream.sendVp8({ lose: i === 10 })));
      await subscriber.peer.until('video', () => subscriber.peer.received(ssrc).length === sent.length);
      const inOrder = subscriber.peer
        .received(ssrc)
        .sort((a, b) => sequenceDistance(a.sequenceNumber, b.sequenceNumber));
      expectSamePayloads(inOrder, sent);
      expectContinuous(inOrder);
      expect(peer.rtcpOf('nack').length).toBeGreaterThan(0);
    });

    test('packets from another address are ignored', async () => {
      const { peer, transport } = await under.call.joinPlain();
      const subscriber = await under.call.join();
      const { producer, stream } = await under.call.publish({ peer, transport }, 'opus');
      const { ssrc } = await under.call.subscribe(subscriber, producer, { resume: true });
      const intruder = await under.call.plainPeer();
      intruder.remote = transport.localAddress;
      const forged: SendStream = intruder.addStream('audio', stream.rtpParameters, stream.sequenceNumber);
      for (let i = 0; i < 20; i += 1) forged.send(opusFrame());
      await pause(100);
      expect(subscriber.peer.received(ssrc)).toHaveLength(0);
      const sent = Array.from({ length: 5 }, () => stream.send(opusFrame()));
      await subscriber.peer.until('audio', () => subscriber.peer.received(ssrc).length === 5);
      expectSamePayloads(subscriber.peer.received(ssrc), sent);
    });
  });

  describe('what cannot be', () => {
    test('canConsume says no for a codec the receiver lacks, and consume refuses', async () => {
      const publisher = await under.call.join();
      const subscriber = await under.call.join();
      const { producer } = await under.call.publish(publisher, 'VP8');
      const rtpCapabilities = capabilities(under.call.router, { codecs: ['video/VP8'] });
      expect(under.call.router.canConsume(producer.id, rtpCapabilities)).toBe(false);
      expect(under.call.router.canConsume(producer.id, capabilities(under.call.router))).toBe(true);
      expect(under.call.router.canConsume('nobody', capabilities(under.call.router))).toBe(false);
      const error = await failure(subscriber.transport.consume({ producerId: producer.id, rtpCapabilities }));
      expect(error.code).toBe('unsupported');
    });

    test('a producer nobody knows, or of another room', async () => {
      const publisher = await under.call.join();
      const { producer } = await under.call.publish(publisher, 'opus');
      const other = await Call.create(under.engine);
      try {
        const { transport } = await other.dial();
        for (const producerId of ['nobody', producer.id]) {
          const error = await failure(
            transport.consume({ producerId, rtpCapabilities: capabilities(under.call.router) }),
          );
          expect(error.code).toBe('not-found');
        }
      } finally {
        await other.close();
      }
    });

    test('a codec the room does not offer', async () => {
      const { transport } = await under.call.dial();
      const rtpParameters = sendParameters('VP8');
      const [codec] = rtpParameters.codecs;
      if (codec) codec.mimeType = 'video/H265';
      expect((await failure(transport.produce({ kind: 'video', rtpParameters }))).code).toBe('unsupported');
      expect(under.engine.counts().producers).toBe(0);
    });

    test('two producers with one SSRC', async () => {
      const leg = await under.call.join();
      const { stream } = await under.call.publish(leg, 'VP8');
      const rtpParameters = sendParameters('VP8', { ssrc: stream.ssrc });
      const error = await failure(leg.transport.produce({ kind: 'video', rtpParameters }));
      expect(['conflict', 'bad-request']).toContain(error.code);
      expect(under.engine.counts().producers).toBe(1);
    });

    test('anything on a closed transport', async () => {
      const leg = await under.call.join();
      const { producer } = await under.call.publish(leg, 'opus');
      leg.transport.close();
      await failure(leg.transport.produce({ kind: 'video', rtpParameters: sendParameters('VP8') }));
      await failure(
        leg.transport.consume({ producerId: producer.id, rtpCapabilities: capabilities(under.call.router) }),
      );
      await failure(leg.transport.restartIce());
    });
  });

  describe('closing', () => {
    test('a transport takes its producers, their consumers elsewhere and its own consumers with it', async () => {
      const a = await under.call.join();
      const b = await under.call.join();
      const fromA = await under.call.publish(a, 'VP8');
      const fromB = await under.call.publish(b, 'opus');
      const onB = await under.call.subscribe(b, fromA.producer);
      const onA = await under.call.subscribe(a, fromB.producer);
      const closed: string[] = [];
      a.transport.on('close', () => closed.push('transport'));
      fromA.producer.on('close', () => closed.push('producer'));
      onB.consumer.on('close', () => closed.push('consumer elsewhere'));
      onA.consumer.on('close', () => closed.push('own consumer'));
      a.transport.close();
      a.transport.close();
      await b.peer.until('all close events', () => closed.length >= 4);
      await pause(20);
      expect(closed.sort()).toEqual(['consumer elsewhere', 'own consumer', 'producer', 'transport']);
      expect([a.transport.closed, fromA.producer.closed, onB.consumer.closed, onA.consumer.closed]).toEqual([
        true,
        true,
        true,
        true,
      ]);
      expect([b.transport.closed, fromB.producer.closed]).toEqual([false, false]);
      expect(a.transport.state).toBe('closed');
      expect(under.engine.counts()).toEqual({ routers: 1, transports: 1, producers: 1, consumers: 0 });
    });

    test('a producer or a consumer alone, twice', async () => {
      const a = await under.call.join();
      const b = await under.call.join();
      const { producer } = await under.call.publish(a, 'VP8');
      const first = await under.call.subscribe(b, producer);
      const second = await under.call.subscribe(b, producer);
      first.consumer.close();
      first.consumer.close();
      expect(under.engine.counts().consumers).toBe(1);
      producer.close();
      producer.close();
      await b.peer.until('the other consumer to close', () => second.consumer.closed);
      expect(under.engine.counts()).toMatchObject({ transports: 2, producers: 0, consumers: 0 });
    });

    test('a router closes everything in it and says so', async () => {
      const a = await under.call.join();
      const { producer } = await under.call.publish(a, 'VP8');
      const plain = await under.call.joinPlain();
      const { consumer } = await under.call.subscribe(plain, producer);
      let events = 0;
      under.call.router.on('close', () => {
        events += 1;
      });
      under.call.router.close();
      under.call.router.close();
      expect(events).toBe(1);
      expect([under.call.router.closed, a.transport.closed, plain.transport.closed]).toEqual([
        true,
        true,
        true,
      ]);
      expect([producer.closed, consumer.closed]).toEqual([true, true]);
      await failure(under.call.router.createWebRtcTransport());
    });
  });
});
