"""Tests of what is taken of the picture shown before, on synthetic pictures. A few seconds.

Usage: python3 test_steady.py [NAME...]
"""
import torch
import torch.nn.functional as F

import model as models
import steady
import testing
from test_matching import picture

SCALES = (4, 2)


def shown(high, low, scale, strength=1.0, quantised=True):
    """High pictures [n,1,H,W], as a network might give them of the low ones, steadied: [n,1,H,W]."""
    steadied = steady.Steady(scale, quantised, strength)
    cells = [steadied(F.pixel_unshuffle(h[None], models.CELL), y[None]) for h, y in zip(high, low)]
    return torch.cat([F.pixel_shuffle(c, models.CELL) for c in cells])


def seen(high, scale):
    return F.avg_pool2d(high, scale).round()


def changes(pictures):
    return float((pictures[1:] - pictures[:-1]).square().mean())


def test_what_changes_without_moving_changes_less():
    draw = torch.Generator().manual_seed(0)
    noise = F.interpolate(torch.randn(6, 1, 48, 64, generator=draw), scale_factor=4.0) * 3
    high = (picture(1) + noise).round()
    for scale in SCALES:
        for quantised in (True, False):
            out = shown(high, seen(high, scale), scale, quantised=quantised)
            assert changes(out) < 0.6 * changes(high), (changes(out), changes(high))
            # Nor is it farther from the truth, which has no noise.
            assert (out - picture(1)).square().mean() < (high - picture(1)).square().mean()


def test_what_moves_is_left_alone():
    wide = picture(1, 192, 384)
    high = torch.cat([wide[..., 8 * t:256 + 8 * t] for t in range(6)])
    for scale in SCALES:
        out = shown(high, seen(high, scale), scale)
        assert (out - high).abs().mean() < 0.5, (out - high).abs().mean()
        assert (out - high).square().mean() < 0.02 * changes(high)


def test_another_scene_or_light_shows_at_once():
    for high in (torch.cat([picture(1), picture(7)]), torch.cat([picture(1), (picture(1) - 40).clamp(16, 235)])):
        for scale in SCALES:
            out = shown(high, seen(high, scale), scale)
            assert (out - high).abs().mean() < 1, (out - high).abs().mean()


def test_the_first_picture_is_as_it_is_and_so_is_every_one_at_strength_0():
    high = torch.cat([picture(1), picture(1) + 2, picture(1)])
    for scale in SCALES:
        assert (shown(high, seen(high, scale), scale)[0] == high[0]).all()
        assert (shown(high, seen(high, scale), scale, strength=0.0) == high).all()


if __name__ == "__main__":
    testing.run(globals())
