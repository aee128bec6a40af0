"""What a call does to a picture before the restorer sees it: camera, scaler, encoder, frame rate, network, and the
relay that scales what it decoded to the input of the network's variant.

A `Degradation` is drawn from a seed and applied to the I420 frames of a segment. Capture happens at the
original's size; what is learned is to undo it, so the target stays the original (only darker, when the light was low:
brightness is the sender's choice, noise is not).
"""
import math
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

import packets
import video

SCALERS = ["bicubic", "bicubic", "area", "area", "lanczos", "bilinear"]
# Nominal kbit/s at 320x180, 640x360 and 1280x720; other sizes get the same bits a pixel.
AREA = {4: 320 * 180, 2: 640 * 360, 1: 1280 * 720}
RATES = {4: (45, 260), 2: (90, 560), 1: (260, 1500)}
# Short sides that browsers send of a 720-line picture, by the variant that restores them; other pictures in proportion.
RUNGS = {4: (90, 120, 144, 180, 240), 2: (270, 288, 360, 480), 1: (540, 576, 720)}
FEWEST_LINES = 48  # nobody sends less
SMALLEST = 256  # short side of an original that training takes
# What a camera of another shape shows of a wide picture, width / height; the upright ones not of photographs.
SHAPES = (4 / 3, 4 / 3, 1, 3 / 4, 9 / 16)
LONGEST_WALK = 24  # frames that training goes along a segment at once


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
    scale: int  # original lines / lines of the network's input
    codec: str  # vp8, vp9, h264, av1, svtav1, or none
    kbps: float  # nominal, see AREA; 0 with none
    scaler: str
    stride: int = 1  # of so many frames one is sent
    capture: Capture = Capture()
    sent: int = 0  # rung: short side as it is sent of a 720-line original; 0: the network's input itself
    then: int = 0  # rung that the sender changes to; 0: it stays
    switch: float = 0.0  # when it does, as a share of the frames
    aspect: float = 0.0  # width / height that the original is cropped to; 0: it is not
    shift: float = 0.5  # where the crop lies
    frames: int = 0  # of the segment; 0: all
    loss: packets.Loss | None = None  # with h264 only

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


def draw_rate(rng, scale, rung):
    """Nominal kbit/s for a rung, evenly in the logarithm. Smaller pictures need more bits a pixel."""
    fewer = (nominal_area(scale, rung) / AREA[scale]) ** 0.75
    low, high = (v * fewer for v in RATES[scale])
    return math.exp(rng.uniform(math.log(max(40, low)), math.log(high)))


def draw_shape(rng, w, h, shapes):
    """(aspect, shift) of a crop, or none."""
    aspect, shift = (rng.choice(shapes) if shapes and rng.random() < 0.6 else 0.0), rng.uniform(0.2, 0.8)
    small = min(cropped_box(w, h, aspect, shift)[2:]) < SMALLEST
    return (0.0, 0.5) if small or not aspect else (aspect, shift)


def draw_rung(rng, scale, w, h, shapes=(), lossy=False):
    """A degradation at one of the sizes that browsers send; half of those without loss change to the next size."""
    aspect, shift = draw_shape(rng, w, h, shapes)
    lines = min(cropped_box(w, h, aspect, shift)[2:])
    rungs = [r for r in RUNGS[scale] if r * lines >= 720 * FEWEST_LINES]
    # Losses are mostly shown at the network's own size, where masks are exact.
    sent = 720 // scale if lossy and rng.random() < 0.6 else rng.choice(rungs)
    place = rungs.index(sent)
    near = [] if lossy else rungs[max(0, place - 1):place] + rungs[place + 1:place + 2]
    changes = near and rng.random() < 0.5
    codec = "h264" if lossy else rng.choice(["vp8", "vp8", "vp9", "h264", "av1"])
    capture = draw_capture(rng) if scale > 1 and rng.random() < 0.15 else Capture()
    return Degradation(scale, codec, draw_rate(rng, scale, sent), rng.choice(SCALERS), 2 if rng.random() < 0.15 else 1,
                       capture, sent, rng.choice(near) if changes else 0, rng.uniform(0.3, 0.75) if changes else 0.0,
                       aspect, shift, LONGEST_WALK if scale == 1 else 0, packets.draw(rng) if lossy else None)


def plan_base(rng, w, h, still):
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


def plan_rungs(rng, w, h, still):
    """Other sizes than the network's own, changes between them, other shapes of picture, losses. At full size, where
    points are large, one of the two."""
    shapes = [a for a in SHAPES if w > 1.5 * h and (a >= 1 or not still)]
    return [
        draw_rung(rng, 4, w, h), draw_rung(rng, 4, w, h, shapes), draw_rung(rng, 4, w, h, lossy=True),
        draw_rung(rng, 2, w, h, shapes), draw_rung(rng, 2, w, h, lossy=True),
        draw_rung(rng, 1, w, h, lossy=rng.random() < 0.5),
    ]


def plan_full(rng, w, h, still):
    """Full size alone, through every encoder: what needs nothing, or has lost what nothing says of, is to be left as it is."""
    draws = [draw(rng, 1, codec) for codec in ("svtav1", "svtav1", "av1", "vp9", "h264", "vp8")] + [draw(rng, 1, capture=True)]
    return [replace(d, frames=LONGEST_WALK) for d in draws]


def plan_steady(rng, w, h, still):
    """The smallest pictures, most through encoders whose quality goes up and down from picture to picture: a network must not make that more. And as
    thin uplinks have them, ten a second: what is near from one picture to the next is far from one to the fourth."""
    codecs = ("vp9", "svtav1", rng.choice(("svtav1", "av1")), "vp8", "vp8", "h264")
    slow = ("vp8", "vp8", "vp9", rng.choice(("svtav1", "h264")))
    return [*(draw(rng, 4, codec) for codec in codecs), draw(rng, 4, capture=True), draw(rng, 4, "none"),
            *(replace(draw(rng, 4, codec), stride=3) for codec in slow)]


# In the order they came to be: a segment that has the first ones is given the others.
PLANS = {"base": plan_base, "rungs": plan_rungs, "full": plan_full, "steady": plan_steady}


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


def even(size):
    return round(size / 2) * 2


def cropped_box(w, h, aspect, shift):
    """(x, y, width, height) of what the camera shows of the original; sizes are multiples of 16."""
    if not aspect:
        return 0, 0, w, h
    cw, ch = min(w, round(h * aspect / 16) * 16), min(h, round(w / aspect / 16) * 16)
    return even((w - cw) * shift), even((h - ch) * shift), cw, ch


def cropped(raw, w, h, box):
    x, y, cw, ch = box
    if (cw, ch) == (w, h):
        return raw
    luma, chroma = video.split_planes(raw, w, h)
    luma = luma[:, y:y + ch, x:x + cw].reshape(len(luma), -1)
    chroma = chroma[:, :, y // 2:(y + ch) // 2, x // 2:(x + cw) // 2].reshape(len(luma), -1)
    return np.concatenate([luma, chroma], 1).tobytes()


def sent_size(w, h, scale, rung):
    return (even(w * rung / 720), even(h * rung / 720)) if rung else (w // scale, h // scale)


def nominal_area(scale, rung):
    return rung * rung * 16 / 9 if rung else AREA[scale]


def runs(d, frames):
    """[(rung, first frame, end)] of what is sent: streams of their own, each begins with a key frame."""
    if not d.then:
        return [(d.sent, 0, frames)]
    at = max(1, min(frames - 1, round(frames * d.switch)))
    return [(d.sent, 0, at), (d.then, at, frames)]


def scaled_mask(lost, w, h):
    """A pixel of the network's input is lost when any that it lies on is."""
    if lost.shape[1:] == (h, w):
        return lost
    out = np.zeros((len(lost), h, w), bool)
    for t in np.flatnonzero(lost.any((1, 2))):
        out[t] = F.adaptive_max_pool2d(torch.from_numpy(lost[t].astype(np.float32))[None], (h, w))[0].numpy() > 0
    return out


def through_call(raw, w, h, rung, fps, d, kbps, seed):
    """What the relay makes of I420 frames that are sent at a rung: (I420 at the network's input size, bool mask
    or None, kbit/s)."""
    sw, sh = sent_size(w, h, d.scale, rung)
    iw, ih = w // d.scale, h // d.scale
    lost, real = None, 0.0
    if (sw, sh) != (w, h):
        raw = video.scale_i420(raw, w, h, sw, sh, d.scaler)
    if d.loss:
        raw, lost, real = packets.through_loss(raw, sw, sh, fps, kbps, d.loss, seed)
        lost = scaled_mask(lost, iw, ih)
    elif d.codec != "none":
        raw, real = video.through_codec(raw, sw, sh, fps, d.codec, kbps)
    if (sw, sh) != (iw, ih):
        raw = video.scale_i420(raw, sw, sh, iw, ih, "bicubic")
    return raw, lost, real


def degrade(raw, w, h, fps, d, seed):
    """(I420 at the network's input size, bool [n,h,w] of its lost pixels or None, real kbit/s). Of `stride` frames one
    is left."""
    box = cropped_box(w, h, d.aspect, d.shift)
    raw = every(cropped(raw, w, h, box), *box[2:], d.stride)
    w, h = box[2:]
    raw, size = captured(raw, w, h, d.capture, seed), w * h * 3 // 2
    sw, sh = sent_size(w, h, d.scale, d.sent)
    # A change of size does not change what the uplink can carry.
    kbps = max(8.0, d.kbps * sw * sh / nominal_area(d.scale, d.sent))
    parts, masks, bits = [], [], 0.0
    for rung, first, end in runs(d, len(raw) // size):
        low, lost, real = through_call(raw[first * size:end * size], w, h, rung, fps / d.stride, d, kbps, seed + first)
        parts.append(low)
        masks.append(lost)
        bits += real * (end - first)
    return b"".join(parts), np.concatenate(masks) if d.loss else None, bits * size / len(raw)
