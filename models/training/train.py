"""Trains a model: back-propagation through short chunks, with the state carried on between chunks.

Usage: train.py --model swift --minutes 60 [--scales 4,2] [--cache DIR] [--run NAME] [--resume | --init CKPT]
       train.py --smoke            (under two minutes, synthetic data; fails if the loss does not fall)

The loss is the squared error relative to what the plain enlarging leaves on the whole picture: every clip's decibels
count alike, and within a clip the errors that make them. A logged 0.9 means 0.46 dB. A part of it is the change of the error
from frame to frame, which the eye sees as flicker; with --along-motion WEIGHT along the original's motion (motion.py). The learning rate follows the wall clock (cosine over
--minutes), since the machine may be shared. After --float of the time weights and activations are rounded
as in the exported integers.
"""
import argparse
import copy
import json
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import dataset
import matching
import model as models
import motion


# Squared code values that count as nothing. At full size there are untouched pictures, too: with 1, keeping them as they
# are to the last bit outweighs everything else, and nothing is learned.
FLOOR = {4: 1.0, 2: 1.0, 1: 20.0}
# Weight of what a crop loses against leaving it alone, on top of the loss that has it in: at full size much needs nothing, and a
# blur that is the scene's own is easily taken for the camera's.
HARM = {4: 0.0, 2: 0.0, 1: 6.0}
# Without AVX-512, PyTorch multiplies bfloat16 twenty times slower than floats.
HALVES = "avx512f" in Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else False
# Times the learning rate: these see code values of up to 127 where others see activations of about 1, and Adam's steps do not know.
# At the full rate gates swing from step to step, until one stays shut for good.
PACE = {"refer": 0.2, "trust": 0.2}
FLICKER = 0.3  # weight of the error's change from frame to frame, at each pixel
SIMILARITY = 1.0  # weight of what SSIM lacks to 1: flat regions count there, that weigh next to nothing in squares


def similarity(ours, target):
    """SSIM of images [B,1,h,w] over blocks of 8x8, every four pixels (as FFmpeg's filter has it)."""
    def mean(x):
        return F.avg_pool2d(x, 8, 4)
    ma, mb = mean(ours), mean(target)
    va, vb = mean(ours * ours) - ma * ma, mean(target * target) - mb * mb
    covariance = mean(ours * target) - ma * mb
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return ((2 * ma * mb + c1) * (2 * covariance + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))).mean()


def chunk_loss(net, scale, low, high, mask, error, tables, state, along=0.0):
    """(loss, that of the plain enlarging, objective, state) of chunks low [B,T,p,p], high [B,T,P,P], mask [B,T,p,p] and error [B], in code values;
    tables as of Batch.tables; `along`: weight of flicker along the motion, 0 for FLICKER at each pixel."""
    prev, state = state
    ours, plain, flicker, harm, before = [], [], [], [], None
    if along:
        b, frames, *size = high.shape
        pairs = (high[:, part].reshape(-1, 1, *size) for part in (slice(frames - 1), slice(1, None)))
        flow, holds = (v.unflatten(0, (b, frames - 1)) for v in motion.flow(*pairs))
    for t in range(low.shape[1]):
        luma, lost = low[:, t:t + 1], mask[:, t:t + 1]
        if scale == 1:
            luma = models.filled(luma, lost)
        told, base = None, net.base(luma, scale)
        if tables:
            cells = F.avg_pool2d(luma, models.CELL // scale)
            told = matching.told(cells, base, tables[:2], share=tables[3]) * tables[2]
        with torch.autocast("cpu", torch.bfloat16, enabled=HALVES):
            detail, state = net.step(luma, prev, lost, state, scale, told)
        target = F.pixel_unshuffle(high[:, t:t + 1], models.CELL)
        target = target - base
        patch = (target**2).flatten(1).mean(1)
        weight = 1 / (torch.where(error.isnan(), patch, error) + FLOOR[scale])
        wrong = detail - target
        left = (wrong**2).flatten(1).mean(1)
        ours.append((left * weight).mean())
        harm.append((F.relu(left - patch) * weight).mean())
        plain.append((patch * weight).mean())
        missing = F.pixel_shuffle(wrong, models.CELL) if along else wrong
        if before is not None:
            changed = (motion.warped(before, flow[:, t - 1]) - missing) * holds[:, t - 1] if along else before - missing
            flicker.append(((changed**2).flatten(1).mean(1) * weight).mean())
        prev, before = luma, missing
    loss = sum(ours) / len(ours)
    original = high[:, -1:]  # one picture of the chunk stands for all
    unlike = 1 - similarity(original + F.pixel_shuffle(wrong, models.CELL), original)
    objective = loss + (along or FLICKER) * sum(flicker) / max(1, len(flicker)) + SIMILARITY * unlike
    if HARM[scale]:
        objective = objective + HARM[scale] * sum(harm) / len(harm)
    return loss, sum(plain) / len(plain), objective, (prev, state)


class Batch:
    """A fixed set of slots for one scale, and their states."""

    def __init__(self, clips, scale, size, length, patch, along=0.0):
        self.slots = [dataset.Slot(clips, scale, length, patch) for _ in range(size)]
        self.scale, self.state, self.along = scale, None, along

    def next(self, net):
        chunks = [slot.next() for slot in self.slots]
        low, high, mask = (torch.from_numpy(np.stack([c[i] for c in chunks])).float() for i in (0, 1, 4))
        if self.state is None:
            self.state = net.fresh(low[:, :1], self.scale)
        keep = torch.tensor([0.0 if c[2] else 1.0 for c in chunks]).view(-1, 1, 1, 1)
        prev, state = self.state
        self.state = (prev * keep, tuple(s.detach() * keep for s in state))
        errors = [c[3] for c in chunks]
        errors = torch.tensor([math.nan if e is None else e for e in errors])
        return low, high, mask, errors, self.tables(net, [c[5] for c in chunks])

    def tables(self, net, stills):
        """(keys, values, 1 where there is a still, how calm) of the slots, or None for a network that takes none."""
        if not net.stills:
            return None
        size = self.slots[0].patch + 2 * matching.MARGIN * models.CELL
        pictures = np.stack([np.zeros((1, size, size), np.uint8) if s is None else s for s in stills])
        there = torch.tensor([0.0 if s is None else 1.0 for s in stills]).view(-1, 1, 1, 1)
        calm = torch.tensor([slot.calm for slot in self.slots])
        return *matching.tables(torch.from_numpy(pictures).float(), self.scale), there, calm

    def loss(self, net):
        chunk, state = self.next(net), self.state
        loss, plain, objective, self.state = chunk_loss(net, self.scale, *chunk, state, self.along)
        return loss, float(plain), objective

    def gradients(self, net):
        """Loss, bicubic's, and gradients, returned and not accumulated: each batch runs on a thread of its own."""
        loss, plain, objective = self.loss(net)
        return (loss.item(), plain), torch.autograd.grad(objective, learning(net), allow_unused=True)


def learning(net):
    return [p for p in net.parameters() if p.requires_grad]


@torch.no_grad()
def input_cells(clips, scale, count=150):
    """Random neighbourhoods of cells from frames and their predecessors, for Restorer.whiten."""
    slot, rows, (fold, k) = dataset.Slot(clips, scale, 2, 64), [], models.seen(scale)
    around = models.REACH if fold == 1 else fold
    for _ in range(count):
        slot.left = 0
        low = torch.from_numpy(slot.next()[0]).float()[:, None] - 128
        cells = torch.cat([models.folded(v, fold, around) for v in (low[1:], low[:1])], 1)
        rows.append(F.unfold(cells, k)[0].T)
    return torch.cat(rows)


def still_tables(clips, m, y, x, size, scale):
    """Tables of a validation segment's first still around a crop at (y, x) of `size` HR pixels a side."""
    by = matching.MARGIN * models.CELL
    still = clips.array(m["dir"] / m["references"][0]["file"])[0]
    still = np.pad(still, by, mode="edge")[y:y + size + 2 * by, x:x + size + 2 * by]
    return matching.tables(torch.from_numpy(still.astype(np.float32))[None, None], scale)


@torch.no_grad()
def validate(net, clips_index, scales, frames=10):
    """Mean PSNR gain over the plain enlarging on fixed crops of the held-out training clips, without and with stills."""
    gains = {}
    for scale, stills in [(s, v) for s in scales for v in ([False, True] if net.stills else [False])]:
        clips, rows = dataset.Clips(clips_index, 7), []
        for m in clips_index:
            points = [q for q in m["lr"] if q["scale"] == scale and q["stride"] == 1 and
                      (scale == 1 or q["codec"] == "vp8")]
            if stills and not m.get("references"):
                continue
            for point in points[:4:2]:
                hr, lr = clips.array(m["dir"] / "hr.npy")[point["first"]:], clips.array(m["dir"] / point["file"])
                p = min(80 * 4 // scale, *(v // 16 * 16 for v in lr.shape[1:]))
                y, x = ((v - p) // 2 // 8 * 8 for v in lr.shape[1:])
                prev = state = None
                tables = still_tables(clips, m, y * scale, x * scale, p * scale, scale) if stills else None
                for t in range(min(frames, len(lr))):
                    luma = torch.from_numpy(lr[t, y:y + p, x:x + p].astype(np.float32))[None, None]
                    if state is None:
                        prev, state = net.fresh(luma, scale)
                    base = net.base(luma, scale)
                    told = matching.told(F.avg_pool2d(luma, models.CELL // scale), base, tables) if stills else None
                    with torch.autocast("cpu", torch.bfloat16, enabled=HALVES):
                        detail, state = net.step(luma, prev, torch.zeros_like(luma), state, scale, told)
                    prev = luma
                    if t < 3:
                        continue
                    high = hr[t, y * scale:(y + p) * scale, x * scale:(x + p) * scale].astype(np.float32)
                    high = F.pixel_unshuffle(torch.from_numpy(high)[None, None], models.CELL)
                    mse = [float(((v - high) ** 2).mean()) for v in (base, base + detail)]
                    rows.append(10 * math.log10(mse[0] / mse[1]))
        gains[f"{scale} with stills" if stills else scale] = round(float(np.mean(rows)), 3) if rows else None
    return gains


def save(path, state):
    tmp = path.with_suffix(".tmp")
    torch.save(state, tmp)
    os.replace(tmp, path)


def train(args, clips, check):
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    scales = tuple(int(s) for s in args.scales.split(","))
    net = models.make(args.model, scales)
    if args.init:
        print("init", args.init, net.load_state_dict(torch.load(args.init)["ema"], strict=False), flush=True)
    elif not args.resume:
        for scale in scales:
            net.whiten(input_cells(clips, scale), scale)
    net.to(memory_format=torch.channels_last)
    for name, p in net.named_parameters():
        p.requires_grad_(name.split(".")[0] not in args.keep.split(","))
    ema = copy.deepcopy(net)
    groups = [{"params": [p for n, p in net.named_parameters() if p.requires_grad and PACE.get(n.split(".")[0], 1) == pace], "times": pace}
              for pace in sorted({1, *PACE.values()})]
    optimizer = torch.optim.Adam(groups, lr=args.lr, betas=(0.9, 0.99))
    run = args.cache / "runs" / args.run
    run.mkdir(parents=True, exist_ok=True)
    step, before, losses, first, last = 0, 0.0, [], None, None
    if args.resume and (run / "last.pt").exists():
        saved = torch.load(run / "last.pt")
        net.load_state_dict(saved["net"])
        ema.load_state_dict(saved["ema"])
        optimizer.load_state_dict(saved["optimizer"])
        step, before = saved["step"], saved["seconds"]
    print(json.dumps({"model": args.model, "scales": scales, "weights": sum(p.numel() for p in net.parameters()),
                      "minutes": args.minutes, "batch": args.batch, "length": args.length, "patch": args.patch,
                      "lr": args.lr, "float": args.float, "along motion": args.along_motion, "keep": args.keep, "seed": args.seed, "from": step}), flush=True)
    batches = [Batch(clips, s, args.batch, args.length, args.patch, args.along_motion) for s in scales
               for _ in range(max(1, args.threads // len(scales)))]
    pool = ThreadPoolExecutor(len(batches))
    start = saved_at = checked_at = time.time()

    def keep():
        save(run / "last.pt", {"net": net.state_dict(), "ema": ema.state_dict(), "step": step, "seconds": seconds,
                               "optimizer": optimizer.state_dict(), "model": args.model, "scales": scales})

    while True:
        seconds = before + time.time() - start
        done = seconds / (args.minutes * 60) if not args.steps else step / args.steps
        if done >= 1:
            break
        rate = args.lr * min(1, (step + 1) / 100) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
        net.quantised = ema.quantised = done >= args.float
        for group in optimizer.param_groups:
            group["lr"] = rate * group["times"]
        # One thread a batch instead of threads inside each operation: on a shared machine those
        # would spend their time waiting for each other.
        results = list(pool.map(lambda batch: batch.gradients(net), batches))
        for i, p in enumerate(learning(net)):
            found = [g[i] for _, g in results if g[i] is not None]
            p.grad = sum(found) / len(results)
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(0.997, step / (step + 10))
        with torch.no_grad():
            for a, b in zip(ema.parameters(), net.parameters()):
                a.lerp_(b, 1 - decay)
        losses.append([r[0] for r in results])
        if step % args.log == 0:
            each = np.sum(losses, 0)
            each = each[:, 0] / each[:, 1]
            mean = float(each.mean())
            first = mean if first is None else first
            print(json.dumps({"step": step, "minutes": round(seconds / 60, 1), "lr": round(rate, 6),
                              "loss": [round(float(v), 4) for v in each]}), flush=True)
            losses, last = [], mean
        now = time.time()
        if now - saved_at > 120 or done > 0.999:
            keep()
            saved_at = now
        if check and now - checked_at > args.check_minutes * 60:
            print(json.dumps({"step": step, "gain over bicubic, dB": validate(ema, check, scales)}), flush=True)
            checked_at = time.time()
    keep()
    if check:
        print(json.dumps({"step": step, "gain over bicubic, dB": validate(ema, check, scales)}), flush=True)
    return first, last


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(models.CONFIGS), default="swift")
    parser.add_argument("--scales", default="4,2")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--steps", type=int, default=0, help="stop after so many steps instead")
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--length", type=int, default=3)
    parser.add_argument("--patch", type=int, default=160, help="HR pixels, a multiple of 16")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--along-motion", type=float, default=0, metavar="WEIGHT", help="of flicker along the motion instead of at each pixel")
    parser.add_argument("--keep", default="", help="layers (`refer`, …) that stay as they are")
    parser.add_argument("--threads", type=int, default=2, help="batches at once, one thread each")
    parser.add_argument("--float", type=float, default=0.6, help="share of the time before rounding begins")
    parser.add_argument("--log", type=int, default=50)
    parser.add_argument("--check-minutes", type=float, default=8)
    parser.add_argument("--cache", type=Path,
                        default=Path(os.environ.get("VIREO_TRAINING_CACHE", "~/.cache/vireo-training")).expanduser())
    parser.add_argument("--run", default=None)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--init", type=Path)
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    args.run = args.run or args.model
    if args.smoke:
        args.model, args.run, args.resume, args.init = "swift-lite", "smoke", False, None
        args.steps, args.batch, args.length, args.patch, args.log = 400, 2, 3, 64, 40
        first, last = train(args, dataset.Synthetic(), None)
        print(f"smoke: loss {first:.4f} -> {last:.4f}")
        if not last < 0.97 * first:
            raise SystemExit("smoke: the loss did not fall by 3 %")
        return
    root = args.cache / "dataset"
    clips = dataset.Clips(dataset.load_index(root, "train"), args.seed + int(time.time()) % 1000 * args.resume,
                          models.make(args.model, tuple(int(s) for s in args.scales.split(","))).stills)
    print("segments", len(clips.index), flush=True)
    train(args, clips, dataset.load_index(root, "validate"))


if __name__ == "__main__":
    main()
