import { describe, expect, it } from 'vitest';
import { knownRequestName, parseRequest } from '../../../src/signaling/parseRequest.js';
import { TokenBucket } from '../../../src/signaling/TokenBucket.js';

function refusal(message: unknown): string {
  try {
    parseRequest(message);
  } catch (error) {
    expect(error).toMatchObject({ code: 'bad-request' });
    return (error as Error).message;
  }
  return 'accepted';
}

const publish = {
  transportId: 't',
  kind: 'video',
  source: 'camera',
  rtpParameters: {
    codecs: [{ mimeType: 'video/VP8', payloadType: 96, clockRate: 90_000, parameters: {} }],
    encodings: [{ ssrc: 1 }],
  },
};

describe('parseRequest', () => {
  it('takes what the protocol says', () => {
    expect(parseRequest({ name: 'leave', data: {} })).toEqual({ name: 'leave', data: {} });
    expect(parseRequest({ name: 'publish', data: publish })).toEqual({ name: 'publish', data: publish });
  });

  it.each([
    [null, 'message: must be an object {name, data}'],
    [[], 'message: must be an object {name, data}'],
    ['join', 'message: must be an object {name, data}'],
    [{}, 'name: unknown request undefined'],
    [{ name: 'fly' }, 'name: unknown request "fly"'],
    [{ name: '__proto__', data: {} }, 'name: unknown request "__proto__"'],
    [{ name: 'toString', data: {} }, 'name: unknown request "toString"'],
    [{ name: 'leave', data: { why: 1 } }, 'data: unknown key "why"'],
    [{ name: 'leave' }, 'data: invalid input: expected object, received undefined'],
    [{ name: 'setView', data: { publicationId: 'p', view: 'big' } }, /^data\.view: invalid option/],
    [{ name: 'unpublish', data: { publicationId: '' } }, /^data\.publicationId: too small/],
    [
      { name: 'unpublish', data: { publicationId: { length: { valueOf: 1, toString: 1 } } } },
      'data: is not valid',
    ],
    [{ name: 'join', data: { protocol: 1, room: 'a b', name: 'A' } }, /^data\.room: letters, digits/],
    [
      { name: 'join', data: { protocol: 1, room: 'a', name: 'A\u0000B' } },
      'data.name: must not contain control characters',
    ],
  ])('refuses %j', (message, expected) => {
    if (typeof expected === 'string') expect(refusal(message)).toBe(expected);
    else expect(refusal(message)).toMatch(expected);
  });

  it('takes the parts of a still as bytes, and as nothing else', () => {
    const part = (data: unknown, offset: unknown = 0) => ({
      name: 'stillPart',
      data: { stillId: 's', offset, data },
    });
    for (const data of [new Uint8Array([1]), Buffer.from('a')]) expect(refusal(part(data))).toBe('accepted');
    for (const data of [
      'a',
      [1],
      null,
      undefined,
      {},
      new ArrayBuffer(1),
      new Uint16Array(1),
      new Uint8Array(0),
    ])
      expect(refusal(part(data))).toBe('data.data: must be binary and not empty');
    expect(refusal(part(Buffer.from('a'), '0'))).toMatch(/^data\.offset: /);
  });

  it('names the field, however deep', () => {
    const data = structuredClone(publish);
    Object.assign(data.rtpParameters.codecs[0] ?? {}, { payloadType: 300 });
    expect(refusal({ name: 'publish', data })).toMatch(
      /^data\.rtpParameters\.codecs\[0\]\.payloadType: too big/,
    );
  });

  it('does not repeat long texts of a client', () => {
    expect(refusal({ name: 'x'.repeat(10_000) }).length).toBeLessThan(100);
    expect(refusal({ name: 'leave', data: { ['k'.repeat(10_000)]: 1 } }).length).toBeLessThan(100);
  });
});

describe('knownRequestName', () => {
  it('lets only names of the protocol become labels', () => {
    expect(knownRequestName({ name: 'join' })).toBe('join');
    expect(knownRequestName({ name: 'constructor' })).toBeNull();
    expect(knownRequestName('join')).toBeNull();
  });
});

describe('TokenBucket', () => {
  it('lets a burst pass and holds the average', () => {
    const bucket = new TokenBucket(5, 10, 0);
    const taken = Array.from({ length: 60 }, () => bucket.take(0)).filter(Boolean);
    expect(taken).toHaveLength(50);
    expect(bucket.take(100)).toBe(false);
    expect(bucket.take(300)).toBe(true);
    expect(bucket.take(301)).toBe(false);
  });
});
