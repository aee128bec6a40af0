"""Builds the training set: HR luma, and what calls leave of it at 1/4, 1/2 and full size (degrade.py).

Usage: build_dataset.py --data DIR [--cache DIR] [--frames 40] [--limit N]
Restartable: a segment that is already in the cache is left alone.
"""
import argparse
import json
import os
import random
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

import degrade
import video

HERE = Path(__file__).parent
WARM_UP = 6  # frames coded but not kept: the first ones of a call are not typical


def target_size(w, h):
    """The HR size (multiples of 16) and the scaled size it is cropped from."""
    short = min(w, h)
    if short >= 1000:
        # Phone clips and 4K are soft at full size: halve at least; never below 540 lines.
        factor = min(0.5, 720 / short) if w < h else 720 / short
    elif short >= 700:
        factor = 720 / short
    else:
        factor = 1.0
    sw, sh = round(w * factor / 2) * 2, round(h * factor / 2) * 2
    return (sw, sh), (sw // 16 * 16, sh // 16 * 16)


def clip_frames(path, start, count):
    w, h, fps = video.probe(path)
    (sw, sh), (tw, th) = target_size(w, h)
    halve = fps > 40
    vf = (["select='not(mod(n,2))'"] if halve else []) + [f"scale={sw}:{sh}:flags=lanczos", f"crop={tw}:{th}"]
    raw = video.read_i420(path, tw, th, ",".join(vf), start, count)
    return raw, tw, th, (fps / 2 if halve else fps)


def still_frames(path, count, rng):
    """A photograph panned, zoomed and shaken, as limited-range I420 at 1280x720 (or 720x1280)."""
    image = Image.open(path).convert("RGB")
    tw, th = (1280, 720) if image.width >= image.height else (720, 1280)
    # The crop must move inside the picture; small photographs are used at their own size instead.
    fit = min(image.width / (tw * 1.15), image.height / (th * 1.15))
    if fit < 1:
        tw, th = (int(v * fit) // 16 * 16 for v in (tw, th))
    if min(tw, th) < 256:
        return None
    fit = min(image.width / (tw * 1.15), image.height / (th * 1.15))
    if fit > 1.05:
        image = image.resize((int(image.width / fit), int(image.height / fit)), Image.LANCZOS)
    slack_x, slack_y = image.width - tw * 1.08, image.height - th * 1.08
    x0, y0, x1, y1 = (rng.uniform(0, s) for s in (slack_x, slack_y, slack_x, slack_y))
    speed = rng.choice([0.15, 0.5, 1.0])
    zoom = rng.uniform(-0.04, 0.04)
    shake = rng.choice([0.0, 0.4, 1.0])
    frames = []
    for i in range(count):
        t = i / count * speed
        k = 1.04 + zoom * t
        x = x0 + (x1 - x0) * t + rng.gauss(0, shake)
        y = y0 + (y1 - y0) * t + rng.gauss(0, shake)
        view = image.transform((tw, th), Image.AFFINE, (k, 0, x, 0, k, y), Image.BICUBIC)
        # PIL's YCbCr is full range; the codecs' is limited.
        yuv = np.asarray(view.convert("YCbCr"), np.float32)
        luma = yuv[..., 0] * (219 / 255) + 16
        chroma = (yuv[..., 1:] - 128) * (224 / 255) + 128
        chroma = chroma.reshape(th // 2, 2, tw // 2, 2, 2).mean((1, 3)).transpose(2, 0, 1)
        frames.append(np.concatenate([luma.ravel(), chroma.ravel()]).round().clip(0, 255).astype(np.uint8))
    return np.concatenate(frames).tobytes(), tw, th, 30.0


def build(job, cache, frames):
    path, start = job
    out = cache / f"{path.stem}@{start}"
    if (out / "meta.json").exists():
        return
    # A seed from the name: a rerun gives the same set.
    rng = random.Random(zlib.crc32(out.name.encode()))
    total = frames + WARM_UP
    got = still_frames(path, total, rng) if path.suffix in (".webp", ".jpg") else clip_frames(path, start, total)
    if not got:
        print("skip", path.name, flush=True)
        return
    raw, w, h, fps = got
    luma = video.split_planes(raw, w, h)[0][WARM_UP:]
    if len(luma) < 16:
        print("short", out.name, len(luma), flush=True)
        return
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "hr.npy", luma)
    meta = {"file": path.name, "still": path.suffix != ".mp4" and start == 0 and path.parent.name == "train-stills",
            "w": w, "h": h, "frames": len(luma), "lr": []}
    for k, d in enumerate(degrade.plan(rng)):
        low, real = degrade.degrade(raw, w, h, fps, d, zlib.crc32(f"{out.name}/{k}".encode()))
        plane = video.split_planes(low, w // d.scale, h // d.scale)[0]
        # Of the frames before the first one kept, `stride` left every n-th.
        skip = -(-WARM_UP // d.stride)
        plane = plane[skip:]
        if len(plane) != -(-(len(luma) - (skip * d.stride - WARM_UP)) // d.stride):
            print("frames differ", out.name, d, len(plane), len(luma), flush=True)
            continue
        name = f"x{d.scale}-{k}.npy"
        np.save(out / name, plane)
        meta["lr"].append({"file": name, "first": skip * d.stride - WARM_UP, "realKbps": round(real), **d.meta()})
    (out / "meta.json").write_text(json.dumps(meta))
    print("built", out.name, w, h, len(luma), [p["realKbps"] for p in meta["lr"]], flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path,
                        default=Path(os.environ.get("VIREO_TRAINING_CACHE", "~/.cache/vireo-training")).expanduser())
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--limit", type=int, default=0)
    args = parser.parse_args()
    splits = json.loads((HERE / "splits.json").read_text())
    files = sorted((args.data / "train").iterdir()) + sorted((args.data / "train-stills").iterdir())
    files = [f for f in files if f.name not in splits["skip"] and f.name not in splits["test"]]
    jobs = []
    for f in files:
        jobs.append((f, 0))
        # A second segment of the 720p clips that are long enough; they teach most.
        if f.parent.name == "train" and min(video.probe(f)[:2]) >= 700 and f.name not in splits["validate"]:
            jobs.append((f, 110))
    # Shuffled, so that training can begin on a part that looks like the whole.
    random.Random(1).shuffle(jobs)
    jobs = jobs[: args.limit or None]
    def guarded(job):
        try:
            build(job, args.cache / "dataset", args.frames)
        except Exception as error:  # one bad file must not end the run
            print("FAILED", job[0].name, repr(error)[:300], flush=True)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(guarded, jobs))


if __name__ == "__main__":
    main()
