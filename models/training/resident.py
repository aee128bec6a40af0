"""The data set on a GPU: training crops are gathered there by one call each, and only where to read is decided outside.

All files lie one after the other in one block of bytes that never moves, so that a recorded CUDA graph can go on reading while
segments are added. What a slot draws is as in dataset.py.
"""
import threading

import numpy as np
import torch
import torch.nn.functional as F

import dataset
import degrade
import matching
import model as models

WIDEST = 9  # pixels each way that a blur reaches: three sigma of 3
BY = matching.MARGIN * models.CELL  # margin of a still's crop, pixels
INTEGERS = ("low_at", "low_step", "low_pitch", "low_before", "high_at", "high_step", "high_pitch", "lost_at", "lost_step", "lost_pitch",
            "still_at", "still_pitch", "still_top", "still_left", "still_rows", "still_columns", "grain", "turn0", "turn1", "turn2",
            "top", "left", "rows", "columns")
FLOATS = ("keep", "error", "there", "calm", "light", "tone", "black", "relit", "relight", "pixels")


class Planes(dataset.Planes):
    """As dataset.Planes, of a file in the block."""

    def __init__(self, key, start, n, rows, width, first=0, stride=1, box=None):
        self.key, self.start, self.rows, self.width, self.first, self.stride = key, start, rows, width, first, stride
        self.x, self.y, w, h = box or (0, 0, width, rows)
        self.shape = (-(-(n - first) // stride), h, w)

    def expect(self, t, y):
        """Nothing to fetch."""

    @property
    def step(self):
        return self.stride * self.rows * self.width

    def place(self, t, y, x=0):
        return super().place(t, y) + self.x + x


class Clips(dataset.Clips):
    """Segments of a folder that may still grow: `refresh` adds what has been built since."""

    def __init__(self, root, split, scales, seed, stills, device, size):
        self.root, self.split, self.scales, self.device = root, split, scales, device
        self.block, self.used, self.where = torch.empty(size, dtype=torch.uint8, device=device), 0, {}
        self.index, self.rng, self.stills = [], np.random.default_rng(seed), stills
        self.errors, self.calms, self.weights, self.known = {}, {}, [], set()
        # Kernels of its own stream do not wait for what trains.
        self.stream = torch.cuda.Stream() if device.type == "cuda" else None
        self.noise = self.store("noise", dataset.Noise.grains()[None])
        self.ready, self.lock = [], threading.Lock()

    def store(self, key, array):
        end = self.used + array.size
        if end > len(self.block):
            raise MemoryError("the block is full")
        part = self.block[self.used:end]
        part.copy_(torch.from_numpy(np.ascontiguousarray(array)).view(-1))
        self.where[key] = (self.used, *array.shape)
        self.used = end
        return self.where[key]

    def picture(self, key, t, box=None):
        """Picture t of a file, [h,w]."""
        start, _, rows, width = self.where[key]
        picture = self.block[start + t * rows * width:][:rows * width].view(rows, width)
        x, y, w, h = box or (0, 0, width, rows)
        return picture[y:y + h, x:x + w]

    def load(self, m):
        """A segment's files, and what is to be known of its encodings."""
        high, stills = m["dir"] / "hr.npy", [m["dir"] / r["file"] for r in m.get("references", [])] if self.stills else []
        for key in (high, *stills):
            self.store(key, np.load(key))
        m["lr"] = [q for q in m["lr"] if q["scale"] in self.scales]
        for q in m["lr"]:
            low, scale = m["dir"] / q["file"], q["scale"]
            n, h, w = self.store(low, np.load(low))[1:]
            if q.get("mask"):
                self.store(m["dir"] / q["mask"], np.unpackbits(np.load(m["dir"] / q["mask"]), axis=-1)[..., :w])
            box = q.get("crop")

            def error(t):
                original = self.picture(high, q["first"] + t.start * q["stride"], box)
                return float(dataset.enlarging_error(self.picture(low, t.start)[None], original[None], scale))
            self.errors[m["dir"], q["file"]] = self.least(error, n, bool(q.get("mask")))
            for still in stills:
                for moved in (0, 12):
                    self.calms[low, still, moved > 0] = dataset.standing(
                        self.picture(low, n // 2), self.picture(still, 0, box), scale, (moved, moved), (1.0, 0.0))
        calm = dataset.standing(self.picture(high, m["frames"] // 2), self.picture(stills[0], 0), 1, (0, 0), (1.0, 0.0)) if stills else 0.0
        return m, self.preference(m, calm)

    def watch(self):
        """Loads what the folder has and `refresh` has not given yet; one pass."""
        for m in dataset.load_index(self.root, self.split):
            if m["dir"] in self.known or (self.stills and "references" not in m):
                continue
            self.known.add(m["dir"])
            with self.lock:  # nothing else may happen on the device while a graph is recorded
                with torch.cuda.stream(self.stream):
                    try:
                        self.ready.append(self.load(m))
                    except MemoryError:
                        return False
                    if self.stream:
                        self.stream.synchronize()
        return True

    def refresh(self):
        """Takes over what `watch` has loaded; the number of segments."""
        while self.ready:
            m, weight = self.ready.pop()
            self.index.append(m)
            self.weights.append(weight)
        self.p = np.array(self.weights) / sum(self.weights)
        return len(self.index)

    def planes(self, path, *args):
        return Planes(path, *self.where[path], *args)

    masks = planes

    def error(self, high, low, scale, lossy, key):
        return self.errors[key]

    def calm(self, low, still, scale, moved, relit):
        """As it was found for the still as it is, or moved by three cells; another light changes little, and another scene is another one."""
        return self.calms.get((low.key, still.key, max(map(abs, moved)) > 4), 0.0)


class Crops:
    """Where the chunks of a batch are, as numbers for `rendered`."""

    def __init__(self, clips, scale, size, length, patch):
        self.clips, self.scale, self.length, self.patch = clips, scale, length, patch
        self.slots = [dataset.Slot(clips, scale, length, patch) for _ in range(size)]
        pinned = {"pin_memory": True} if clips.device.type == "cuda" else {}
        self.integers = torch.zeros(size, len(INTEGERS), dtype=torch.int64, **pinned)
        self.floats = torch.zeros(size, len(FLOATS), **pinned)
        self.runs = torch.zeros(size, length, 2, dtype=torch.int64, **pinned)
        self.kernels = torch.zeros(size, (2 * WIDEST + 1) ** 2 if scale == 1 else 1, **pinned)
        self.parts = (self.integers, self.floats, self.runs, self.kernels)

    def next(self):
        p = self.patch // self.scale
        blocks = (-(-p // 16)) ** 2
        integers, floats, runs = [], [], []
        for i, slot in enumerate(self.slots):
            fresh = slot.advance()
            if fresh and self.scale == 1:
                self.kernels[i] = kernel(slot.capture).flatten()
            at, s = slot.at - self.length, self.scale
            low, high, lost, still = slot.lr, slot.hr, slot.lost, slot.still
            there = low.place(at, slot.y, slot.x)
            row = [there, low.step, low.width, there - low.step if at else there, high.place(at, slot.y * s, slot.x * s), high.step, high.width]
            row += (-1, 0, 0) if lost is None else (lost.place(at, slot.y, slot.x), lost.step, lost.width)
            top, left = (v * s - BY + int(m) for v, m in zip((slot.y, slot.x), slot.moved))
            if still is None:
                row += (0, 0, 0, 0, 1, 1, 1)
            elif isinstance(still, dataset.Noise):
                start, _, _, width = self.clips.noise
                row += (start + still.y * width + still.x, width, top, left, *still.shape[1:], still.grain)
            else:
                row += (still.place(0, 0), still.width, top, left, *still.shape[1:], 1)
            integers.append([*row, *map(int, slot.turn), slot.y, slot.x, *low.shape[1:]])
            damage = slot.damage
            tone = slot.tone or (1.0, 0.0)
            floats.append([1.0 - fresh, float("nan") if slot.error is None else slot.error, still is not None, slot.calm, slot.light, *tone,
                           *slot.relit, damage.share if damage.kind == "pixels" else 0.0])
            runs.append([damage.run(self.clips.rng, blocks) for _ in range(self.length)])
        self.integers.copy_(torch.tensor(integers))
        self.floats.copy_(torch.tensor(floats))
        self.runs.copy_(torch.tensor(runs))
        return self.parts


def kernel(capture):
    """The blur of a walk that is not coded, [2 * WIDEST + 1, …]: a point where there is none."""
    side = 2 * WIDEST + 1
    point = torch.zeros(1, 1, side, side)
    point[..., WIDEST, WIDEST] = 1
    return point if capture is None else degrade.blurred(point, capture, 1.0)


def rendered(block, scale, patch, integers, floats, runs, kernels, still_size=None):
    """(low [B,T,p,p], high [B,T,P,P], mask [B,T,p,p], error [B], stills [B,1,P + 2 * BY,…] or None, there, calm, keep [B]), all floats: as Slot.next."""
    i, f = ({n: v for n, v in zip(names, values.unbind(1))} for names, values in ((INTEGERS, integers), (FLOATS, floats)))
    p, count, device = patch // scale, runs.shape[1], block.device

    def column(value):
        return value.view(-1, 1, 1)

    def source(size):
        """Rows and columns of a crop that come to each place of the turned one, [B,size,size]."""
        y, x = (torch.arange(size, device=device).view(v) for v in ((1, -1, 1), (1, 1, -1)))
        turned = column(i["turn2"]) > 0
        row, col = torch.where(turned, x, y), torch.where(turned, y, x)
        return (torch.where(column(i[turn]) > 0, size - 1 - v, v) for turn, v in (("turn0", row), ("turn1", col)))

    def take(address):
        return block.take(address).float()

    def walk(name, row, col):
        """Chunks' pictures [B,T,…]."""
        at, step, pitch = (column(i[f"{name}_{v}"]) for v in ("at", "step", "pitch"))
        place = row * pitch + col
        times = torch.arange(count, device=device).view(1, -1, 1, 1)
        return take((at + place).unsqueeze(1) + times * step.unsqueeze(1)), place

    row, col = source(p)
    low, place = walk("low", row, col)
    if scale == 1:
        side = p + 2 * WIDEST
        wide = [(v - WIDEST + column(i[start])).clamp(min=0).minimum(column(i[size]) - 1) - column(i[start])
                for v, start, size in zip(source(side), ("top", "left"), ("rows", "columns"))]
        weight = kernels.view(-1, 1, 2 * WIDEST + 1, 2 * WIDEST + 1)
        low = F.conv2d(walk("low", *wide)[0].transpose(0, 1), weight, groups=len(weight)).transpose(0, 1).round().clamp(0, 255)
    high = walk("high", *source(patch))[0]
    # Lost pictures' parts: those of the encoding, and those of the walk.
    lossy = i["lost_at"] >= 0
    places = row * column(i["lost_pitch"]) + col
    addresses = (column(i["lost_at"].clamp(min=0)) + places).unsqueeze(1) + torch.arange(count, device=device).view(1, -1, 1, 1) * i["lost_step"].view(-1, 1, 1, 1)
    mask = take(addresses) * lossy.view(-1, 1, 1, 1)
    one = ((row // 16) * (-(-p // 16)) + col // 16).unsqueeze(1)
    first, length = (v.unsqueeze(2).unsqueeze(3) for v in runs.unbind(2))
    lost = (one >= first) & (one < first + length)
    lost = lost | (torch.rand(low.shape, device=device) < f["pixels"].view(-1, 1, 1, 1))
    pictures, before = [], take(column(i["low_before"]) + place)
    for t in range(count):
        before = torch.where(lost[:, t], before, low[:, t])
        pictures.append(before)
    low, mask = torch.stack(pictures, 1), mask.maximum(lost.float())
    error = f["error"]
    wrong = dataset.enlarging_error(low.flatten(0, 1), high.flatten(0, 1), scale).view(-1, count).mean(1)
    own = mask.flatten(1).amax(1).bool() | (lossy & (wrong > dataset.DRIFT * error))
    error = torch.where(own, torch.full_like(error, float("nan")), error * f["tone"] ** 2)

    def lit(x, darker):
        if darker:
            x = torch.where(f["light"].view(-1, 1, 1, 1) == 1, x, ((x - 16) * f["light"].view(-1, 1, 1, 1) + 16).round())
        return (x * f["tone"].view(-1, 1, 1, 1) + f["black"].view(-1, 1, 1, 1)).round().clamp(0, 255)
    stills = None
    if still_size:
        place = [(v + column(i[start])).clamp(min=0).minimum(column(i[size]) - 1) // column(i["grain"])
                 for v, start, size in zip(source(still_size), ("still_top", "still_left"), ("still_rows", "still_columns"))]
        stills = lit(take(column(i["still_at"]) + place[0] * column(i["still_pitch"]) + place[1]).unsqueeze(1), True)
        stills = (stills * f["relit"].view(-1, 1, 1, 1) + f["relight"].view(-1, 1, 1, 1)).round().clamp(0, 255) * f["there"].view(-1, 1, 1, 1)
    return lit(low, False), lit(high, True), mask, error, stills, f["there"], f["calm"], f["keep"]
