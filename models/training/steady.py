"""Steadiness: where nothing moves, a picture takes half of what was shown before, so that what an encoder changes from picture to picture flickers less.

Two things say that nothing moves, both of the frame as received and its predecessor, on coarse cells. How far a window moved, by least squares (Lucas and
Kanade 1981): what an encoder changes does not look like a shift. And how little it differs: what was uncovered or lit otherwise differs by more. What the
graphs do with it is in graph_steady.py.
"""
import torch
import torch.nn.functional as F

import model as models
from motion import box

SHARE = 0.5  # of what was shown before, at most
STILL = {4: 0.5, 2: 0.25}  # fine cells that a window moves a frame, where nothing is taken any more, by scale: larger pictures have more to lose
ALIKE = 16.0  # code values that a window differs by, in the mean, where nothing is taken any more
RIDGE = 10.0  # keeps flat windows still
AROUND = 5  # coarse cells of a window of motion, each way
NEAR = 3  # of one of differences
LEVELS = 256  # steps of a share


def moved(luma, prev):
    """Fine cells [B,1,H,W] that each coarse one moved, from two frames' luma: [B,1,H/2,W/2]."""
    both = F.pad((luma + prev) / 2, (1,) * 4, mode="replicate")
    ix, iy = (both[..., 1:-1, 2:] - both[..., 1:-1, :-2]) / 2, (both[..., 2:, 1:-1] - both[..., :-2, 1:-1]) / 2
    it = luma - prev
    xx, yy, xy, xt, yt = box(F.avg_pool2d(torch.cat([ix * ix, iy * iy, ix * iy, ix * it, iy * it], 1), 2), AROUND).split(1, 1)
    xx, yy = xx + RIDGE, yy + RIDGE
    return ((xy * yt - yy * xt) ** 2 + (xy * xt - xx * yt) ** 2).sqrt() / (xx * yy - xy * xy)


def share(luma, prev, strength, scale):
    """How much is taken of what was shown, of fine cells' luma [B,1,H,W]: [B,1,H,W]."""
    apart = box(F.avg_pool2d((luma - prev).abs(), 2), NEAR)
    taken = (1 - moved(luma, prev) / STILL[scale]).clamp(0, 1) * (1 - apart / ALIKE).clamp(0, 1) * (SHARE * strength)
    return F.interpolate(taken, scale_factor=2.0, mode="nearest")


class Steady:
    """The pictures of a stream, each with some of the one before; `quantised`: as the graph in integers does it."""

    def __init__(self, scale, quantised, strength=1.0):
        self.scale, self.quantised, self.strength = scale, quantised, strength
        self.prev = self.shown = None

    def __call__(self, pixels, luma):
        """pixels [B,CELL^2,H,W] as the network gives them, luma [B,1,h,w] as received; the same pixels, steadier, in whole code values."""
        luma = F.avg_pool2d(luma, models.CELL // self.scale)
        pixels = pixels.clamp(0, 255)
        if self.quantised:
            pixels = pixels.round()
        if self.shown is not None:
            less, taken = self.shown - pixels, share(luma, self.prev, self.strength, self.scale)
            if self.quantised:
                less = (less.clamp(-128, 127) * (taken * LEVELS).round() / LEVELS).round()
            else:
                less = less * taken
            pixels = pixels + less
        self.prev, self.shown = luma, pixels.round()
        return self.shown
