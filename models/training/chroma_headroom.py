"""What restoring chroma could bring: PSNR of U and V enlarged bicubically (what the models do), by a filter fitted to real calls,
and guided by the original's luma, which no call has: a bound for what sharper luma can tell of colour.

Usage: chroma_headroom.py --data DIR
"""
import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import evaluate
import model as models
import video

FRAMES = 24
FIT = ["clm-franck.mp4", "fresco-music.mp4", "latentsync-demo1.mp4", "lp-d0.mp4", "oh-vid720.264", "sam2-05_default_juggle.mp4",
       "tokenflow-woman-running.mp4", "volc-thoughtful.mp4", "yakhyo-in_video.mp4"]
POINTS = [(4, 60), (4, 120), (4, 240), (2, 250)]
AROUND = 3  # chroma pixels that the fitted filter sees on each side


def pictures(path, w, h, scale, kbps):
    """(original luma, original chroma, sent luma, sent chroma), planes [n, 1, …] in floats; chroma has U and V in turn."""
    sw, sh, fps = video.probe(path)
    vf = f"scale={w}:{h}:force_original_aspect_ratio=increase:flags=lanczos,crop={w}:{h}"
    raw = video.read_i420(path, w, h, vf, 0, FRAMES)
    low = video.scale_i420(raw, w, h, w // scale, h // scale, "area")
    low, _ = video.through_codec(low, w // scale, h // scale, min(fps, 30), "vp8", kbps)
    planes = []
    for data, (pw, ph) in ((raw, (w, h)), (low, (w // scale, h // scale))):
        luma, chroma = video.split_planes(data, pw, ph)
        planes += [torch.from_numpy(luma.copy()).float()[:, None],
                   torch.from_numpy(chroma.copy()).float().flatten(0, 1)[:, None]]
    return planes


def features(low):
    """Neighbourhoods of sent chroma, their centre taken off, [n, (2 * AROUND + 1)^2 - 1, pixels]."""
    k = 2 * AROUND + 1
    around = F.unfold(F.pad(low, (AROUND,) * 4, mode="replicate"), k)
    return torch.cat([around[:, :k * k // 2], around[:, k * k // 2 + 1:]], 1) - low.flatten(1)[:, None]


def fit(data, scale, kbps):
    """A linear filter for each place within an enlarged pixel, least squares on what bicubic leaves."""
    size = (2 * AROUND + 1) ** 2 - 1
    a, b = torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, scale * scale, dtype=torch.float64)
    for name in FIT:
        _, chroma, _, low = pictures(data / "train" / name, 1280, 720, scale, kbps)
        wrong = F.pixel_unshuffle(chroma - models.enlarged(low, scale), scale).flatten(2)
        for x, y in zip(features(low), wrong):
            a += (x @ x.T).double()
            b += (x @ y.T).double()
    return torch.linalg.solve(a + 1e3 * torch.eye(size), b).float()


def guided(luma, low_luma, low, scale, size=5, noise=4.0):
    """Chroma as a local linear function of luma (He et al., 2013): fitted on the sent picture, read off at the original's luma."""
    guide = F.avg_pool2d(low_luma, 2).repeat_interleave(2, 0)

    def mean(x):
        return F.avg_pool2d(x, size, 1, size // 2, count_include_pad=False)
    mg, mc = mean(guide), mean(low)
    slope = (mean(guide * low) - mg * mc) / (mean(guide * guide) - mg * mg + noise)
    slope, offset = (F.interpolate(mean(v), scale_factor=scale, mode="bilinear") for v in (slope, mc - slope * mg))
    return slope * F.avg_pool2d(luma, 2).repeat_interleave(2, 0) + offset


def psnr(a, b):
    return 10 * np.log10(255**2 / float(((a.round().clamp(0, 255) - b) ** 2).mean()))


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    torch.set_num_threads(1)
    for scale, kbps in POINTS:
        weights, rows = fit(data, scale, kbps), []
        for clip, (w, h) in evaluate.CLIPS.items():
            luma, chroma, low_luma, low = pictures(data / "eval" / clip, w, h, scale, kbps)
            plain = models.enlarged(low, scale)
            fitted = plain + F.pixel_shuffle((weights.T @ features(low)).view(len(low), scale**2, *low.shape[2:]), scale)
            rows.append([psnr(v, chroma) for v in (plain, fitted, guided(luma, low_luma, low, scale))])
            rows[-1].append(psnr(models.enlarged(low_luma, scale), luma))
        plain, fitted, bound, y = np.mean(rows, 0)
        print(f"{720 // scale}p {kbps}k: chroma bicubic {plain:.2f} dB (luma {y:.2f}), fitted filter {fitted - plain:+.2f}, "
              f"guided by the original's luma {bound - plain:+.2f}", flush=True)


if __name__ == "__main__":
    main()
