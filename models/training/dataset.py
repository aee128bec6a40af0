"""Training sequences: crops of (degraded, original) luma that go on from chunk to chunk."""
import json
from pathlib import Path

import numpy as np

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
        self.open = {}

    def array(self, path):
        if path not in self.open:
            self.open[path] = np.load(path, mmap_mode="r")
        return self.open[path]

    def pick(self, scale):
        rng = self.rng
        m = self.index[rng.choice(len(self.index), p=self.p)]
        points = [q for q in m["lr"] if q["scale"] == scale]
        # The thinnest uplinks matter most, and are the hardest to gain anything on.
        thin = 110 if scale == 4 else 200
        p = np.array([0.35 if q["codec"] == "raw" else 1.6 if q["nominal"] < thin else 1.0 for q in points])
        point = points[rng.choice(len(points), p=p / p.sum())]
        return self.array(m["dir"] / "hr.npy"), self.array(m["dir"] / point["file"])


class Slot:
    """One place in the batch: walks along a clip for up to 24 frames, then jumps to another."""

    def __init__(self, clips, scale, length, patch):
        self.clips, self.scale, self.length, self.patch = clips, scale, length, patch
        self.left = 0

    def next(self):
        """(low [T,p,p], high [T,P,P], fresh): fresh says that the state must be reset."""
        rng, s, p = self.clips.rng, self.scale, self.patch // self.scale
        fresh = self.left <= 0 or self.at + self.length > self.hr.shape[0]
        if fresh:
            self.hr, self.lr = self.clips.pick(s)
            n, h, w = self.lr.shape
            # Some walks are long: in a call the state is old, and must do no harm.
            self.left = int(rng.integers(1, 24 // self.length + 1))
            self.at = int(rng.integers(0, max(1, n - self.length * self.left + 1)))
            # Cells of 2 (x4) or 4 (x2) pixels are aligned to the picture as they are in use.
            grid = 8 // s
            self.y = int(rng.integers(0, (h - p) // grid + 1)) * grid
            self.x = int(rng.integers(0, (w - p) // grid + 1)) * grid
            self.turn = rng.integers(0, 2, 3)
        self.left -= 1
        t = slice(self.at, self.at + self.length)
        low = self.lr[t, self.y:self.y + p, self.x:self.x + p]
        high = self.hr[t, self.y * s:self.y * s + self.patch, self.x * s:self.x * s + self.patch]
        self.at += self.length
        return self.flip(low), self.flip(high), fresh

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
        return self.pairs[scale][self.rng.integers(len(self.pairs[scale]))]
