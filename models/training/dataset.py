"""Training sequences: crops of (degraded, original) luma that go on from chunk to chunk."""
import json
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import degrade
import model as models

HERE = Path(__file__).parent
SMALLEST = 256  # segments with a shorter side are left out


def load_index(root, split):
    """Segments of a split as dicts with 'hr' and 'lr' paths; arrays are opened lazily, memory-mapped."""
    validate = set(json.loads((HERE / "splits.json").read_text())["validate"])
    index = []
    for meta in sorted(Path(root).glob("*/meta.json")):
        m = json.loads(meta.read_text())
        if (m["file"] in validate) == (split == "validate") and min(m["w"], m["h"]) >= SMALLEST:
            m["dir"] = meta.parent
            index.append(m)
    if not index:
        raise SystemExit(f"no segments for '{split}' in {root}")
    return index


class Clips:
    """Picks segments and degradations; larger pictures more often, uncoded ones seldom."""

    def __init__(self, index, seed):
        self.index, self.rng = index, np.random.default_rng(seed)
        # CIF-class clips are soft and few pixels; stills do not move as people do.
        weight = [min(1.0, (m["w"] * m["h"] / (1280 * 720))) ** 0.5 * (0.6 if m["still"] else 1.0) for m in index]
        self.p = np.array(weight) / sum(weight)
        self.open, self.errors = {}, {}

    def error(self, high, low, scale, key):
        """Mean squared error that bicubic enlarging leaves on this encoding, from two of its frames."""
        if key not in self.errors:
            at = [len(low) // 3, len(low) * 2 // 3]
            x = torch.from_numpy(np.stack([low[t] for t in at]).astype(np.float32))[:, None]
            if scale > 1:
                x = F.conv2d(models.folded(x, 2), models.bicubic_weight(scale).float())
                x = F.pixel_shuffle(x, 2 * scale)
            high = torch.from_numpy(np.stack([high[t] for t in at]).astype(np.float32))[:, None]
            self.errors[key] = float(((x[..., :high.shape[2], :high.shape[3]] - high) ** 2).mean())
        return self.errors[key]

    def array(self, path):
        if path not in self.open:
            self.open[path] = np.load(path, mmap_mode="r")
        return self.open[path]

    def pick(self, scale):
        """(original, degraded, light, capture, error): planes of the same moments; `light` dims the original,
        `error` is what bicubic leaves of the whole picture.

        At full size, half of the picks are not coded at all: the slot blurs the original itself, by `capture`.
        """
        rng = self.rng
        m = self.index[rng.choice(len(self.index), p=self.p)]
        if scale == 1 and rng.random() < 0.5:
            high = self.array(m["dir"] / "hr.npy")
            draw = random.Random(int(rng.integers(2**31)))
            blur = draw.choice([{}, {"gaussian": draw.uniform(0.3, 3)}, {"gaussian": draw.uniform(0.3, 3)},
                                {"defocus": draw.uniform(0.5, 4.5)}])
            return high, high, 1.0, degrade.Capture(**blur), None
        points = [q for q in m["lr"] if q["scale"] == scale]
        p = np.array([self.weight(q) for q in points])
        point = points[rng.choice(len(points), p=p / p.sum())]
        low = self.array(m["dir"] / point["file"])
        high = self.array(m["dir"] / "hr.npy")[point["first"]::point["stride"]]
        light = point["capture"]["gain"]
        error = self.error(high, low, scale, (m["dir"], point["file"])) if light == 1 else None
        return high, low, light, None, error

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

    def apply(self, low, before, rng):
        """(low as received, mask): `before` is the picture that went before the first."""
        mask = np.zeros(low.shape, np.uint8)
        if self.kind == "none":
            return low, mask
        low = low.copy()
        for t in range(len(low)):
            if self.kind == "pixels":
                mask[t] = rng.random(low.shape[1:]) < self.share
            elif rng.random() < self.share:
                rows, cols = -(-low.shape[1] // 16), -(-low.shape[2] // 16)
                lost = np.zeros(rows * cols, bool)
                first = int(rng.integers(0, rows * cols))
                lost[first:first + int(rng.integers(1, max(2, rows * cols // 3)))] = True
                mask[t] = np.kron(lost.reshape(rows, cols), np.ones((16, 16), bool))[:low.shape[1], :low.shape[2]]
            low[t] = np.where(mask[t], low[t - 1] if t else before, low[t])
        return low, mask


class Slot:
    """One place in the batch: walks along a clip for up to 24 frames, then jumps to another. The grid's cells are
    aligned to the picture as they are in use."""

    def __init__(self, clips, scale, length, patch):
        self.clips, self.scale, self.length, self.patch = clips, scale, length, patch
        self.grid = 2 * models.CELL // scale
        self.left = 0

    def next(self):
        """(low [T,p,p], high [T,P,P], fresh, error, mask [T,p,p]): fresh says that the state must be reset; error as in
        pick; mask is 1 where pixels are lost."""
        rng, s, p = self.clips.rng, self.scale, self.patch // self.scale
        fresh = self.left <= 0 or self.at + self.length > self.lr.shape[0]
        if fresh:
            self.hr, self.lr, self.light, self.capture, self.error = self.clips.pick(s)
            n, h, w = self.lr.shape
            # Some walks are long: in a call the state is old, and must do no harm.
            self.left = int(rng.integers(1, 24 // self.length + 1))
            self.at = int(rng.integers(0, max(1, n - self.length * self.left + 1)))
            self.y = int(rng.integers(0, (h - p) // self.grid + 1)) * self.grid
            self.x = int(rng.integers(0, (w - p) // self.grid + 1)) * self.grid
            self.turn = rng.integers(0, 2, 3)
            self.damage = Damage.draw(rng, s)
        self.left -= 1
        t = slice(self.at, self.at + self.length)
        low = self.lr[t, self.y:self.y + p, self.x:self.x + p]
        if self.capture is not None:
            low = self.blurred(t)
        high = self.hr[t, self.y * s:self.y * s + self.patch, self.x * s:self.x * s + self.patch]
        low, mask = self.damage.apply(low, self.lr[max(0, self.at - 1), self.y:self.y + p, self.x:self.x + p], rng)
        self.at += self.length
        # What was lost is far more than what coding leaves of a picture: such crops are weighed by their own error.
        error = None if mask.any() else self.error
        return self.flip(low), self.flip(degrade.darker(high, self.light)), fresh, error, self.flip(mask)

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
        return *self.pairs[scale][self.rng.integers(len(self.pairs[scale]))], 1.0, None, None
