"""Writes a checkpoint as a model package: x4.onnx, x2.onnx and manifest.json.

Usage: export.py --checkpoint CKPT --model swift --out models/swift --version 0.1.0 [--lighter swift-lite]
                 [--evaluation evaluation.json] [--training-data TEXT]
The graph is built node by node: uint8 planes in and out, any size the fold allows, opset 13.
Replaces files atomically, the manifest last.
"""
import argparse
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

import model as models

TRAINING_DATA = (
    "Real footage (54 public clips of people, rooms and general scenes, among them the Xiph/derf sequences bus, city, "
    "coastguard, container, flower, football, harbour, mobile, pamphlet, soccer, tempete; clips shipped with sam2, flutter, "
    "LivePortrait, LatentSync and other public repositories) and 71 photographs (Wikimedia Commons, U-2-Net test data) "
    "panned and zoomed; coded in real time with libvpx VP8 and VP9, x264 and libaom AV1. "
    "Every source is named in models/training/trained-on.txt.")


class Graph:
    """A small builder: every call adds a node and returns its output's name."""

    def __init__(self):
        self.nodes, self.weights, self.count = [], [], 0

    def const(self, array, name=None):
        self.count += 1
        name = name or f"c{self.count}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, op, *inputs, out=None, **attrs):
        self.count += 1
        out = out or f"t{self.count}"
        self.nodes.append(helper.make_node(op, list(inputs), [out], name=f"{op}_{self.count}", **attrs))
        return out

    def conv(self, x, weight, bias=None, pad=0, name=None, stride=1):
        w = weight.detach().numpy().astype(np.float32)
        inputs = [x, self.const(w, name and name + ".weight")]
        if bias is not None:
            inputs.append(self.const(bias.detach().numpy().astype(np.float32), name and name + ".bias"))
        return self.add("Conv", *inputs, kernel_shape=list(w.shape[2:]), pads=[pad] * 4, strides=[stride] * 2)

    def padded(self, x, by):
        return self.add("Pad", x, self.const(np.array([0, 0, by, by] * 2, np.int64)), mode="edge")

    def to_bytes(self, x):
        """Round half to even, clip to 0..255 and cast, in one node."""
        return self.add("QuantizeLinear", x, self.const(np.float32(1)), self.const(np.uint8(0)))


def upsample_kernel(scale):
    """Bicubic as a plain 5x5 convolution of one plane: for chroma."""
    m = torch.zeros(scale, 5, dtype=torch.float64)
    for out in range(scale):
        pos = (out + 0.5) / scale - 0.5
        m[out] = torch.tensor([models.cubic(i - 2 - pos) for i in range(5)])
    m /= m.sum(1, keepdim=True)
    return torch.einsum("ak,bl->abkl", m, m).reshape(scale * scale, 1, 5, 5).float()


def divided(name, fold):
    return f"{name}/{fold}" if fold > 1 else name


def build(net, scale):
    g, fold = Graph(), models.CELL // scale
    around = fold * models.reach(fold)
    f32, u8 = TensorProto.FLOAT, TensorProto.UINT8

    # A zero in the previous frame means that there is none: no decoded luma is 0.
    seen = g.add("Cast", "prev_in", to=TensorProto.BOOL)
    old = g.add("Where", seen, "prev_in", "luma")
    both = g.add("Concat", "luma", old, axis=0)
    both = g.padded(g.add("Cast", both, to=f32), around)
    if fold > 1:
        both = g.add("SpaceToDepth", both, blocksize=fold)
    # [2, cells, H, W]: frame and predecessor were folded as a batch, so that one Pad serves both.
    cur = g.add("Slice", both, *(g.const(np.array([v], np.int64)) for v in (0, 1, 0)))
    old = g.add("Slice", both, *(g.const(np.array([v], np.int64)) for v in (1, 2, 0)))

    weight, bias = net.head(scale)  # the graph takes code values as they are
    x = g.conv(g.add("Concat", cur, old, axis=1), weight, bias, name="head")
    x = g.add("Add", x, g.conv("hidden_in", net.recall.weight, name="recall"))
    x = g.add("Relu", x)

    def context(v, name, **how):
        part = net.context[name]
        return g.conv(v, part.weight, part.bias, name=f"context_{name}", **how)
    x = g.add("Relu", g.add("Add", context(x, "before", pad=1), x))
    c = g.add("Relu", context(x, "down", stride=2))
    y = context(g.add("Relu", context(c, "first", pad=1)), "second", pad=1)
    c = g.add("Relu", g.add("Add", y, c))
    wide = g.add("Resize", context(c, "up"), "", g.const(np.array([1, 1, 2, 2], np.float32)), mode="nearest",
                 coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    x = g.add("Relu", g.add("Add", wide, x))
    x = g.add("Relu", g.add("Add", context(x, "merge", pad=1), x))

    gate = g.add("Sigmoid", g.conv(x, net.gate.weight, net.gate.bias, name="gate"))
    content = g.add("Tanh", g.conv(x, net.content.weight, net.content.bias, name="content"))
    step = g.add("Mul", gate, g.add("Sub", content, "hidden_in"))
    g.add("Add", "hidden_in", step, out="hidden_out")
    g.add("Identity", "luma", out="prev_out")

    tail = net.tails[str(scale)]
    base = g.conv(cur, net.skip(scale), name="skip")
    detail = g.conv(x, tail.weight * models.DETAIL, tail.bias * models.DETAIL, name="tail")
    pixels = g.to_bytes(g.add("Add", detail, base))
    g.add("DepthToSpace", pixels, blocksize=models.CELL, out="luma_out")

    # Each chroma plane on its own grid, as swscale and libyuv scale 4:2:0: U and V go as a batch.
    shape = g.add("Shape", "chroma")
    planes = g.add("Reshape", "chroma", g.add(
        "Concat", g.const(np.array([2, 1], np.int64)),
        g.add("Slice", shape, g.const(np.array([2], np.int64)), g.const(np.array([4], np.int64))), axis=0))
    planes = g.padded(g.add("Cast", planes, to=f32), 2)
    planes = g.to_bytes(g.conv(planes, upsample_kernel(scale), name="chroma_bicubic"))
    planes = g.add("DepthToSpace", planes, blocksize=scale)
    g.add("Transpose", planes, perm=[1, 0, 2, 3], out="chroma_out")

    def value(name, kind, *dims):
        return helper.make_tensor_value_info(name, kind, list(dims))
    grid = [1, net.hidden, divided("h", fold), divided("w", fold)]
    graph = helper.make_graph(
        g.nodes, f"vireo-x{scale}",
        [value("luma", u8, 1, 1, "h", "w"), value("chroma", u8, 1, 2, "h/2", "w/2"),
         value("prev_in", u8, 1, 1, "h", "w"), value("hidden_in", f32, *grid)],
        [value("luma_out", u8, 1, 1, f"h*{scale}", f"w*{scale}"),
         value("chroma_out", u8, 1, 2, f"h*{scale}/2", f"w*{scale}/2"),
         value("prev_out", u8, 1, 1, "h", "w"), value("hidden_out", f32, *grid)],
        g.weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="vireo")
    made.ir_version = 8
    onnx.checker.check_model(made)
    return made


def replace(path, data):
    tmp = path.with_name(path.name + ".tmp")
    tmp.write_bytes(data)
    os.replace(tmp, path)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--model", choices=sorted(models.CONFIGS), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--version", default="0.1.0")
    parser.add_argument("--lighter")
    parser.add_argument("--evaluation", type=Path, help="evaluate.py's JSON: its summary goes into the manifest")
    parser.add_argument("--training-data", default=TRAINING_DATA)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    files, variants, weights = {}, [], 0
    for scale in (4, 2):
        net = models.make(args.model)
        net.load_state_dict(torch.load(args.checkpoint, map_location="cpu")["ema"])
        net.eval()
        fold = models.CELL // scale
        data = build(net, scale).SerializeToString()
        name = f"x{scale}.onnx"
        files[name] = data
        weights = max(weights, sum(p.numel() for n, p in net.named_parameters()
                                   if not n.startswith(("heads", "tails", "skips")) or n.split(".")[1] == str(scale)))
        variants.append({
            "file": name, "sha256": hashlib.sha256(data).hexdigest(), "task": "sr", "scale": scale, "fold": fold,
            "T": 1, "luma": "luma", "chroma": "chroma", "lumaOut": "luma_out", "chromaOut": "chroma_out",
            "state": [
                {"input": "prev_in", "output": "prev_out", "dtype": "uint8", "shape": [1, 1, "h", "w"]},
                {"input": "hidden_in", "output": "hidden_out", "dtype": "float32",
                 "shape": [1, net.hidden, divided("h", fold), divided("w", fold)]},
            ]})
    what = "full model" if args.lighter else "light model, the load ladder's second step"
    manifest = {
        "schema": 1, "name": args.model, "version": args.version,
        "description": f"Causal recurrent luma super-resolution to 720p, x4 from 180p and x2 from 360p ({what}).",
        "licence": "Apache-2.0", **({"lighter": args.lighter} if args.lighter else {}),
        "weights": weights, "trainingData": args.training_data, "variants": variants,
        "evaluation": json.loads(args.evaluation.read_text())["summary"] if args.evaluation else [],
    }
    for name, data in files.items():
        replace(args.out / name, data)
    replace(args.out / "manifest.json", (json.dumps(manifest, indent=2) + "\n").encode())
    print("wrote", args.out, args.version, weights, "weights", {n: len(d) for n, d in files.items()})


if __name__ == "__main__":
    main()
