"""Quick evaluation of an exported package on the test clips: PSNR-Y and SSIM-Y against bilinear and bicubic.

Usage: evaluate.py --data DIR --package models/swift [--frames 60] [--every 4] [--clips A,B] [--codec vp8] [--cache DIR]
Writes evaluation.json into the package (or --out). The clips are degraded once and kept in the cache.
"""
import argparse
import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F

import model as models
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
POINTS = {4: [60, 120, 240], 2: [120, 250, 500]}


def degraded(args, clip, scale, kbps):
    """(reference luma, low luma, low chroma, real kbit/s), cached."""
    cached = args.cache / "evaluation" / f"{Path(clip).stem}-x{scale}-{args.codec}-{kbps}-{args.frames}.npz"
    w, h = CLIPS[clip]
    source = args.cache / "evaluation" / f"{Path(clip).stem}-{args.frames}.npy"
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        sw, sh, fps = video.probe(args.data / "eval" / clip)
        vf = (["select='not(mod(n,2))'"] if fps > 40 else [])
        short = min(w, h)
        vf += [f"scale={short}:-2:flags=lanczos" if sw < sh else f"scale=-2:{short}:flags=lanczos", f"crop={w}:{h}"]
        raw = video.read_i420(args.data / "eval" / clip, w, h, ",".join(vf), 0, args.frames)
        np.save(source, video.split_planes(raw, w, h)[0])
        # The box filter, as libyuv in a browser and `vireo evaluate` do.
        low = video.scale_i420(raw, w, h, w // scale, h // scale, "area")
        low, real = video.through_codec(low, w // scale, h // scale, fps / 2 if fps > 40 else fps, args.codec, kbps)
        luma, chroma = video.split_planes(low, w // scale, h // scale)
        np.savez(cached, luma=luma, chroma=chroma, real=real)
    d = np.load(cached)
    return np.load(source, mmap_mode="r"), d["luma"], d["chroma"], float(d["real"])


def session(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def restore(run, variant, luma, chroma):
    """Yields the restored luma frame by frame, carrying the state."""
    h, w = luma.shape[1:]
    size = {d: int(eval(d, {}, {"h": h, "w": w})) for s in variant["state"] for d in s["shape"] if isinstance(d, str)}
    state = {s["input"]: np.zeros([size.get(d, d) for d in s["shape"]], s["dtype"]) for s in variant["state"]}
    names = [variant["lumaOut"]] + [s["output"] for s in variant["state"]]
    for y, c in zip(luma, chroma):
        out = run.run(names, {variant["luma"]: y[None, None], variant["chroma"]: c[None], **state})
        state = {s["input"]: o for s, o in zip(variant["state"], out[1:])}
        yield out[0][0, 0]


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
    if method == "bilinear":
        x = F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
    else:
        x = F.conv2d(models.fold_cells(x, 1), models.bicubic_weight(1, scale))
        x = F.pixel_shuffle(x, scale)
    return x[0, 0].round().clamp(0, 255).numpy()


def judged(pictures, high, every):
    """Mean PSNR and SSIM of every n-th picture."""
    return np.mean([(psnr(p, high[t]), ssim(p, high[t])) for t, p in enumerate(pictures) if t % every == 0], 0).tolist()


def plain(args, clip, scale, kbps, high, luma):
    """The scores of plain enlarging, cached: they cost more than the model's."""
    name = f"plain-{Path(clip).stem}-x{scale}-{args.codec}-{kbps}-{args.frames}-{args.every}.json"
    path = args.cache / "evaluation" / name
    if not path.exists():
        some = range(0, len(luma), args.every)
        path.write_text(json.dumps({m: np.mean([(psnr(e, high[t]), ssim(e, high[t])) for t in some
                                                for e in [enlarge(luma[t], scale, m)]], 0).tolist()
                                    for m in ("bilinear", "bicubic")}))
    return json.loads(path.read_text())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--package", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--every", type=int, default=4, help="judge every n-th frame")
    parser.add_argument("--codec", choices=["vp8", "h264"], default="vp8")
    parser.add_argument("--scales", default="4,2")
    parser.add_argument("--clips", default=",".join(CLIPS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--cache", type=Path,
                        default=Path(os.environ.get("VIREO_TRAINING_CACHE", "~/.cache/vireo-training")).expanduser())
    args = parser.parse_args()
    torch.set_num_threads(1)
    manifest = json.loads((args.package / "manifest.json").read_text())
    rows = []
    for scale in (int(s) for s in args.scales.split(",")):
        rates = POINTS[scale]
        variant = next(v for v in manifest["variants"] if v["scale"] == scale)
        run = session(args.package / variant["file"], args.threads)
        for clip in args.clips.split(","):
            for kbps in rates:
                high, luma, chroma, real = degraded(args, clip, scale, kbps)
                scores = plain(args, clip, scale, kbps, high, luma)
                known = args.cache / "evaluation" / (
                    f"{variant['sha256'][:16]}-{Path(clip).stem}-{args.codec}-{kbps}-{args.frames}-{args.every}.json")
                if not known.exists():
                    known.write_text(json.dumps(judged(restore(run, variant, luma, chroma), high, args.every)))
                scores[manifest["name"]] = json.loads(known.read_text())
                for method, (p, q) in scores.items():
                    rows.append({"clip": clip, "codec": args.codec, "uplinkHeight": 720 // scale,
                                 "bitrate": kbps * 1000, "realBitrate": round(real * 1000), "method": method,
                                 "psnrY": round(float(p), 3), "ssimY": round(float(q), 4), "warpError": None})
                print(f"{720 // scale}p {kbps}k ({real:.0f}) {clip:34}", "  ".join(
                    f"{r['method']} {r['psnrY']:.2f}/{r['ssimY']:.4f}" for r in rows[-3:]), flush=True)
    summary = []
    for key in dict.fromkeys((r["method"], r["codec"], r["uplinkHeight"], r["bitrate"]) for r in rows):
        of = [r for r in rows if (r["method"], r["codec"], r["uplinkHeight"], r["bitrate"]) == key]
        summary.append({"method": key[0], "codec": key[1], "uplinkHeight": key[2], "bitrate": key[3],
                        "psnrY": round(float(np.mean([r["psnrY"] for r in of])), 3),
                        "ssimY": round(float(np.mean([r["ssimY"] for r in of])), 4), "warpError": None})
    for height in sorted({s["uplinkHeight"] for s in summary}):
        for rate in sorted({s["bitrate"] for s in summary if s["uplinkHeight"] == height}):
            print(f"{height}p {rate // 1000}k:", "  ".join(f"{s['method']} {s['psnrY']:.2f}/{s['ssimY']:.4f}" for s in summary
                                                        if (s["uplinkHeight"], s["bitrate"]) == (height, rate)))
    worse = [r for r in rows if r["method"] == manifest["name"] and any(
        o["method"] == "bilinear" and all(o[k] == r[k] for k in ("clip", "uplinkHeight", "bitrate"))
        and o["psnrY"] > r["psnrY"] for o in rows)]
    print("worse than bilinear:", [(r["clip"], r["uplinkHeight"], r["bitrate"]) for r in worse] or "none")
    out = args.out or args.package / "evaluation.json"
    out.write_text(json.dumps({"model": manifest["name"], "version": manifest["version"], "frames": args.frames,
                               "every": args.every, "rows": rows, "summary": summary}, indent=1) + "\n")


if __name__ == "__main__":
    main()
