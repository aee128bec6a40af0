"""Makes a start for a model of other widths or depth from a checkpoint.

Fewer fine channels: those that carry most are kept. More of anything: what is new is random inside and adds nothing at
first, so that training goes on from what the smaller network knew (Net2Net, Chen et al., 2016, without its copies). Layers
that fit neither way begin anew.

With --stills-of it takes what another network learned of sharp stills, for a checkpoint that has seen none.

Usage: widths.py --from CKPT --model clear --out CKPT [--stills-of CKPT]
"""
import argparse
from pathlib import Path

import torch
import torch.nn.functional as F

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


def widen(weights, start):
    """`start`, the new network's own weights, with the old ones at the front of each axis. Channels of several cells are ordered
    (channel, row, column) and attention's (question, key, value), so old channels are at the front everywhere as long as
    the keys stay. What new channels give to old ones is zero."""
    out = {}
    for name, fresh in start.items():
        value, old = fresh.clone(), weights.get(name)
        if old is not None and old.dim() == fresh.dim() and all(a <= b for a, b in zip(old.shape, fresh.shape)):
            value[:len(old)] = 0
            value[tuple(slice(n) for n in old.shape)] = old
        elif old is None and name.startswith("blocks.") and ".1." in name:
            value.zero_()  # the last layer of a new block
        else:
            print("anew", name)
        out[name] = value
    return out


def with_stills_of(other, weights, scale):
    """Weights, and those of another network for what is found in stills; of its fine channels each is given the nearest one's, by the first layers."""
    first, theirs = (F.normalize(w[f"heads.{scale}"], dim=1) for w in (weights, other))
    nearest = (first @ theirs.T).argmax(1)
    return {**weights, "refer.weight": other["refer.weight"][nearest], "rely.weight": other["rely.weight"][:, nearest],
            "rely.bias": other["rely.bias"], "trust.weight": other["trust.weight"]}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--from", dest="source", type=Path, required=True)
    parser.add_argument("--model", choices=sorted(models.CONFIGS), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--stills-of", type=Path)
    args = parser.parse_args()
    torch.manual_seed(1)
    saved = torch.load(args.source, map_location="cpu")
    net, weights = models.make(args.model, saved["scales"]), saved["ema"]
    if net.fine < len(weights[f"heads.{saved['scales'][0]}"]):
        kept = importance(weights, saved["scales"]).topk(net.fine).indices.sort().values
        weights = narrow(weights, kept)
    if args.stills_of:
        weights = with_stills_of(torch.load(args.stills_of, map_location="cpu")["ema"], weights, saved["scales"][0])
    net.load_state_dict(widen(weights, net.state_dict()), strict=False)
    torch.save({"ema": net.state_dict(), "scales": saved["scales"], "model": args.model}, args.out)


if __name__ == "__main__":
    main()
