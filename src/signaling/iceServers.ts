import { createHmac } from 'node:crypto';
import type { Config } from '../config/schema.js';
import type { ResponseData } from './messages.js';

type IceServer = ResponseData['join']['iceServers'][number];

/**
 * The STUN and TURN servers for one participant. TURN servers without credentials of their own get
 * short-lived ones when there is a shared secret: user name `EXPIRY:NAME`, password
 * base64(HMAC-SHA-1(secret, user name)), as coturn's `use-auth-secret` checks them
 * (draft-uberti-behave-turn-rest-00).
 */
export function iceServersFor(ice: Config['ice'], participantName: string, nowMs = Date.now()): IceServer[] {
  return ice.servers.map(({ urls, username, credential }) => {
    if (username !== undefined || credential !== undefined) {
      return {
        urls,
        ...(username !== undefined && { username }),
        ...(credential !== undefined && { credential }),
      };
    }
    const turn = urls.some((url) => url.startsWith('turn'));
    if (!turn || ice.turnSecret === undefined) return { urls };
    const expiry = Math.floor(nowMs / 1_000) + ice.turnTtlSeconds;
    // coturn splits at the first colon; what follows is for its log only.
    const user = `${expiry}:${participantName.replace(/[^\p{L}\p{N}_.-]/gu, '_')}`;
    return {
      urls,
      username: user,
      credential: createHmac('sha1', ice.turnSecret).update(user).digest('base64'),
    };
  });
}
