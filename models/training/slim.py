"""A checkpoint for the repository: the averaged weights alone, large ones in 16 bits (as graph_floats.py writes them).

Usage: slim.py --from CKPT [--with CKPT [--share 0.5] [--keep NAME,…]] --out CKPT
--with: what lies between both, --share of the way to the other, where one has learned what the other lacks, and they began as the same. --keep:
layers (`refer`, …) that stay as they are. --floats: all in 32 bits, where the graphs are to stay the same to the bit.
"""
import argparse
from pathlib import Path

import torch

import graph_floats


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--from", dest="source", type=Path, required=True)
    parser.add_argument("--with", dest="other", type=Path)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--keep", default="")
    parser.add_argument("--floats", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    saved = torch.load(args.source, map_location="cpu")
    if args.other:
        other = torch.load(args.other, map_location="cpu")["ema"]
        saved["ema"] = {name: value if name.split(".")[0] in args.keep.split(",") else torch.lerp(value.float(), other[name].float(), args.share)
                        for name, value in saved["ema"].items()}
    # Not the input transforms (white…): what they let through nearly cancels.
    ema = {name: value.half() if not args.floats and value.numel() >= graph_floats.HALVED and not name.startswith("white") else value
           for name, value in saved["ema"].items()}
    torch.save({key: saved[key] for key in ("step", "seconds", "model", "scales")} | {"ema": ema}, args.out)


if __name__ == "__main__":
    main()
