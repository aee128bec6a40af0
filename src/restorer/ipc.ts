/**
 * What the relay and a restorer child say to each other: two discriminated unions, validated at both ends,
 * so that a child of another version (or a corrupted channel) is an error with a name and not a crash.
 * Messages travel over `child_process` IPC with structured-clone serialization; no media ever does.
 */
import { z } from 'zod';
import { VireoError, type VireoErrorCode } from '../errors.js';
import type {
  ReferenceStill,
  RestorerOptions,
  RestoreTrackOptions,
  RtpVideoStream,
  TrackReport,
} from './types.js';

const port = z.number().int().min(1).max(65_535);
const payloadType = z.number().int().min(0).max(127);
const ssrc = z.number().int().min(0).max(0xffff_ffff);
const bitrateBps = z.number().positive();
const milliseconds = z.number().min(0);
const count = z.number().int().min(0);
const trackId = z.string().min(1);
const ip = z.union([z.ipv4(), z.ipv6()]);

const codecSchema = z.enum(['VP8', 'VP9', 'H264', 'AV1']);

const streamSchema: z.ZodType<RtpVideoStream> = z.strictObject({
  codec: codecSchema,
  payloadType,
  ssrc,
  rtx: z.strictObject({ payloadType, ssrc }).exactOptional(),
  cname: z.string(),
});

export const restoreTrackOptionsSchema: z.ZodType<RestoreTrackOptions> = z.strictObject({
  trackId,
  remote: z.strictObject({ ip, port }),
  input: streamSchema,
  output: streamSchema,
  maxBitrateBps: bitrateBps,
  targetHeight: z.number().int().min(16).max(4320),
  priority: z.number(),
});

export const restorerOptionsSchema: z.ZodType<RestorerOptions> = z.strictObject({
  modelDirs: z.array(z.string()),
  model: z.string().min(1),
  provider: z.enum(['auto', 'cpu', 'webgpu', 'cuda', 'tensorrt']),
  threads: z.number().int().min(0),
  maxTracks: z.number().int().min(0),
  blockBudgetMs: milliseconds,
  memoryLimitBytes: z.number().positive(),
  pingIntervalMs: z.number().positive(),
  pingTimeoutMs: z.number().positive(),
  logLevel: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'silent']),
  loadShedding: z.boolean().exactOptional(),
  sameSize: z.boolean().exactOptional(),
});

const reasonSchema = z.enum([
  'starting',
  'overloaded',
  'already-sharp',
  'unsupported-codec',
  'unsupported-size',
  'model-failed',
  'no-input',
  'restorer-down',
]);

const stageTimes = z.strictObject({ p50Ms: milliseconds, p95Ms: milliseconds });

const reportSchema: z.ZodType<TrackReport> = z.strictObject({
  trackId,
  level: z.enum(['full', 'lighter', 'original']),
  reason: reasonSchema.nullable(),
  stages: z
    .strictObject({
      receive: stageTimes,
      decode: stageTimes,
      wait: stageTimes,
      restore: stageTimes,
      encode: stageTimes,
      total: stageTimes,
    })
    .nullable(),
  model: z.string().nullable(),
  provider: z.string().nullable(),
  inputCodec: codecSchema,
  outputCodec: codecSchema,
  inputWidth: count,
  inputHeight: count,
  outputWidth: count,
  outputHeight: count,
  inputFps: z.number().min(0),
  outputFps: z.number().min(0),
  inputBitrateBps: z.number().min(0),
  outputBitrateBps: z.number().min(0),
  packetsLost: count,
  nacksSent: count,
  plisSent: count,
  framesDropped: count,
  jitterMs: z.number().min(0),
  takesStills: z.boolean(),
  reference: z
    .strictObject({
      id: z.string(),
      ageMs: milliseconds,
      found: z.number().min(0).max(1).nullable(),
    })
    .nullable(),
});

/** Whoever sends stills limits them by configuration; this only keeps the channel sane. */
const MAX_STILL_BYTES = 16 << 20;

const stillSchema: z.ZodType<ReferenceStill> = z.strictObject({
  id: z.string().min(1),
  mimeType: z.enum(['image/webp', 'image/avif']),
  bytes: z.instanceof(Uint8Array).refine(({ length }) => length > 0 && length <= MAX_STILL_BYTES),
});

/** Relay to child. `start` comes first and once; SIGTERM ends the child. */
export const toChildSchema = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('start'), options: restorerOptionsSchema }),
  z.strictObject({ type: z.literal('ping'), id: count }),
  z.strictObject({ type: z.literal('startTrack'), requestId: count, options: restoreTrackOptionsSchema }),
  z.strictObject({ type: z.literal('stopTrack'), trackId }),
  z.strictObject({ type: z.literal('setPriority'), trackId, priority: z.number() }),
  z.strictObject({ type: z.literal('setMaxBitrate'), trackId, bitrateBps }),
  z.strictObject({ type: z.literal('requestKeyFrame'), trackId }),
  z.strictObject({ type: z.literal('setReference'), trackId, still: stillSchema.nullable() }),
  /** Report every track now: the relay thought the child was gone. */
  z.strictObject({ type: z.literal('reportNow') }),
]);

export type ToChild = z.infer<typeof toChildSchema>;

const errorCode = z.custom<VireoErrorCode>((value) => typeof value === 'string');

/** Child to relay. */
export const fromChildSchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('ready'),
    provider: z.string(),
    providerNotes: z.array(z.string()),
    models: z.array(z.strictObject({ name: z.string(), version: z.string() })),
    outputCodecs: z.array(codecSchema),
  }),
  /** The child cannot start and exits. `permanent`: trying again without a change is of no use. */
  z.strictObject({
    type: z.literal('failed'),
    code: errorCode,
    message: z.string(),
    permanent: z.boolean(),
  }),
  z.strictObject({ type: z.literal('pong'), id: count, residentMemoryBytes: count }),
  z.strictObject({ type: z.literal('trackListening'), requestId: count, ip, port }),
  z.strictObject({
    type: z.literal('trackRefused'),
    requestId: count,
    code: errorCode,
    message: z.string(),
  }),
  z.strictObject({ type: z.literal('report'), report: reportSchema }),
  z.strictObject({ type: z.literal('trackStarted'), trackId }),
  z.strictObject({
    type: z.literal('referenceRefused'),
    trackId,
    referenceId: z.string(),
    reason: z.string(),
  }),
  z.strictObject({ type: z.literal('trackLost'), trackId, reason: reasonSchema }),
]);

export type FromChild = z.infer<typeof fromChildSchema>;

/** Errors that come back the same however often one tries. */
const PERMANENT: ReadonlySet<VireoErrorCode> = new Set<VireoErrorCode>([
  'bad-request',
  'not-found',
  'unsupported',
  'config-invalid',
  'model-invalid',
]);

export function isPermanent(code: VireoErrorCode): boolean {
  return PERMANENT.has(code);
}

function parse<T>(schema: z.ZodType<T>, message: unknown, sender: string): T {
  const result = schema.safeParse(message);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const where = issue?.path.join('.') || 'type';
  throw new VireoError('internal', `message from the ${sender} is not valid at ${where}: ${issue?.message}`);
}

/** Throws `internal`, naming the first field that is wrong. */
export function parseToChild(message: unknown): ToChild {
  return parse(toChildSchema, message, 'relay');
}

/** Throws `internal`, naming the first field that is wrong. */
export function parseFromChild(message: unknown): FromChild {
  return parse(fromChildSchema, message, 'restorer');
}
