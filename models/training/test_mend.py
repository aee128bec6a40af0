"""Tests of what is mended after key frames, with the delivered weights, on synthetic pictures. A second.

Usage: python3 test_mend.py [NAME...]
"""
from pathlib import Path

import torch
from torch.nn import functional as F

import testing
from train_mend import Mend, careful, sequences

H, W = 96, 160


def picture(seed, shift=0):
    """Texture of several scales, [1, 1, H, W]."""
    torch.manual_seed(seed)
    layers = [F.interpolate(torch.randn(1, 1, H // s + 2, W // s + 2), scale_factor=s, mode="bilinear", align_corners=False)[..., :H, :W] * a
              for s, a in ((2, 10), (8, 25), (32, 40))]
    return torch.roll(sum(layers) + 120, shift, 3).clamp(16, 235)


def coarse(x):
    """As a key frame of few bits: what varies within a block of 8x8 is mostly gone."""
    blocks = F.interpolate(F.avg_pool2d(x, 8), scale_factor=8)
    return (0.5 * blocks + 0.5 * F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)).round()


def gains(before, now):
    """dB over five pictures that are as coarse as the key frame."""
    came = coarse(now)
    with torch.no_grad():
        mended = sequences(careful(Mend(), Path(__file__).parent / "checkpoints" / "mend.pt"), torch.cat([before, *[came] * 5], 1), 5)
    errors = [(x - now).square().mean((2, 3))[0] for x in (came, mended)]
    return 10 * torch.log10(errors[0] / errors[1])


def test_what_stands_still_is_mended():
    assert gains(picture(1), picture(1)).min() > 1


def test_what_moves_is_left_as_it_came():
    for shift in (2, 5, 20):
        assert gains(picture(1), picture(1, shift)).min() > -0.2, shift


def test_another_scene_is_left_as_it_came():
    assert gains(picture(1), picture(2)).min() > -0.2


if __name__ == "__main__":
    testing.run(globals())
