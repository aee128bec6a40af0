"""Trains a model on a GPU, on large batches: what train.py does, with the data set there (resident.py) and each step recorded as one CUDA graph.

Usage: train_gpu.py --model swift --minutes 6 --out FILE [--scales 4,2] [--init CKPT] [--cache DIR] [--batch 64] [--patch 128]
The data set may still be built meanwhile: what is added to it is taken up. --device cpu runs the same without a graph, to try it out.
"""
import argparse
import copy
import json
import math
import os
import threading
import time
from pathlib import Path

import torch

import matching
import model as models
import resident
import train

BETAS = 0.9, 0.99
DECAY = 0.999  # of the averaged weights
PAUSE_S = 1.0  # between looks for new segments
WARM_UP = 200  # steps until the learning rate is reached


class Adam:
    """All in tensors that stay where they are: what is recorded once can be told another rate."""

    def __init__(self, net):
        named = list(net.named_parameters())
        self.params = [p for _, p in named]
        self.paces = [train.PACE.get(n.split(".")[0], 1.0) for n, _ in named]
        self.first, self.second = ([torch.zeros_like(p) for p in self.params] for _ in range(2))

    @torch.no_grad()
    def step(self, gradients, rate):
        norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
        clip = (1 / (norm + 1e-6)).clamp(max=1)
        for p, g, m, v, pace in zip(self.params, gradients, self.first, self.second, self.paces):
            g = g * clip
            m.lerp_(g, 1 - BETAS[0])
            v.lerp_(g * g, 1 - BETAS[1])
            p.sub_(m / (v.sqrt() + 1e-8) * (rate * pace))


class Scale:
    """The batch of one scale: its numbers on the device, and its state."""

    def __init__(self, clips, scale, args):
        self.crops, self.scale, self.patch = resident.Crops(clips, scale, args.batch, args.length, args.patch), scale, args.patch
        self.parts = [torch.zeros_like(v, device=clips.device) for v in self.crops.parts]
        self.block, self.state = clips.block, None

    def upload(self):
        for here, there in zip(self.crops.next(), self.parts):
            there.copy_(here, non_blocking=True)

    def loss(self, net):
        size = self.patch + 2 * resident.BY if net.stills else None
        with torch.no_grad():
            low, high, mask, error, stills, there, calm, keep = resident.rendered(self.block, self.scale, self.patch, *self.parts, still_size=size)
            tables = None if stills is None else (*matching.tables(stills, self.scale), there.view(-1, 1, 1, 1), calm)
        if self.state is None:
            prev, state = net.fresh(low[:, :1], self.scale)
            self.state = (prev, *state)
        keep = keep.view(-1, 1, 1, 1)
        prev, *state = (v * keep for v in self.state)
        loss, plain, objective, (prev, state) = train.chunk_loss(net, self.scale, low, high, mask, error, tables, (prev, tuple(state)))
        for old, new in zip(self.state, (prev, *state)):
            old.copy_(new.detach())
        return loss.detach(), plain.detach(), objective


def save(path, net, ema, step, seconds, args):
    net, ema = ({name: value.cpu() for name, value in of.state_dict().items()} for of in (net, ema))
    train.save(path, {"net": net, "ema": ema, "step": step, "seconds": seconds, "model": args.model, "scales": args.scales})


def recorded(step, upload, clips, net, zeroed):
    """The step as a CUDA graph. It is run first, as PyTorch asks for, and what that changed is put back."""
    start = copy.deepcopy(net.state_dict())
    with clips.lock:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                upload()
                step()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            step()
        torch.cuda.synchronize()
    net.load_state_dict(start)
    for v in zeroed:
        v.zero_()
    return graph


def watch(clips):
    """Loads segments as they come, on a thread of its own."""
    while True:
        try:
            if not clips.watch():
                return print("the block is full", flush=True)
        except SystemExit:
            pass  # nothing there yet
        time.sleep(PAUSE_S)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(models.CONFIGS), default="swift")
    parser.add_argument("--scales", default="4,2")
    parser.add_argument("--minutes", type=float, default=6)
    parser.add_argument("--deadline", type=float, help="when to end instead, seconds since 1970: a lent machine is given back at its hour")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--length", type=int, default=3)
    parser.add_argument("--patch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--floats", action="store_true", help="without rounding")
    parser.add_argument("--block", type=float, default=22, help="gigabytes of the GPU's memory for the data set")
    parser.add_argument("--wait", type=int, default=8, help="segments to begin with")
    parser.add_argument("--log", type=int, default=200)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--split", default="train")
    parser.add_argument("--cache", type=Path, default=Path(os.environ.get("VIREO_TRAINING_CACHE", "~/.cache/vireo-training")).expanduser())
    parser.add_argument("--init", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.scales = tuple(int(s) for s in args.scales.split(","))
    return args


def main():
    args = arguments()
    began = time.time()
    torch.manual_seed(args.seed)
    device = torch.device(args.device)
    graphs = device.type == "cuda"
    torch.backends.cudnn.benchmark = graphs
    net = models.make(args.model, args.scales)
    if args.init:
        print("init", args.init, net.load_state_dict(torch.load(args.init, map_location="cpu")["ema"], strict=False), flush=True)
    net = net.to(device, memory_format=torch.channels_last)
    net.quantised = not args.floats
    ema = copy.deepcopy(net)
    adam = Adam(net)
    clips = resident.Clips(args.cache / "dataset", args.split, args.scales, args.seed, net.stills, device, int(args.block * 1e9))
    threading.Thread(target=watch, args=(clips,), daemon=True).start()
    while not clips.ready or len(clips.ready) < args.wait:
        time.sleep(0.2)
    print(json.dumps({"segments": clips.refresh(), "after s": round(time.time() - began, 1), "weights": sum(p.numel() for p in net.parameters()),
                      **{k: str(v) for k, v in vars(args).items()}}), flush=True)
    scales = [Scale(clips, s, args) for s in args.scales]
    told = torch.zeros(2, device=device)  # learning rate, corrected for Adam's start; share of the new weights in the average
    sent = torch.zeros(2, pin_memory=graphs)
    sums = torch.zeros(len(scales), 2, device=device)

    def step():
        gradients = None
        for i, scale in enumerate(scales):
            loss, plain, objective = scale.loss(net)
            found = torch.autograd.grad(objective / len(scales), adam.params, allow_unused=True)
            sums[i] += torch.stack([loss, plain])
            gradients = found if gradients is None else [b if a is None else a if b is None else a + b for a, b in zip(gradients, found)]
        adam.step([torch.zeros_like(p) if g is None else g for p, g in zip(adam.params, gradients)], told[0])
        with torch.no_grad():
            for a, b in zip(ema.parameters(), net.parameters()):
                a.add_((b - a) * told[1])

    def upload():
        for scale in scales:
            scale.upload()
        told.copy_(sent, non_blocking=True)

    graph = recorded(step, upload, clips, net, (*adam.first, *adam.second, sums)) if graphs else None
    print("ready after", round(time.time() - began, 1), "s", flush=True)
    first = time.time()
    length = args.deadline - first if args.deadline else args.minutes * 60
    count, logged, saved = 0, time.time(), time.time()
    done = torch.cuda.Event() if graphs else None
    while True:
        seconds = time.time() - first
        share = seconds / length
        if share >= 1:
            break
        rate = args.lr * min(1, (count + 1) / WARM_UP) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))
        count += 1
        sent[0] = rate * math.sqrt(1 - BETAS[1] ** count) / (1 - BETAS[0] ** count)
        sent[1] = 1 - min(DECAY, count / (count + 10))
        upload()
        if graphs:
            # The numbers are overwritten next, and may only be once they are there.
            done.record()
            graph.replay()
            done.synchronize()
        else:
            step()
        if count % args.log == 0:
            each = (sums[:, 0] / sums[:, 1]).tolist()
            sums.zero_()
            now = time.time()
            print(json.dumps({"step": count, "minutes": round(seconds / 60, 2), "lr": round(rate, 7), "segments": clips.refresh(),
                              "ms a step": round((now - logged) / args.log * 1000, 1), "loss": [round(v, 4) for v in each]}), flush=True)
            logged = now
            if not all(map(math.isfinite, each)):
                raise SystemExit("the loss is no number")
            if now - saved > 60:
                save(args.out, net, ema, count, seconds, args)
                saved = now
    save(args.out, net, ema, count, time.time() - first, args)
    print(json.dumps({"step": count, "segments": clips.refresh(), "data": f"{clips.used / 1e9:.1f} GB",
                      **({"memory": f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB"} if graphs else {})}), flush=True)


if __name__ == "__main__":
    main()
