/** Join tokens: JSON Web Tokens signed with HMAC-SHA-256 (RFC 7519, RFC 7515, `alg` HS256). */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { VireoError } from '../errors.js';

const claimsSchema = z.object({
  room: z.string(),
  name: z.string(),
  /** Seconds since 1970. */
  exp: z.number(),
  nbf: z.number().optional(),
});

export interface JoinGrant {
  room: string;
  name: string;
}

/** Clocks of two hosts may differ by that much. */
const LEEWAY_S = 30;
const HEADER = encode({ alg: 'HS256', typ: 'JWT' });

export function signJoinToken(
  secret: string,
  grant: JoinGrant,
  ttlSeconds: number,
  nowMs = Date.now(),
): string {
  const issuedAt = Math.floor(nowMs / 1_000);
  const payload = encode({ room: grant.room, name: grant.name, iat: issuedAt, exp: issuedAt + ttlSeconds });
  return `${HEADER}.${payload}.${sign(secret, `${HEADER}.${payload}`)}`;
}

/** @throws VireoError `unauthorized` (missing, malformed, wrong signature, expired), `forbidden` (another room or name) */
export function verifyJoinToken(
  secret: string,
  token: string | undefined,
  wanted: JoinGrant,
  nowMs = Date.now(),
): void {
  if (token === undefined) throw new VireoError('unauthorized', 'data.token: this relay needs a join token');
  const [header, payload, signature, ...rest] = token.split('.');
  if (!header || !payload || !signature || rest.length > 0) {
    throw new VireoError('unauthorized', 'data.token: is not a JSON Web Token');
  }
  const algorithm = z.object({ alg: z.literal('HS256') }).safeParse(decode(header));
  if (!algorithm.success) throw new VireoError('unauthorized', 'data.token: must be signed with HS256');
  const expected = Buffer.from(sign(secret, `${header}.${payload}`));
  const given = Buffer.from(signature);
  if (expected.length !== given.length || !timingSafeEqual(expected, given)) {
    throw new VireoError('unauthorized', 'data.token: has a wrong signature');
  }
  const claims = claimsSchema.safeParse(decode(payload));
  if (!claims.success) throw new VireoError('unauthorized', 'data.token: lacks room, name or exp');
  const { room, name, exp, nbf } = claims.data;
  const nowS = nowMs / 1_000;
  if (exp <= nowS) throw new VireoError('unauthorized', 'data.token: has expired');
  if (nbf !== undefined && nbf > nowS + LEEWAY_S)
    throw new VireoError('unauthorized', 'data.token: is not valid yet');
  if (room !== wanted.room) throw new VireoError('forbidden', 'data.token: is for another room');
  if (name !== wanted.name) throw new VireoError('forbidden', 'data.token: is for another name');
}

function sign(secret: string, text: string): string {
  return createHmac('sha256', secret).update(text).digest('base64url');
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

function decode(part: string): unknown {
  try {
    return JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
  } catch {
    return null;
  }
}
