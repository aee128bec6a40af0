"""What a call does to a picture before the restorer sees it: camera, scaler, encoder, frame rate.

A `Degradation` is drawn from a seed and applied to the I420 frames of a segment. Capture happens at the
original's size; what is learned is to undo it, so the target stays the original (only darker, when the light was low:
brightness is the sender's choice, noise is not).
"""
import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F

import video

SCALERS = ["bicubic", "bicubic", "area", "area", "lanczos", "bilinear"]
# Nominal kbit/s at 320x180, 640x360 and 1280x720; other sizes get the same bits a pixel.
AREA = {4: 320 * 180, 2: 640 * 360, 1: 1280 * 720}
RATES = {4: (45, 260), 2: (90, 560), 1: (260, 1500)}


@dataclass(frozen=True)
class Capture:
    """Blur and noise of a camera. Sizes are in pixels of a 720-line picture."""
    gaussian: float = 0.0  # sigma
    defocus: float = 0.0  # radius of the disk
    motion: float = 0.0  # length of the streak
    angle: float = 0.0  # of the streak, radians
    gain: float = 1.0  # light: what is left of the luma above black
    shot: float = 0.0  # noise variance per code value of signal
    read: float = 0.0  # noise variance that is always there


@dataclass(frozen=True)
class Degradation:
    scale: int  # original lines / sent lines
    codec: str  # vp8, vp9, h264, av1, or none
    kbps: float  # at the sent size; 0 with none
    scaler: str
    stride: int = 1  # 2: every other frame was dropped before the encoder
    capture: Capture = Capture()

    def meta(self):
        return asdict(self)


def draw_capture(rng):
    """One fault or two: blur of one kind, noise, or both."""
    kind = rng.choice(["gaussian", "gaussian", "defocus", "motion", "noise", "dark"])
    blur = {}
    if kind in ("gaussian", "noise", "dark"):
        blur = {"gaussian": rng.uniform(0.5, 3.0) * (1 if kind == "gaussian" else rng.choice([0, 0.5]))}
    elif kind == "defocus":
        blur = {"defocus": rng.uniform(1.0, 4.5)}
    else:
        blur = {"motion": rng.uniform(2.0, 9.0), "angle": rng.uniform(0, math.pi)}
    noise = {}
    if kind == "noise" or rng.random() < 0.3:
        noise = {"shot": rng.uniform(0.01, 0.12), "read": rng.uniform(0.5, 6.0)}
    if kind == "dark":
        noise = {"gain": rng.uniform(0.25, 0.6), "shot": rng.uniform(0.05, 0.25), "read": rng.uniform(2.0, 12.0)}
    return Capture(**blur, **noise)


def draw(rng, scale, codec=None, rate=None, capture=False):
    """A degradation at one scale. `rate` None: drawn evenly in the logarithm."""
    low, high = RATES[scale]
    codec = codec or rng.choice(["vp8", "vp8", "vp9", "h264", "av1"])
    if codec == "none":
        kbps = 0
    else:
        kbps = rate * rng.uniform(0.88, 1.15) if rate else math.exp(rng.uniform(math.log(low), math.log(high)))
    return Degradation(scale, codec, kbps, rng.choice(SCALERS), 2 if rng.random() < 0.15 else 1,
                       draw_capture(rng) if capture else Capture())


def plan(rng):
    """The degradations of one segment: VP8's whole range, a sample of the other codecs, faults of cameras."""
    return [
        *(draw(rng, 4, "vp8", rate) for rate in (60, 95, 150, 250)),
        *(draw(rng, 4, codec) for codec in rng.sample(["vp9", "h264", "av1"], 2)),
        draw(rng, 4, capture=True), draw(rng, 4, "none"),
        *(draw(rng, 2, "vp8", rate) for rate in (115, 190, 310, 520)),
        *(draw(rng, 2, codec) for codec in rng.sample(["vp9", "h264", "av1"], 2)),
        draw(rng, 2, capture=True), draw(rng, 2, "none"),
        draw(rng, 1), draw(rng, 1, capture=True),
    ]


def disk(radius):
    """A disk's weights with soft edges, [1,1,n,n]."""
    n = math.ceil(radius)
    y, x = torch.meshgrid(torch.arange(-n, n + 1.0), torch.arange(-n, n + 1.0), indexing="ij")
    k = (radius + 0.5 - (x * x + y * y).sqrt()).clamp(0, 1)
    return (k / k.sum())[None, None]


def streak(length, angle):
    n = math.ceil(length / 2) + 1
    y, x = torch.meshgrid(torch.arange(-n, n + 1.0), torch.arange(-n, n + 1.0), indexing="ij")
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    k = (length / 2 + 0.5 - along.abs()).clamp(0, 1) * (1 - across.abs()).clamp(min=0)
    return (k / k.sum())[None, None]


def gaussian(sigma):
    n = max(1, math.ceil(3 * sigma))
    k = torch.exp(-torch.arange(-n, n + 1.0) ** 2 / (2 * sigma * sigma))
    return k / k.sum()


def blurred(x, capture, size):
    """[N,1,h,w] floats through the camera's blur; `size` scales its pixels (short side / 720)."""
    def convolve(v, kernel):
        ry, rx = kernel.shape[2] // 2, kernel.shape[3] // 2
        return F.conv2d(F.pad(v, (rx, rx, ry, ry), mode="replicate"), kernel)
    if capture.gaussian * size > 0.05:
        k = gaussian(capture.gaussian * size)
        x = convolve(convolve(x, k.view(1, 1, 1, -1)), k.view(1, 1, -1, 1))
    if capture.defocus * size > 0.3:
        x = convolve(x, disk(capture.defocus * size))
    if capture.motion * size > 1:
        x = convolve(x, streak(capture.motion * size, capture.angle))
    return x


def darker(luma, gain):
    """Limited-range luma with less light; the target of a dark segment."""
    return luma if gain == 1 else ((luma.astype(np.float32) - 16) * gain + 16).round().astype(np.uint8)


def captured(raw, w, h, capture, seed):
    """I420 frames as a camera with these faults would have given them."""
    if capture == Capture():
        return raw
    luma, chroma = video.split_planes(raw, w, h)
    size = min(w, h) / 720
    noise = np.random.default_rng(seed)
    frames = []
    for y, c in zip(luma, chroma):
        y = torch.from_numpy(darker(y, capture.gain).astype(np.float32))[None, None]
        c = torch.from_numpy(c.astype(np.float32))[:, None]
        c = 128 + (c - 128) * capture.gain
        y, c = blurred(y, capture, size)[0, 0].numpy(), blurred(c, capture, size / 2)[:, 0].numpy()
        if capture.read or capture.shot:
            sigma = np.sqrt(capture.read + capture.shot * np.maximum(y - 16, 0))
            # A sensor's noise is demosaicked and filtered: neighbours share some of it.
            grain = noise.standard_normal(y.shape, np.float32)
            y = y + sigma * (0.75 * grain + 0.47 * np.roll(grain, 1, 1) + 0.47 * np.roll(grain, 1, 0))
        frames.append(np.concatenate([y.ravel(), c.ravel()]).round().clip(0, 255).astype(np.uint8))
    return np.concatenate(frames).tobytes()


def every(raw, w, h, stride):
    if stride == 1:
        return raw
    return np.frombuffer(raw, np.uint8).reshape(-1, w * h * 3 // 2)[::stride].tobytes()


def degrade(raw, w, h, fps, d, seed):
    """(I420 at the sent size, real kbit/s). Of `stride` frames one is left."""
    lw, lh = w // d.scale, h // d.scale
    low = captured(every(raw, w, h, d.stride), w, h, d.capture, seed)
    if d.scale > 1:
        low = video.scale_i420(low, w, h, lw, lh, d.scaler)
    if d.codec == "none":
        return low, 0.0
    kbps = max(8.0, d.kbps * lw * lh / AREA[d.scale])
    return video.through_codec(low, lw, lh, fps / d.stride, d.codec, kbps)
