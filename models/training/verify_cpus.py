"""Checks that a package of integers gives the same bytes on processors without VNNI or AVX2: onnxruntime chooses its kernels by
what the processor has, and QEMU (Debian: qemu-user) pretends to be older ones.

Usage: verify_cpus.py --package models/swift [--cpus Haswell-v4,Nehalem]
"""
import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime

FRAMES = 3


def run(package):
    """Prints a checksum of what each variant makes of a noisy, drifting texture."""
    for variant in json.loads((package / "manifest.json").read_text())["variants"]:
        h, w = (4 * v * variant["fold"] for v in (6, 8))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(package / variant["file"]), options, providers=["CPUExecutionProvider"])
        rng, size = np.random.default_rng(0), {"h": h, "w": w}
        texture = np.kron(rng.integers(16, 236, (h // 4 + 2, w // 4 + 2)), np.ones((4, 4)))
        feeds = {variant["chroma"]: rng.integers(16, 241, (1, 2, h // 2, w // 2)).astype(np.uint8)}
        if "strength" in variant:
            feeds[variant["strength"]] = np.ones(1, np.float32)
        for s in variant["state"]:
            shape = [int(eval(d, {}, size)) if isinstance(d, str) else d for d in s["shape"]]
            feeds[s["input"]] = np.zeros(shape, s["dtype"])
        total = 0
        for t in range(FRAMES):
            picture = texture[t:t + h, t:t + w] + rng.normal(0, 6, (h, w))
            feeds[variant["luma"]] = picture.clip(0, 255).astype(np.uint8)[None, None]
            if "mask" in variant:
                feeds[variant["mask"]] = np.where(rng.random((1, 1, h, w)) < 0.2, 255, 0).astype(np.uint8)
            names = [variant["lumaOut"], variant["chromaOut"], *(s["output"] for s in variant["state"])]
            luma, chroma, *state = session.run(names, feeds)
            feeds.update({s["input"]: value for s, value in zip(variant["state"], state)})
            for plane in (luma, chroma):
                total = (total * 1_000_003 + int.from_bytes(plane.tobytes(), "little")) % (2**61 - 1)
        print(variant["file"], f"{total:016x}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--cpus", default="Haswell-v4,Nehalem", help="QEMU's names; Haswell has AVX2, Nehalem SSE4")
    parser.add_argument("--here", action="store_true", help="print the checksums of this processor only")
    args = parser.parse_args()
    if args.here:
        run(args.package)
        return
    emulator = shutil.which("qemu-x86_64") or sys.exit("qemu-x86_64 is missing (Debian: qemu-user)")
    command = [sys.executable, __file__, "--here", "--package", str(args.package)]
    expected, failed = subprocess.run(command, capture_output=True, text=True, check=True).stdout, False
    for cpu in args.cpus.split(","):
        got = subprocess.run([emulator, "-cpu", cpu, *command], capture_output=True, text=True, check=True).stdout
        failed |= got != expected
        print(f"{cpu}: {'the same' if got == expected else 'differs'}\n{got if got != expected else ''}", end="")
    print(f"here:\n{expected}", end="")
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
