/** The test peer is a measuring instrument: here it is checked against werift's own classes. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import {
  CipherContext,
  classes,
  DtlsServer,
  fingerprint,
  HashAlgorithm,
  Message,
  methods,
  NamedCurveAlgorithm,
  ProtectionProfileAes128CmHmacSha1_80,
  parseMessage,
  RtcpPacketConverter,
  SignatureAlgorithm,
} from 'werift';
import { encodeRtcp, parseRtcp, type RtcpMessage } from '../support/peer/rtcp.js';
import { encodeRtp, parseRtp, sequenceDistance } from '../support/peer/rtp.js';
import { bindingRequest, isStun } from '../support/peer/stun.js';
import { TestPeer } from '../support/peer/TestPeer.js';

const MESSAGES: RtcpMessage[] = [
  {
    type: 'sr',
    ssrc: 0xfffffffe,
    ntpTimestamp: 0xfedc_ba98_7654_3210n,
    rtpTimestamp: 0x87654321,
    packetCount: 7,
    octetCount: 9000,
    reports: [
      {
        ssrc: 3,
        fractionLost: 200,
        cumulativeLost: 70_000,
        extendedHighestSequence: 0x1ffff,
        jitter: 5,
        lastSenderReport: 0xaabbccdd,
        delaySinceLastSenderReport: 99,
      },
    ],
  },
  { type: 'rr', ssrc: 4, reports: [] },
  { type: 'sdes', chunks: [{ ssrc: 0x90000000, cname: 'somebody' }] },
  { type: 'bye', ssrcs: [1, 2] },
  { type: 'nack', senderSsrc: 1, mediaSsrc: 2, sequenceNumbers: [65_534, 65_535, 0, 14, 15, 4000] },
  { type: 'pli', senderSsrc: 5, mediaSsrc: 6 },
  { type: 'fir', senderSsrc: 5, mediaSsrc: 6, entries: [{ ssrc: 6, sequenceNumber: 200 }] },
  { type: 'remb', senderSsrc: 5, bitrateBps: 2_500_000 & ~15, ssrcs: [6, 7] },
  {
    type: 'twcc',
    senderSsrc: 5,
    mediaSsrc: 6,
    referenceTime: 0xabcdef,
    feedbackCount: 250,
    packets: [65_533, 65_534, 65_535, 0, 1, 2, 3, 4].map((sequenceNumber, i) => ({
      sequenceNumber,
      deltaMicros: i === 2 ? null : i === 5 ? -5000 : i * 20_000,
    })),
  },
];

describe('TestPeer', () => {
  test.each(MESSAGES)('RTCP $type survives writing and reading', (message) => {
    expect(parseRtcp(encodeRtcp([message, { type: 'pli', senderSsrc: 1, mediaSsrc: 2 }]))).toEqual([
      message,
      { type: 'pli', senderSsrc: 1, mediaSsrc: 2 },
    ]);
  });

  test('werift reads the same RTCP', () => {
    const [sr, nack, remb] = RtcpPacketConverter.deSerialize(
      encodeRtcp(MESSAGES.filter(({ type }) => type === 'sr' || type === 'nack' || type === 'remb')),
    );
    expect(sr).toMatchObject({ ssrc: 0xfffffffe, senderInfo: { packetCount: 7, octetCount: 9000 } });
    expect(nack).toMatchObject({ feedback: { mediaSourceSsrc: 2 } });
    expect(remb).toMatchObject({ feedback: { bitrate: BigInt(2_500_000 & ~15), ssrcFeedbacks: [6, 7] } });
  });

  test('RTP with header extensions survives writing and reading', () => {
    const packet = {
      payloadType: 96,
      marker: true,
      sequenceNumber: 65_535,
      timestamp: 0xffffffff,
      ssrc: 0x80000001,
      extensions: new Map([
        [1, Buffer.from('mid')],
        [5, Buffer.from([1, 2])],
      ]),
      payload: Buffer.from('payload'),
    };
    expect(parseRtp(encodeRtp(packet))).toEqual(packet);
    expect(sequenceDistance(2, 65_534)).toBe(4);
    expect(sequenceDistance(65_534, 2)).toBe(-4);
  });

  test('werift accepts its binding requests', () => {
    const request = bindingRequest({ username: 'remote:local', password: 'secret', tieBreaker: 1n });
    expect(isStun(request)).toBe(true);
    expect(parseMessage(request, Buffer.from('secret'))?.getAttributeValue('USERNAME')).toBe('remote:local');
  });

  test('connects to werift’s STUN and DTLS server', async () => {
    const { certPem, keyPem, signatureHash } = await CipherContext.createSelfSignedCertificateWithKey(
      { signature: SignatureAlgorithm.ecdsa_3, hash: HashAlgorithm.sha256_4 },
      NamedCurveAlgorithm.secp256r1_23,
    );
    const der = Buffer.from(certPem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
    const socket = createSocket('udp4');
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    let remotePort = 0;
    const transport: ConstructorParameters<typeof DtlsServer>[0]['transport'] = {
      type: 'udp',
      address: socket.address() as { address: string; family: 'IPv4'; port: number },
      closed: false,
      onData: () => {},
      send: async (data) => socket.send(data, remotePort, '127.0.0.1'),
      close: async () => {},
    };
    new DtlsServer({
      cert: certPem,
      key: keyPem,
      signatureHash,
      transport,
      srtpProfiles: [ProtectionProfileAes128CmHmacSha1_80],
      extendedMasterSecret: true,
      certificateRequest: true,
    });
    socket.on('message', (data, from) => {
      remotePort = from.port;
      if (!isStun(data)) {
        transport.onData(data, ['', 0]);
        return;
      }
      const response = new Message(methods.BINDING, classes.RESPONSE, data.subarray(8, 20));
      response.setAttribute('XOR-MAPPED-ADDRESS', [from.address, from.port]);
      response.addMessageIntegrity(Buffer.from('password'));
      response.addFingerprint();
      socket.send(response.bytes, from.port, from.address);
    });
    const peer = await TestPeer.create();
    try {
      const { port } = socket.address();
      await peer.connect({
        iceParameters: { usernameFragment: 'remote', password: 'password' },
        iceCandidates: [
          {
            foundation: '1',
            priority: 1,
            ip: '127.0.0.1',
            address: '127.0.0.1',
            protocol: 'udp',
            port,
            type: 'host',
          },
        ],
        dtlsParameters: { fingerprints: [{ algorithm: 'sha-256', value: fingerprint(der, 'sha256') }] },
      });
      expect(peer.connected).toBe(true);
    } finally {
      await peer.close();
      socket.close();
    }
  });
});
