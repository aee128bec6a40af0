"""Pictures before and after key frames in the middle of calls, for train_mend.py.

Usage: mend_data.py --data DIR --out DIR [--lines 180]
Every training clip, sent small through libvpx as calls do, at two bitrates, with a key frame every 30 to 50 pictures: CLIP-TAKE.npz (held-CLIP-TAKE.npz of clips that
splits.json has validate) with `given` (what the encoder
got), `sent` (what came of it; both uint8 luma, [n, h, w]) and `keys` (which are key frames). Repeatable from the clip's name.
"""
import argparse
import json
import subprocess
import tempfile
import zlib
from pathlib import Path

import numpy as np

import video

PICTURES = 240
KBPS = {180: (40, 300), 360: (90, 600)}
# As a browser bounds what a key frame takes: nine pictures' worth (libwebrtc, MaxIntraTarget).
MOST_OF_A_KEY_FRAME = "900"


def sent(raw, w, h, fps, kbps, keys):
    """The luma of I420 frames after libvpx with key frames forced at those pictures."""
    with tempfile.NamedTemporaryFile(suffix=".ivf") as file:
        times = ",".join(f"{(k - 0.25) / fps:.4f}" for k in keys)
        subprocess.run(video.WITH_INPUT + video.i420_input(w, h, fps) + video.encoder_args("vp8", kbps)
                       + ["-force_key_frames", times, "-max-intra-rate", MOST_OF_A_KEY_FRAME, "-y", file.name], input=raw, check=True)
        out = subprocess.run(video.FFMPEG + ["-i", file.name, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"],
                             check=True, capture_output=True).stdout
        flags = subprocess.run(["ffprobe", "-v", "error", "-show_entries", "packet=flags", "-of", "csv=p=0", file.name],
                               check=True, capture_output=True, text=True).stdout.split()
    return video.split_planes(out, w, h)[0], np.array([flag.startswith("K") for flag in flags])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lines", type=int, default=180, choices=list(KBPS))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    splits = json.loads((Path(__file__).parent / "splits.json").read_text())
    for clip in sorted((args.data / "train").iterdir()):
        if clip.name in splits["skip"] or clip.name in splits["test"]:
            continue
        try:
            width, height, fps = video.probe(clip)
        except (subprocess.CalledProcessError, IndexError):
            continue
        rng = np.random.default_rng(zlib.crc32(f"{clip.name} {args.lines}".encode()))
        # Clips of few lines are shown smaller than they would be sent: sharp pictures are what cameras give.
        lines = args.lines if min(width, height) >= args.lines * 3 // 2 else args.lines // 2
        scale = lines / min(width, height)
        w, h = (max(16, round(side * scale / 16) * 16) for side in (width, height))
        for take in range(2):
            target = args.out / f"{'held-' if clip.name in splits['validate'] else ''}{clip.stem}-{take}.npz"
            if target.exists():
                continue
            stride = max(1, round(fps / rng.choice([30, 30, 24, 15, 10])))
            lo, hi = KBPS[args.lines]
            kbps = lo * (hi / lo) ** rng.random() * (w * h) / (args.lines * args.lines * 16 / 9)
            try:
                raw = video.read_i420(clip, w, h, f"select=not(mod(n\\,{stride})),scale={w}:{h}:flags=area", 0, PICTURES)
            except subprocess.CalledProcessError:
                break
            given = video.split_planes(raw, w, h)[0]
            keys = [int(k) for k in np.cumsum(rng.integers(30, 50, 8)) if k < len(given) - 4]
            if not keys:
                break
            came, flags = sent(raw, w, h, fps / stride, kbps, keys)
            n = min(len(given), len(came), len(flags))
            np.savez(target, given=given[:n], sent=came[:n], keys=flags[:n])
            print(target.name, f"{w}x{h}, {fps / stride:.1f} fps, {kbps:.0f} kbit/s, {n} pictures, key frames {list(np.flatnonzero(flags[:n]))}", flush=True)


if __name__ == "__main__":
    main()
