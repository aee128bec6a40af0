"""Sharp stills of a segment's camera at other times, as a sender would upload them: what a model may look details up in.

Taken half a second to half a minute away from the segment, coded as WebP at the qualities of an upload of 10 to 60 kB, and
decoded again.
"""
import io
import json
import math
import subprocess

import numpy as np
from PIL import Image

import video

COUNT = 3  # of a segment
AWAY_S = (0.5, 30.0)
QUALITY = (35, 85)


def frame_count(path):
    """Frames of a file's first video stream, 0 where its container does not say."""
    out = subprocess.run(["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=nb_frames", "-of", "json",
                          str(path)], check=True, capture_output=True).stdout
    return int(json.loads(out)["streams"][0].get("nb_frames", 0))


def draw_times(rng, first, count, total, fps):
    """Frames to take, `count` being the segment's own: evenly in the logarithm of their distance, as far as the clip allows."""
    times = []
    for _ in range(COUNT):
        away = round(math.exp(rng.uniform(*map(math.log, AWAY_S))) * fps)
        sides = [t for t in (first - away, first + count - 1 + away) if 0 <= t < total]
        # Too short a clip: the farther end of it.
        times.append(rng.choice(sides) if sides else max((0, total - 1), key=lambda t: abs(t - first - count / 2)))
    return times


def take(path, times, w, h, chain):
    """Luma of these frames (numbered after `chain`) [n, h, w], in the order of `times`; fewer where the file ends early."""
    order = sorted(set(times))
    chosen = "+".join(f"eq(n\\,{t})" for t in order)
    cmd = video.FFMPEG + ["-i", str(path), "-vf", f"{chain},select={chosen}", "-fps_mode", "passthrough", "-an", "-pix_fmt", "yuv420p",
                          "-f", "rawvideo", "-"]
    luma = video.split_planes(subprocess.run(cmd, check=True, capture_output=True).stdout, w, h)[0]
    return [luma[order.index(t)] for t in times if order.index(t) < len(luma)]


def coded(luma, quality):
    """(luma after WebP, bytes). Grey: the model looks at luma alone."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(luma)).convert("RGB").save(file, "WEBP", quality=quality, method=4)
    return np.asarray(Image.open(file).convert("L")), len(file.getvalue())
