"""Tests of what rounding to integers costs the delivered weights.

Usage: python3 test_rounding.py [NAME...]
"""
from pathlib import Path

import torch
import torch.nn.functional as F

import degrade
import export
import model as models
import testing

CHECKPOINTS = Path(__file__).parent / "checkpoints"


def texture(h, w, seed=0):
    """Code values [h,w] as pictures have them: steps and slopes of all sizes, and flat parts."""
    draw = torch.Generator().manual_seed(seed)
    field = torch.zeros(1, 1, h, w)
    for size in (4, 8, 16, 32, 64):
        noise = torch.rand(1, 1, -(-h // size) + 1, -(-w // size) + 1, generator=draw) - 0.5
        field += F.interpolate(noise, size=(h, w), mode="nearest" if size > 8 else "bilinear") * size
    field = 126 + field * (90 / field.abs().amax())
    field[..., h // 2:, : w // 3] = 180
    return field[0, 0].round().clamp(16, 235)


@torch.no_grad()
def psnr(net, low, high, quantised):
    """Of the last of four equal pictures of full size, without its edges."""
    net.quantised = quantised
    low = low[None, None]
    prev, state = net.fresh(low, 1)
    for _ in range(4):
        detail, state = net.step(low, prev, torch.zeros_like(low), state, 1)
        prev = low
    out = F.pixel_shuffle(net.base(low, 1) + detail * (models.TIES if quantised else 1), models.CELL).round().clamp(0, 255)
    return float(10 * torch.log10(255**2 / ((out[0, 0] - high)[16:-16, 16:-16] ** 2).mean()))


def test_integers_deblur_as_floats_do():
    net = export.load("swift", CHECKPOINTS / "swift-same.pt")
    high = texture(192, 256)
    low = degrade.blurred(high[None, None], degrade.Capture(gaussian=2.0), 1.0)[0, 0].round()
    floats, integers = (psnr(net, low, high, quantised) for quantised in (False, True))
    assert floats > float(10 * torch.log10(255**2 / ((low - high) ** 2).mean())) + 1, floats
    assert floats - integers < 0.1, (floats, integers)


def test_weights_that_cancel_are_rounded_together():
    draw = torch.Generator().manual_seed(0)
    # Neighbours that are nearly equal, a frame and the one before.
    rows = torch.cumsum(torch.randn(4000, 32, generator=draw), 1) + 20 * torch.randn(4000, 1, generator=draw)
    values, vectors = torch.linalg.eigh(rows.double().T @ rows.double() / len(rows))
    white = vectors @ torch.diag((values + 0.5).rsqrt()) @ vectors.T
    exact = (torch.randn(8, 32, generator=draw).double() @ white).float()
    exact = exact / exact.abs().amax(1, keepdim=True) * models.LEVELS

    def wrong(whole):
        return float(((rows @ (whole - exact).T) ** 2).mean())
    whole = models.shaped(exact, white)
    assert (whole == whole.round()).all() and whole.abs().max() <= models.LEVELS
    assert wrong(whole) < wrong(exact.round()) / 4, (wrong(whole), wrong(exact.round()))


if __name__ == "__main__":
    testing.run(globals())
