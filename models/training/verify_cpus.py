"""Checks that a package of integers gives the same bytes on processors without VNNI or AVX2, with stills and without: onnxruntime
chooses its kernels by what the processor has, and QEMU (Debian: qemu-user) pretends to be older ones.

Usage: verify_cpus.py --package models/swift [--cpus Haswell-v4,Nehalem]
"""
import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime

FRAMES = 3
RESTORED = 192, 256  # height and width of what is made
MARGIN = 20  # pixels of the input that the texture is larger


def session_of(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def looked_up(package, variant, texture, rng):
    """Tables of two stills, as the graph with stills takes them: a sharper, lighter picture of the texture, and one of another place in it."""
    entry, (h, w) = variant["references"], RESTORED
    large = np.kron(texture, np.ones((variant["scale"],) * 2))
    session, made = session_of(package / entry["tablesFile"]), []
    for gain, (y, x) in ((1.03, (0, 0)), (1.0, (24, 40))):
        still = gain * large[y:y + h, x:x + w] + rng.normal(0, 2, (h, w))
        made.append(session.run([t["output"] for t in entry["tables"]], {entry["still"]: still.clip(0, 255).astype(np.uint8)[None, None]}))
    return {t["input"]: np.concatenate(parts) for t, parts in zip(entry["tables"], zip(*made))}


def run(package):
    """Prints a checksum of what each variant makes of a noisy, drifting texture, and with stills of it where it takes some."""
    for variant in json.loads((package / "manifest.json").read_text())["variants"]:
        ways = [(variant["file"], False)] + ([(variant["references"]["file"], True)] if "references" in variant else [])
        for file, stills in ways:
            print(file, of_variant(package, variant, file, stills))


def of_variant(package, variant, file, stills):
    session, rng, checksum = session_of(package / file), np.random.default_rng(0), hashlib.sha256()
    h, w = (v // variant["scale"] for v in RESTORED)
    size = {"h": h, "w": w}
    texture = np.kron(rng.integers(16, 236, ((h + MARGIN) // 4, (w + MARGIN) // 4)), np.ones((4, 4)))
    feeds = {variant["chroma"]: rng.integers(16, 241, (1, 2, h // 2, w // 2)).astype(np.uint8)}
    if "strength" in variant:
        feeds[variant["strength"]] = np.ones(1, np.float32)
    for s in variant["state"]:
        shape = [int(eval(d, {}, size)) if isinstance(d, str) else d for d in s["shape"]]
        feeds[s["input"]] = np.zeros(shape, s["dtype"])
    if stills:
        tables = looked_up(package, variant, texture, rng)
        feeds.update(tables)
        for table in tables.values():
            checksum.update(table.tobytes())
    for t in range(FRAMES):
        picture = texture[t:t + h, t:t + w] + rng.normal(0, 6, (h, w))
        feeds[variant["luma"]] = picture.clip(0, 255).astype(np.uint8)[None, None]
        if "mask" in variant:
            feeds[variant["mask"]] = np.where(rng.random((1, 1, h, w)) < 0.2, 255, 0).astype(np.uint8)
        names = [variant["lumaOut"], variant["chromaOut"], *(s["output"] for s in variant["state"])]
        luma, chroma, *state = session.run(names, feeds)
        feeds.update({s["input"]: value for s, value in zip(variant["state"], state)})
        for plane in (luma, chroma):
            checksum.update(plane.tobytes())
    return checksum.hexdigest()[:16]


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
