import { describe, expect, it } from 'vitest';
import { clockReference, nextAudioTarget, playoutTime } from '../../../web-client/src/session/LipSync.js';
import { describeProblems, LocalMediaError } from '../../../web-client/src/session/LocalMedia.js';
import { formatBitrate, parseBitrate, parseJoinOptions } from '../../../web-client/src/session/options.js';
import { RateWindow } from '../../../web-client/src/session/RateWindow.js';
import { failureText, reasonLabel, reasonSentence } from '../../../web-client/src/session/reasons.js';
import { reconnectDelayMs } from '../../../web-client/src/session/reconnectPolicy.js';
import { planUplink, scaleDownBy } from '../../../web-client/src/session/uplinkPolicy.js';
import { gridLayout, tileAspect } from '../../../web-client/src/ui/gridLayout.js';
import { hueOf, initialOf } from '../../../web-client/src/ui/initial.js';

describe('a link to a room', () => {
  const parse = (link: string, remembered = {}) =>
    parseJoinOptions(new URL(link, 'http://relay'), remembered);

  it('says who joins, how and what to show', () => {
    expect(parse('/r/stand%20up?name=Ann&autojoin=1&uplink=60k&view=split&token=abc')).toEqual({
      room: 'stand up',
      name: 'Ann',
      autojoin: true,
      uplinkBps: 60_000,
      view: 'split',
      token: 'abc',
    });
  });

  it('leaves the rest to what the person chose before, and that to the defaults', () => {
    expect(parse('/', { name: 'Bob', uplinkBps: null, view: 'original' })).toMatchObject({
      room: '',
      name: 'Bob',
      autojoin: false,
      uplinkBps: null,
      view: 'original',
    });
    expect(parse('/r/x?uplink=fast&view=upside-down')).toMatchObject({
      uplinkBps: 120_000,
      view: 'restored',
    });
  });

  it('shows a broken address as it stands, and tidies a name as the relay wants it', () => {
    expect(parse('/r/50%25%zz').room).toBe('50%25%zz');
    expect(parse('/r/x?name=%20Ann%0AExample%20').name).toBe('Ann Example');
    expect(parse(`/r/x?name=${'a'.repeat(63)}😀`).name).toBe('a'.repeat(63));
  });

  it.each([
    ['120k', 120_000],
    ['1.5m', 1_500_000],
    ['90000', 90_000],
    ['none', null],
    ['5k', undefined],
    ['', undefined],
    ['-3k', undefined],
  ])('reads the uplink %j as %j', (text, expected) => {
    expect(parseBitrate(text)).toBe(expected);
  });

  it('prints bitrates as people say them', () => {
    expect(formatBitrate(60_400)).toBe('60 kbit/s');
    expect(formatBitrate(1_540_000)).toBe('1.5 Mbit/s');
  });
});

describe('the uplink budget', () => {
  it.each([
    [60_000, 180],
    [80_000, 180],
    [120_000, 360],
    [400_000, 360],
    [500_000, 720],
    [null, 720],
  ])('of %j sends %ip', (budgetBps, height) => {
    expect(planUplink(budgetBps).height).toBe(height);
  });

  it('never gives the video more than the budget', () => {
    for (const budgetBps of [60_000, 250_000, 500_000])
      expect(planUplink(budgetBps).videoBps).toBe(budgetBps);
  });

  it('scales the short side, and never up', () => {
    expect(scaleDownBy(1280, 720, 180)).toBe(4);
    expect(scaleDownBy(720, 1280, 360)).toBe(2);
    expect(scaleDownBy(320, 240, 360)).toBe(1);
  });
});

describe('rates', () => {
  it('are over the window, whatever the polling does', () => {
    const window = new RateWindow(4_000);
    expect(window.perSecond).toBe(0);
    for (const [atMs, value] of [
      [0, 0],
      [1_000, 10],
      [2_500, 25],
      [9_000, 90],
      [10_000, 100],
    ] as const)
      window.add(atMs, value);
    expect(window.perSecond).toBeCloseTo(10);
  });

  it('start over when a counter does', () => {
    const window = new RateWindow();
    window.add(0, 1_000);
    window.add(1_000, 2_000);
    window.add(2_000, 5);
    expect(window.perSecond).toBe(0);
    window.add(3_000, 25);
    expect(window.perSecond).toBe(20);
  });
});

describe('reconnecting', () => {
  it('tries at once, then ever more slowly, spread by chance', () => {
    const middle = () => 0.5;
    const delays = [0, 1, 2, 3, 4, 5, 6].map((attempt) => reconnectDelayMs(attempt, middle));
    expect(delays).toEqual([0, 300, 600, 1_200, 2_400, 4_800, 4_800]);
    expect(reconnectDelayMs(3, () => 0)).toBeLessThan(reconnectDelayMs(3, () => 0.99));
  });
});

describe('lip-sync', () => {
  const reference = clockReference(50_000, 2_000, { rtpTimestamp90k: 0xffff_ff00, shownAtMs: 1_990 });

  it('knows when a restored frame was captured from the clock of the original', () => {
    // 3,600 ticks later (40 ms), over the wrap of the RTP time, on screen for 5 ms.
    const frame = { rtpTimestamp90k: (0xffff_ff00 + 3_600) >>> 0, shownAtMs: 2_095 };
    expect(playoutTime(reference, 2_100, frame)).toBeCloseTo(49_990 + 40 + 5);
  });

  it('holds audio back by what it was ahead, gently, and settles', () => {
    const sample = { audioPlayoutMs: 10_100, videoPlayoutMs: 10_000, audioDelayMs: 60 };
    expect(nextAudioTarget(null, sample)).toBe(160);
    expect(nextAudioTarget(160, sample)).toBe(160);
    expect(nextAudioTarget(160, { ...sample, videoPlayoutMs: 10_015 })).toBe(160);
    expect(nextAudioTarget(160, { ...sample, videoPlayoutMs: 9_900 })).toBe(210);
    expect(nextAudioTarget(160, { ...sample, audioPlayoutMs: 10_000 })).toBe(110);
  });

  it('does nothing without knowledge, or with a clock that jumped', () => {
    const sample = { audioPlayoutMs: 10_100, videoPlayoutMs: null, audioDelayMs: 60 };
    expect(nextAudioTarget(null, sample)).toBeNull();
    expect(nextAudioTarget(80, { audioPlayoutMs: 99_000, videoPlayoutMs: 10_000, audioDelayMs: 60 })).toBe(
      80,
    );
    expect(nextAudioTarget(null, { audioPlayoutMs: 11_900, videoPlayoutMs: 10_000, audioDelayMs: 400 })).toBe(
      500,
    );
  });
});

describe('the grid', () => {
  it.each([
    [1, 1280, 700, 1],
    [2, 1280, 700, 2],
    [2, 390, 700, 1],
    [4, 1280, 700, 2],
    [9, 1280, 700, 3],
  ])('puts %i tiles on %i×%i into %i columns', (count, width, height, columns) => {
    const layout = gridLayout(count, width, height);
    expect(layout.columns).toBe(columns);
    expect(layout.columns * layout.tileWidth).toBeLessThanOrEqual(width);
    expect(layout.rows * layout.tileHeight).toBeLessThanOrEqual(height);
  });
});

describe('tiles', () => {
  it('are as wide as the widest picture, within what cameras have', () => {
    expect(tileAspect([null, null])).toBeCloseTo(16 / 9);
    expect(tileAspect([9 / 16, null])).toBeCloseTo(9 / 16);
    expect(tileAspect([9 / 16, 4 / 3])).toBeCloseTo(4 / 3);
    expect(tileAspect([21 / 9])).toBeCloseTo(16 / 9);
    expect(tileAspect([0.1])).toBeCloseTo(9 / 16);
  });

  it('fill an upright phone with an upright picture', () => {
    const { tileWidth, tileHeight } = gridLayout(1, 380, 760, 8, tileAspect([9 / 16]));
    expect(tileWidth).toBe(380);
    expect(tileHeight).toBeGreaterThan(600);
  });

  it('bear the first letter of any script without a picture', () => {
    expect(['ann', '👩🏽‍🚀 Żaneta', 'e\u0301mile', 'محمد'].map(initialOf)).toEqual([
      'A',
      '👩🏽‍🚀',
      'E\u0301',
      'م',
    ]);
    expect(hueOf('Ann')).toBe(hueOf('Ann'));
    expect(hueOf('Ann')).not.toBe(hueOf('Bob'));
  });
});

describe('what people are told', () => {
  it('has a sentence for every reason of the protocol, and for unknown ones', () => {
    for (const code of ['overloaded', 'already-sharp', 'restorer-down', 'opted-out', 'thin-downlink']) {
      expect(reasonSentence(code)).toMatch(/^[A-Z].*\.$/);
    }
    expect(reasonSentence('new-reason')).toContain('new-reason');
    expect(reasonSentence(null)).toBeNull();
    expect(failureText('room-full').title).toContain('full');
  });

  it('has a word on the tile only where a person wonders why a picture is not restored', () => {
    expect(reasonLabel('overloaded')).toContain('busy');
    expect(reasonLabel('already-sharp')).toBeNull();
    expect(reasonLabel('disabled')).toBeNull();
    expect(reasonLabel(null)).toBeNull();
  });

  it('tells a missing token from an expired and from a wrong one', () => {
    const titles = [
      'data.token: this relay needs a join token',
      'data.token: has expired',
      'data.token: wrong',
    ];
    expect(new Set(titles.map((message) => failureText('unauthorized', message).title)).size).toBe(3);
  });

  it('says once what camera and microphone have in common', () => {
    const refused = (device: 'camera' | 'microphone') => ({
      device,
      error: new LocalMediaError('permission-denied', `no ${device}`),
    });
    const both = describeProblems([refused('microphone'), refused('camera')]);
    expect(both).toHaveLength(1);
    expect(both[0]?.text).toContain('camera and microphone');
    const missing = { device: 'camera' as const, error: new LocalMediaError('not-found', 'no camera') };
    expect(describeProblems([missing, refused('microphone')])).toHaveLength(2);
  });
});
