"""Checks an exported package against PyTorch: onnxruntime-node must give the same picture within 1.

Usage: verify.py --package models/swift --checkpoint CKPT   (run from the repository root)
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
import model as models

SIZES = {4: [(180, 320), (320, 180), (180, 240), (90, 122)], 2: [(360, 640), (640, 360), (360, 480), (180, 324)]}
FRAMES = 4


def clip(h, w, rng):
    """A drifting smooth texture with noise and a few flat, limited-range patches."""
    field = np.kron(rng.uniform(16, 235, (h // 8 + 4, w // 8 + 4)), np.ones((8, 8)))
    field = (field + np.roll(field, 1, 0) + np.roll(field, 1, 1)) / 3
    frames = [field[i:i + h, 2 * i:2 * i + w] + rng.normal(0, 4, (h, w)) for i in range(FRAMES)]
    out = np.clip(np.round(frames), 16, 235).astype(np.uint8)
    out[:, :16, :16], out[:, -16:, -16:] = 16, 235
    return out


def reference(net, luma, chroma, scale):
    outs, prev, hidden = [], None, None
    for y in luma:
        y = torch.from_numpy(y.astype(np.float32))[None, None]
        if hidden is None:
            prev, hidden = net.fresh(y, scale)
        out, hidden = net.step(y, prev, hidden, scale)
        outs.append(F.pixel_shuffle(out, models.CELL).round().clamp(0, 255).byte().numpy().ravel())
        prev = y
    c = F.pad(torch.from_numpy(chroma.astype(np.float32))[:, None], (2,) * 4, mode="replicate")
    c = F.pixel_shuffle(F.conv2d(c, export.upsample_kernel(scale)), scale)
    return np.concatenate(outs), c.round().clamp(0, 255).byte().numpy().ravel()


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--repository", type=Path, default=Path("."), help="where node_modules is")
    args = parser.parse_args()
    manifest = json.loads((args.package / "manifest.json").read_text())
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as tmp:
        jobs = []
        for scale, sizes in SIZES.items():
            net = models.make(manifest["name"])
            net.load_state_dict(torch.load(args.checkpoint, map_location="cpu")["ema"], strict=False)
            for h, w in sizes:
                luma, chroma = clip(h, w, rng), rng.integers(16, 241, (2, h // 2, w // 2)).astype(np.uint8)
                y, c = reference(net, luma, chroma, scale)
                name = f"{tmp}/{scale}-{h}-{w}"
                for part, data in (("luma", luma), ("chroma", chroma), ("lumaOut", y), ("chromaOut", c)):
                    Path(f"{name}.{part}").write_bytes(data.tobytes())
                jobs.append({"scale": scale, "h": h, "w": w, "frames": FRAMES, "name": name})
        script = Path(__file__).with_name("verify-node.mjs")
        subprocess.run(["node", str(script), str(args.repository.resolve()), str(args.package.resolve()),
                        json.dumps(jobs)], check=True)


if __name__ == "__main__":
    main()
