/** Sharp stills, as the page decides on them and sends them. */
import { beforeEach, describe, expect, it } from 'vitest';
import { focusChange, stillRests } from '../../../src/signaling/focus.js';
import { fittingStill, stillBudget, worthAStill } from '../../../src/signaling/stillBudget.js';
import {
  standingShare,
  THUMBNAIL_HEIGHT,
  THUMBNAIL_WIDTH,
  type Thumbnail,
} from '../../../src/signaling/thumbnail.js';
import { formatAge } from '../../../web-client/src/session/options.js';
import { ReferencePolicy, stillPaceBps } from '../../../web-client/src/session/ReferencePolicy.js';
import { stillSize } from '../../../web-client/src/session/StillCamera.js';
import { PART_OVERHEAD_BYTES, StillUploader } from '../../../web-client/src/session/StillUploader.js';
import { type Look, sceneDifference } from '../../../web-client/src/session/sceneChange.js';

const LIMITS = {
  uplinkShare: 0.2,
  maxBytes: 60_000,
  maxSide: 1_920,
  minIntervalMs: 10_000,
  partBytes: 1_000,
};

/** A room, and in it a person: a bright column of five cells in front of a gradient. */
interface Scene {
  personAt?: number;
  shiftedBy?: number;
  light?: number;
  noise?: number;
  /** Octaves that everything is sharper than usual. */
  sharper?: number;
}

function scene(options: Scene = {}): Look {
  const { personAt, shiftedBy = 0, sharper = 0 } = options;
  const detail = Uint8Array.from({ length: THUMBNAIL_WIDTH * THUMBNAIL_HEIGHT }, (_, cell) => {
    const x = (cell % THUMBNAIL_WIDTH) + shiftedBy;
    const isPerson = personAt !== undefined && Math.abs(x - personAt) <= 2;
    // Books to the left, a bare wall to the right.
    return (isPerson ? 60 : x < 12 ? 40 : 3) * 2 ** sharper;
  });
  return { levels: levels(options), detail };
}

function levels(options: Scene = {}): Thumbnail {
  const { personAt, shiftedBy = 0, light = 0, noise = 0 } = options;
  return Uint8Array.from({ length: THUMBNAIL_WIDTH * THUMBNAIL_HEIGHT }, (_, cell) => {
    const x = (cell % THUMBNAIL_WIDTH) + shiftedBy;
    const y = Math.floor(cell / THUMBNAIL_WIDTH);
    const isPerson = personAt !== undefined && Math.abs(x - personAt) <= 2 && y > 4;
    const level = isPerson ? 210 : 60 + 40 * Math.sin(x * 0.7) + 20 * Math.cos(y * 0.9);
    return Math.round(level + light + (cell % 3) * noise);
  });
}

describe('the difference of two scenes', () => {
  const room = levels({ personAt: 16 });

  it('is small for noise and for a head that moves', () => {
    expect(sceneDifference(room, room)).toBe(0);
    expect(sceneDifference(levels({ personAt: 16, noise: 1 }), room)).toBeLessThan(2);
    expect(sceneDifference(levels({ personAt: 17 }), room)).toBeLessThan(2);
  });

  it('is large for another camera position, light, or somebody who enters', () => {
    expect(sceneDifference(levels({ personAt: 16, shiftedBy: 4 }), room)).toBeGreaterThan(8);
    expect(sceneDifference(levels({ personAt: 16, light: 40 }), room)).toBeGreaterThan(8);
    expect(sceneDifference(levels(), room)).toBeGreaterThan(8);
  });
});

describe('the share that stands', () => {
  it('is that of the room while a person moves, and next to nothing when the camera does', () => {
    const room = levels({ personAt: 16 });
    expect(standingShare(room, room)).toBe(1);
    expect(standingShare(room, levels({ personAt: 18, noise: 1 }))).toBeGreaterThan(0.8);
    expect(standingShare(room, levels({ personAt: 16, shiftedBy: 3 }))).toBeLessThan(0.2);
    expect(standingShare(room, levels({ personAt: 16, light: 10 }))).toBe(0);
  });
});

describe('the change of focus', () => {
  const room = scene({ personAt: 16 });

  it('is that of all that has detail, and not of what moves', () => {
    expect(focusChange(room.detail, room.detail)).toBe(0);
    expect(Math.abs(focusChange(scene({ personAt: 19 }).detail, room.detail))).toBeLessThan(0.1);
    for (const sharper of [-0.75, 0.75]) {
      const seen = focusChange(scene({ personAt: 16, sharper }).detail, room.detail);
      expect(seen).toBeCloseTo(Math.sign(sharper) * 0.74, 1);
    }
  });

  it('is nothing where there is next to no detail to go by', () => {
    expect(focusChange(scene({ shiftedBy: 12 }).detail, scene({ shiftedBy: 12, sharper: 1 }).detail)).toBe(0);
  });

  it('lets a still rest that is clearly sharper than the picture, until that is nearly as sharp', () => {
    const rests = (sharper: number, rested: boolean) =>
      stillRests(scene({ personAt: 16, sharper }).detail, room.detail, rested);
    expect([1, 0, -0.3, -0.5].map((sharper) => rests(sharper, false))).toEqual([false, false, false, true]);
    expect([-0.5, -0.35, -0.2, 0].map((sharper) => rests(sharper, true))).toEqual([true, true, false, false]);
  });
});

describe('a still', () => {
  it('is as large and as good as the uplink carries, within bounds', () => {
    expect(stillBudget(20_000)).toEqual({ maxBytes: 30_000, maxQuality: 34 });
    expect(stillBudget(60_000)).toEqual({ maxBytes: 30_000, maxQuality: 34 });
    expect(stillBudget(155_000)).toEqual({ maxBytes: 40_000, maxQuality: 53 });
    expect(stillBudget(2_000_000)).toEqual({ maxBytes: 50_000, maxQuality: 72 });
    expect(stillBudget(null)).toEqual({ maxBytes: 50_000, maxQuality: 72 });
  });

  it('is worth its bytes on a thin uplink while the camera stands still, and else where there are bytes to spare', () => {
    expect([20_000, 60_000, 149_000].map((bps) => worthAStill(bps, 0.3))).toEqual([false, false, false]);
    expect([20_000, 60_000, 149_000].map((bps) => worthAStill(bps, 0.5))).toEqual([true, true, true]);
    expect([150_000, 500_000, null].map((bps) => worthAStill(bps, 0))).toEqual([true, true, true]);
  });

  it('is as good as fits: the best quality, then fewer pixels, then none', async () => {
    const tried: string[] = [];
    const coded = (bytesAtBest: number) => async (scale: number, quality: number) => {
      tried.push(`${scale} ${quality}`);
      return new Uint8Array(Math.round((bytesAtBest * scale ** 2 * quality) / 72));
    };
    const of = async (bytesAtBest: number, maxQuality = 72) => {
      const fitting = await fittingStill({ maxBytes: 12_000, maxQuality }, coded(bytesAtBest));
      return fitting && { scale: fitting.scale, bytes: fitting.coded.byteLength };
    };
    expect(await of(10_000)).toEqual({ scale: 1, bytes: 10_000 });
    // 57 of 72; 62 would be too large.
    expect(await of(14_000)).toEqual({ scale: 1, bytes: Math.round((14_000 * 57) / 72) });
    expect(await of(50_000)).toEqual({ scale: 0.75, bytes: Math.round((50_000 * 0.5625 * 28) / 72) });
    expect(await of(500_000)).toBeNull();
    expect(await of(10_000, 40)).toEqual({ scale: 1, bytes: Math.round((10_000 * 40) / 72) });
    expect(tried.filter((one) => one.startsWith('0.5 ')).length).toBeGreaterThan(0);
    expect(await fittingStill({ maxBytes: 12_000, maxQuality: 72 }, async () => null)).toBeNull();
    expect(stillPaceBps(60_000, 0.2)).toBe(12_000);
    expect(stillPaceBps(20_000, 0.01)).toBe(4_000);
    expect(stillPaceBps(null, 0.2)).toBe(120_000);
  });

  it('has the shape of the camera, no more pixels than of use, and none that are made up', () => {
    expect(stillSize({ width: 1_280, height: 720 }, 1_920)).toEqual({ width: 1_280, height: 720 });
    expect(stillSize({ width: 1_920, height: 1_080 }, 1_920)).toEqual({ width: 1_280, height: 720 });
    expect(stillSize({ width: 1_080, height: 1_920 }, 1_920)).toEqual({ width: 720, height: 1_280 });
    expect(stillSize({ width: 640, height: 480 }, 1_920)).toEqual({ width: 640, height: 480 });
    expect(stillSize({ width: 1_600, height: 1_200 }, 1_920)).toEqual({ width: 960, height: 720 });
    expect(stillSize({ width: 1_280, height: 720 }, 640)).toEqual({ width: 640, height: 360 });
  });

  it('is as old as people say it', () => {
    expect([400, 12_300, 119_000, 240_000].map(formatAge)).toEqual(['0 s', '12 s', '119 s', '4 min']);
  });
});

describe('ReferencePolicy', () => {
  let nowMs = 0;
  let policy: ReferencePolicy;

  const create = (budgetBps: number | null, limits = LIMITS) => {
    policy = new ReferencePolicy({ limits, budgetBps, now: () => nowMs, random: () => 0.5 });
  };

  beforeEach(() => {
    nowMs = 0;
    create(60_000);
  });

  /** One picture a second; returns the first request and after how many seconds it came. */
  function watch(seconds: number, picture: (second: number) => Look = () => scene()) {
    for (let second = 1; second <= seconds; second += 1) {
      nowMs += 1_000;
      policy.sample(picture(second));
      const request = policy.next();
      if (request) return { ...request, second };
    }
    return null;
  }

  /** Sends what was asked for, at `bytes` cost, of this scene. */
  function send(look = scene(), bytes = 30_000) {
    policy.begun();
    expect(policy.next()).toBeNull();
    policy.spent(bytes);
    nowMs += 8_000;
    policy.sent(look);
  }

  /** A scene that is another at every second. */
  const restless = (second: number) => scene({ shiftedBy: second * 5, light: (second % 2) * 30 });

  it('wants nothing until the relay asks, or somebody watches the picture restored', () => {
    expect(watch(60)).toBeNull();
    policy.wanted('start');
    expect(watch(5)).toEqual({ reason: 'start', budget: stillBudget(60_000), second: 1 });
    create(60_000);
    watch(5);
    policy.setWatched(true);
    expect(watch(5)).toMatchObject({ reason: 'start', second: 1 });
    policy.setWatched(false);
    expect(policy.next()).toBeNull();
  });

  it('takes the first one when the picture is calm, but does not wait for ever', () => {
    policy.wanted('start');
    expect(watch(10, (second) => (second < 2 ? restless(second) : scene()))).toMatchObject({ second: 4 });
    create(240_000);
    policy.wanted('start');
    expect(watch(10, restless)).toMatchObject({ second: 4 });
  });

  it('sends none on a thin uplink while the camera moves, whoever asks', () => {
    policy.setWatched(true);
    policy.wanted('start');
    expect(watch(60, restless)).toBeNull();
    policy.wanted('scene');
    expect(watch(60, restless)).toBeNull();
    expect(policy.waitsForCamera).toBe(true);
    policy.setBudget(240_000);
    policy.wanted('start');
    expect(watch(5, restless)).toMatchObject({ reason: 'start' });
    policy.setBudget(60_000);
    expect(watch(5)).toMatchObject({ reason: 'start', second: 2 });
    expect(policy.waitsForCamera).toBe(false);
  });

  it('sends another when the scene is another and calm again', () => {
    policy.setWatched(true);
    watch(5);
    send();
    expect(watch(60)).toBeNull();
    expect(watch(20, restless)).toBeNull();
    expect(watch(10, () => scene({ personAt: 20 }))).toMatchObject({ reason: 'scene', second: 3 });
    send(scene({ personAt: 20 }));
    expect(watch(60, () => scene({ personAt: 21 }))).toBeNull();
  });

  it('sends another when the camera focuses on something else, and is done with it', () => {
    const near = (second: number) => scene({ sharper: Math.max(-1, -second / 3) });
    policy.setWatched(true);
    watch(5);
    send();
    expect(watch(20)).toBeNull();
    expect(watch(60, near)).toMatchObject({ reason: 'scene', second: 5 });
    send(scene({ sharper: -1 }));
    expect(watch(60, () => scene({ sharper: -1 }))).toBeNull();
    expect(watch(60, () => scene({ sharper: -1.2 }))).toBeNull();
    expect(watch(60)).toMatchObject({ reason: 'scene' });
  });

  it('lets the still rest while the picture is softer, also where it cannot send another', () => {
    policy.setWatched(true);
    watch(5);
    send();
    const blurredAndRestless = (second: number) => scene({ personAt: 6 * (second % 4), sharper: -1 });
    expect(watch(20)).toBeNull();
    expect(policy.resting).toBe(false);
    expect(watch(20, blurredAndRestless)).toBeNull();
    expect(policy.resting).toBe(true);
    watch(1);
    expect(policy.resting).toBe(false);
    watch(2, () => scene({ sharper: -1 }));
    expect(policy.resting).toBe(true);
    send(scene({ sharper: -1 }));
    expect(policy.resting).toBe(false);
    watch(2, () => scene({ sharper: -2 }));
    expect(policy.resting).toBe(true);
    policy.reset();
    expect(policy.resting).toBe(false);
  });

  it('lets go of a change that passed', () => {
    policy.setWatched(true);
    watch(5);
    send();
    watch(20);
    watch(2, restless);
    expect(watch(30)).toBeNull();
  });

  it('does not care for the scene while nobody watches it restored', () => {
    policy.setWatched(true);
    watch(5);
    send();
    policy.setWatched(false);
    expect(watch(60, () => scene({ light: 60 }))).toBeNull();
    policy.setWatched(true);
    expect(watch(5, () => scene({ light: 60 }))).toMatchObject({ reason: 'scene' });
  });

  it('never sends two within the least interval', () => {
    create(null);
    policy.wanted('start');
    watch(5);
    send(scene(), 50_000);
    policy.wanted('scene');
    expect(watch(60)).toMatchObject({ reason: 'scene', second: 11 });
  });

  it.each([
    [60_000, 0.2],
    [60_000, 0.05],
    [240_000, 0.2],
    [400_000, 0.5],
  ])('takes no more of %i bit/s than a share of %d, however often it is asked', (budgetBps, uplinkShare) => {
    create(budgetBps, { ...LIMITS, uplinkShare });
    const stillCost = stillBudget(budgetBps).maxBytes;
    let spent = 0;
    let count = 0;
    const hourSeconds = 3_600;
    for (let second = 0; second < hourSeconds; second += 1) {
      nowMs += 1_000;
      policy.wanted('scene');
      policy.sample(scene());
      const request = policy.next();
      if (!request) continue;
      expect(request.budget.maxBytes).toBe(stillCost);
      policy.begun();
      // With what goes around the parts it costs more than it has bytes.
      policy.spent(stillCost * 1.2);
      spent += stillCost * 1.2;
      count += 1;
      policy.sent(scene());
    }
    expect(count).toBeGreaterThan(10);
    expect(spent).toBeLessThanOrEqual(((budgetBps * uplinkShare) / 8) * hourSeconds + 3 * stillCost);
  });

  it('goes by the budget that there is now', () => {
    policy.wanted('start');
    watch(5);
    send();
    policy.setBudget(400_000);
    policy.wanted('scene');
    expect(watch(60)).toMatchObject({ budget: { maxBytes: 50_000 }, second: 11 });
    policy.setBudget(60_000);
    expect(policy.next()).toMatchObject({ budget: { maxBytes: 30_000 } });
    create(400_000, { ...LIMITS, maxBytes: 25_000 });
    policy.wanted('start');
    expect(watch(5)).toMatchObject({ budget: { maxBytes: 25_000 } });
  });

  it('waits ever longer after each failure', () => {
    policy.setWatched(true);
    const waits = [0, 1, 2, 3, 4, 5, 6].map(() => {
      policy.begun();
      policy.failed();
      return watch(400)?.second;
    });
    expect(waits).toEqual([20, 40, 80, 160, 300, 300, 300]);
  });

  it('waits ever longer, too, after each still that was sent but could not be used', () => {
    policy.setWatched(true);
    const waits = [0, 1, 2].map(() => {
      watch(5);
      send();
      policy.refused();
      return watch(400);
    });
    expect(waits).toMatchObject([
      { reason: 'start', second: 20 },
      { reason: 'start', second: 40 },
      { reason: 'start', second: 80 },
    ]);
  });

  it('begins anew with another publication, but with the same budget', () => {
    policy.setWatched(true);
    watch(5);
    send(scene(), 24_000);
    policy.reset();
    expect(watch(60)).toBeNull();
    policy.wanted('start');
    expect(watch(5)).toMatchObject({ reason: 'start' });
    send(scene(), 48_000);
    policy.reset();
    policy.wanted('start');
    // 12,000 bytes below zero, some of which were earned while it was sent.
    expect(watch(60)?.second).toBeGreaterThan(8);
  });

  it('goes on at once after it was stopped', () => {
    policy.wanted('start');
    watch(5);
    policy.begun();
    policy.stopped();
    expect(policy.next()).toMatchObject({ reason: 'start' });
  });
});

describe('StillUploader', () => {
  let nowMs = 0;
  /** Every request, and when. */
  let sent: { name: string; data: Record<string, unknown>; atMs: number }[] = [];
  let wireBytes = 0;
  let roundTripMs: (part: number) => number = () => 50;
  let refuse: string | null = null;

  beforeEach(() => {
    nowMs = 0;
    sent = [];
    wireBytes = 0;
    roundTripMs = () => 50;
    refuse = null;
  });

  const create = () =>
    new StillUploader({
      request: async (name, data) => {
        sent.push({ name, data, atMs: nowMs });
        if (name === refuse) throw new Error(`${name} refused`);
        nowMs += roundTripMs(sent.length - 2);
        return { stillId: 's', complete: false } as never;
      },
      partBytes: 1_000,
      onBytes: (bytes) => {
        wireBytes += bytes;
      },
      now: () => nowMs,
      wait: async (delayMs) => {
        nowMs += delayMs;
      },
    });

  const bytes = Uint8Array.from({ length: 4_500 }, (_, index) => index % 251);
  const still = { mimeType: 'image/webp' as const, bytes, width: 1_280, height: 720 };
  const upload = (signal = new AbortController().signal) => create().upload('p', still, 12_000, signal);

  it('announces a still and sends it in parts, in order', async () => {
    expect(await upload()).toBe('s');
    const [begin, ...parts] = sent;
    expect(begin).toMatchObject({
      name: 'beginStill',
      data: { publicationId: 'p', mimeType: 'image/webp', byteLength: 4_500, width: 1_280, height: 720 },
    });
    expect(parts.map(({ data }) => data.offset)).toEqual([0, 1_000, 2_000, 3_000, 4_000]);
    expect(Buffer.concat(parts.map(({ data }) => data.data as Uint8Array))).toEqual(Buffer.from(bytes));
    expect(wireBytes).toBe(4_500 + 5 * PART_OVERHEAD_BYTES);
  });

  it('goes no faster than it is told', async () => {
    await upload();
    const parts = sent.slice(1);
    const partMs = ((1_000 + PART_OVERHEAD_BYTES) * 8 * 1_000) / 12_000;
    for (const [index, { atMs }] of parts.entries()) expect(atMs).toBeCloseTo(50 + index * partMs);
  });

  it('slows down while parts stand in a queue, and recovers', async () => {
    roundTripMs = (part) => (part === 1 || part === 2 ? 900 : 50);
    await upload();
    const gaps = sent.slice(2).map(({ atMs }, index) => Math.round(atMs - (sent[index + 1]?.atMs ?? 0)));
    expect(gaps).toEqual([800, 1_600, 3_200, 2_240]);
  });

  it('stops when it is told to', async () => {
    const controller = new AbortController();
    roundTripMs = (part) => {
      if (part === 1) controller.abort();
      return 50;
    };
    expect(await upload(controller.signal)).toBeNull();
    expect(sent).toHaveLength(3);
    expect(await upload(controller.signal)).toBeNull();
    expect(sent).toHaveLength(3);
  });

  it('ends with the refusal of the relay', async () => {
    refuse = 'stillPart';
    await expect(upload()).rejects.toThrow('stillPart refused');
    expect(sent).toHaveLength(2);
  });
});
