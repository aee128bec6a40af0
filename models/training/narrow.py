"""Makes a start for a model of fewer fine channels from a checkpoint of one with more: the channels that carry most are kept,
layers whose shape does not fit begin anew.

Usage: narrow.py --from CKPT --model swift --out CKPT
"""
import argparse
from pathlib import Path

import torch

import model as models


def norm(value, dim):
    return value.square().sum(dim).sqrt()


def importance(weights, scales):
    """How much each fine channel carries: what comes in (inputs are whitened, so rows weigh alike) times what goes out."""
    inward = sum(norm(weights[f"heads.{s}"], 1) for s in scales)
    fine = len(inward)
    outward = norm(weights["down.weight"].view(-1, fine, 4), (0, 2)) + norm(weights["merge.weight"], (0, 2, 3))
    outward = outward + sum(norm(weights[f"tails.{s}.weight"], (0, 2, 3)) for s in scales)
    return inward * outward


def narrow(weights, kept):
    four = (kept[:, None] * 4 + torch.arange(4)).flatten()  # channels of four fine cells: (c, row, column)
    rows = {"before": kept, "merge": kept, "up": four}
    columns = {"before": kept, "merge": kept, "down": four, "tails": kept}
    out = {}
    for name, value in weights.items():
        part = name.split(".")[0]
        if part in ("heads", "masks", "biases"):
            value = value[kept]
        if part in rows:
            value = value[rows[part]]
        if part in columns and name.endswith("weight"):
            value = value[:, columns[part]]
        out[name] = value
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--from", dest="source", type=Path, required=True)
    parser.add_argument("--model", choices=sorted(models.CONFIGS), required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    saved = torch.load(args.source, map_location="cpu")
    net = models.make(args.model, saved["scales"])
    kept = importance(saved["ema"], saved["scales"]).topk(net.fine).indices.sort().values
    fits = {k: v for k, v in narrow(saved["ema"], kept).items() if v.shape == net.state_dict()[k].shape}
    print("kept", kept.tolist(), "anew", net.load_state_dict(fits, strict=False))
    torch.save({"ema": net.state_dict(), "scales": saved["scales"], "model": args.model}, args.out)


if __name__ == "__main__":
    main()
