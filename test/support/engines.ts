import { findMediasoupWorker } from '../../src/sfu/createEngine.js';

/** The engines that this machine can test; CI requires both. */
export function testableEngines(): ('werift' | 'mediasoup')[] {
  if (findMediasoupWorker()) return ['werift', 'mediasoup'];
  if (process.env.VIREO_REQUIRE_MEDIASOUP)
    throw new Error('no mediasoup worker: run npm run setup:mediasoup');
  console.warn('no mediasoup worker (npm run setup:mediasoup builds one): its tests are left out');
  return ['werift'];
}
