"""Writes trained weights of train_mend.py as ONNX graphs, and checks that they compute what PyTorch does.

Usage: export_mend.py --weights checkpoints/mend.pt --out ../mending
Writes x4.onnx, for pictures that are enlarged by four, and x2.onnx, in which the network looks at them halved.
"""
import argparse
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn
from torch.nn import functional as F

from train_mend import Mend, careful


class Graph(nn.Module):
    """Pictures as bytes in, as bytes out; each chroma pixel takes the mean share of the four luma pixels over it."""

    def __init__(self, mend, halved):
        super().__init__()
        self.mend, self.halved = mend, halved

    def forward(self, luma, chroma, luma_before, luma_mended, chroma_mended, kept, age):
        came, before, mended = (x.float() for x in (luma, luma_before, luma_mended))
        share, kept = self.mend(came, before, mended, kept, age, self.halved)
        shares = (share, F.avg_pool2d(share, 2))
        out = [x + s * (m.float() - x) for x, s, m in zip((came, chroma.float()), shares, (mended, chroma_mended))]
        return *((x + 0.5).floor().clamp(0, 255).to(torch.uint8) for x in out), kept


def export(mend, halved, out):
    graph, cell = Graph(mend, halved), 4 if halved else 2
    h, w = 16 * cell, 24 * cell
    torch.manual_seed(1)
    picture = torch.randint(16, 236, (1, 1, h, w), dtype=torch.uint8)
    chroma = torch.randint(16, 240, (1, 2, h // 2, w // 2), dtype=torch.uint8)
    inputs = {"luma": picture, "chroma": chroma, "luma_before": picture.roll(1, 3), "luma_mended": picture.roll(2, 2), "chroma_mended": chroma.roll(1, 2),
              "kept_in": torch.rand(1, 1, h // cell, w // cell), "age": torch.tensor([3.0])}
    outputs = ["luma_out", "chroma_out", "kept_out"]
    dims = {"luma": {2: "h", 3: "w"}, "chroma": {2: "hc", 3: "wc"}, "kept": {2: "hf", 3: "wf"}}
    torch.onnx.export(graph, tuple(inputs.values()), str(out), input_names=list(inputs), output_names=outputs, opset_version=16,
                      dynamic_axes={name: dims[name.split("_")[0]] for name in [*inputs, *outputs] if name != "age"})
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    for grow in (1, 3):
        fed = {name: (x if name == "age" else x.repeat(1, 1, grow, grow)) for name, x in inputs.items()}
        with torch.no_grad():
            expected = graph(*fed.values())
        found = session.run(outputs, {name: x.numpy() for name, x in fed.items()})
        for name, want, got in zip(outputs, expected, found):
            apart = np.abs(want.numpy().astype(np.float64) - got).max()
            assert apart <= (1 if got.dtype == np.uint8 else 1e-4), (name, grow, apart)
    print(f"{out}: {out.stat().st_size} bytes, as PyTorch computes it")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    mend = careful(Mend(), args.weights)
    for scale, halved in ((4, False), (2, True)):
        export(mend, halved, args.out / f"x{scale}.onnx")


if __name__ == "__main__":
    main()
