"""Training sequences: crops of (degraded, original) luma that go on from chunk to chunk."""
import json
import os
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import degrade
import matching
import model as models

HERE = Path(__file__).parent
SMALLEST = degrade.SMALLEST  # segments with a shorter side are left out
ALIEN = 0.15  # share of walks whose still shows something else: what it must not believe, a gate has to see
NOISE = 0.2  # share of those that show noise, coarse or fine, which has a like of everything somewhere
CALM = 1.5  # by so much more often segments are picked that stand still
DRIFT = 3.0  # times the error of the encoding, from which on a crop counts as damaged


def load_index(root, split):
    """Segments of a split as dicts with 'hr' and 'lr' paths; files are opened when they are picked.

    Validation is on the first plan alone, without crops or losses: what runs before the others came can be compared."""
    splits = json.loads((HERE / "splits.json").read_text())
    index = []
    for meta in sorted(Path(root).glob("*/meta.json")):
        m = json.loads(meta.read_text())
        validates = m["file"] in splits["validate"]
        if m["file"] in splits["test"] or validates != (split == "validate") or min(m["w"], m["h"]) < SMALLEST:
            continue
        if validates:
            m["lr"] = [q for q in m["lr"] if q.get("plan", "base") == "base"]
        m["dir"] = meta.parent
        index.append(m)
    if not index:
        raise SystemExit(f"no segments for '{split}' in {root}")
    return index


class Planes:
    """Pictures of a .npy file, read as bands of rows, one call each and outside of Python's lock. Mapped memory would
    fault page by page, with megabytes of readahead at each, and hold the lock meanwhile.

    `first`, `stride`: which pictures; `box` (x, y, width, height): what is seen of them. Indexed by three slices."""

    alien = False  # of another clip than it is used with

    def __init__(self, path, first=0, stride=1, box=None):
        self.file = open(path, "rb", buffering=0)
        version = np.lib.format.read_magic(self.file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        (n, self.rows, self.width), _, _ = header(self.file)
        self.start, self.first, self.stride = self.file.tell(), first, stride
        self.x, self.y, w, h = box or (0, 0, self.width, self.rows)
        self.shape = (-(-(n - first) // stride), h, w)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)

    def place(self, t, y):
        return self.start + ((self.first + t * self.stride) * self.rows + self.y + y) * self.width

    def __getitem__(self, slices):
        t, y, x = (s.indices(size)[:2] for s, size in zip(slices, self.shape))
        out = np.empty((t[1] - t[0], y[1] - y[0], x[1] - x[0]), np.uint8)
        band = np.empty((out.shape[1], self.width), np.uint8)
        for i in range(len(out)):
            if os.preadv(self.file.fileno(), [band], self.place(t[0] + i, y[0])) != band.nbytes:
                raise EOFError(self.file.name)
            out[i] = band[:, self.x + x[0]:self.x + x[1]]
        return out

    def expect(self, t, y):
        """Says which pictures and rows will be read, for the system to fetch meanwhile."""
        if hasattr(os, "posix_fadvise"):
            for i in range(*t.indices(self.shape[0])[:2]):
                os.posix_fadvise(self.file.fileno(), self.place(i, y.start), (y.stop - y.start) * self.width,
                                 os.POSIX_FADV_WILLNEED)


class Masks(Planes):
    """Masks of one bit a pixel, most significant first."""

    def __getitem__(self, slices):
        t, y, x = slices
        bits = super().__getitem__((t, y, slice(x.start // 8, -(-x.stop // 8))))
        return np.unpackbits(bits, axis=-1)[..., x.start % 8:x.start % 8 + x.stop - x.start]


class Noise:
    """A still of noise: every picture has something like it in there."""

    alien, shape = True, (1, 1280, 1280)
    SIDE = 2048
    field = None

    def __init__(self, rng):
        self.grain = int(2 ** rng.integers(0, 5))
        self.y, self.x = (int(v) for v in rng.integers(0, self.SIDE - self.shape[1], 2))

    @classmethod
    def grains(cls):
        if cls.field is None:
            cls.field = np.random.default_rng(0).integers(16, 236, (cls.SIDE, cls.SIDE), np.uint8)
        return cls.field

    def __getitem__(self, slices):
        _, rows, columns = (np.arange(*s.indices(size)) // self.grain for s, size in zip(slices, self.shape))
        return self.grains()[np.ix_(self.y + rows, self.x + columns)][None]


def enlarging_error(low, high, scale):
    """Mean squared error of each picture [n,h,w], enlarged bicubically, from its original."""
    x = low[:, None].float()
    if scale > 1:
        x = models.enlarged(x, scale)
    return ((x[..., :high.shape[1], :high.shape[2]] - high[:, None].float()) ** 2).mean((1, 2, 3))


def standing(low, still, scale, moved, relit):
    """matching.calm of a picture [h,w] in a still [H,W]; `moved` in pixels of the original, `relit` its gain and what is added."""
    cells = F.avg_pool2d(low[None, None].float(), models.CELL // scale)
    keys = F.avg_pool2d(torch.roll(still[None, None].float(), [-v for v in moved], (2, 3)), models.CELL) * relit[0] + relit[1]
    # Stills of other clips have sides of their own.
    rows, columns = (min(a, b) // 4 * 4 for a, b in zip(cells.shape[2:], keys.shape[2:]))
    cells, keys = (v[..., :rows, :columns] for v in (cells, keys))
    return float(matching.calm(cells, matching.padded(keys)[:, None]))


class Clips:
    """Picks segments and degradations; larger pictures more often, uncoded ones seldom."""

    def __init__(self, index, seed, stills=False):
        self.index, self.rng, self.stills = index, np.random.default_rng(seed), stills
        self.open, self.errors, self.calms = {}, {}, {}
        weight = [self.preference(m, self.stands(m) if stills else 0.0) for m in index]
        self.p = np.array(weight) / sum(weight)

    @staticmethod
    def preference(m, calm):
        """How often a segment is picked: CIF-class clips are soft and few pixels; photographs do not move as people do. Where the camera stands still,
        as in calls, there is most to learn from stills."""
        return min(1.0, (m["w"] * m["h"] / (1280 * 720))) ** 0.5 * (0.6 if m["still"] else 1.0) * (1 + CALM * calm)

    def error(self, high, low, scale, lossy, key):
        """Mean squared error that bicubic enlarging leaves on this encoding, from two of its frames; where some are
        damaged, from the best two of six."""
        if key not in self.errors:
            whole = slice(None)
            self.errors[key] = self.least(lambda t: self.enlarging_error(low[t, whole, whole], high[t, whole, whole], scale), low.shape[0], lossy)
        return self.errors[key]

    @staticmethod
    def least(error, count, lossy):
        """Mean of error(slice of one picture) of two of them; where some are damaged, of the best two of six."""
        tries = 6 if lossy else 2
        found = [error(slice(at, at + 1)) for at in (count * (i + 1) // (tries + 1) for i in range(tries))]
        return float(np.mean(sorted(found)[:2]))

    @staticmethod
    def enlarging_error(low, high, scale):
        return float(enlarging_error(torch.from_numpy(low), torch.from_numpy(high), scale).mean())

    def array(self, path):
        """A whole file, memory-mapped."""
        if path not in self.open:
            self.open[path] = np.load(path, mmap_mode="r")
        return self.open[path]

    def planes(self, *args):
        return Planes(*args)

    def masks(self, *args):
        return Masks(*args)

    def pick(self, scale):
        """(original, degraded, light, capture, error, lost, still): planes of the same moments; `light` dims the original,
        `error` is what bicubic leaves of the whole picture, `lost` are the masks of an encoding with losses, or None; `still` is a
        sharp picture of another time, or None.

        At full size, half of the picks are not coded at all: the slot blurs the original itself, by `capture`.
        """
        rng = self.rng
        m = self.index[rng.choice(len(self.index), p=self.p)]
        if scale == 1 and rng.random() < 0.5:
            high = self.planes(m["dir"] / "hr.npy")
            draw = random.Random(int(rng.integers(2**31)))
            kind = draw.choice(["none"] + ["gaussian"] * 4 + ["defocus"] * 2)  # most blur is worth undoing
            size = {"none": 0.0, "gaussian": draw.uniform(0.3, 3), "defocus": draw.uniform(0.5, 4.5)}[kind]
            blur = {} if kind == "none" else {kind: size}
            return high, high, 1.0, degrade.Capture(**blur), None, None, None
        points = [q for q in m["lr"] if q["scale"] == scale]
        p = np.array([self.weight(q) for q in points])
        point = points[rng.choice(len(points), p=p / p.sum())]
        low = self.planes(m["dir"] / point["file"])
        high = self.planes(m["dir"] / "hr.npy", point["first"], point["stride"], point.get("crop"))
        lost = self.masks(m["dir"] / point["mask"]) if point.get("mask") else None
        light = point["capture"]["gain"]
        error = None
        if light == 1:
            error = self.error(high, low, scale, lost is not None, (m["dir"], point["file"]))
        still = None
        if self.stills and rng.random() < ALIEN * NOISE:
            still = Noise(rng)
        elif self.stills and rng.random() < ALIEN:
            other = self.index[rng.choice(len(self.index), p=self.p)]
            if other["dir"] != m["dir"] and other.get("references"):
                still = self.planes(other["dir"] / other["references"][0]["file"])
                still.alien = True
        elif self.stills and m.get("references"):
            still = m["references"][rng.integers(len(m["references"]))]["file"]
            still = self.planes(m["dir"] / still, 0, 1, point.get("crop"))
        return high, low, light, None, error, lost, still

    def stands(self, m):
        """matching.calm of a segment's original in one of its own stills; 0 where it has none."""
        if not m.get("references"):
            return 0.0
        high, still = Planes(m["dir"] / "hr.npy"), Planes(m["dir"] / m["references"][0]["file"])
        return self.calm(high, still, 1, (0, 0), (1.0, 0.0))

    def calm(self, low, still, scale, moved, relit):
        """matching.calm of a whole picture from the middle of an encoding; `moved` in pixels of the original, `relit` its gain and what is added."""
        key = low.file.name, low.shape, still.file.name, *moved, *relit
        if key not in self.calms:
            t, whole = low.shape[0] // 2, slice(None)
            pictures = (torch.from_numpy(v[0]) for v in (low[t:t + 1, whole, whole], still[0:1, whole, whole]))
            self.calms[key] = standing(*pictures, scale, moved, relit)
        return self.calms[key]

    @staticmethod
    def weight(point):
        """VP8 is what calls use most; the thinnest uplinks matter most, and are the hardest to gain anything on."""
        if point["codec"] == "none":
            return 0.35
        thin = {4: 110, 2: 200, 1: 0}[point["scale"]]
        return (1.0 if point["codec"] == "vp8" else 0.7) * (1.6 if point["kbps"] < thin else 1.0)


class Damage:
    """What the network loses of a walk. Runs of macroblocks, which a decoder conceals with the picture before; at full
    size also single pixels at random, the inpainting problem of the InstantViR paper."""

    def __init__(self, kind="none", share=0.0):
        self.kind, self.share = kind, share

    @staticmethod
    def draw(rng, scale):
        kind = rng.random()
        if scale == 1 and kind < 0.25:
            return Damage("pixels", rng.uniform(0.2, 0.7))
        return Damage("blocks", rng.uniform(0.1, 0.6)) if kind < (0.4 if scale == 1 else 0.06) else Damage()

    def run(self, rng, blocks):
        """(first, count) of the macroblocks that a picture of so many loses."""
        if self.kind != "blocks" or rng.random() >= self.share:
            return 0, 0
        return int(rng.integers(0, blocks)), int(rng.integers(1, max(2, blocks // 3)))

    def apply(self, low, before, rng):
        """(low as received, mask): `before` is the picture that went before the first."""
        mask = np.zeros(low.shape, np.uint8)
        if self.kind == "none":
            return low, mask
        low = low.copy()
        for t in range(len(low)):
            if self.kind == "pixels":
                mask[t] = rng.random(low.shape[1:]) < self.share
            else:
                rows, cols = -(-low.shape[1] // 16), -(-low.shape[2] // 16)
                first, count = self.run(rng, rows * cols)
                lost = np.zeros(rows * cols, bool)
                lost[first:first + count] = True
                mask[t] = np.kron(lost.reshape(rows, cols), np.ones((16, 16), bool))[:low.shape[1], :low.shape[2]]
            low[t] = np.where(mask[t], low[t - 1] if t else before, low[t])
        return low, mask


class Slot:
    """One place in the batch: walks along a clip for up to 24 frames, then jumps to another. The grid's cells are
    aligned to the picture as they are in use."""

    def __init__(self, clips, scale, length, patch):
        self.clips, self.scale, self.length, self.patch = clips, scale, length, patch
        # Four cells, so that crops are aligned to the coarsest level of matching, too.
        self.grid = 4 * models.CELL // scale
        self.left, self.calm = 0, 0.0

    def next(self):
        """(low [T,p,p], high [T,P,P], fresh, error, mask [T,p,p], still [1,P + 2m,P + 2m] or None): fresh says that the state must
        be reset; error as in pick; mask is 1 where pixels are lost; the still has a margin of matching.MARGIN cells."""
        s, p = self.scale, self.patch // self.scale
        fresh = self.advance()
        t = slice(self.at - self.length, self.at)
        rows, columns = slice(self.y, self.y + p), slice(self.x, self.x + p)
        high = self.hr[t, self.y * s:self.y * s + self.patch, self.x * s:self.x * s + self.patch]
        mask = np.zeros((self.length, p, p), np.uint8) if self.lost is None else self.lost[t, rows, columns]
        low, mask = self.damaged(t, mask)
        error = self.error
        # What was lost is far more than what coding leaves of a picture, and so is what was predicted from it: such
        # crops are weighed by their own error.
        if mask.any() or (self.lost is not None and error is not None
                          and Clips.enlarging_error(low, high, s) > DRIFT * error):
            error = None
        low, high = self.flip(low), self.flip(degrade.darker(high, self.light))
        still = None if self.still is None else self.flip(degrade.darker(self.around(), self.light))
        if self.tone is not None:
            error = error and error * self.tone[0] ** 2
            levels = (np.arange(256) * self.tone[0] + self.tone[1]).round().clip(0, 255).astype(np.uint8)
            low, high, still = (v if v is None else levels[v] for v in (low, high, still))
        if still is not None:
            still = (still * self.relit[0] + self.relit[1]).round().clip(0, 255).astype(np.uint8)
        return low, high, fresh, error, self.flip(mask), still

    def advance(self):
        """Goes on to the next chunk, which ends before `at`; whether it is another walk's first."""
        fresh = self.left <= 0 or self.at + self.length > self.lr.shape[0]
        if fresh:
            self.jump()
        self.left -= 1
        self.at += self.length
        return fresh

    def around(self):
        """The still at the walk's place, moved a little, with its margin; repeated beyond its edges."""
        by, (_, rows, columns) = matching.MARGIN * models.CELL, self.still.shape
        size = self.patch + 2 * by
        y, x = (v * self.scale - by + m for v, m in zip((self.y, self.x), self.moved))
        top, left = max(0, min(y, rows - 1)), max(0, min(x, columns - 1))
        part = self.still[0:1, top:max(top + 1, min(rows, y + size)), left:max(left + 1, min(columns, x + size))]
        before = top - y, left - x
        pads = [(max(0, b), max(0, size - max(0, b) - n)) for b, n in zip(before, part.shape[1:])]
        return np.pad(part, [(0, 0), *pads], mode="edge")[:, :size, :size]

    def jump(self):
        """To a walk along another clip."""
        rng, s, p = self.clips.rng, self.scale, self.patch // self.scale
        self.hr, self.lr, self.light, self.capture, self.error, self.lost, self.still = self.clips.pick(s)
        if rng.random() < 0.25:
            self.still = None
        # Between still and call cameras move, and change their exposure.
        self.moved = rng.integers(-24, 25, 2) if rng.random() < 0.15 else (0, 0)
        self.relit = (rng.uniform(0.93, 1.07), rng.uniform(-6, 6)) if rng.random() < 0.3 else (1.0, 0.0)
        if self.still is not None and self.still.alien:
            # The louder, the more harm in believing it.
            gain = rng.uniform(0.2, 2) if isinstance(self.still, Noise) else rng.uniform(1, 3)
            self.relit = gain, 110 * (1 - gain)
        self.calm = 0.0 if self.still is None or isinstance(self.still, Noise) else self.clips.calm(self.lr, self.still, s, tuple(map(int, self.moved)), self.relit)
        n, h, w = self.lr.shape
        # Some walks are long: in a call the state is old, and must do no harm.
        self.left = int(rng.integers(1, degrade.LONGEST_WALK // self.length + 1))
        self.at = int(rng.integers(0, max(1, n - self.length * self.left + 1)))
        self.y = int(rng.integers(0, (h - p) // self.grid + 1)) * self.grid
        self.x = int(rng.integers(0, (w - p) // self.grid + 1)) * self.grid
        self.turn = rng.integers(0, 2, 3)
        # Exposures that the clips lack, and cameras that use all 256 levels: black at 0 was seen as light as at 16.
        self.tone = None
        if rng.random() < 0.4:
            gain = rng.uniform(0.5, 1.15)
            darkest, brightest = -16 * gain, 255 - 235 * gain
            # Half of them dark: a film's or a room's blacks, whose lightening by a fraction of a value SSIM sees.
            self.tone = gain, rng.uniform(darkest, min(0, brightest) if rng.random() < 0.5 else brightest)
        self.damage = Damage.draw(rng, s)
        rest = slice(self.at + self.length, self.at + self.length * self.left)
        for planes, by in ((self.lr, 1), (self.hr, s)):
            if isinstance(planes, Planes):
                planes.expect(rest, slice(self.y * by, (self.y + p) * by))

    def damaged(self, t, mask):
        """(low, mask) of the frames `t` with what the walk's damage takes besides what the network lost."""
        if self.damage.kind == "none":
            return self.low(t), mask
        before = max(0, t.start - 1)
        low = self.low(slice(before, t.stop))
        low, more = self.damage.apply(low[t.start - before:], low[0], self.clips.rng)
        return low, mask | more

    def low(self, t):
        p = self.patch // self.scale
        return self.lr[t, self.y:self.y + p, self.x:self.x + p] if self.capture is None else self.blurred(t)

    def blurred(self, t):
        """The crop of an uncoded original, blurred with what lies around it."""
        margin, p = 16, self.patch
        top, left = max(0, self.y - margin), max(0, self.x - margin)
        around = self.lr[t, top:self.y + p + margin, left:self.x + p + margin]
        out = degrade.blurred(torch.from_numpy(around.astype(np.float32))[:, None], self.capture, 1.0)[:, 0]
        out = out[:, self.y - top:self.y - top + p, self.x - left:self.x - left + p]
        return out.round().clamp(0, 255).byte().numpy()

    def flip(self, a):
        if self.turn[0]:
            a = a[:, ::-1]
        if self.turn[1]:
            a = a[:, :, ::-1]
        if self.turn[2]:
            a = a.transpose(0, 2, 1)
        return np.ascontiguousarray(a)


class Synthetic:
    """Moving random textures, blurred and coarsely quantised: data for the smoke test."""

    def __init__(self, seed=0, size=320, frames=24):
        self.rng = rng = np.random.default_rng(seed)
        self.pairs = {4: [], 2: []}
        for _ in range(6):
            field = np.kron(rng.uniform(16, 235, (size // 8 + 8, size // 8 + 8)), np.ones((8, 8)))
            for _ in range(2):
                field = (field + np.roll(field, 1, 0) + np.roll(field, 1, 1)) / 3
            dx, dy = rng.integers(0, 3, 2)
            hr = np.stack([field[i * dy % 32:, i * dx % 32:][:size, :size] for i in range(frames)])
            for s in (4, 2):
                lr = hr.reshape(frames, size // s, s, size // s, s).mean((2, 4))
                lr = np.clip(np.round((lr + rng.normal(0, 3, lr.shape)) / 6) * 6, 16, 235)
                self.pairs[s].append((np.round(hr).astype(np.uint8), lr.astype(np.uint8)))

    def pick(self, scale):
        return *self.pairs[scale][self.rng.integers(len(self.pairs[scale]))], 1.0, None, None, None, None
