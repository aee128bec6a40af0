/** Validation of the ORTC-like structures that a client may send (mediasoup-client's types). */
import { z } from 'zod';

const u32 = z.number().int().min(0).max(0xffff_ffff);
const payloadType = z.number().int().min(0).max(127);
const shortText = z.string().max(256);

/** Codec parameters are strings and numbers only: anything deeper has no meaning in SDP. */
const fmtp = z.record(z.string().max(64), z.union([shortText, z.number(), z.null()])).optional();

const rtcpFeedback = z.object({ type: z.string().max(32), parameter: z.string().max(32).optional() });

const rtpCodec = z.object({
  mimeType: z
    .string()
    .max(64)
    .regex(/^(audio|video)\/[\w.-]+$/i),
  clockRate: z.number().int().positive().max(1_000_000),
  channels: z.number().int().min(1).max(8).optional(),
  parameters: fmtp,
  rtcpFeedback: z.array(rtcpFeedback).max(16).optional(),
});

const kind = z.enum(['audio', 'video']);

export const rtpCapabilitiesSchema = z.object({
  codecs: z
    .array(rtpCodec.extend({ kind, preferredPayloadType: payloadType.optional() }))
    .max(128)
    .optional(),
  headerExtensions: z
    .array(
      z.object({
        kind,
        uri: shortText,
        preferredId: z.number().int().min(1).max(255),
        preferredEncrypt: z.boolean().optional(),
        direction: z.enum(['sendrecv', 'sendonly', 'recvonly', 'inactive']).optional(),
      }),
    )
    .max(64)
    .optional(),
});

export const rtpParametersSchema = z.object({
  mid: z.string().max(32).optional(),
  codecs: z.array(rtpCodec.extend({ payloadType })).min(1).max(16),
  headerExtensions: z
    .array(
      z.object({
        uri: shortText,
        id: z.number().int().min(1).max(255),
        encrypt: z.boolean().optional(),
        parameters: fmtp,
      }),
    )
    .max(32)
    .optional(),
  /** One encoding: simulcast layers mean nothing to a relay that restores the only one there is. */
  encodings: z
    .array(
      z.object({
        ssrc: u32.optional(),
        rid: z.string().max(16).optional(),
        codecPayloadType: payloadType.optional(),
        rtx: z.object({ ssrc: u32 }).optional(),
        dtx: z.boolean().optional(),
        scalabilityMode: z.string().max(16).optional(),
        scaleResolutionDownBy: z.number().optional(),
        maxBitrate: z.number().optional(),
        maxFramerate: z.number().optional(),
        active: z.boolean().optional(),
        adaptivePtime: z.boolean().optional(),
        priority: z.string().max(16).optional(),
        networkPriority: z.string().max(16).optional(),
      }),
    )
    .min(1)
    .max(1),
  rtcp: z
    .object({ cname: shortText.optional(), reducedSize: z.boolean().optional(), mux: z.boolean().optional() })
    .optional(),
  msid: shortText.optional(),
});

export const dtlsParametersSchema = z.object({
  role: z.enum(['auto', 'client', 'server']).optional(),
  fingerprints: z
    .array(
      z.object({
        algorithm: z.enum(['sha-1', 'sha-224', 'sha-256', 'sha-384', 'sha-512']),
        value: z
          .string()
          .max(256)
          .regex(/^([0-9A-Fa-f]{2}:)+[0-9A-Fa-f]{2}$/),
      }),
    )
    .min(1)
    .max(8),
});
