"""Builds the training set: HR luma, and what calls leave of it at 1/4, 1/2 and full size (degrade.py).

Usage: build_dataset.py --data DIR [--cache DIR] [--frames 40] [--limit N] [--no-references]
Restartable: of a segment in the cache, only the plans (degrade.PLANS) that its meta.json does not name are built.
"""
import argparse
import json
import os
import random
import zlib
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import degrade
import references
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


def clip_chain(path):
    """(filters, width, height, frame rate, whether every other frame is left out) of a clip as it is used."""
    w, h, fps = video.probe(path)
    (sw, sh), (tw, th) = target_size(w, h)
    halve = fps > 40
    vf = (["select='not(mod(n,2))'"] if halve else []) + [f"scale={sw}:{sh}:flags=lanczos", f"crop={tw}:{th}"]
    return ",".join(vf), tw, th, (fps / 2 if halve else fps), halve


def clip_frames(path, start, count):
    chain, w, h, fps, _ = clip_chain(path)
    return video.read_i420(path, w, h, chain, start, count), w, h, fps


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


def store(path, array):
    """A file is there whole or not at all: a training may be reading this folder."""
    tmp = path.with_name(path.name + ".tmp")
    with tmp.open("wb") as file:
        np.save(file, array)
    os.replace(tmp, path)


def store_meta(out, meta):
    tmp = out / "meta.json.tmp"
    tmp.write_text(json.dumps(meta))
    os.replace(tmp, out / "meta.json")


def point(out, plan, k, raw, w, h, fps, d):
    """Makes one degradation's files; what meta.json says of it, or None."""
    name = f"{k}" if plan == "base" else f"{plan}/{k}"
    total = len(raw) // (w * h * 3 // 2)
    if d.frames:
        total = min(total, WARM_UP + d.frames)
        raw = raw[:total * (w * h * 3 // 2)]
    low, lost, real = degrade.degrade(raw, w, h, fps, d, zlib.crc32(f"{out.name}/{name}".encode()))
    box = degrade.cropped_box(w, h, d.aspect, d.shift)
    # Of the frames before the first one kept, `stride` left every n-th.
    skip = -(-WARM_UP // d.stride)
    plane = video.split_planes(low, box[2] // d.scale, box[3] // d.scale)[0][skip:]
    if len(plane) != -(-total // d.stride) - skip:
        print("frames differ", out.name, d, len(plane), total, flush=True)
        return None
    stem = f"x{d.scale}-{k}" if plan == "base" else f"{plan}-x{d.scale}-{k}"
    store(out / f"{stem}.npy", plane)
    first = skip * d.stride - WARM_UP
    meta = {"file": f"{stem}.npy", "plan": plan, "first": first, "realKbps": round(real), **d.meta()}
    if d.aspect:
        meta["crop"] = box
    if d.then:
        meta["switched"] = degrade.runs(d, -(-total // d.stride))[1][1] - skip
    meta["mask"] = None
    if lost is not None and lost[skip:].any():
        meta["mask"] = f"{stem}-mask.npy"
        meta["lostShare"] = round(float(lost[skip:].mean()), 4)
        store(out / meta["mask"], np.packbits(lost[skip:], axis=-1))
    return meta


def is_photo(path):
    return path.suffix in (".webp", ".jpg")


def stills(out, path, start, luma):
    """Makes the segment's references; what meta.json says of them. Those of a photograph are other moments of its movement."""
    rng = random.Random(zlib.crc32(f"{out.name}/references".encode()))
    first, made = start + WARM_UP, []
    if is_photo(path):
        times = [rng.randrange(len(luma)) for _ in range(references.COUNT)]
        pictures, fps, first = [luma[t] for t in times], 30.0, 0
    else:
        chain, w, h, fps, halve = clip_chain(path)
        total = references.frame_count(path) // (2 if halve else 1)
        times = references.draw_times(rng, first, len(luma), total, fps) if total else []
        pictures = references.take(path, times, w, h, chain) if times else []
    for k, (t, picture) in enumerate(zip(times, pictures)):
        quality = rng.randint(*references.QUALITY)
        decoded, size = references.coded(picture, quality)
        store(out / f"reference-{k}.npy", decoded[None])
        made.append({"file": f"reference-{k}.npy", "away": round((t - first) / fps, 2), "quality": quality, "bytes": size})
    return made


def frames_of(path, start, count, rng):
    if is_photo(path):
        return still_frames(path, count, rng)
    return clip_frames(path, start, count)


def guarded(job, **options):
    try:
        build(job, **options)
    except Exception as error:  # one bad file must not end the run
        print("FAILED", job[0].name, repr(error)[:300], flush=True)


def build(job, cache, frames, with_references=True, plans=None):
    """Makes what the segment lacks: all of it, or what was not asked for or not there when it was made."""
    path, start = job
    out = cache / f"{path.stem}@{start}"
    there = (out / "meta.json").exists()
    meta = json.loads((out / "meta.json").read_text()) if there else None
    done = meta.get("plans", ["base"]) if there else []
    missing = [plan for plan in plans or degrade.PLANS if plan not in done]
    lacks_references = with_references and (meta is None or "references" not in meta)
    if not missing and not lacks_references:
        return
    # Seeds from names: a rerun gives the same set. The first plan goes on where the still's movement ends.
    rng = random.Random(zlib.crc32(out.name.encode()))
    got = frames_of(path, start, frames + WARM_UP, rng)
    if not got:
        print("skip", path.name, flush=True)
        return
    raw, w, h, fps = got
    luma = video.split_planes(raw, w, h)[0][WARM_UP:]
    if len(luma) < 16:
        print("short", out.name, len(luma), flush=True)
        return
    out.mkdir(parents=True, exist_ok=True)
    if not there:
        store(out / "hr.npy", luma)
        still = path.suffix != ".mp4" and start == 0 and path.parent.name == "train-stills"
        meta = {"file": path.name, "still": still, "w": w, "h": h, "frames": len(luma), "lr": []}
    elif not np.array_equal(np.load(out / "hr.npy", mmap_mode="r"), luma):
        # Another ffmpeg, or other --frames: its new points would not fit its original.
        print("original differs, left as it is", out.name, flush=True)
        return
    for plan in missing:
        draws = degrade.PLANS[plan](rng if plan == "base" else random.Random(zlib.crc32(f"{out.name}/{plan}".encode())),
                                    w, h, meta["still"])
        made = [point(out, plan, k, raw, w, h, fps, d) for k, d in enumerate(draws)]
        meta["lr"] += [m for m in made if m]
        done.append(plan)
        store_meta(out, {**meta, "plans": done})
        print("built", out.name, plan, w, h, len(luma), [m["realKbps"] for m in made if m], flush=True)
    if lacks_references:
        meta["references"] = stills(out, path, start, luma)
        store_meta(out, {**meta, "plans": done})
        print("built", out.name, "references", [(m["away"], m["bytes"]) for m in meta["references"]], flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path,
                        default=Path(os.environ.get("VIREO_TRAINING_CACHE", "~/.cache/vireo-training")).expanduser())
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--only", help="names of files, or how they begin, with commas between them")
    parser.add_argument("--plans", default=",".join(degrade.PLANS), help="which of degrade.PLANS")
    parser.add_argument("--no-references", action="store_true", help="no stills: only `swift` learns from them")
    args = parser.parse_args()
    splits = json.loads((HERE / "splits.json").read_text())
    files = sorted((args.data / "train").iterdir()) + sorted((args.data / "train-stills").iterdir())
    files = [f for f in files if f.name not in splits["skip"] and f.name not in splits["test"]]
    if args.only:
        files = [f for f in files if f.name.startswith(tuple(args.only.split(",")))]
    jobs = []
    for f in files:
        jobs.append((f, 0))
        # A second segment of the 720p clips that are long enough; they teach most.
        if f.parent.name == "train" and min(video.probe(f)[:2]) >= 700 and f.name not in splits["validate"]:
            jobs.append((f, 110))
    # Shuffled, so that training can begin on a part that looks like the whole.
    random.Random(1).shuffle(jobs)
    jobs = jobs[: args.limit or None]
    with ProcessPoolExecutor(os.cpu_count(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(partial(guarded, cache=args.cache / "dataset", frames=args.frames, with_references=not args.no_references,
                              plans=args.plans.split(",")), jobs))


if __name__ == "__main__":
    main()
