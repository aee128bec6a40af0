"""Tests of the data set on a GPU, run on the processor: the crops are those of dataset.py. Some seconds.

Usage: python3 test_resident.py [NAME...]
"""
import copy
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

import dataset
import matching
import resident
import testing

W, H, FRAMES = 384, 288, 24


def segment(root, name, seed):
    """Moving texture, made small and coarse; a third of its encodings have lost parts, another third shows a part of it only."""
    rng, out = np.random.default_rng(seed), root / f"{name}@0"
    out.mkdir(parents=True)
    field = np.kron(rng.integers(30, 220, (60, 60)), np.ones((8, 8)))
    hr = np.stack([field[t:t + H, 2 * t:2 * t + W] for t in range(FRAMES)]).astype(np.uint8)
    np.save(out / "hr.npy", hr)
    meta = {"file": f"{name}.mp4", "still": False, "w": W, "h": H, "frames": FRAMES, "plans": ["base"], "lr": [], "references": []}
    for k, (scale, kind) in enumerate([(s, v) for s in (4, 2, 1) for v in ("whole", "lost", "crop")]):
        box = (48, 0, 288, 288) if kind == "crop" else (0, 0, W, H)
        x, y, w, h = box
        stride, first = (2, 1) if kind == "crop" else (1, 0)
        low = hr[first::stride, y:y + h, x:x + w].reshape(-1, h // scale, scale, w // scale, scale).mean((2, 4))
        low = (low // 6 * 6 + rng.integers(0, 3, low.shape)).astype(np.uint8)
        np.save(out / f"{k}.npy", low)
        point = {"file": f"{k}.npy", "scale": scale, "codec": "vp8", "kbps": 120, "first": first, "stride": stride,
                 "capture": {"gain": 0.5 if kind == "crop" else 1}, "mask": None}
        if kind == "crop":
            point["crop"] = box
        if kind == "lost":
            np.save(out / f"{k}-mask.npy", np.packbits(rng.random(low.shape) < 0.1, axis=-1))
            point["mask"] = f"{k}-mask.npy"
        meta["lr"].append(point)
    for k in range(2):
        np.save(out / f"reference-{k}.npy", hr[12 + k:13 + k])
        meta["references"].append({"file": f"reference-{k}.npy"})
    (out / "meta.json").write_text(json.dumps(meta))


def from_files(planes, kind=dataset.Planes):
    """The same part of the same file, read by dataset.py."""
    if planes is None or isinstance(planes, dataset.Noise):
        return planes
    return kind(planes.key, planes.first, planes.stride, (planes.x, planes.y, planes.shape[2], planes.shape[1]))


def loaded(root, scale):
    clips = resident.Clips(root, "train", (scale,), 3, scale > 1, torch.device("cpu"), 40_000_000)
    assert clips.watch()
    return clips


def test_crops_are_those_of_the_files():
    seen = dict.fromkeys(("lost", "still", "noise", "alien", "dark", "blurred", "turned", "toned"), 0)
    with tempfile.TemporaryDirectory() as tmp:
        for seed in range(3):
            segment(Path(tmp), f"clip{seed}", seed)
        for scale in (4, 2, 1):
            clips = loaded(tmp, scale)
            assert clips.refresh() == 3
            crops = resident.Crops(clips, scale, 12, 3, 128)
            for _ in range(20):
                size = 128 + 2 * resident.BY if scale > 1 else None
                ours = resident.rendered(clips.block, scale, 128, *crops.next(), still_size=size)
                for k, slot in enumerate(crops.slots):
                    if slot.damage.kind != "none":
                        continue
                    same = copy.copy(slot)
                    same.lr, same.hr, same.still = (from_files(v) for v in (slot.lr, slot.hr, slot.still))
                    same.lost = from_files(slot.lost, dataset.Masks)
                    same.at, same.left = slot.at - 3, 9
                    low, high, _, error, mask, still = same.next()
                    blurred = slot.capture is not None
                    # Beyond a crop's margin a blur sees the picture here, and its repeated edge there.
                    inner = (slice(None), *[slice(10, -10)] * 2) if blurred else slice(None)
                    assert np.abs(low - ours[0][k].numpy())[inner].max() <= 2 * blurred
                    assert (high == ours[1][k].numpy()).all() and (mask == ours[2][k].numpy()).all()
                    got = ours[3][k].item()
                    assert np.isnan(got) if error is None else abs(got - error) < 1e-3 * error
                    if scale > 1:
                        assert (still is not None) == bool(ours[5][k])
                        if still is not None:
                            assert np.abs(still - ours[4][k].numpy()).max() <= 1
                    seen["lost"] += mask.any()
                    seen["blurred"] += blurred
                    seen["still"] += still is not None
                    seen["noise"] += isinstance(slot.still, dataset.Noise)
                    seen["alien"] += slot.still is not None and slot.still.alien
                    seen["dark"] += slot.light != 1
                    seen["turned"] += slot.turn.any()
                    seen["toned"] += slot.tone is not None
    assert all(seen.values()), seen


def test_a_still_that_stands_is_told_from_one_that_does_not():
    with tempfile.TemporaryDirectory() as tmp:
        segment(Path(tmp), "clip", 0)
        clips = loaded(tmp, 4)
        clips.refresh()
        low, still = (clips.planes(Path(tmp) / "clip@0" / name) for name in ("0.npy", "reference-0.npy"))
        stands, moved = (clips.calm(low, still, 4, by, (1.0, 0.0)) for by in ((0, 0), (9, 14)))
        assert stands > 0.8 > 0.3 > moved
        # As the network is told of whole pictures.
        cells = torch.from_numpy(np.load(low.key))[12][None, None].float()
        keys = matching.padded_tables(torch.from_numpy(np.load(still.key))[None].float(), 4)[0]
        assert abs(float(matching.calm(cells, keys[:, None])) - stands) < 1e-6


def test_segments_that_come_later_are_taken_up():
    with tempfile.TemporaryDirectory() as tmp:
        segment(Path(tmp), "first", 0)
        clips = loaded(tmp, 4)
        assert clips.refresh() == 1
        segment(Path(tmp), "second", 1)
        assert clips.watch() and clips.refresh() == 2 and clips.watch() and clips.refresh() == 2
        crops = resident.Crops(clips, 4, 16, 3, 64)
        for _ in range(8):
            crops.next()
        assert len({slot.hr.key for slot in crops.slots}) == 2


def test_trains():
    with tempfile.TemporaryDirectory() as tmp:
        segment(Path(tmp) / "dataset", "clip", 0)
        out = Path(tmp) / "net.pt"
        told = subprocess.run([sys.executable, str(Path(__file__).with_name("train_gpu.py")), "--model", "swift", "--device", "cpu", "--minutes", "0.1", "--batch", "2",
                               "--patch", "64", "--block", "0.05", "--wait", "1", "--log", "4", "--cache", tmp, "--out", str(out)],
                              check=True, capture_output=True, text=True).stdout
        losses = [row["loss"] for row in map(json.loads, (v for v in told.splitlines() if v.startswith("{"))) if "loss" in row]
        assert losses and np.isfinite(losses).all()
        saved = torch.load(out)
        assert saved["scales"] == (4, 2) and all(v.isfinite().all() for v in saved["ema"].values())


if __name__ == "__main__":
    testing.run(globals())
