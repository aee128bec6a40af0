"""Makes a larger model that computes what a smaller, trained one does: a start for its training.

Usage: widen.py --checkpoint CKPT --model sr1 --out CKPT     (then train.py --model sr1 --init CKPT)
New channels listen (random weights in) but are not heard yet (zero weights into old channels and outputs);
a new block's second convolution is zero. So nothing is lost, and gradients reach everything.
"""
import argparse
from pathlib import Path

import torch

import model as models


def copy_into(big, small):
    """Old rows take the small weights and ignore new inputs; new rows keep their random start."""
    rows, cols = small.shape[0], small.shape[1]
    big[:rows] = 0
    big[:rows, :cols] = small


def widen(small, net):
    with torch.no_grad():
        for name, target in net.named_parameters():
            if name not in small:
                if name.startswith("body") and int(name.split(".")[1]) % 2:
                    target.zero_()
                continue
            source = small[name]
            if target.dim() == 1:
                target[: source.shape[0]] = source
            else:
                copy_into(target, source)
        for name, target in net.named_buffers():
            if name in small:
                target.copy_(small[name])
    return net


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--model", default="sr1")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.manual_seed(2)
    saved = torch.load(args.checkpoint)
    scales = [s for s in (4, 2) if f"tails.{s}.weight" in saved["ema"]]
    net = widen(saved["ema"], models.make(args.model, scales))
    small = models.make(saved["model"], scales)
    small.load_state_dict(saved["ema"])
    worst = 0.0
    for scale in scales:
        states = [m.fresh(torch.zeros(1, 1, 48, 64), scale) for m in (small, net)]
        for _ in range(3):
            luma = torch.rand(1, 1, 48, 64) * 200 + 16
            outs = []
            for i, m in enumerate((small, net)):
                out, hidden = m.step(luma, *states[i], scale)
                states[i] = (luma, hidden)
                outs.append(out)
            worst = max(worst, float((outs[0] - outs[1]).abs().max()))
    print("largest difference", worst)
    if worst > 0.01:
        raise SystemExit("the wide model does not compute the same")
    torch.save({"ema": net.state_dict(), "model": args.model}, args.out)


if __name__ == "__main__":
    main()
