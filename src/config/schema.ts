/**
 * Every configuration key of Vireo: type, default, bounds and documentation, in this one place.
 * `vireo.example.yaml` and the reference in `docs/operate.md` are made from it.
 */
import { z } from 'zod';

const port = z.number().int().min(0).max(65_535);
const bitrateBps = z.number().int().min(10_000).max(100_000_000);
const milliseconds = z.number().int().min(0).max(3_600_000);

const http = z.strictObject({
  host: z.string().default('0.0.0.0').describe('Address the web server listens on.'),
  port: port.default(3000).describe('TCP port of the web server and the signalling. 0: any free port.'),
  publicUrl: z
    .url()
    .optional()
    .describe('URL people reach the relay at, when it is not http://localhost:PORT.'),
  trustProxy: z.boolean().default(false).describe('Believe X-Forwarded-* headers (behind a reverse proxy).'),
  corsOrigins: z.array(z.string()).default([]).describe('Other origins whose pages may use the signalling.'),
});

const log = z.strictObject({
  level: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'silent'])
    .default('info')
    .describe('Least severe lines to log.'),
});

const rtc = z.strictObject({
  engine: z
    .enum(['auto', 'werift', 'mediasoup'])
    .default('auto')
    .describe('SFU engine. auto: mediasoup when its worker is there, else werift.'),
  port: port.default(40_000).describe('UDP port of all WebRTC media. 0: any free port.'),
  listenIps: z
    .array(z.union([z.ipv4(), z.ipv6()]))
    .min(1)
    .max(8)
    .default(['0.0.0.0'])
    .describe('Addresses WebRTC media is received on.'),
  announcedAddress: z
    .string()
    .optional()
    .describe('Address given to browsers instead (public address of a NAT, or a host name).'),
  initialDownlinkBps: bitrateBps
    .default(1_500_000)
    .describe("A receiver's downlink until its own feedback tells, bits per second."),
  plainListenIp: z
    .union([z.ipv4(), z.ipv6()])
    .default('127.0.0.1')
    .describe('Address of the plain RTP ports between engine and restorer.'),
  mediasoupWorkerBin: z.string().optional().describe('Path of a mediasoup worker to use.'),
});

const iceServer = z.strictObject({
  urls: z
    .array(z.string().regex(/^(stun|stuns|turn|turns):/, 'must begin with stun:, stuns:, turn: or turns:'))
    .min(1)
    .max(8),
  username: z.string().optional(),
  credential: z.string().optional(),
});

const ice = z.strictObject({
  servers: z.array(iceServer).max(16).default([]).describe('STUN and TURN servers for the browsers.'),
  turnSecret: z
    .string()
    .min(8)
    .optional()
    .describe(
      'Shared secret of a TURN server (coturn use-auth-secret): short-lived credentials are made for turn: servers that have none.',
    ),
  turnTtlSeconds: z
    .number()
    .int()
    .min(60)
    .max(604_800)
    .default(86_400)
    .describe('Lifetime of those credentials.'),
});

const auth = z.strictObject({
  secret: z
    .string()
    .min(16)
    .optional()
    .describe('When set, joining needs a token signed with it (`vireo token`).'),
  adminToken: z
    .string()
    .min(16)
    .optional()
    .describe('Bearer token for /api/v1. Without it the admin API answers 403.'),
});

const limits = z.strictObject({
  rooms: z.number().int().min(1).max(100_000).default(1_000).describe('Most rooms at a time.'),
  participantsPerRoom: z
    .number()
    .int()
    .min(1)
    .max(1_000)
    .default(50)
    .describe('Most participants in a room.'),
  publicationsPerParticipant: z
    .number()
    .int()
    .min(1)
    .max(32)
    .default(4)
    .describe('Most tracks one participant publishes.'),
  messageBytes: z
    .number()
    .int()
    .min(1_024)
    .max(10_000_000)
    .default(65_536)
    .describe('Largest signalling message.'),
  requestsPerSecond: z
    .number()
    .int()
    .min(1)
    .max(10_000)
    .default(50)
    .describe('Signalling requests a client may make a second, averaged over ten seconds.'),
  connectionsPerAddress: z
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(100)
    .describe('Signalling connections at a time from one address.'),
  sessionGraceMs: milliseconds
    .default(20_000)
    .describe('How long a participant whose connection broke is kept.'),
  drainMs: milliseconds.default(2_000).describe('On SIGTERM: time between telling clients and closing.'),
});

const restoration = z.strictObject({
  enabled: z.boolean().default(true).describe('False: a plain relay.'),
  model: z
    .string()
    .default('auto')
    .describe('Model package at the top of the load ladder. auto: clear where a GPU runs it, else swift.'),
  modelDirs: z
    .array(z.string())
    .default([])
    .describe("Folders with model packages, searched before Vireo's own."),
  provider: z
    .enum(['auto', 'cpu', 'webgpu', 'cuda', 'tensorrt'])
    .default('auto')
    .describe('Where models run. auto: CUDA, WebGPU, CPU, the first that works.'),
  threads: z
    .number()
    .int()
    .min(0)
    .max(256)
    .default(0)
    .describe('CPU threads of a model. 0: one for each core.'),
  maxTracks: z.number().int().min(0).max(1_000).default(8).describe('Most tracks restored at a time.'),
  blockBudgetMs: milliseconds
    .default(0)
    .describe('Longest a frame may wait for later ones to share a block.'),
  targetHeight: z
    .union([z.literal(720)])
    .default(720)
    .describe('Short side of the restored picture.'),
  sameSize: z
    .boolean()
    .default(false)
    .describe(
      'Restore pictures of 720 lines, too: deblurred, at the cost of a track that is enlarged. The model needs a variant for task deblur.',
    ),
  outputCodec: z
    .enum(['auto', 'h264', 'vp8', 'av1'])
    .default('auto')
    .describe(
      'Codec of the restored track. auto: H.264 if every receiver has it, else VP8. av1 needs the werift engine.',
    ),
  maxBitrateBps: bitrateBps.default(2_500_000).describe('Ceiling of the restored track, bits per second.'),
  memoryLimitMb: z
    .number()
    .int()
    .min(128)
    .max(1_048_576)
    .default(3_072)
    .describe('A restorer process above this is restarted.'),
  pingIntervalMs: z
    .number()
    .int()
    .min(20)
    .max(60_000)
    .default(100)
    .describe('How often the restorer is asked for a sign of life.'),
  pingTimeoutMs: z
    .number()
    .int()
    .min(50)
    .max(600_000)
    .default(2_000)
    .describe('Without one for this long it is killed and restarted.'),
});

const references = z.strictObject({
  enabled: z
    .boolean()
    .default(true)
    .describe('Take sharp stills of their cameras from senders, for the restoration to use.'),
  uplinkShare: z
    .number()
    .min(0)
    .max(0.5)
    .default(0.2)
    .describe("Share of a sender's uplink budget that stills may take on average. 0: none are sent."),
  maxBytes: z.number().int().min(4_096).max(1_000_000).default(60_000).describe('Largest still, bytes.'),
  maxSide: z.number().int().min(320).max(3_840).default(1_920).describe('Longest side of a still, pixels.'),
  minIntervalMs: z
    .number()
    .int()
    .min(1_000)
    .max(3_600_000)
    .default(10_000)
    .describe('Least time between two stills of a publication.'),
});

export const configSchema = z.strictObject({
  http: http.prefault({}),
  log: log.prefault({}),
  rtc: rtc.prefault({}),
  ice: ice.prefault({}),
  auth: auth.prefault({}),
  limits: limits.prefault({}),
  restoration: restoration.prefault({}),
  references: references.prefault({}),
});

export type Config = z.infer<typeof configSchema>;
