"""Reading, scaling and degrading clips with the ffmpeg command: what dataset and evaluation share."""
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np

FFMPEG = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-threads", "1"]
WITH_INPUT = [c for c in FFMPEG if c != "-nostdin"]  # for frames or a stream through a pipe


def probe(path):
    """Width, height and frame rate of a file's first video stream."""
    out = subprocess.run(
        ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries",
         "stream=width,height,avg_frame_rate", "-of", "json", str(path)],
        check=True, capture_output=True).stdout
    stream = json.loads(out)["streams"][0]
    num, den = (int(x) for x in stream["avg_frame_rate"].split("/"))
    return stream["width"], stream["height"], (num / den if den else 25.0)


def split_planes(raw, w, h):
    """I420 bytes -> (Y [n,h,w], UV [n,2,h/2,w/2])."""
    size = w * h * 3 // 2
    frames = np.frombuffer(raw, np.uint8)
    n = len(frames) // size
    frames = frames[: n * size].reshape(n, size)
    luma = frames[:, : w * h].reshape(n, h, w)
    chroma = frames[:, w * h:].reshape(n, 2, h // 2, w // 2)
    return luma, chroma


def read_i420(path, w, h, vf, start, count):
    """Decode `count` frames from frame `start` (after `vf`, which must end at w x h) as I420 bytes."""
    chain = f"{vf},trim=start_frame={start}:end_frame={start + count},setpts=PTS-STARTPTS"
    cmd = FFMPEG + ["-i", str(path), "-vf", chain, "-fps_mode", "passthrough", "-an",
                    "-frames:v", str(count), "-pix_fmt", "yuv420p", "-f", "rawvideo", "-"]
    raw = subprocess.run(cmd, check=True, capture_output=True).stdout
    return raw[: len(raw) // (w * h * 3 // 2) * (w * h * 3 // 2)]


def scale_i420(raw, w, h, w2, h2, flags):
    """Scale I420 frames with swscale, each plane on its own grid (as libyuv does in a browser)."""
    cmd = WITH_INPUT + ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{w}x{h}", "-i", "-",
                        "-vf", f"scale={w2}:{h2}:flags={flags}", "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"]
    return subprocess.run(cmd, input=raw, check=True, capture_output=True).stdout


def i420_input(w, h, fps):
    """Arguments that read raw frames from the pipe."""
    return ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{w}x{h}", "-r", f"{fps:.4f}", "-i", "-"]


def encoder_args(codec, kbps):
    """Real-time settings. VP8's negative cpu-used pins the effort, so a rerun gives the same picture."""
    rate = ["-b:v", f"{kbps:.0f}k", "-maxrate", f"{kbps:.0f}k", "-g", "9999"]
    if codec == "vp8":
        return ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "-6", "-lag-in-frames", "0",
                "-minrate", f"{kbps:.0f}k", "-bufsize", f"{kbps:.0f}k", "-qmin", "2", "-qmax", "56",
                "-error-resilient", "1", "-auto-alt-ref", "0"] + rate
    if codec == "h264":
        # Nearest to what browsers send (OpenH264). What the delivered weights saw was `ultrafast`, without the loop filter.
        return ["-c:v", "libx264", "-preset", "superfast", "-tune", "zerolatency", "-x264-params", "aq-mode=0",
                "-profile:v", "baseline", "-bufsize", f"{kbps / 2:.0f}k"] + rate
    if codec == "vp9":
        return ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "7", "-lag-in-frames", "0", "-aq-mode", "3",
                "-minrate", f"{kbps:.0f}k", "-bufsize", f"{kbps:.0f}k", "-qmin", "2", "-qmax", "56",
                "-error-resilient", "1", "-row-mt", "0"] + rate
    if codec == "av1":
        # libaom in its real-time mode is what browsers send with. It takes no maxrate without a minrate.
        return ["-c:v", "libaom-av1", "-usage", "realtime", "-cpu-used", "8", "-lag-in-frames", "0",
                "-b:v", f"{kbps:.0f}k", "-minrate", f"{kbps:.0f}k", "-maxrate", f"{kbps:.0f}k",
                "-bufsize", f"{kbps:.0f}k", "-g", "9999", "-qmin", "10", "-qmax", "63"]
    if codec == "svtav1":
        # What native clients and `vireo evaluate` send AV1 with: smoother than libaom's, with detail gone where no artefact says so.
        return ["-c:v", "libsvtav1", "-preset", "12", "-svtav1-params", "pred-struct=1:rc=2:lookahead=0:scd=0", "-b:v", f"{kbps:.0f}k",
                "-bufsize", f"{kbps:.0f}k", "-g", "9999"]
    raise ValueError(f"codec: {codec}")


def through_codec(raw, w, h, fps, codec, kbps):
    """Encode and decode I420 frames; returns (I420 bytes, real kbit/s)."""
    with tempfile.TemporaryDirectory() as tmp:
        coded = Path(tmp) / "coded.mkv"
        subprocess.run(
            WITH_INPUT + i420_input(w, h, fps) + encoder_args(codec, kbps) + ["-threads", "1", str(coded)],
            input=raw, check=True, capture_output=True)
        n = len(raw) // (w * h * 3 // 2)
        real = coded.stat().st_size * 8 * fps / max(n, 1) / 1000
        out = subprocess.run(FFMPEG + ["-i", str(coded), "-fps_mode", "passthrough",
                                       "-f", "rawvideo", "-pix_fmt", "yuv420p", "-"],
                             check=True, capture_output=True).stdout
    return out, real
