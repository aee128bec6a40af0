"""What a stream's own picture is worth, from before its sender turned the size down: 360p at one bitrate, then 180p at half of it.

Usage: own_picture.py --data DIR --package models/swift [--clips A,B]
Prints PSNR-Y without, and what is gained with the last picture restored from 360p, or with a still of the first picture.
"""
import argparse
import json
import os
from pathlib import Path

import torch

import evaluate

SWITCH, FRAMES, EVERY = 20, 60, 4
RATES = ((250, 120), (120, 60))  # kbit/s at 360 and then at 180 lines


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
    manifest = json.loads((args.package / "manifest.json").read_text())
    variants = {v["scale"]: v for v in manifest["variants"] if v["task"] == "sr"}
    plain = {scale: evaluate.session(args.package / v["file"], 2) for scale, v in variants.items()}
    looking = evaluate.session(args.package / variants[4]["references"]["file"], 2)
    after = slice(SWITCH, FRAMES)
    for clip in args.clips.split(","):
        for larger, smaller in RATES:
            high, luma, chroma, _, _ = evaluate.degraded(args, clip, 2, "vp8", larger, 0, 0)
            *_, own = evaluate.restore(plain[2], variants[2], luma[:SWITCH + 1], chroma[:SWITCH + 1], None)
            _, luma, chroma, _, _ = evaluate.degraded(args, clip, 4, "vp8", smaller, 0, 0)

            def score(run, more):
                pictures = evaluate.restore(run, variants[4], luma[after], chroma[after], None, more)
                return evaluate.judged(pictures, high[after], EVERY)[0]
            without = score(plain[4], {})
            gains = [score(looking, evaluate.remembered_of(args.package, variants[4], still)) - without
                     for still in (own, evaluate.still_of(high)[0])]
            print(f"{clip:34} {larger}k, then {smaller}k: {without:.2f}, own picture {gains[0]:+.2f}, still {gains[1]:+.2f}", flush=True)


if __name__ == "__main__":
    main()
