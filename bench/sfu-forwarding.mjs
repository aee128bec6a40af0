#!/usr/bin/env node
/**
 * How many RTP packets an engine forwards on one core. Run after `npm run build`; prints JSON.
 *
 *   node bench/sfu-forwarding.mjs [--seconds 2] [--bytes 1100] [--consumers 1,4,16] [--rate 6000]
 *
 * `srtp`: the werift engine's whole packet path inside one process, SRTP in, SRTP out, without sockets.
 * `udp`: each engine in a process of its own, plain RTP over loopback sockets; packets per second of CPU
 * time it used (mediasoup: its worker's), and how many of them arrived.
 */
import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createLogger } from '../dist/log.js';
import { createSfuEngine, findMediasoupWorker } from '../dist/sfu/createEngine.js';
import { RtpEndpoint } from '../dist/sfu/werift/RtpEndpoint.js';
import {
  SRTP_AEAD_AES_128_GCM,
  SRTP_AES128_CM_SHA1_80,
  SRTP_TAILROOM,
  SrtpContext,
} from '../dist/sfu/werift/Srtp.js';
import { WeriftRouter } from '../dist/sfu/werift/WeriftRouter.js';

const SSRC = 0x1234_5678;
const VP8 = {
  codecs: [
    {
      mimeType: 'video/VP8',
      payloadType: 120,
      clockRate: 90_000,
      parameters: {},
      rtcpFeedback: [
        { type: 'nack', parameter: '' },
        { type: 'nack', parameter: 'pli' },
        { type: 'transport-cc', parameter: '' },
      ],
    },
  ],
  headerExtensions: [],
  encodings: [{ ssrc: SSRC }],
  rtcp: { cname: 'bench' },
};

function vp8Packet(sequenceNumber, bytes) {
  const packet = Buffer.alloc(bytes);
  packet[0] = 0x80;
  packet[1] = 0x80 | 120;
  packet.writeUInt16BE(sequenceNumber & 0xffff, 2);
  packet.writeUInt32BE(sequenceNumber * 300, 4);
  packet.writeUInt32BE(SSRC, 8);
  // Payload descriptor with S set; every packet starts a frame, every hundredth a key frame.
  packet[12] = 0x10;
  packet[13] = sequenceNumber % 100 === 0 ? 0x00 : 0x01;
  return packet;
}

function srtp(profile, consumers, options) {
  const keys = {
    profile,
    masterKey: randomBytes(16),
    masterSalt: randomBytes(profile === SRTP_AEAD_AES_128_GCM ? 12 : 14),
  };
  const sender = new SrtpContext(keys);
  const receiver = new SrtpContext(keys);
  const outgoing = new SrtpContext(keys);
  const router = new WeriftRouter({ onRouterClosed() {} });
  let forwarded = 0;
  const path = {
    ready: true,
    sendRtp(buffer, length, payloadOffset) {
      if (outgoing.protectRtp(buffer, length, payloadOffset) > 0) forwarded++;
    },
    sendRtcp() {},
  };
  const publisher = new RtpEndpoint({ router, cname: 'in', path });
  const producer = publisher.produce({ kind: 'video', rtpParameters: VP8 });
  const subscribers = Array.from(
    { length: consumers },
    () => new RtpEndpoint({ router, cname: 'out', path }),
  );
  for (const subscriber of subscribers) {
    subscriber.consume({ producerId: producer.id, rtpCapabilities: router.rtpCapabilities, paused: false });
  }
  let sequenceNumber = 0;
  let busyMs = 0;
  let received = 0;
  while (busyMs < options.seconds * 1000) {
    const batch = [];
    for (let index = 0; index < 500; index++) {
      const plain = Buffer.concat([vp8Packet(sequenceNumber++, options.bytes), Buffer.alloc(SRTP_TAILROOM)]);
      batch.push(plain.subarray(0, sender.protectRtp(plain, options.bytes, 12)));
    }
    // CPU time, so that whatever else runs here does not count.
    const start = process.cpuUsage();
    for (const datagram of batch) {
      const packet = receiver.unprotectRtp(datagram, 12);
      if (packet) publisher.receiveRtp(packet, performance.now());
      received++;
    }
    const { user, system } = process.cpuUsage(start);
    busyMs += (user + system) / 1000;
  }
  router.close();
  publisher.close();
  for (const subscriber of subscribers) subscriber.close();
  return {
    profile: profile === SRTP_AEAD_AES_128_GCM ? 'AEAD_AES_128_GCM' : 'AES_CM_128_HMAC_SHA1_80',
    consumers,
    receivedPerSecond: Math.round((received / busyMs) * 1000),
    forwardedPerSecond: Math.round((forwarded / busyMs) * 1000),
  };
}

/** In the child: an engine with one publisher and N plain receivers; told where they listen. */
async function serveChild() {
  const [setup] = await once(process, 'message');
  const engine = await createSfuEngine({
    engine: setup.engine,
    rtcPort: 0,
    listenIps: ['127.0.0.1'],
    initialDownlinkBps: 1_000_000,
    plainListenIp: '127.0.0.1',
    logger: createLogger('silent', 'bench'),
  });
  const router = await engine.createRouter();
  const publisher = await router.createPlainTransport();
  await publisher.connect({ ip: '127.0.0.1', port: setup.senderPort });
  const producer = await publisher.produce({ kind: 'video', rtpParameters: VP8 });
  for (const port of setup.receiverPorts) {
    const transport = await router.createPlainTransport();
    await transport.connect({ ip: '127.0.0.1', port });
    await transport.consume({
      producerId: producer.id,
      rtpCapabilities: router.rtpCapabilities,
      paused: false,
    });
  }
  const cpuMs = async () => {
    if (setup.engine === 'werift') {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1000;
    }
    const { ru_utime, ru_stime } = await workerUsage();
    return ru_utime + ru_stime;
  };
  process.send({ port: publisher.localAddress.port });
  process.on('message', async (message) => {
    if (message === 'cpu') process.send({ cpuMs: await cpuMs() });
    if (message === 'end') {
      await engine.close();
      process.disconnect();
    }
  });
}

/** CPU time of mediasoup's worker: the child's only child. */
async function workerUsage() {
  const { readFile, readdir } = await import('node:fs/promises');
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // Fields 4 (parent), 14 and 15 (user and system time in ticks of 10 ms), counted from field 3.
    if (Number(fields[1]) === process.pid)
      return { ru_utime: Number(fields[11]) * 10, ru_stime: Number(fields[12]) * 10 };
  }
  return { ru_utime: 0, ru_stime: 0 };
}

async function socket() {
  const made = createSocket({ type: 'udp4', lookup: (host, _options, done) => done(null, host, 4) });
  // With a lookup that answers at once, 'listening' comes before bind() returns.
  await new Promise((resolve) => made.bind(0, '127.0.0.1', resolve));
  made.setRecvBufferSize(4 * 1024 * 1024);
  return made;
}

async function udp(engine, consumers, options) {
  const sender = await socket();
  const receivers = await Promise.all(Array.from({ length: consumers }, socket));
  let arrived = 0;
  for (const receiver of receivers)
    receiver.on('message', (datagram) => (arrived += (datagram[1] & 0x7f) === 96 ? 1 : 0));
  const child = fork(fileURLToPath(import.meta.url), ['--child']);
  const message = async () => (await once(child, 'message'))[0];
  child.send({
    engine,
    senderPort: sender.address().port,
    receiverPorts: receivers.map((made) => made.address().port),
  });
  const { port } = await message();
  const ask = async () => {
    child.send('cpu');
    return (await message()).cpuMs;
  };
  let sequenceNumber = 0;
  const run = async (ms) => {
    const start = performance.now();
    let sent = 0;
    while (performance.now() - start < ms) {
      const due = Math.floor(((performance.now() - start) * options.rate) / 1000);
      for (; sent < due; sent++) sender.send(vp8Packet(sequenceNumber++, options.bytes), port, '127.0.0.1');
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
    return sent;
  };
  await run(700);
  const before = await ask();
  arrived = 0;
  const sent = await run(options.seconds * 1000);
  const cpuMs = (await ask()) - before;
  child.send('end');
  await once(child, 'exit');
  sender.close();
  for (const receiver of receivers) receiver.close();
  return {
    engine,
    consumers,
    sent,
    arrived,
    cpuMs: Math.round(cpuMs),
    forwardedPerCpuSecond: Math.round((arrived / cpuMs) * 1000),
  };
}

if (process.argv.includes('--child')) {
  await serveChild();
} else {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '2' },
      bytes: { type: 'string', default: '1100' },
      consumers: { type: 'string', default: '1,4,16' },
      rate: { type: 'string', default: '3000' },
    },
  });
  const options = { seconds: Number(values.seconds), bytes: Number(values.bytes), rate: Number(values.rate) };
  const counts = values.consumers.split(',').map(Number);
  const report = { ...options, srtp: [], udp: [] };
  for (const profile of [SRTP_AEAD_AES_128_GCM, SRTP_AES128_CM_SHA1_80]) {
    for (const consumers of counts) report.srtp.push(srtp(profile, consumers, options));
  }
  for (const engine of ['werift', ...(findMediasoupWorker() ? ['mediasoup'] : [])]) {
    for (const consumers of counts.filter((count) => count <= 4))
      report.udp.push(await udp(engine, consumers, options));
  }
  console.log(JSON.stringify(report, null, 2));
}
