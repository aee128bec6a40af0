"""Optical flow between two pictures, and what of a network's pictures is not motion: the training's side of models/metrics/build.py, with its numbers.

Coarse to fine, by least squares in a window at each level (Lucas and Kanade 1981; pyramidal after Bouguet 2000). `vireo evaluate`
measures flicker with the same flow (E_warp, Lai et al., "Learning Blind Video Temporal Consistency", 2018).
"""
import torch
import torch.nn.functional as F

import model as models

LEVELS = 5  # the finest is half size
ITERATIONS = 3
WINDOW = 9
TRUSTED = 12.0  # code values by which a warped picture may miss where the flow holds
RIDGE = 20.0  # keeps flat windows still


def slopes():
    return [[[[v / 12 for v in (1.0, -8, 0, 8, -1)]]]]


def box(x, size):
    return F.avg_pool2d(x, size, 1, size // 2, count_include_pad=False)


def warped(picture, flow):
    """Pictures [B,C,h,w] seen at x + flow(x) [B,2,h,w], bilinear; outside is the border."""
    b, _, h, w = flow.shape
    x = torch.arange(w, device=flow.device) + flow[:, 0]
    y = torch.arange(h, device=flow.device)[:, None] + flow[:, 1]
    grid = torch.stack([x * (2 / (w - 1)) - 1, y * (2 / (h - 1)) - 1], 3)
    return F.grid_sample(picture, grid, mode="bilinear", padding_mode="border", align_corners=True)


def resized(flow, like):
    """A flow at twice the size, in pixels of that size."""
    return F.interpolate(flow, like.shape[2:], mode="bilinear", align_corners=False) * 2


def refined(prev, cur, flow):
    """One step at one level."""
    seen = warped(prev, flow)
    slope = models.constant(slopes, device=cur.device, dtype=torch.float32)
    both = (seen + cur) / 2
    ix = F.conv2d(F.pad(both, (2, 2, 0, 0), mode="replicate"), slope)
    iy = F.conv2d(F.pad(both, (0, 0, 2, 2), mode="replicate"), slope.transpose(2, 3))
    it = seen - cur
    xx, yy, xy, xt, yt = box(torch.cat([ix * ix, iy * iy, ix * iy, ix * it, iy * it], 1), WINDOW).split(1, 1)
    xx, yy = xx + RIDGE, yy + RIDGE
    step = torch.cat([xy * yt - yy * xt, xy * xt - xx * yt], 1) / (xx * yy - xy * xy)
    return box(flow + step.clamp(-1, 1), 5)


@torch.no_grad()
def flow(prev, cur):
    """Where each pixel of `cur` was in `prev`, pictures [B,1,h,w] in code values with sides of 64 or more: (flow [B,2,h,w] in pixels, [B,1,h,w] 1 where it
    holds). Elsewhere something was uncovered, or the flow is wrong."""
    pyramid, a, b = [], prev, cur
    for _ in range(LEVELS):
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        pyramid.append((a, b))
    found = torch.zeros(a.shape[0], 2, *a.shape[2:], device=a.device)
    for a, b in reversed(pyramid):
        if found.shape[2:] != b.shape[2:]:
            found = resized(found, b)
        for _ in range(ITERATIONS):
            found = refined(a, b, found)
    found = resized(found, cur)
    return found, (box((warped(prev, found) - cur).abs(), 3) < TRUSTED).float()
