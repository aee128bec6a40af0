#!/usr/bin/env node
/**
 * How many RTP packets an engine forwards on one core. Run after `npm run build`; prints JSON, and tables
 * on stderr.
 *
 *   node bench/sfu-forwarding.mjs [--parts srtp,udp,bare] [--seconds 2] [--bytes 1100]
 *                                 [--consumers 1,4,16] [--rate 3000] [--rounds 3]
 *
 * `srtp`: the werift engine's whole packet path inside one process, SRTP in, SRTP out, without sockets.
 * `udp`: each engine in a process of its own, plain RTP over loopback sockets; packets that arrived per
 * second of CPU time it used (mediasoup: its worker's). At most 4 consumers.
 * `bare`: the mediasoup engine against mediasoup's own API with mediasoup's defaults, the same traffic and
 * the same worker binary, in turns; the ratio is the engine's packets per CPU second over
 * bare mediasoup's.
 */
import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
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

/**
 * Every packet is a frame, every hundredth a key frame. mediasoup sees key frames, and starts consumers at
 * them, only behind an extended payload descriptor (RFC 7741, section 4.2).
 */
function vp8Packet(sequenceNumber, bytes) {
  const packet = Buffer.alloc(bytes);
  const key = sequenceNumber % 100 === 0;
  packet[0] = 0x80;
  packet[1] = 0x80 | 120;
  packet.writeUInt16BE(sequenceNumber & 0xffff, 2);
  packet.writeUInt32BE((sequenceNumber * 300) >>> 0, 4);
  packet.writeUInt32BE(SSRC, 8);
  // X and S; I, L and T; a 15-bit picture id; TL0PICIDX; temporal layer 0.
  packet[12] = 0x90;
  packet[13] = 0xe0;
  packet.writeUInt16BE(0x8000 | (sequenceNumber & 0x7fff), 14);
  packet[16] = sequenceNumber & 0xff;
  packet[17] = 0x00;
  // RFC 6386, section 9.1: frame tag with show_frame set; key frames have a start code and 640x360.
  packet[18] = key ? 0x10 : 0x11;
  if (key) packet.set([0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01], 21);
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

/** An engine's router with one publisher and a plain receiver per port. */
async function serveEngine(setup) {
  const engine = await createSfuEngine({
    engine: setup.server,
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
  return { port: publisher.localAddress.port, close: () => engine.close() };
}

/** The same with nothing of Vireo around mediasoup. */
async function serveBare(setup) {
  process.env.MEDIASOUP_WORKER_BIN = findMediasoupWorker().path;
  const { createWorker } = await import('mediasoup');
  const worker = await createWorker();
  const router = await worker.createRouter({
    mediaCodecs: [{ kind: 'video', mimeType: 'video/VP8', clockRate: 90_000, preferredPayloadType: 96 }],
  });
  const plainTransport = async (port) => {
    const listenInfo = { protocol: 'udp', ip: '127.0.0.1' };
    const transport = await router.createPlainTransport({ listenInfo, rtcpMux: true, comedia: false });
    await transport.connect({ ip: '127.0.0.1', port });
    return transport;
  };
  const publisher = await plainTransport(setup.senderPort);
  const producer = await publisher.produce({ kind: 'video', rtpParameters: VP8 });
  for (const port of setup.receiverPorts) {
    const transport = await plainTransport(port);
    await transport.consume({ producerId: producer.id, rtpCapabilities: router.rtpCapabilities });
  }
  return { port: publisher.tuple.localPort, close: () => worker.close() };
}

/** In the child: told what to run and where sender and receivers are. */
async function serveChild() {
  const [setup] = await once(process, 'message');
  const serving = await (setup.server === 'bare' ? serveBare(setup) : serveEngine(setup));
  const pid = setup.server === 'werift' ? process.pid : workerPid();
  process.on('message', async (message) => {
    if (message === 'cpu') process.send({ cpuMs: cpuMs(pid) });
    if (message === 'end') {
      await serving.close();
      process.disconnect();
    }
  });
  process.send({ port: serving.port });
}

/** mediasoup's worker is the child's only child. */
function workerPid() {
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8');
      if (Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === process.pid) return Number(name);
    } catch {
      // A process that has ended meanwhile.
    }
  }
  throw new Error('mediasoup runs, but its worker is not in /proc');
}

/** CPU time of all threads of a process; `schedstat` counts nanoseconds, `stat` only ticks of 10 ms. */
function cpuMs(pid) {
  let nanoseconds = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`))
    nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
  return nanoseconds / 1e6;
}

async function socket() {
  const made = createSocket({ type: 'udp4', lookup: (host, _options, done) => done(null, host, 4) });
  // With a lookup that answers at once, 'listening' comes before bind() returns.
  await new Promise((resolve) => made.bind(0, '127.0.0.1', resolve));
  made.setRecvBufferSize(4 * 1024 * 1024);
  return made;
}

/** `server`: an engine, or `bare` for mediasoup without one. Started in a process of its own and warm. */
async function startServer(server, consumers, options) {
  const sender = await socket();
  const receivers = await Promise.all(Array.from({ length: consumers }, socket));
  let arrived = 0;
  for (const receiver of receivers)
    receiver.on('message', (datagram) => (arrived += (datagram[1] & 0x7f) === 96 ? 1 : 0));
  const child = fork(fileURLToPath(import.meta.url), ['--child']);
  child.once('exit', (code, signal) => {
    if (code !== 0) throw new Error(`the ${server} process ended with ${signal ?? code}`);
  });
  const message = async () => (await once(child, 'message'))[0];
  child.send({
    server,
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
  return {
    async measure(ms) {
      const before = await ask();
      arrived = 0;
      const sent = await run(ms);
      return { sent, arrived, cpuMs: (await ask()) - before };
    },
    async close() {
      child.send('end');
      await once(child, 'exit');
      sender.close();
      for (const receiver of receivers) receiver.close();
    },
  };
}

function summary(consumers, slices) {
  const sum = (field) => slices.reduce((total, slice) => total + slice[field], 0);
  return {
    sent: sum('sent'),
    arrived: sum('arrived'),
    lost: sum('sent') * consumers - sum('arrived'),
    cpuMs: Math.round(sum('cpuMs')),
    forwardedPerCpuSecond: Math.round((sum('arrived') / sum('cpuMs')) * 1000),
  };
}

async function udp(server, consumers, options) {
  const serving = await startServer(server, consumers, options);
  const measured = await serving.measure(options.seconds * 1000);
  await serving.close();
  return { server, consumers, ...summary(consumers, [measured]) };
}

const SLICE_MS = 250;
/** Deliveries per second that receivers in this one process surely keep up with. */
const MAX_DELIVERY_RATE = 12_000;

/**
 * Per round a fresh process of each side, both alive; they get traffic in turns of a quarter of a second,
 * so that whatever else the machine does hits both alike.
 */
async function compareWithBare(consumers, options) {
  const rate = Math.min(options.rate, Math.floor(MAX_DELIVERY_RATE / consumers));
  const all = { mediasoup: [], bare: [] };
  const rounds = [];
  for (let index = 0; index < options.rounds; index++) {
    const mediasoup = await startServer('mediasoup', consumers, { ...options, rate });
    const bare = await startServer('bare', consumers, { ...options, rate });
    const slices = { mediasoup: [], bare: [] };
    for (let slice = 0; slice * SLICE_MS < options.seconds * 1000; slice++) {
      const first = (index + slice) % 2 === 0;
      if (first) slices.mediasoup.push(await mediasoup.measure(SLICE_MS));
      slices.bare.push(await bare.measure(SLICE_MS));
      if (!first) slices.mediasoup.push(await mediasoup.measure(SLICE_MS));
    }
    await mediasoup.close();
    await bare.close();
    all.mediasoup.push(...slices.mediasoup);
    all.bare.push(...slices.bare);
    rounds.push(compared(consumers, slices));
  }
  return { consumers, rate, ...compared(consumers, all), rounds };
}

function compared(consumers, slices) {
  const mediasoup = summary(consumers, slices.mediasoup);
  const bare = summary(consumers, slices.bare);
  return { mediasoup, bare, ratio: ratio(mediasoup.forwardedPerCpuSecond, bare.forwardedPerCpuSecond) };
}

function ratio(ours, theirs) {
  return Math.round((ours / theirs) * 1000) / 1000;
}

/** On stderr, as stdout is for JSON. */
function printTable(title, rows) {
  if (rows.length === 0) return;
  const lines = [Object.keys(rows[0]), ...rows.map((row) => Object.values(row).map(String))];
  const widths = lines[0].map((_, column) => Math.max(...lines.map((line) => line[column].length)));
  console.error(`\n${title}`);
  for (const line of lines)
    console.error(`  ${line.map((cell, column) => cell.padStart(widths[column])).join('  ')}`);
}

if (process.argv.includes('--child')) {
  await serveChild();
} else {
  const { values } = parseArgs({
    options: {
      parts: { type: 'string', default: 'srtp,udp,bare' },
      seconds: { type: 'string', default: '2' },
      bytes: { type: 'string', default: '1100' },
      consumers: { type: 'string', default: '1,4,16' },
      rate: { type: 'string', default: '3000' },
      rounds: { type: 'string', default: '3' },
    },
  });
  const parts = values.parts.split(',');
  const options = {
    seconds: Number(values.seconds),
    bytes: Number(values.bytes),
    rate: Number(values.rate),
    rounds: Number(values.rounds),
  };
  const counts = values.consumers.split(',').map(Number);
  const report = { ...options, srtp: [], udp: [], bare: [] };
  if (parts.includes('srtp')) {
    for (const profile of [SRTP_AEAD_AES_128_GCM, SRTP_AES128_CM_SHA1_80]) {
      for (const consumers of counts) report.srtp.push(srtp(profile, consumers, options));
    }
    printTable('werift, SRTP without sockets, packets per CPU second', report.srtp);
  }
  const worker = findMediasoupWorker();
  if (!worker) console.error('no mediasoup worker found (npm run setup:mediasoup): werift only');
  if (parts.includes('udp')) {
    for (const engine of ['werift', ...(worker ? ['mediasoup'] : [])]) {
      for (const consumers of counts.filter((count) => count <= 4))
        report.udp.push(await udp(engine, consumers, options));
    }
    printTable('Plain RTP over UDP loopback', report.udp);
  }
  if (parts.includes('bare') && worker) {
    for (const consumers of counts) report.bare.push(await compareWithBare(consumers, options));
    const rows = report.bare.map((row) => ({
      consumers: row.consumers,
      engine: row.mediasoup.forwardedPerCpuSecond,
      bare: row.bare.forwardedPerCpuSecond,
      'engine/bare': row.ratio.toFixed(3),
      rounds: row.rounds.map((round) => round.ratio.toFixed(3)).join(' '),
      lost: row.mediasoup.lost + row.bare.lost,
    }));
    printTable('mediasoup engine against bare mediasoup, packets per CPU second of the worker', rows);
  }
  console.log(JSON.stringify(report, null, 2));
}
