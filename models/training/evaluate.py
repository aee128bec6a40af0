"""Evaluation of an exported package on the test clips: PSNR-Y and SSIM-Y against bilinear and bicubic, and against
the same network in floating point.

Usage: evaluate.py --data DIR --package models/swift [--sr CKPT] [--same CKPT] [--frames 60] [--every 4] [--clips A,B]
Writes evaluation.json into the package (or --out); points that were not run (--scales, --codecs) stay as they were. The clips are degraded once and kept in the cache. With checkpoints,
the network without rounding is run on the first --float-frames of each clip, and the difference noted.
"""
import argparse
import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F

import degrade
import export
import graph
import model as models
import references
import steady
import video

# The test clips with 720 lines or more, at (width, height) judged; 1080x1920 is scaled to 720 wide.
CLIPS = {
    "misc-FourPeople_1280x720_60.mp4": (1280, 720),
    "flutter-bee.mp4": (1280, 720),
    "latentsync-demo2.mp4": (720, 1280),
    "lp-s13.mp4": (720, 1072),
    "mps-gesture.mp4": (1280, 720),
    "sam2-04_coffee.mp4": (1280, 720),
}
# (scale, codec, kbit/s, sigma of a Gaussian blur, share of pixels lost)
POINTS = [
    *((4, "vp8", kbps, 0, 0) for kbps in (60, 120, 240)),
    *((2, "vp8", kbps, 0, 0) for kbps in (120, 250, 500)),
    *((1, "vp8", kbps, 0, 0) for kbps in (250, 500)),
    (1, "none", 0, 2, 0),
    (1, "none", 0, 0, 0.5),
    (1, "none", 0, 0, 0),
]


STILL_QUALITY = 60  # of WebP: 15 to 40 kB of such a clip


def chain_of(path, w, h):
    """(filters that make w x h pictures of a clip, how many a second)."""
    sw, sh, fps = video.probe(path)
    halved, short = fps > 40, min(w, h)
    scale = f"scale={short}:-2:flags=lanczos" if sw < sh else f"scale=-2:{short}:flags=lanczos"
    return ",".join([*(["select='not(mod(n,2))'"] if halved else []), scale, f"crop={w}:{h}"]), fps / 2 if halved else fps


def degraded(args, clip, scale, codec, kbps, blur, lost):
    """(reference luma, low luma, low chroma, mask or None, real kbit/s), cached."""
    name = f"{Path(clip).stem}-x{scale}-{codec}-{kbps}" + (f"-blur{blur}" if blur else "")
    cached = args.cache / "evaluation" / f"{name}-{args.frames}.npz"
    w, h = CLIPS[clip]
    source = args.cache / "evaluation" / f"{Path(clip).stem}-{args.frames}.npy"
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        chain, fps = chain_of(args.data / "eval" / clip, w, h)
        raw = video.read_i420(args.data / "eval" / clip, w, h, chain, 0, args.frames)
        np.save(source, video.split_planes(raw, w, h)[0])
        # The box filter, as libyuv in a browser and `vireo evaluate` do.
        low = video.scale_i420(raw, w, h, w // scale, h // scale, "area") if scale > 1 else raw
        real = 0.0
        if codec != "none":
            low, real = video.through_codec(low, w // scale, h // scale, fps, codec, kbps)
        luma, chroma = video.split_planes(low, w // scale, h // scale)
        if blur:
            luma = np.concatenate([gaussian(luma[t:t + 8], blur) for t in range(0, len(luma), 8)])
        np.savez(cached, luma=luma, chroma=chroma, real=real)
    d = np.load(cached)
    luma, mask = d["luma"], None
    if lost:
        mask = (np.random.default_rng(1).random(luma.shape) < lost).astype(np.uint8) * 255
        luma = np.where(mask > 0, 16, luma).astype(np.uint8)
    return np.load(source, mmap_mode="r"), luma, d["chroma"], mask, float(d["real"])


def gaussian(luma, sigma):
    x = torch.from_numpy(luma.astype(np.float32))[:, None]
    return degrade.blurred(x, degrade.Capture(gaussian=sigma), 1.0)[:, 0].round().clamp(0, 255).byte().numpy()


def session(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def still_of(high, quality=STILL_QUALITY):
    """(the first picture after WebP, its bytes): what a sender would upload."""
    return references.coded(high[0], quality)


def remembered_of(package, variant, still):
    """What the variant's graph with stills takes besides the rest."""
    entry = variant["references"]
    outputs = [t["output"] for t in entry["tables"]]
    made = session(package / entry["tablesFile"], 1).run(outputs, {entry["still"]: np.ascontiguousarray(still)[None, None]})
    return {t["input"]: v for t, v in zip(entry["tables"], made)}


def restore(run, variant, luma, chroma, mask, more={}):
    """Yields the restored luma frame by frame, carrying the state."""
    h, w = luma.shape[1:]
    size = {d: int(eval(d, {}, {"h": h, "w": w})) for s in variant["state"] for d in s["shape"] if isinstance(d, str)}
    state = {s["input"]: np.zeros([size.get(d, d) for d in s["shape"]], s["dtype"]) for s in variant["state"]}
    names = [variant["lumaOut"]] + [s["output"] for s in variant["state"]]
    whole = {variant["strength"]: np.ones(1, np.float32)} if "strength" in variant else {}
    none = np.zeros((h, w), np.uint8)
    for t, (y, c) in enumerate(zip(luma, chroma)):
        lost = {variant["mask"]: (none if mask is None else mask[t])[None, None]} if "mask" in variant else {}
        out = run.run(names, {variant["luma"]: y[None, None], variant["chroma"]: c[None], **whole, **lost, **state, **more})
        state = {s["input"]: o for s, o in zip(variant["state"], out[1:])}
        yield out[0][0, 0]


@torch.no_grad()
def unrounded(net, scale, luma, mask):
    """The network in floating point."""
    prev = state = None
    net.quantised = False
    steadied = steady.Steady(scale, quantised=False) if graph.steadied(scale) else None
    for t, y in enumerate(luma):
        y = torch.from_numpy(y.astype(np.float32))[None, None]
        lost = torch.zeros_like(y) if mask is None else torch.from_numpy(mask[t].astype(np.float32) / 255)[None, None]
        if mask is not None:
            y = models.filled(y, lost)
        if state is None:
            prev, state = net.fresh(y, scale)
        detail, state = net.step(y, prev, lost, state, scale)
        pixels = F.pixel_unshuffle(torch.from_numpy(enlarge(y[0, 0].numpy(), scale, "bicubic"))[None, None], models.CELL) + detail
        prev = y
        pixels = steadied(pixels, y) if steadied else pixels.round().clamp(0, 255)
        yield F.pixel_shuffle(pixels, models.CELL)[0, 0].numpy()


def psnr(a, b):
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(np.float32) - b) ** 2), 1e-6)))


def ssim(a, b):
    """Gaussian window, 11 x 11, sigma 1.5."""
    k = torch.exp(-((torch.arange(11.0) - 5) ** 2) / 4.5)
    k = (k / k.sum())

    def blur(x):
        return F.conv2d(F.conv2d(x, k.view(1, 1, 1, 11)), k.view(1, 1, 11, 1))
    a, b = (torch.from_numpy(np.asarray(v, np.float32))[None, None] for v in (a, b))
    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma * ma, blur(b * b) - mb * mb, blur(a * b) - ma * mb
    c1, c2 = 6.5025, 58.5225
    return float((((2 * ma * mb + c1) * (2 * cov + c2)) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean())


def enlarge(y, scale, method):
    x = torch.from_numpy(y.astype(np.float32))[None, None]
    if scale == 1:
        return y.astype(np.float32)
    if method == "bilinear":
        x = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
    else:
        x = F.pixel_shuffle(F.conv2d(models.folded(x, 2), models.bicubic_weight(scale).float()), 2 * scale)
    return x[0, 0].round().clamp(0, 255).numpy()


def judged(pictures, high, every):
    """Mean PSNR and SSIM of every n-th picture."""
    return np.mean([(psnr(p, high[t]), ssim(p, high[t])) for t, p in enumerate(pictures) if t % every == 0], 0).tolist()


def remembered(path, make):
    if not path.exists():
        path.write_text(json.dumps(make()))
    return json.loads(path.read_text())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--every", type=int, default=4, help="judge every n-th frame")
    parser.add_argument("--scales", default="4,2,1")
    parser.add_argument("--codecs", default="vp8,none")
    export.add_weights(parser, required=False)
    parser.add_argument("--float-frames", type=int, default=12)
    parser.add_argument("--stills", action="store_true", help="also with a still of the first picture, where the model takes one")
    parser.add_argument("--clips", default=",".join(CLIPS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cache", type=Path,
                        default=Path(os.environ.get("VIREO_TRAINING_CACHE", "~/.cache/vireo-training")).expanduser())
    args = parser.parse_args()
    torch.set_num_threads(1)
    manifest = json.loads((args.package / "manifest.json").read_text())
    name, rows, runs, lag = manifest["name"], [], {}, {}
    nets = export.networks(name, args)
    for point in POINTS:
        scale, codec, kbps, blur, lost = point
        task = "sr" if scale > 1 else "inpaint" if lost else "deblur"
        variant = next((v for v in manifest["variants"] if v["scale"] == scale and v["task"] == task), None)
        if variant is None or str(scale) not in args.scales.split(",") or codec not in args.codecs.split(","):
            continue
        if variant["file"] not in runs:
            runs[variant["file"]] = session(args.package / variant["file"], args.threads)
        for clip in args.clips.split(","):
            high, luma, chroma, mask, real = degraded(args, clip, *point)
            key = "-".join(map(str, (Path(clip).stem, f"x{scale}", codec, kbps, blur, lost, args.frames, args.every)))
            cache = args.cache / "evaluation"
            scores = remembered(cache / f"plain-{key}.json", lambda: {
                m: judged((enlarge(y, scale, m) for y in luma), high, args.every) for m in ("bilinear", "bicubic")})
            scores[name] = remembered(cache / f"{variant['sha256'][:16]}-{key}.json", lambda: judged(
                restore(runs[variant["file"]], variant, luma, chroma, mask), high, args.every))
            if variant.get("references") and args.stills:
                entry = variant["references"]
                if entry["file"] not in runs:
                    runs[entry["file"]] = session(args.package / entry["file"], args.threads)
                still, size = still_of(high)
                scores[f"{name} with a still"] = remembered(cache / f"{entry['sha256'][:16]}-{key}.json", lambda: judged(
                    restore(runs[entry["file"]], variant, luma, chroma, mask, remembered_of(args.package, variant, still)), high,
                    args.every))
                print(f"still: {size} bytes", end="  ")
            if scale in nets:
                some = slice(0, args.float_frames)
                lag.setdefault(point, []).append(
                    judged(unrounded(nets[scale], scale, luma[some], mask), high, 2)[0]
                    - judged(restore(runs[variant["file"]], variant, luma[some], chroma, mask), high, 2)[0])
            how = called(codec, blur, lost)
            for method, (p, q) in scores.items():
                rows.append({"clip": clip, "codec": how, "uplinkHeight": 720 // scale,
                             "bitrate": kbps * 1000, "realBitrate": round(real * 1000), "method": method,
                             "psnrY": round(float(p), 3), "ssimY": round(float(q), 4), "warpError": None})
            print(f"{720 // scale}p {how} {kbps}k ({real:.0f}) {clip:34}", "  ".join(
                f"{r['method']} {r['psnrY']:.2f}/{r['ssimY']:.4f}" for r in rows[-len(scores):]), flush=True)
    summary = []
    for key in dict.fromkeys((r["method"], r["codec"], r["uplinkHeight"], r["bitrate"]) for r in rows):
        of = [r for r in rows if (r["method"], r["codec"], r["uplinkHeight"], r["bitrate"]) == key]
        summary.append({"method": key[0], "codec": key[1], "uplinkHeight": key[2], "bitrate": key[3],
                        "psnrY": round(float(np.mean([r["psnrY"] for r in of])), 3),
                        "ssimY": round(float(np.mean([r["ssimY"] for r in of])), 4), "warpError": None})
    for s in summary:
        plain = next(o for o in summary if o["method"] == "bicubic" and all(
            o[k] == s[k] for k in ("codec", "uplinkHeight", "bitrate")))
        if s["method"].startswith(name):
            print(f"{s['method']}, {s['uplinkHeight']}p {s['codec']} {s['bitrate'] // 1000}k: {s['psnrY'] - plain['psnrY']:+.2f} dB, "
                  f"SSIM {s['ssimY'] - plain['ssimY']:+.4f}")
    rounding = [{"scale": p[0], "codec": p[1], "bitrate": p[2] * 1000, "blur": p[3], "lost": p[4],
                 "floatMinusInt8": round(float(np.mean(v)), 3)} for p, v in lag.items()]
    print("float minus int8, dB:", [r["floatMinusInt8"] for r in rounding])
    worse = [r for r in rows if r["method"].startswith(name) and any(
        o["method"] == "bilinear" and all(o[k] == r[k] for k in ("clip", "codec", "uplinkHeight", "bitrate"))
        and (o["psnrY"] > r["psnrY"] or o["ssimY"] > r["ssimY"]) for o in rows)]
    print("worse than bilinear in PSNR or SSIM:", [(r["method"], r["clip"], r["codec"], r["uplinkHeight"], r["bitrate"]) for r in worse] or "none")
    out = args.out or args.package / "evaluation.json"
    report = {"model": manifest["name"], "version": manifest["version"], "frames": args.frames, "every": args.every, "rounding": rounding,
              "rows": rows, "summary": summary}
    keep_others(report, args.package / "evaluation.json")
    out.write_text(json.dumps(report, indent=1) + "\n")


def called(codec, blur, lost):
    return codec + (f", blur {blur}" if blur else "") + (f", {lost:.0%} lost" if lost else "")


def keep_others(report, before):
    """Takes into a report what an earlier one has of points that were not run now."""
    if not before.exists():
        return
    order = [(720 // scale, called(codec, blur, lost), kbps * 1000) for scale, codec, kbps, blur, lost in POINTS]

    def place(r):
        if "scale" in r:
            return order.index((720 // r["scale"], called(r["codec"], r["blur"], r["lost"]), r["bitrate"]))
        return order.index((r["uplinkHeight"], r["codec"], r["bitrate"]))
    run = {place(r) for r in report["rows"]}
    old = json.loads(before.read_text())
    for part in ("rows", "summary", "rounding"):
        report[part] = sorted(report[part] + [r for r in old[part] if place(r) not in run], key=place)


if __name__ == "__main__":
    main()
