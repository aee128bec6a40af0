"""Checks an exported package against PyTorch's rounded network: onnxruntime-node must give the same picture, but for
ties that the two round differently.

Usage: verify.py --package models/swift --sr CKPT [--same CKPT] [--looking CKPT] [--repository DIR]
"""
import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import export
import graph
import matching
import model as models
import steady

SIZES = {4: [(180, 320), (320, 180), (180, 240), (92, 124)], 2: [(360, 640), (640, 360), (360, 480), (184, 328)],
         1: [(720, 1280), (368, 496)]}
FRAMES = 4


def clip(h, w, rng):
    """A drifting smooth texture with noise and a few flat, limited-range patches."""
    field = np.kron(rng.uniform(16, 235, (h // 8 + 4, w // 8 + 4)), np.ones((8, 8)))
    field = (field + np.roll(field, 1, 0) + np.roll(field, 1, 1)) / 3
    frames = [field[i:i + h, 2 * i:2 * i + w] + rng.normal(0, 4, (h, w)) for i in range(FRAMES)]
    out = np.clip(np.round(frames), 16, 235).astype(np.uint8)
    out[:, :16, :16], out[:, -16:, -16:] = 16, 235
    return out


def reference(net, luma, chroma, mask, scale, stills=()):
    outs, prev, state = [], None, None
    steadied = steady.Steady(scale, net.quantised) if graph.steadied(scale) else None
    stills = [matching.padded_tables(torch.from_numpy(still.astype(np.float32))[None, None], scale) for still in stills]
    for y, lost in zip(luma, mask):
        y, lost = (torch.from_numpy(v.astype(np.float32))[None, None] for v in (y, lost))
        lost = lost / 255
        if scale == 1:
            y = models.filled(y, lost)
        if state is None:
            prev, state = net.fresh(y, scale)
        told = matching.told(F.avg_pool2d(y, models.CELL // scale), net.base(y, scale), *stills) if stills else None
        detail, state = net.step(y, prev, lost, state, scale, told)
        base = net.base(y, scale)
        pixels = base.round() + detail * models.TIES if net.quantised else base + detail
        pixels = steadied(pixels, y) if steadied else pixels.round().clamp(0, 255)
        outs.append(F.pixel_shuffle(pixels, models.CELL).byte().numpy().ravel())
        prev = y
    c = torch.from_numpy(chroma.astype(np.float32))[:, None]
    if scale > 1:
        c = F.pixel_shuffle(net.base(c, scale), models.CELL) if net.quantised else F.pixel_shuffle(
            F.conv2d(models.folded(c, 1, 2), graph.bicubic_kernel(scale)), scale)
    else:
        lost = -F.max_pool2d(-lost, 2)
        c = models.filled(c, lost.expand(2, -1, -1, -1))
    return np.concatenate(outs), c.round().clamp(0, 255).byte().numpy().ravel()


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--package", type=Path, required=True)
    export.add_weights(parser)
    parser.add_argument("--repository", type=Path, default=Path("."), help="where node_modules is")
    args = parser.parse_args()
    manifest = json.loads((args.package / "manifest.json").read_text())
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as tmp:
        jobs, nets = [], export.networks(manifest["name"], args)
        sharp = export.looking(manifest["name"], args, nets)
        for scale, sizes in SIZES.items():
            if scale not in nets:
                continue
            net = nets[scale]
            kinds = [(0, 0), (0.2, 0)] + ([(0, 1), (0, 2)] if scale in sharp else [])
            for h, w, share, stills in [(*size, *kind) for kind in kinds for size in sizes]:
                luma, chroma = clip(h, w, rng), rng.integers(16, 241, (2, h // 2, w // 2)).astype(np.uint8)
                mask = np.kron(rng.random((1, h // 2, w // 2)) < share, np.ones((FRAMES, 2, 2))).astype(np.uint8) * 255
                # A sharper picture of the same, elsewhere and lighter in parts.
                large = np.kron(luma[0], np.ones((scale, scale)))
                still = [np.clip(np.roll(large, by, (0, 1)) + rng.normal(0, 3, large.shape), 0, 255).astype(np.uint8)
                         for by in [(9, -5), (-40, 33)][:stills]]
                y, c = reference(sharp[scale] if stills else net, luma, chroma, mask, scale, still)
                name = f"{tmp}/{scale}-{h}-{w}-{share}-{stills}"
                for part, data in (("luma", luma), ("chroma", chroma), ("mask", mask), ("lumaOut", y), ("chromaOut", c), *((f"still{i}", v) for i, v in enumerate(still))):
                    Path(f"{name}.{part}").write_bytes(data.tobytes())
                jobs.append({"scale": scale, "fill": share > 0 and scale == 1, "damaged": share > 0, "stills": stills, "h": h, "w": w, "frames": FRAMES, "name": name})
        script = Path(__file__).with_name("verify-node.mjs")
        subprocess.run(["node", str(script), str(args.repository.resolve()), str(args.package.resolve()),
                        json.dumps(jobs)], check=True)


if __name__ == "__main__":
    main()
