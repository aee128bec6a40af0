"""Averages the weights of checkpoints of one line of training: steadier than any of them.

Usage: average.py --out CKPT CKPT CKPT…
"""
import argparse
from pathlib import Path

import torch


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoints", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    saved = [torch.load(path, map_location="cpu") for path in args.checkpoints]
    names = saved[0]["ema"].keys()
    mean = {name: sum(s["ema"][name] for s in saved) / len(saved) for name in names}
    torch.save({"ema": mean, "model": saved[0]["model"]}, args.out)


if __name__ == "__main__":
    main()
