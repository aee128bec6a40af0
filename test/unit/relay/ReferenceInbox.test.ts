import { beforeEach, describe, expect, it } from 'vitest';
import { type AnnouncedStill, ReferenceInbox, UPLOAD_TIMEOUT_MS } from '../../../src/relay/ReferenceInbox.js';
import { avifStill, vp8, webp, webpStill } from '../../support/stills.js';

const LIMITS = { uplinkShare: 0.2, maxBytes: 10_000, maxSide: 1_920, minIntervalMs: 5_000, partBytes: 1_000 };

let nowMs: number;
let inbox: ReferenceInbox;

beforeEach(() => {
  nowMs = 1_000;
  inbox = new ReferenceInbox(LIMITS, () => nowMs);
});

function announce(bytes: Uint8Array, more: Partial<AnnouncedStill> = {}): AnnouncedStill {
  return { mimeType: 'image/webp', byteLength: bytes.byteLength, width: 1_280, height: 720, ...more };
}

function refusal(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    return `${code}: ${message}`;
  }
  return 'accepted';
}

/** Sends all of a still in parts of 1,000 bytes. */
function upload(id: string, bytes: Uint8Array, more: Partial<AnnouncedStill> = {}) {
  inbox.begin(id, announce(bytes, more));
  let still = null;
  for (let offset = 0; offset < bytes.byteLength; offset += 1_000) {
    expect(still).toBeNull();
    still = inbox.add(id, offset, bytes.subarray(offset, offset + 1_000));
  }
  return still;
}

describe('ReferenceInbox', () => {
  it('puts the parts together and keeps the newest still', () => {
    const bytes = webpStill(1_280, 720, 3_500);
    expect(inbox.still).toBeNull();
    expect(upload('a', bytes)).toEqual({ id: 'a', mimeType: 'image/webp', bytes });
    expect(inbox.uploadId).toBeNull();
    nowMs += 5_000;
    upload('b', avifStill(), { mimeType: 'image/avif' });
    expect(inbox.still?.id).toBe('b');
    inbox.forgetStill('a');
    expect(inbox.still?.id).toBe('b');
    inbox.forgetStill('b');
    expect(inbox.still).toBeNull();
  });

  it('keeps the last one while the next is under way, and when that is not fit', () => {
    upload('a', webpStill());
    nowMs += 5_000;
    const other = webp(vp8(640, 360));
    expect(refusal(() => upload('b', other))).toBe(
      'media-invalid: data.data: the still is 640×360, but 1280×720 was announced',
    );
    expect(refusal(() => inbox.add('b', 0, other))).toMatch(/^not-found: data\.stillId: /);
    expect(inbox.still?.id).toBe('a');
  });

  it('refuses what is too large before a byte of it came', () => {
    const begin = (more: Partial<AnnouncedStill>) =>
      refusal(() => inbox.begin('a', announce(webpStill(), more)));
    expect(begin({ byteLength: 10_001 })).toBe(
      'payload-too-large: data.byteLength: 10001 is more than the 10000 bytes that a still may have',
    );
    expect(begin({ width: 1_921 })).toMatch(/^bad-request: data\.width: 1921 is more than the 1920 pixels/);
    expect(begin({ height: 40_000 })).toMatch(/^bad-request: data\.height: /);
    expect(inbox.uploadId).toBeNull();
  });

  it('refuses what does not follow, and ends the upload with it', () => {
    const bytes = webpStill();
    const begin = () => inbox.begin('a', announce(bytes));
    begin();
    inbox.add('a', 0, bytes.subarray(0, 1_000));
    expect(refusal(() => inbox.add('a', 0, bytes.subarray(0, 1_000)))).toBe(
      'conflict: data.offset: 0 is not 1000, where the last part ended; begin the still again',
    );
    expect(refusal(() => inbox.add('a', 1_000, bytes.subarray(1_000)))).toMatch(/^not-found: data\.stillId/);
    begin();
    inbox.add('a', 0, bytes.subarray(0, 2_000));
    expect(refusal(() => inbox.add('a', 2_000, new Uint8Array(1_007)))).toBe(
      `payload-too-large: data.data: 7 bytes more than the ${bytes.byteLength} that were announced`,
    );
    expect(refusal(() => inbox.add('b', 0, bytes))).toBe('not-found: data.stillId: no still b is under way');
  });

  it('lets a new upload take the place of an unfinished one', () => {
    const bytes = webpStill();
    inbox.begin('a', announce(bytes));
    inbox.add('a', 0, bytes.subarray(0, 1_000));
    expect(upload('b', bytes)?.id).toBe('b');
    expect(refusal(() => inbox.add('a', 1_000, bytes.subarray(1_000)))).toMatch(/^not-found/);
  });

  it('takes no more than one still in a while, fit or not', () => {
    upload('a', webpStill());
    nowMs += 3_000;
    const begin = () => refusal(() => inbox.begin('b', announce(webpStill())));
    expect(begin()).toBe('rate-limited: data.publicationId: the next still may come in 2000 ms');
    inbox.forget();
    expect(begin()).toMatch(/^rate-limited/);
    nowMs += 2_000;
    refusal(() => upload('b', new Uint8Array(10)));
    expect(begin()).toMatch(/^rate-limited/);
  });

  it('forgets an upload whose sender fell silent', () => {
    const bytes = webpStill();
    inbox.begin('a', announce(bytes));
    nowMs += UPLOAD_TIMEOUT_MS;
    inbox.add('a', 0, bytes.subarray(0, 1_000));
    nowMs += UPLOAD_TIMEOUT_MS;
    inbox.expire();
    expect(inbox.uploadId).toBe('a');
    nowMs += 1;
    expect(refusal(() => inbox.add('a', 1_000, bytes.subarray(1_000)))).toMatch(/^not-found/);
    expect(inbox.uploadId).toBeNull();
  });

  it('forgets everything when told so', () => {
    upload('a', webpStill());
    nowMs += 5_000;
    inbox.begin('b', announce(webpStill()));
    inbox.forget();
    expect([inbox.still, inbox.uploadId]).toEqual([null, null]);
  });
});
