"""Tests of the degradations and of what reads them, on synthetic frames through the real encoders. Half a minute.

Usage: python3 test_degrade.py [NAME...]
Skips itself where PyTorch, NumPy, Pillow or ffmpeg with libvpx, libx264 and libaom is missing.
"""
import json
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

SKIPPED = 77  # exit status, as Automake's tests have it; `npm test` counts it

try:
    import numpy as np
    import PIL  # noqa: F401
    import torch
    import torch.nn.functional as F

    import build_dataset
    import dataset
    import degrade
    import packets
    import testing
    import video
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(SKIPPED)

W, H, FPS = 320, 192, 30


def frames(count, w=W, h=H, seed=0):
    """I420: a texture that moves two pixels a frame and changes everywhere, so that nothing can be concealed well."""
    rng = np.random.default_rng(seed)
    field = np.kron(rng.integers(40, 200, (h // 8 + 40, w // 8 + 40)), np.ones((8, 8)))
    out = []
    for t in range(count):
        luma = field[2 * t:2 * t + h, 3 * t:3 * t + w] + rng.normal(0, 12, (h, w))
        out.append(np.concatenate([luma.ravel(), np.full(w * h // 2, 128)]).clip(16, 235).astype(np.uint8))
    return np.concatenate(out).tobytes()


def luma_of(raw, w=W, h=H):
    return video.split_planes(raw, w, h)[0]


def blocks(mask):
    """A mask of whole macroblocks: bool [rows, columns]."""
    rows, columns = -(-mask.shape[0] // 16), -(-mask.shape[1] // 16)
    padded = np.pad(mask, ((0, rows * 16 - mask.shape[0]), (0, columns * 16 - mask.shape[1])), mode="edge")
    found = padded.reshape(rows, 16, columns, 16).swapaxes(1, 2).reshape(rows, columns, 256)
    assert (found.all(2) == found.any(2)).all()
    return found.all(2)


def near(mask, pixels):
    """What lies that near to pixels of a mask, and they."""
    grown = F.max_pool2d(torch.from_numpy(mask.astype(np.float32))[None, None], 2 * pixels + 1, 1, pixels)
    return grown[0, 0].numpy() > 0


def test_masks_mark_what_was_lost():
    """In the first damaged picture, lost macroblocks differ from the undamaged decode, and no others but for those near them, over whose edges the loop
    filter carries it (ITU-T H.264, 8.7); the key frame that answers puts an end to it."""
    for w, h in ((W, H), (200, 120)):
        raw = frames(20, w, h)
        for case, burst in enumerate([(3.0, 3.3), (7.45, 7.7), (9.7, 10.4), (5.0, 5.01), (11.1, 12.9)]):
            key = packets.key_frames([burst], 3)
            stream = packets.encode(raw, w, h, FPS, 400, 250, key)
            whole = luma_of(packets.decode(stream, FPS), w, h)
            out, masks = packets.damaged(stream, w, h, FPS, [burst], random.Random(case))
            got = luma_of(out, w, h)
            assert got.shape == whole.shape == masks.shape
            hurt = np.flatnonzero(masks.any((1, 2)))
            assert len(hurt) and hurt[0] >= int(burst[0]) and hurt[-1] <= int(burst[1]), (burst, hurt)
            assert not masks.all((1, 2)).any(), "a picture of which nothing arrives is not shown"
            first = hurt[0]
            assert (got[:first] == whole[:first]).all()
            differs = got[first] != whole[first]
            assert not (differs & ~near(masks[first], 8)).any(), burst
            for y, x in np.argwhere(blocks(masks[first])):
                assert differs[y * 16:y * 16 + 16, x * 16:x * 16 + 16].any(), (burst, y, x)
            assert (got[key[0]:] == whole[key[0]:]).all() and (got[key[0] - 1] != whole[key[0] - 1]).any()


def test_slices_tile_the_picture():
    coded = packets.pictures(packets.encode(frames(4), W, H, FPS, 400, 200, [2]))
    assert len(coded) == 4
    for t, units in enumerate(coded):
        found = packets.slices(units)
        starts = [packets.first_macroblock(units[i]) for i in found]
        assert starts[0] == 0 and starts == sorted(set(starts)) and starts[-1] < 12 * 20
        assert len(starts) > 3 or t not in (0, 2)
        assert {packets.kind(units[i]) for i in found} == {5 if t in (0, 2) else 1}
        assert packets.lost_pixels(units, set(found), W, H).all()
        parts = [packets.lost_pixels(units, {i}, W, H).astype(int) for i in found]
        assert (sum(parts) == 1).all()
    # 0, 1, 7 and 255 as Exp-Golomb codes, in the bits after the unit's header
    codes = ((0, "1"), (1, "010"), (7, "0001000"), (255, "00000000100000000"))
    for value, bits in codes:
        data = int(bits.ljust(64, "1"), 2).to_bytes(8, "big")
        assert packets.first_macroblock(b"\x41" + data) == value


def test_bursts():
    for seed in range(50):
        loss = packets.draw(random.Random(seed))
        assert 0.01 <= loss.rate <= 0.1
        found = packets.bursts(loss, 46, random.Random(seed))
        assert found == packets.bursts(loss, 46, random.Random(seed)) and found == sorted(found)
        assert all(1 <= start < 46 and end > start for start, end in found) and found[-1][0] >= 46 / 4
    lost = [sum(end - start for start, end in packets.bursts(packets.Loss(0.05, 0.5), 2000, random.Random(s)))
            for s in range(20)]
    assert 0.04 < np.mean(lost) / 2000 < 0.06
    assert packets.key_frames([(2, 2.5), (4, 4.2), (9, 9.1)], 3) == [6, 13]


def test_same_seed_same_pictures():
    raw = frames(10)
    for d in (degrade.Degradation(2, "vp8", 300, "bicubic", sent=288, then=360, switch=0.5),
              degrade.Degradation(2, "h264", 3000, "area", sent=360, loss=packets.Loss(0.3, 0.5, 5, 0.2)),
              degrade.Degradation(4, "none", 0, "area", capture=degrade.Capture(read=4, shot=0.1))):
        one, two, other = (degrade.degrade(raw, W, H, FPS, d, seed) for seed in (5, 5, 6))
        assert one[0] == two[0] and one[2] == two[2]
        assert (one[1] is None) == (d.loss is None) and (d.loss is None or (one[1] == two[1]).all())
        assert one[0] != other[0] or d.codec == "vp8", "losses and noise come from the seed"
    for plan in degrade.PLANS.values():
        assert plan(random.Random(3), 1280, 720, False) == plan(random.Random(3), 1280, 720, False)
        assert plan(random.Random(3), 1280, 720, False) != plan(random.Random(4), 1280, 720, False)


def test_sizes():
    """Whatever is sent, the network's input has the size of its variant."""
    assert [degrade.sent_size(1280, 720, 4, r) for r in degrade.RUNGS[4]] == [
        (160, 90), (214, 120), (256, 144), (320, 180), (426, 240)]
    assert degrade.sent_size(720, 1280, 1, 720) == (720, 1280) and degrade.sent_size(512, 512, 2, 0) == (256, 256)
    raw = frames(4)
    for scale, rungs in degrade.RUNGS.items():
        for rung in rungs[::2]:
            for d in (degrade.Degradation(scale, "vp8", 300, "area", sent=rung),
                      degrade.Degradation(scale, "h264", 300, "area", sent=rung, loss=packets.Loss(0.3, 0.5, 4, 0.2))):
                low, lost, real = degrade.degrade(raw, W, H, FPS, d, 1)
                assert len(low) == 4 * (W // scale) * (H // scale) * 3 // 2 and real > 0
                assert lost is None or lost.shape == (4, H // scale, W // scale)
    # A mask at another size covers at least what was lost.
    lost = np.zeros((1, 96, 160), bool)
    lost[0, 16:32, 48:80] = True
    larger = degrade.scaled_mask(lost, 320, 192)
    assert larger[0, 32:64, 96:160].all() and larger.sum() == 32 * 64
    assert degrade.scaled_mask(lost, 120, 72)[0, 12:24, 36:60].all()


def test_crops():
    assert degrade.cropped_box(1280, 720, 4 / 3, 0.5) == (160, 0, 960, 720)
    assert degrade.cropped_box(1280, 720, 9 / 16, 0.0) == (0, 0, 400, 720)
    assert degrade.cropped_box(1280, 720, 1, 1.0) == (560, 0, 720, 720)
    raw = frames(3)
    box = degrade.cropped_box(W, H, 1, 0.3)
    part = luma_of(degrade.cropped(raw, W, H, box), *box[2:])
    assert (part == luma_of(raw)[:, box[1]:box[1] + box[3], box[0]:box[0] + box[2]]).all()
    shapes = {d.aspect for seed in range(60) for d in degrade.plan_rungs(random.Random(seed), 1280, 720, False)}
    assert shapes == {0.0, *degrade.SHAPES}
    for w, h in ((1280, 720), (720, 1280), (352, 288), (528, 288), (528, 960)):
        for seed in range(40):
            for d in degrade.plan_rungs(random.Random(seed), w, h, True):
                box = degrade.cropped_box(w, h, d.aspect, d.shift)
                assert all(v % 16 == 0 for v in box[2:]) and min(box[2:]) >= 256 and (w > h or not d.aspect)
                assert min(degrade.sent_size(*box[2:], d.scale, d.sent)) >= degrade.FEWEST_LINES
                assert d.sent in degrade.RUNGS[d.scale] and d.then in (0, *degrade.RUNGS[d.scale]) and d.then != d.sent
                assert 40 <= d.kbps <= 1500 and (d.loss is None or d.codec == "h264")


def test_switches():
    """A change of size ends one stream and begins another: up to it nothing differs from a call without."""
    raw = frames(12)
    d = degrade.Degradation(4, "vp8", 200, "bicubic", sent=180, then=120, switch=0.5)
    assert degrade.runs(d, 12) == [(180, 0, 6), (120, 6, 12)]
    calls = []
    with mock.patch.object(video, "through_codec", lambda raw, w, h, fps, codec, kbps: (
            calls.append((w, h, len(raw) // (w * h * 3 // 2), kbps)) or raw, kbps)):
        degrade.degrade(raw, W, H, FPS, d, 1)
    assert [c[:3] for c in calls] == [(80, 48, 6), (54, 32, 6)] and calls[0][3] == calls[1][3]
    low = luma_of(degrade.degrade(raw, W, H, FPS, d, 1)[0], W // 4, H // 4)
    stays = degrade.Degradation(4, "vp8", 200, "bicubic", sent=180)
    plain = luma_of(degrade.degrade(raw, W, H, FPS, stays, 1)[0], W // 4, H // 4)
    assert low.shape == plain.shape == (12, 48, 80)
    # Six frames of a stream are coded the same whether or not others follow.
    assert (low[:6] == plain[:6]).all() and (low[6:] != plain[6:]).any((1, 2)).all()


def fake_data(folder):
    """A folder of one clip, as build_dataset.py takes it."""
    (folder / "train").mkdir()
    (folder / "train-stills").mkdir()
    clip = folder / "train" / "clip.mp4"
    subprocess.run(video.WITH_INPUT + video.i420_input(480, 272, FPS) +
                   ["-c:v", "libx264", "-qp", "10", "-preset", "ultrafast", str(clip)],
                   input=frames(30, 480, 272), check=True)
    return clip


def test_build_adds_what_is_missing():
    with tempfile.TemporaryDirectory() as tmp:
        root = Path(tmp)
        job, cache = (fake_data(root), 0), root / "dataset"
        base = {"base": lambda rng, w, h, still: degrade.plan_base(rng, w, h, still)[2:7:2]}
        added = {**base, "rungs": lambda rng, w, h, still: [
            degrade.Degradation(2, "vp8", 300, "area", 2, sent=288, then=360, switch=0.5),
            degrade.Degradation(4, "h264", 200, "area", sent=180, loss=packets.Loss(0.3, 0.4, 5, 0.2)),
            degrade.Degradation(2, "h264", 300, "area", aspect=1.0, sent=360, loss=packets.Loss(0.3, 0.4, 5, 0.2)),
            degrade.Degradation(1, "vp8", 300, "area", sent=576, frames=10)]}
        with mock.patch.object(degrade, "PLANS", base):
            build_dataset.build(job, cache, 24)
        out = cache / "clip@0"
        old = {f.name: (f.stat().st_mtime_ns, f.read_bytes()) for f in out.glob("*.npy")}
        meta = json.loads((out / "meta.json").read_text())
        assert meta["plans"] == ["base"] and len(meta["lr"]) == 3
        # Segments from before there were plans do not name any.
        del meta["plans"]
        (out / "meta.json").write_text(json.dumps(meta))
        with mock.patch.object(degrade, "PLANS", added):
            build_dataset.build(job, cache, 24)
            meta = json.loads((out / "meta.json").read_text())
            assert meta["plans"] == ["base", "rungs"] and len(meta["lr"]) == 7
            assert all((out / name).stat().st_mtime_ns == time and (out / name).read_bytes() == data
                       for name, (time, data) in old.items())
            stamp = (out / "meta.json").stat().st_mtime_ns
            build_dataset.build(job, cache, 24)
            assert (out / "meta.json").stat().st_mtime_ns == stamp, "nothing is left to do"
            build_dataset.build(job, root / "again", 24)
            for f in out.glob("*.npy"):
                assert f.read_bytes() == (root / "again" / "clip@0" / f.name).read_bytes(), f.name
        assert not list(out.glob("*.tmp"))
        check_reading(cache, meta)


def check_reading(cache, meta):
    """Crops are those of the files, masks of what was stored; a segment's source decides its split."""
    meta["dir"] = cache / "clip@0"
    switch, lossy, square, short = meta["lr"][3:]
    assert switch["switched"] == round(30 / 2 * 0.5) - 3 and switch["stride"] == 2
    assert square["crop"][2:] == [272, 272] and np.load(meta["dir"] / short["file"]).shape == (10, 272, 480)
    hr = np.load(meta["dir"] / "hr.npy")
    for q in (lossy, square):
        shape = np.load(meta["dir"] / q["file"]).shape
        packed = np.load(meta["dir"] / q["mask"])
        assert packed.shape == (*shape[:2], -(-shape[2] // 8))
        mask = np.unpackbits(packed, axis=-1)[..., :shape[2]]
        assert 0 < mask.mean() < 1 and abs(mask.mean() - q["lostShare"]) < 1e-3
        crop = (slice(3, 9), slice(5, 37), slice(11, 43))
        assert (dataset.Masks(meta["dir"] / q["mask"])[crop] == mask[crop]).all()
        clips = dataset.Clips([{**meta, "lr": [q]}], 1)
        slot, marked = dataset.Slot(clips, q["scale"], 3, 64), 0
        for _ in range(60):
            low, high, fresh, error, got, _ = slot.next()
            p = 64 // q["scale"]
            assert low.shape == got.shape == (3, p, p) and high.shape == (3, 64, 64)
            assert error is None or not got.any()
            if slot.damage.kind == "none" and slot.tone is None:
                at = (slice(slot.at - 3, slot.at), slice(slot.y, slot.y + p), slice(slot.x, slot.x + p))
                assert (got == slot.flip(mask[at])).all()
                x, y = q.get("crop", (0, 0))[:2]
                y, x = y + slot.y * q["scale"], x + slot.x * q["scale"]
                assert (high == slot.flip(hr[slot.at - 3:slot.at, y:y + 64, x:x + 64])).all()
                marked += got.any()
        assert marked
    planes = dataset.Planes(meta["dir"] / "hr.npy", 1, 2, (16, 32, 100, 80))
    part = hr[1::2, 32:112, 16:116]
    assert planes.shape == part.shape and (planes[2:5, 7:30, 9:100] == part[2:5, 7:30, 9:100]).all()
    assert (planes[0:99, 0:999, 60:999] == part[:, :, 60:]).all()
    assert [m["file"] for m in dataset.load_index(cache, "train")] == ["clip.mp4"]


def test_splits_do_not_mix():
    splits = json.loads((Path(__file__).parent / "splits.json").read_text())
    names = [*splits["validate"], *splits["skip"], *splits["test"]]
    assert len(names) == len(set(names))
    with tempfile.TemporaryDirectory() as tmp:
        held, test = splits["validate"][0], splits["test"][0]
        for name, start in [(held, 0), (held, 110), (test, 0), ("a.mp4", 0)]:
            folder = Path(tmp) / f"{Path(name).stem}@{start}"
            folder.mkdir()
            lr = [{"file": "x4-0.npy"}, {"file": "rungs-x4-0.npy", "plan": "rungs"}]
            (folder / "meta.json").write_text(json.dumps({"file": name, "w": 640, "h": 352, "lr": lr}))
        validates = dataset.load_index(tmp, "validate")
        assert [m["file"] for m in validates] == [held] * 2 and all(len(m["lr"]) == 1 for m in validates)
        trained = dataset.load_index(tmp, "train")
        assert [m["file"] for m in trained] == ["a.mp4"] and len(trained[0]["lr"]) == 2


def main():
    encoders = ""
    if shutil.which("ffmpeg"):
        encoders = subprocess.run(["ffmpeg", "-hide_banner", "-encoders"], capture_output=True, text=True).stdout
    if not all(name in encoders for name in ("libvpx", "libx264", "libaom")):
        print("skipped: no ffmpeg with libvpx, libx264 and libaom")
        sys.exit(SKIPPED)
    testing.run(globals())


if __name__ == "__main__":
    main()
