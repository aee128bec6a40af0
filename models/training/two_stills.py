"""What a stream's own picture is worth, from before its sender turned the size down, what a still is that is older than the newest one, and what either is beside that.

Usage: two_stills.py --data DIR --package models/swift [--clips A,B]
Prints PSNR-Y without any, and gains in dB. First 360p at one bitrate, then 180p at half of it: with the last picture restored from 360p, with a still of the
first picture, with both. Then, of clips of five seconds and more, their end: with a still of a second before it, with one of the first picture, with both.
"""
import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch

import evaluate
import references
import video

SWITCH, FRAMES, EVERY = 20, 60, 4
RATES = ((250, 120), (120, 60))  # kbit/s at 360 and then at 180 lines
POINTS = ((4, 60), (4, 120), (2, 250))  # scale, kbit/s
AGE_S, LONG_S, LAST_S = 1, 5, 7  # of the newer still; of clips at least; at most this far into them


class Package:
    def __init__(self, path):
        self.path = path
        manifest = json.loads((path / "manifest.json").read_text())
        self.variants = {v["scale"]: v for v in manifest["variants"] if v["task"] == "sr"}
        self.plain = {scale: evaluate.session(path / v["file"], 2) for scale, v in self.variants.items()}
        self.looking = {scale: evaluate.session(path / v["references"]["file"], 2) for scale, v in self.variants.items()}

    def restored(self, scale, luma, chroma, stills=()):
        """As evaluate.restore; the first still is preferred."""
        variant = self.variants[scale]
        if not stills:
            return evaluate.restore(self.plain[scale], variant, luma, chroma, None)
        made = [evaluate.remembered_of(self.path, variant, still) for still in stills]
        tables = {name: np.concatenate([of[name] for of in made]) for name in made[0]}
        return evaluate.restore(self.looking[scale], variant, luma, chroma, None, tables)

    def scores(self, scale, luma, chroma, high, stills):
        """(PSNR-Y without, gains by name) of named lists of stills."""
        def score(some):
            return evaluate.judged(self.restored(scale, luma, chroma, some), high, EVERY)[0]
        without = score([])
        return without, {name: score(some) - without for name, some in stills.items()}


def shown(clip, how, without, gains):
    print(f"{clip:34} {how}: {without:.2f}", *(f"{name} {gain:+.2f}" for name, gain in gains.items()), sep=", ", flush=True)


def smaller(args, package, clip):
    for before, after in RATES:
        high, luma, chroma, _, _ = evaluate.degraded(args, clip, 2, "vp8", before, 0, 0)
        *_, own = package.restored(2, luma[:SWITCH + 1], chroma[:SWITCH + 1])
        still = evaluate.still_of(high)[0]
        _, luma, chroma, _, _ = evaluate.degraded(args, clip, 4, "vp8", after, 0, 0)
        rest = slice(SWITCH, FRAMES)
        scores = package.scores(4, luma[rest], chroma[rest], high[rest], {"own": [own], "still": [still], "both": [still, own]})
        shown(clip, f"{before}k, then {after}k", *scores)


def older(args, package, clip):
    path, (w, h) = args.data / "eval" / clip, evaluate.CLIPS[clip]
    chain, fps = evaluate.chain_of(path, w, h)
    raw = video.read_i420(path, w, h, chain, 0, round(LAST_S * fps) + FRAMES)
    high, size = video.split_planes(raw, w, h)[0], w * h * 3 // 2
    start = len(high) - FRAMES
    if start < LONG_S * fps:
        return
    stills = [references.coded(high[t], evaluate.STILL_QUALITY)[0] for t in (start - round(AGE_S * fps), 0)]
    for scale, kbps in POINTS:
        low = video.scale_i420(raw[start * size:], w, h, w // scale, h // scale, "area")
        low, _ = video.through_codec(low, w // scale, h // scale, fps, "vp8", kbps)
        luma, chroma = video.split_planes(low, w // scale, h // scale)
        scores = package.scores(scale, luma, chroma, high[start:], {"newer": stills[:1], "older": stills[1:], "both": stills})
        shown(clip, f"{720 // scale}p {kbps}k", *scores)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--clips", default=",".join(evaluate.CLIPS))
    parser.add_argument("--cache", type=Path,
                        default=Path(os.environ.get("VIREO_TRAINING_CACHE", "~/.cache/vireo-training")).expanduser())
    args = parser.parse_args()
    args.frames = FRAMES
    torch.set_num_threads(1)
    package = Package(args.package)
    for clip in args.clips.split(","):
        smaller(args, package, clip)
        older(args, package, clip)


if __name__ == "__main__":
    main()
