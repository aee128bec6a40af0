import { describe, expect, test } from 'vitest';
import type { AudioLevel } from '../../src/sfu/types.js';
import { h264Frame, isVp8KeyFrame, opusFrame } from '../support/peer/payloads.js';
import { encodeRtp, type RtpPacket, sequenceDistance } from '../support/peer/rtp.js';
import { EXTENSION, extensionId } from '../support/peer/SendStream.js';
import { describeEngines, expectContinuous, expectSamePayloads } from './sfuHarness.js';
import { capabilities, pause, pump } from './sfuSupport.js';

describeEngines((under) => {
  describe('forwarding', () => {
    test('audio: payloads byte for byte, own SSRC, the router’s payload type, continuous sequence', async () => {
      const publisher = await under.call.join();
      const subscriber = await under.call.join();
      const { producer, stream } = await under.call.publish(publisher, 'opus');
      const subscription = await under.call.subscribe(subscriber, producer, { resume: true });
      const sent = Array.from({ length: 50 }, (_, i) => stream.send(opusFrame(40 + i), { marker: i === 0 }));
      await subscriber.peer.until('audio', () => subscriber.peer.received(subscription.ssrc).length === 50);
      const received = subscriber.peer.received(subscription.ssrc);
      expectSamePayloads(received, sent);
      expectContinuous(received);
      expect(subscription.ssrc).not.toBe(stream.ssrc);
      expect(new Set(received.map(({ payloadType }) => payloadType))).toEqual(
        new Set([subscription.payloadType]),
      );
      expect(subscription.payloadType).not.toBe(stream.payloadType);
      expect(received.map(({ marker }) => marker)).toEqual(sent.map(({ marker }) => marker));
      const step = received.map(
        ({ timestamp }, i) => (timestamp - (received[i - 1]?.timestamp ?? timestamp)) >>> 0,
      );
      expect(new Set(step.slice(1))).toEqual(new Set([960]));
    });

    test('carries the consumer’s own mid and, where negotiated, fresh transport-wide sequence numbers', async () => {
      const { subscriber, stream, ssrc, consumer } = await under.startedVideo();
      for (let i = 0; i < 10; i += 1) stream.sendVp8();
      await subscriber.peer.until('video', () => subscriber.peer.received(ssrc).length === 11);
      const midId = extensionId(consumer.rtpParameters, EXTENSION.mid) ?? -1;
      const mids = subscriber.peer.received(ssrc).map(({ extensions }) => extensions.get(midId)?.toString());
      expect(new Set(mids)).toEqual(new Set([consumer.rtpParameters.mid]));
      const sequenceId = extensionId(consumer.rtpParameters, EXTENSION.transportSequence);
      if (sequenceId === null) return;
      // Over all that the transport sends, retransmissions and probes included.
      const numbers = subscriber.peer.rtp.map(({ extensions }) =>
        extensions.get(sequenceId)?.readUInt16BE(0),
      );
      numbers.forEach((value, i) => {
        if (i > 0) expect(sequenceDistance(value ?? 0, numbers[i - 1] ?? 0)).toBe(1);
      });
    });

    test('video across a wrap of the sequence number', async () => {
      const publisher = await under.call.join();
      const subscriber = await under.call.join();
      const { producer, stream } = await under.call.publish(publisher, 'VP8', {
        firstSequenceNumber: 65_500,
      });
      const { ssrc } = await under.call.subscribe(subscriber, producer, { resume: true });
      const sent = stream.sendVp8({ key: true, bytes: 2500 });
      await pump(60, 2, () => sent.push(...stream.sendVp8({ bytes: 1500 })));
      await subscriber.peer.until('video', () => subscriber.peer.received(ssrc).length === sent.length);
      expectSamePayloads(subscriber.peer.received(ssrc), sent);
      expectContinuous(subscriber.peer.received(ssrc));
    });

    test('H.264, from a key frame on', async () => {
      const publisher = await under.call.join();
      const subscriber = await under.call.join();
      const { producer, stream } = await under.call.publish(publisher, 'H264');
      const { ssrc } = await under.call.subscribe(subscriber, producer, { resume: true });
      stream.sendFrame(h264Frame({ key: false }));
      const sent = stream.sendFrame(h264Frame({ key: true, bytes: 3000 }));
      for (let i = 0; i < 10; i += 1) sent.push(...stream.sendFrame(h264Frame({ key: false, bytes: 1500 })));
      await subscriber.peer.until('video', () => subscriber.peer.received(ssrc).length === sent.length);
      expectSamePayloads(subscriber.peer.received(ssrc), sent);
      expectContinuous(subscriber.peer.received(ssrc));
    });

    test('one producer to several consumers, each with its own SSRC', async () => {
      const { publisher, subscriber, producer, stream, ssrc } = await under.startedVideo();
      const third = await under.call.join();
      const late = await under.call.subscribe(third, producer, { resume: true });
      await publisher.peer.waitForRtcp('pli');
      stream.sendVp8({ key: true });
      for (let i = 0; i < 5; i += 1) stream.sendVp8();
      await third.peer.until('video', () => third.peer.received(late.ssrc).length === 6);
      await subscriber.peer.until('video', () => subscriber.peer.received(ssrc).length === 7);
      expect(late.ssrc).not.toBe(ssrc);
    });

    test('a replayed SRTP packet is forwarded once', async () => {
      const publisher = await under.call.join();
      const subscriber = await under.call.join();
      const { producer, stream } = await under.call.publish(publisher, 'opus');
      const { ssrc } = await under.call.subscribe(subscriber, producer, { resume: true });
      const first = stream.send(opusFrame());
      const next = { ...first, sequenceNumber: stream.sequenceNumber, timestamp: stream.timestamp + 960 };
      const datagram = publisher.peer.protectRtp(encodeRtp(next));
      stream.sequenceNumber += 1;
      for (let i = 0; i < 5; i += 1) if (datagram) publisher.peer.sendRaw(datagram);
      stream.send(opusFrame());
      await subscriber.peer.until('audio', () => subscriber.peer.received(ssrc).length >= 3);
      await pause(100);
      expect(subscriber.peer.received(ssrc)).toHaveLength(3);
    });
  });

  describe('key frames and pausing', () => {
    test('a consumer starts paused; resuming asks for a key frame, and video starts with it', async () => {
      const publisher = await under.call.join();
      const subscriber = await under.call.join();
      const { producer, stream } = await under.call.publish(publisher, 'VP8');
      const { consumer, ssrc } = await under.call.subscribe(subscriber, producer);
      expect(consumer.paused).toBe(true);
      stream.sendVp8({ key: true });
      await pump(10, 5, () => stream.sendVp8());
      expect(subscriber.peer.received(ssrc)).toHaveLength(0);

      publisher.peer.forgetReceived();
      await consumer.resume();
      expect(consumer.paused).toBe(false);
      const pli = await publisher.peer.waitForRtcp('pli');
      expect(pli.mediaSsrc).toBe(stream.ssrc);
      await pump(10, 5, () => stream.sendVp8());
      expect(subscriber.peer.received(ssrc)).toHaveLength(0);

      const sent = stream.sendVp8({ key: true, bytes: 2500 });
      for (let i = 0; i < 5; i += 1) sent.push(...stream.sendVp8());
      await subscriber.peer.until('video', () => subscriber.peer.received(ssrc).length === sent.length);
      const received = subscriber.peer.received(ssrc);
      expect(isVp8KeyFrame(received[0]?.payload ?? Buffer.alloc(0))).toBe(true);
      expectSamePayloads(received, sent);
      expectContinuous(received);
    });

    test('pausing leaves no gap in the sequence and no jump back in time', async () => {
      const { subscriber, stream, consumer, ssrc } = await under.startedVideo();
      for (let i = 0; i < 10; i += 1) stream.sendVp8();
      await subscriber.peer.until('video', () => subscriber.peer.received(ssrc).length === 11);
      await consumer.pause();
      await pump(20, 5, () => stream.sendVp8());
      await pause(50);
      expect(subscriber.peer.received(ssrc)).toHaveLength(11);
      await consumer.resume();
      stream.sendVp8({ key: true });
      for (let i = 0; i < 10; i += 1) stream.sendVp8();
      await subscriber.peer.until('video', () => subscriber.peer.received(ssrc).length === 22);
      const received = subscriber.peer.received(ssrc);
      expectContinuous(received);
      expect(isVp8KeyFrame(received[11]?.payload ?? Buffer.alloc(0))).toBe(true);
      for (let i = 1; i < received.length; i += 1) {
        const step = ((received[i]?.timestamp ?? 0) - (received[i - 1]?.timestamp ?? 0)) | 0;
        expect(step).toBeGreaterThan(0);
      }
    });

    test('a paused producer is silent and its consumers know', async () => {
      const { publisher, subscriber, producer, stream, consumer, ssrc } = await under.startedVideo();
      const events: string[] = [];
      consumer.on('producerPause', () => events.push('pause'));
      consumer.on('producerResume', () => events.push('resume'));
      await producer.pause();
      await subscriber.peer.until('producerPause', () => events.includes('pause'));
      expect([producer.paused, consumer.producerPaused, consumer.paused]).toEqual([true, true, false]);
      await pump(10, 5, () => stream.sendVp8());
      expect(subscriber.peer.received(ssrc)).toHaveLength(1);

      publisher.peer.forgetReceived();
      await producer.resume();
      await subscriber.peer.until('producerResume', () => events.includes('resume'));
      expect([producer.paused, consumer.producerPaused]).toEqual([false, false]);
      await publisher.peer.waitForRtcp('pli');
      stream.sendVp8({ key: true });
      for (let i = 0; i < 5; i += 1) stream.sendVp8();
      await subscriber.peer.until('video', () => subscriber.peer.received(ssrc).length === 7);
      expectContinuous(subscriber.peer.received(ssrc));
    });

    test('a receiver’s PLI and requestKeyFrame() reach the producer', async () => {
      const { publisher, subscriber, stream, consumer, ssrc } = await under.startedVideo();
      await pause(400);
      publisher.peer.forgetReceived();
      subscriber.peer.sendPli(ssrc);
      expect((await publisher.peer.waitForRtcp('pli')).mediaSsrc).toBe(stream.ssrc);
      stream.sendVp8({ key: true });
      await pause(400);
      publisher.peer.forgetReceived();
      await consumer.requestKeyFrame();
      await publisher.peer.waitForRtcp('pli');
    });

    // Browsers drop requests within 300 ms of the last one that they served, and the next repetition comes after a second.
    test('a request soon after one that was answered goes out when a browser heeds it', async () => {
      const { publisher, stream, consumer } = await under.startedVideo();
      await pause(500);
      publisher.peer.forgetReceived();
      const requestedAtMs: number[] = [];
      publisher.peer.on('rtcp', ({ type }) => {
        if (type === 'pli' || type === 'fir') requestedAtMs.push(performance.now());
      });
      await consumer.requestKeyFrame();
      await publisher.peer.waitForRtcp('pli');
      stream.sendVp8({ key: true });
      await pause(100);
      await consumer.requestKeyFrame();
      await publisher.peer.until('the second request', () => requestedAtMs.length > 1);
      const [first = 0, second = 0] = requestedAtMs;
      expect(second - first).toBeGreaterThan(300);
    });

    test.each([true, false])(
      'fifty PLIs within a second become a handful (answered: %s)',
      async (answered) => {
        const { publisher, subscriber, ssrc } = await under.startedVideo();
        publisher.peer.answerKeyFrameRequests = answered;
        publisher.peer.forgetReceived();
        await pump(50, 20, () => subscriber.peer.sendPli(ssrc));
        await pause(100);
        const requests = publisher.peer.rtcpOf('pli').length + publisher.peer.rtcpOf('fir').length;
        expect(requests).toBeGreaterThanOrEqual(1);
        expect(requests).toBeLessThanOrEqual(10);
      },
    );
  });

  describe('loss', () => {
    test('a NACK is answered by RTX with the original sequence number', async () => {
      const { subscriber, stream, ssrc, rtxSsrc, rtxPayloadType } = await under.startedVideo();
      for (let i = 0; i < 30; i += 1) stream.sendVp8();
      await subscriber.peer.until('video', () => subscriber.peer.received(ssrc).length === 31);
      const wanted = subscriber.peer.received(ssrc).slice(10, 13);
      subscriber.peer.sendNack(
        ssrc,
        wanted.map(({ sequenceNumber }) => sequenceNumber),
      );
      await subscriber.peer.until(
        'retransmissions',
        () => subscriber.peer.received(rtxSsrc ?? 0).length >= 3,
      );
      const repaired = subscriber.peer.received(rtxSsrc ?? 0).filter(({ payload }) => payload.length > 2);
      for (const original of wanted) {
        const copy = repaired.find(({ payload }) => payload.readUInt16BE(0) === original.sequenceNumber);
        expect(copy?.payload.subarray(2).toString('hex')).toBe(original.payload.toString('hex'));
        expect(copy).toMatchObject({
          payloadType: rtxPayloadType,
          timestamp: original.timestamp,
          marker: original.marker,
        });
      }
      expectContinuous(repaired);
    });

    test('a NACK for what was never sent is ignored', async () => {
      const { subscriber, stream, ssrc, rtxSsrc } = await under.startedVideo();
      const last = subscriber.peer.received(ssrc).at(-1)?.sequenceNumber ?? 0;
      subscriber.peer.sendNack(ssrc, [(last + 1000) & 0xffff, (last - 2000) & 0xffff]);
      subscriber.peer.sendNack(1234, [1, 2, 3]);
      stream.sendVp8();
      await subscriber.peer.until('video', () => subscriber.peer.received(ssrc).length === 2);
      await pause(50);
      expect(subscriber.peer.received(rtxSsrc ?? 0)).toHaveLength(0);
    });

    test('loss on the way in is asked for again and the retransmission forwarded', async () => {
      const { publisher, subscriber, stream, ssrc } = await under.startedVideo();
      publisher.peer.answerNacks = true;
      const first = subscriber.peer.received(ssrc)[0]?.sequenceNumber ?? 0;
      const sent: RtpPacket[] = [];
      await pump(40, 5, (i) => sent.push(...stream.sendVp8({ lose: i === 10 || i === 11 || i === 20 })));
      await subscriber.peer.until('all packets', () => subscriber.peer.received(ssrc).length === 41);
      const nacked = publisher.peer.rtcpOf('nack').flatMap(({ sequenceNumbers }) => sequenceNumbers);
      for (const i of [10, 11, 20]) expect(nacked).toContain(sent[i]?.sequenceNumber);
      const inOrder = subscriber.peer
        .received(ssrc)
        .slice(1)
        .sort((a, b) => sequenceDistance(a.sequenceNumber, b.sequenceNumber));
      expect(inOrder[0]?.sequenceNumber).toBe((first + 1) & 0xffff);
      expectContinuous(inOrder);
      expectSamePayloads(inOrder, sent);
    });

    test('loss that is never repaired stays a gap: the receiver must see it', async () => {
      const { subscriber, stream, ssrc } = await under.startedVideo();
      await pump(20, 2, (i) => stream.sendVp8({ lose: i === 10 }));
      await subscriber.peer.until('the rest', () => subscriber.peer.received(ssrc).length === 20);
      const numbers = subscriber.peer.received(ssrc).map(({ sequenceNumber }) => sequenceNumber);
      const gaps = numbers.slice(1).map((value, i) => sequenceDistance(value, numbers[i] ?? 0));
      expect(gaps.filter((gap) => gap !== 1)).toEqual([2]);
    });

    test('packets that arrive out of order are forwarded with their places kept', async () => {
      const publisher = await under.call.join();
      const subscriber = await under.call.join();
      const { producer, stream } = await under.call.publish(publisher, 'opus');
      const { ssrc } = await under.call.subscribe(subscriber, producer, { resume: true });
      const sent = [
        stream.send(opusFrame()),
        ...Array.from({ length: 6 }, () => stream.send(opusFrame(), { lose: true })),
      ];
      for (const i of [1, 3, 2, 5, 4, 6]) publisher.peer.sendRtp(sent[i] as RtpPacket);
      await subscriber.peer.until('audio', () => subscriber.peer.received(ssrc).length === 7);
      const inOrder = subscriber.peer
        .received(ssrc)
        .sort((a, b) => sequenceDistance(a.sequenceNumber, b.sequenceNumber));
      expectContinuous(inOrder);
      expectSamePayloads(inOrder, sent);
    });
  });

  describe('reports and bandwidth', () => {
    test('sender reports to receivers and receiver reports to senders', async () => {
      const { publisher, subscriber, stream, consumer, producer, ssrc } = await under.startedVideo();
      publisher.peer.sendSenderReport(stream);
      await pump(
        400,
        10,
        (i) => {
          stream.sendVp8({ bytes: 300 });
          if (i % 50 === 49) publisher.peer.sendSenderReport(stream);
          if (i % 20 === 19) subscriber.peer.sendReceiverReport();
        },
        () =>
          subscriber.peer.rtcpOf('sr').some((sr) => sr.ssrc === ssrc) &&
          publisher.peer.rtcpOf('rr').some((rr) => rr.reports.some((block) => block.lastSenderReport > 0)),
      );
      const sr = await subscriber.peer.waitForRtcp('sr', (message) => message.ssrc === ssrc);
      // mediasoup's NTP clock starts with the machine; only differences mean something (RFC 3550, 6.4.1).
      expect(sr.ntpTimestamp).toBeGreaterThan(0n);
      expect(sr.packetCount).toBeGreaterThan(0);
      expect(sr.octetCount).toBeGreaterThanOrEqual(sr.packetCount * 100);
      const latest = subscriber.peer.received(ssrc).at(-1)?.timestamp ?? 0;
      expect(Math.abs((sr.rtpTimestamp - latest) | 0)).toBeLessThan(90_000 * 60);
      expect(subscriber.peer.rtcpOf('sdes').flatMap(({ chunks }) => chunks.map((c) => c.ssrc))).toContain(
        ssrc,
      );

      const rr = await publisher.peer.waitForRtcp('rr', ({ reports }) =>
        reports.some((block) => block.ssrc === stream.ssrc && block.lastSenderReport > 0),
      );
      const block = rr.reports.find((report) => report.ssrc === stream.ssrc && report.lastSenderReport > 0);
      expect(block?.fractionLost).toBe(0);
      expect(block?.cumulativeLost).toBe(0);
      const behind = sequenceDistance(stream.sequenceNumber, (block?.extendedHighestSequence ?? 0) & 0xffff);
      expect(behind).toBeGreaterThan(0);
      expect(behind).toBeLessThan(1000);

      expect((await producer.stats()).packetCount).toBeGreaterThan(0);
      expect((await consumer.stats()).packetCount).toBeGreaterThan(0);
    });

    test('a sender hears of its limit by REMB, and of its packets by transport-wide feedback', async () => {
      const { publisher, stream } = await under.startedVideo();
      await publisher.transport.setMaxIncomingBitrate(300_000);
      await pump(
        300,
        10,
        () => stream.sendVp8(),
        () => publisher.peer.rtcpOf('remb').length > 0 && publisher.peer.rtcpOf('twcc').length > 2,
      );
      const remb = await publisher.peer.waitForRtcp('remb');
      expect(remb.bitrateBps).toBeGreaterThan(150_000);
      expect(remb.bitrateBps).toBeLessThanOrEqual(300_000);
      const twcc = await publisher.peer.waitForRtcp('twcc');
      expect(twcc.packets.some(({ deltaMicros }) => deltaMicros !== null)).toBe(true);
    });

    test('estimates a receiver’s downlink from the feedback its consumer negotiated', async () => {
      const { subscriber, stream, consumer, ssrc } = await under.startedVideo();
      const estimates: number[] = [];
      subscriber.transport.on('downlinkEstimate', (bitrateBps) => estimates.push(bitrateBps));
      const byRemb = extensionId(consumer.rtpParameters, EXTENSION.transportSequence) === null;
      if (!byRemb) subscriber.peer.startTransportFeedback(consumer.rtpParameters);
      await pump(
        500,
        10,
        (i) => {
          stream.sendVp8({ bytes: 1000 });
          if (byRemb && i % 50 === 0) subscriber.peer.sendRemb(900_000, [ssrc]);
        },
        () => estimates.length > 0,
      );
      await subscriber.peer.until('an estimate', () => estimates.length > 0);
      expect(estimates.every((value) => Number.isFinite(value) && value > 10_000)).toBe(true);
      expect((await subscriber.transport.stats()).downlinkEstimateBps).toBe(estimates.at(-1));
    });

    // mediasoup 3.19 estimates from transport-wide feedback only, and lets REMB pass unheard.
    test.runIf(under.name === 'werift')(
      'takes a receiver’s REMB as the estimate where it has no transport-wide feedback',
      async () => {
        const publisher = await under.call.join();
        const subscriber = await under.call.join();
        expect((await subscriber.transport.stats()).downlinkEstimateBps).toBeNull();
        const { producer, stream } = await under.call.publish(publisher, 'VP8');
        const rtpCapabilities = capabilities(under.call.router, {
          extensions: [EXTENSION.transportSequence],
        });
        const { ssrc } = await under.call.subscribe(subscriber, producer, { resume: true, rtpCapabilities });
        const estimates: number[] = [];
        subscriber.transport.on('downlinkEstimate', (bitrateBps) => estimates.push(bitrateBps));
        stream.sendVp8({ key: true });
        const low = () => estimates.some((value) => value <= 260_000);
        await pump(
          400,
          10,
          (i) => {
            stream.sendVp8();
            if (i % 10 === 0) subscriber.peer.sendRemb(250_000, [ssrc]);
          },
          low,
        );
        await subscriber.peer.until('a low estimate', low);
        expect(estimates.at(-1)).toBeGreaterThan(10_000);
      },
    );

    test('audio levels name who speaks and how loudly', async () => {
      const publisher = await under.call.join();
      const { producer, stream } = await under.call.publish(publisher, 'opus');
      const silent = await under.call.publish(publisher, 'opus');
      const heard: AudioLevel[] = [];
      under.call.router.on('audioLevels', (levels) => heard.push(...levels));
      await pump(
        200,
        20,
        () => {
          stream.send(opusFrame(), { audioLevelDbov: -20 });
          silent.stream.send(opusFrame(), { audioLevelDbov: -100 });
        },
        () => heard.length >= 2,
      );
      expect(heard.length).toBeGreaterThanOrEqual(2);
      expect(new Set(heard.map(({ producerId }) => producerId))).toEqual(new Set([producer.id]));
      for (const { volumeDbov } of heard) {
        expect(volumeDbov).toBeGreaterThanOrEqual(-30);
        expect(volumeDbov).toBeLessThanOrEqual(-10);
      }
    });
  });
});
