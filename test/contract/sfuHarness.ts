/** The engine contract's tests run for each engine, with a fresh call each; and what they all expect. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect } from 'vitest';
import { VireoError } from '../../src/errors.js';
import type { SfuEngine, SfuEngineKind } from '../../src/sfu/types.js';
import { type RtpPacket, sequenceDistance } from '../support/peer/rtp.js';
import {
  Call,
  createEngine,
  ENGINES,
  type Publication,
  type Subscription,
  type WebRtcLeg,
} from './sfuSupport.js';

export interface UnderTest {
  readonly name: SfuEngineKind;
  readonly engine: SfuEngine;
  readonly call: Call;
  /** Publisher and subscriber of one VP8 stream that has started: the subscriber has its first key frame. */
  startedVideo(): Promise<{ publisher: WebRtcLeg; subscriber: WebRtcLeg } & Publication & Subscription>;
}

export function describeEngines(body: (under: UnderTest) => void): void {
  describe.each(ENGINES)('$name', ({ name, skip }) => {
    describe.skipIf(skip)('SfuEngine', () => {
      let engine: SfuEngine;
      let call: Call;

      beforeAll(async () => {
        engine = await createEngine(name);
      });

      afterAll(async () => {
        await engine?.close();
      });

      beforeEach(async () => {
        call = await Call.create(engine);
      });

      afterEach(async () => {
        await call?.close();
        expect(engine.counts()).toEqual({ routers: 0, transports: 0, producers: 0, consumers: 0 });
      });

      body({
        name,
        get engine() {
          return engine;
        },
        get call() {
          return call;
        },
        startedVideo: () => startVideo(call),
      });
    });
  });
}

async function startVideo(call: Call) {
  const publisher = await call.join();
  const subscriber = await call.join();
  const publication = await call.publish(publisher, 'VP8');
  const subscription = await call.subscribe(subscriber, publication.producer, { resume: true });
  publication.stream.sendVp8({ key: true });
  await subscriber.peer.until(
    'the first key frame',
    () => subscriber.peer.received(subscription.ssrc).length > 0,
  );
  return { publisher, subscriber, ...publication, ...subscription };
}

export async function failure(promise: Promise<unknown>): Promise<VireoError> {
  const thrown: unknown = await promise.then(
    () => new Error('did not fail'),
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(VireoError);
  return thrown as VireoError;
}

export function expectContinuous(packets: RtpPacket[]): void {
  for (let i = 1; i < packets.length; i += 1) {
    const [before, now] = [packets[i - 1], packets[i]];
    if (before && now) expect(sequenceDistance(now.sequenceNumber, before.sequenceNumber)).toBe(1);
  }
}

export function expectSamePayloads(received: RtpPacket[], sent: RtpPacket[]): void {
  expect(received.map(({ payload }) => payload.toString('hex'))).toEqual(
    sent.map(({ payload }) => payload.toString('hex')),
  );
}
