"""Trains what keeps a call's picture from pulsing: after a key frame in mid-call the picture is coarser than the one before it for a second or so, and where
nothing has moved the one before is the better one.

Usage: train_mend.py --pictures DIR --out FILE.pt [--minutes M] [--seed S]
       train_mend.py --pictures DIR --judge FILE.pt [--halved]
`DIR`: from mend_data.py, 180 lines. Writes the weights that are best on the clips held out, and prints what they bring there. Restarts from FILE.pt.last. For pictures of
360 lines the same network looks at them halved (`--halved`, to judge it on those).
"""
import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

# Pictures after a key frame in which the one before it counts less and less, and from which on it does not count at all: later ones have nothing to gain.
FADES_FROM, FADED = 8, 12
# Trained with 20 and 30, whose measure of age the network still has.
AGES = 30
# A cell is FOLD x FOLD pixels.
FOLD = 2
# Taken from the logit of every share: 0.08 dB less in the first five pictures after a key frame, and half of what is lost where most is lost.
CAREFUL = 0.5
CHANNELS, WIDE = 16, 5
# Squared code values a pixel, below which gradients are noise.
NOISE = 4
# What a window loses against leaving it alone counts so many times what it gains, at first and at last: with the latter from the start nothing is ever mended.
HARM = (1.2, 2.5)
# Squared code values that nobody sees.
FLOOR = 2
CROP, BATCH, UNROLLED = 64, 12, 8


class Mend(nn.Module):
    """Luma of the picture as it came, of the one before as it came and as it was mended -> share of the latter at each pixel.

    All are [n, 1, h, w], code values; `age`: [1], pictures since the key frame.
    """

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3 * FOLD * FOLD + 8, CHANNELS, 3, padding=1)
        self.second = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.last = nn.Conv2d(CHANNELS, FOLD * FOLD, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.constant_(self.last.bias, -1)

    def around(self, x):
        """Means over each cell and its neighbours."""
        return F.avg_pool2d(F.avg_pool2d(x, FOLD), WIDE, 1, WIDE // 2, count_include_pad=False)

    def moved(self, now, before):
        """What tells motion from coding noise, by least squares over each cell's surroundings: how much of the difference a shift explains (0 to 1), and the
        shift in pixels (Lucas and Kanade, 1981)."""
        mean, apart = F.pad((now + before) / 2, (1, 1, 1, 1), mode="replicate"), now - before
        gx, gy = (mean[:, :, 1:-1, 2:] - mean[:, :, 1:-1, :-2]) / 2, (mean[:, :, 2:, 1:-1] - mean[:, :, :-2, 1:-1]) / 2
        xx, yy, xy, xd, yd, dd = self.around(torch.cat([gx * gx, gy * gy, gx * gy, gx * apart, gy * apart, apart * apart], 1)).chunk(6, 1)
        xx, yy = xx + NOISE, yy + NOISE
        sure = xx * yy - xy * xy
        u, v = (yy * xd - xy * yd) / sure, (xx * yd - xy * xd) / sure
        return torch.cat([(u * xd + v * yd) / (dd + 1), torch.sqrt(u * u + v * v + 1e-6).clamp(max=2)], 1)

    def share(self, came, came_before, mended_before, kept, age):
        """`kept`: [n, 1, h / 2, w / 2], the mean share of the picture before (1 at the key frame)."""
        apart, change = mended_before - came, came - came_before
        cells = F.pixel_unshuffle(torch.cat([came - 128, apart, change], 1) / 16, FOLD)
        wide = [self.around(d.abs()) / 4 for d in (apart, change)]
        moved = [self.moved(came, before) for before in (mended_before, came_before)]
        told = torch.cat([cells, *wide, *moved, kept, (age / AGES).reshape(1, 1, 1, 1).expand_as(kept)], 1)
        x = F.relu(self.second(F.relu(self.first(told))))
        share = torch.sigmoid(self.last(x)) * torch.clamp((FADED - age) / (FADED - FADES_FROM), 0, 1)
        return F.pixel_shuffle(share, 2)

    def forward(self, came, came_before, mended_before, kept, age, halved=False):
        """-> shares at each pixel, and what `kept` is next. `halved`: the network looks at means of 2x2 pixels."""
        seen = [F.avg_pool2d(x, 2) if halved else x for x in (came, came_before, mended_before)]
        share = self.share(*seen, kept, age)
        wide = F.interpolate(share, scale_factor=2, mode="bilinear", align_corners=False) if halved else share
        return wide, F.avg_pool2d(share, FOLD)


def sequences(model, sent, length, halved=False):
    """Mends the pictures after a key frame: sent [n, 1 + length, h, w], the first before it -> mended [n, length, h, w]."""
    came_before = mended = sent[:, :1]
    cell = FOLD * (2 if halved else 1)
    kept = torch.ones(len(sent), 1, sent.shape[2] // cell, sent.shape[3] // cell)
    out = []
    for t in range(length):
        came = sent[:, 1 + t:2 + t]
        share, kept = model(came, came_before, mended, kept, torch.tensor([float(t)]), halved)
        came_before, mended = came, came + share * (mended - came)
        out.append(mended)
    return torch.cat(out, 1)


def load(folder):
    clips = {True: [], False: []}
    for file in sorted(folder.glob("*.npz")):
        with np.load(file) as z:
            given, sent, keys = z["given"], z["sent"], np.flatnonzero(z["keys"])
        h, w = (side // 8 * 8 for side in given.shape[1:])
        keys = [int(k) for k in keys if 10 < k < len(given) - 4]
        if keys and min(h, w) >= CROP:
            clips[file.name.startswith("held-")].append((file.stem, given[:, :h, :w], sent[:, :h, :w], keys))
    return clips[False], clips[True]


def batch(clips, rng):
    given, sent = [], []
    while len(sent) < BATCH:
        _, g, s, keys = clips[rng.integers(len(clips))]
        k = keys[rng.integers(len(keys))]
        # After a loss the receiver stands still until the key frame: the picture before it is older.
        gap = int(rng.integers(1, 11)) if rng.random() < 0.4 else 1
        if k + UNROLLED > len(g) or k < gap:
            continue
        y, x = (int(rng.integers((side - CROP) // FOLD + 1)) * FOLD for side in g.shape[1:])
        shown = [k - gap, *range(k, k + UNROLLED)]
        flip = np.s_[:, :, ::-1] if rng.random() < 0.5 else np.s_[:]
        given.append(g[shown, y:y + CROP, x:x + CROP][flip].astype(np.float32))
        sent.append(s[shown, y:y + CROP, x:x + CROP][flip].astype(np.float32))
    return torch.from_numpy(np.stack(given)), torch.from_numpy(np.stack(sent))


@torch.no_grad()
def judge(model, clips, halved=False):
    """Mean gain in dB over the picture as it came, of the first 5, 10 and 20 pictures after each key frame, and the least of any clip.

    Half of the key frames follow on the picture before them, half on one of five pictures before, as after a loss.
    """
    gains, every = {5: [], 10: [], 20: []}, []
    for name, given, sent, keys in clips:
        mine = {n: [] for n in gains}
        for k in keys:
            for gap in (1, 6):
                n = min(max(gains), len(given) - k)
                s = torch.from_numpy(sent[[k - gap, *range(k, k + n)]].astype(np.float32))[None]
                g = torch.from_numpy(given[k:k + n].astype(np.float32))[None]
                mended = sequences(model, s, n, halved).round().clamp(0, 255)
                after, before = ((x - g).square().mean((2, 3)).clamp(min=0.01)[0] for x in (mended, s[:, 1:]))
                gain = 10 * torch.log10(before / after)
                for m in gains:
                    mine[m].append(gain[:m].mean().item())
        for m in gains:
            gains[m].append(np.mean(mine[m]))
        every.append((name, round(float(np.mean(mine[5])), 2), round(min(mine[20]), 2)))
    return {**{f"first {m}": round(float(np.mean(v)), 3) for m, v in gains.items()}, "least": min(e[2] for e in every), "each": every}


def careful(model, file):
    """The weights as they are delivered."""
    model.load_state_dict(torch.load(file))
    with torch.no_grad():
        model.last.bias -= CAREFUL
    return model.eval()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--judge", type=Path)
    parser.add_argument("--halved", action="store_true")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    model = Mend()
    train, held = load(args.pictures)
    if args.judge:
        print(json.dumps(judge(careful(model, args.judge), held, args.halved)))
        return
    optimizer = torch.optim.Adam(model.parameters(), 4e-3)
    print(json.dumps({"clips": len(train), "held out": [name for name, *_ in held], "weights": sum(p.numel() for p in model.parameters())}), flush=True)
    last, step, best, spent = args.out.with_suffix(".pt.last"), 0, -1e9, 0.0
    if last.exists():
        saved = torch.load(last)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step, best, spent = saved["step"], saved["best"], saved["spent"]
    started, losses = time.time(), []
    while spent + time.time() - started < args.minutes * 60:
        done = (spent + time.time() - started) / (args.minutes * 60)
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * min(1, step / 100) * (0.02 + 0.98 * (1 - done) ** 1.5)
        given, sent = batch(train, rng)
        mended = sequences(model, sent, UNROLLED)
        # In dB, window by window: where something moves the picture before is wrong by a hundred times more than what there is to gain elsewhere.
        after, before = (F.avg_pool2d((x - given[:, 1:]).square(), 8) + FLOOR for x in (mended, sent[:, 1:]))
        gain = torch.log(before / after)
        loss = (HARM[done > 0.45] * F.relu(-gain) - F.relu(gain)).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1)
        optimizer.step()
        losses.append(loss.item())
        step += 1
        if step % 250 == 0:
            score = judge(model, held)
            print(json.dumps({"step": step, "minutes": round((spent + time.time() - started) / 60, 1), "loss": round(float(np.mean(losses)), 4), **score}), flush=True)
            losses = []
            worth = score["first 10"] + 0.2 * score["least"]
            if worth > best:
                best = worth
                torch.save(model.state_dict(), args.out)
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "best": best, "spent": spent + time.time() - started}, last)


if __name__ == "__main__":
    main()
