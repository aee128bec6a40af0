import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { configSchema } from '../../../src/config/schema.js';
import { iceServersFor } from '../../../src/signaling/iceServers.js';
import { signJoinToken, verifyJoinToken } from '../../../src/signaling/joinToken.js';

const SECRET = 'a secret of some length';
const GRANT = { room: 'blue', name: 'Ann' };

describe('join tokens', () => {
  const token = signJoinToken(SECRET, GRANT, 60, 1_000_000);

  function code(given: string | undefined, wanted = GRANT, nowMs = 1_000_000): string {
    try {
      verifyJoinToken(SECRET, given, wanted, nowMs);
      return 'ok';
    } catch (error) {
      return (error as { code: string }).code;
    }
  }

  it('let their holder in until they expire', () => {
    expect(code(token)).toBe('ok');
    expect(code(token, GRANT, 1_059_000)).toBe('ok');
    expect(code(token, GRANT, 1_060_000)).toBe('unauthorized');
  });

  it('are for one room and one name', () => {
    expect(code(token, { ...GRANT, room: 'red' })).toBe('forbidden');
    expect(code(token, { ...GRANT, name: 'Ben' })).toBe('forbidden');
  });

  it('are refused when missing, malformed, altered or signed otherwise', () => {
    expect(code(undefined)).toBe('unauthorized');
    expect(code('')).toBe('unauthorized');
    expect(code('a.b')).toBe('unauthorized');
    expect(code('..')).toBe('unauthorized');
    expect(code(`${token}x`)).toBe('unauthorized');
    expect(code(`${token}.x`)).toBe('unauthorized');
    expect(code(signJoinToken('another secret, just as long', GRANT, 60, 1_000_000))).toBe('unauthorized');
    const [header = '', , signature = ''] = token.split('.');
    const payload = Buffer.from(JSON.stringify({ ...GRANT, exp: 9e9 })).toString('base64url');
    expect(code(`${header}.${payload}.${signature}`)).toBe('unauthorized');
  });

  it('are refused with another algorithm, "none" above all', () => {
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const payload = part({ ...GRANT, exp: 9e9 });
    expect(code(`${part({ alg: 'none' })}.${payload}.x`)).toBe('unauthorized');
    const head = part({ alg: 'HS512' });
    const signature = createHmac('sha256', SECRET).update(`${head}.${payload}`).digest('base64url');
    expect(code(`${head}.${payload}.${signature}`)).toBe('unauthorized');
  });

  it('need room, name and expiry, even when rightly signed', () => {
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const text = `${part({ alg: 'HS256' })}.${part(GRANT)}`;
    const signature = createHmac('sha256', SECRET).update(text).digest('base64url');
    expect(code(`${text}.${signature}`)).toBe('unauthorized');
  });
});

describe('ICE servers', () => {
  const ice = configSchema.parse({
    ice: {
      turnSecret: 'north secret',
      turnTtlSeconds: 3_600,
      servers: [
        { urls: ['stun:stun.example:3478'] },
        { urls: ['turn:turn.example:3478'] },
        { urls: ['turn:other.example'], username: 'u', credential: 'c' },
      ],
    },
  }).ice;

  it('get short-lived credentials as coturn checks them, where they have none', () => {
    const [stun, turn, other] = iceServersFor(ice, 'Ann: the first', 1_000_000);
    expect(stun).toEqual({ urls: ['stun:stun.example:3478'] });
    expect(turn?.username).toBe('4600:Ann__the_first');
    expect(turn?.credential).toBe(
      createHmac('sha1', 'north secret').update('4600:Ann__the_first').digest('base64'),
    );
    expect(other).toEqual({ urls: ['turn:other.example'], username: 'u', credential: 'c' });
  });

  it('get none without a shared secret', () => {
    const { turnSecret: _none, ...rest } = ice;
    expect(iceServersFor(rest as typeof ice, 'Ann')[1]).toEqual({ urls: ['turn:turn.example:3478'] });
  });
});
