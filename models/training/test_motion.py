"""Tests of the flow that the training's flicker is measured along, on synthetic pictures. A few seconds.

Usage: python3 test_motion.py [NAME...]
"""
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import motion
import testing

GRAPH = Path(__file__).parents[1] / "metrics" / "warp-error.onnx"


def texture(seed, side=192):
    """Smooth enough to be followed, [1,1,side,side] code values."""
    noise = torch.rand(1, 1, side // 8, side // 8, generator=torch.Generator().manual_seed(seed))
    return 30 + 180 * F.interpolate(noise, (side, side), mode="bicubic", align_corners=False).clamp(0, 1)


def inner(x):
    return x[..., 32:-32, 32:-32]


def test_a_picture_that_moves_is_followed():
    before = texture(1)
    after = torch.roll(before, (3, -5), (2, 3))
    flow, holds = motion.flow(before, after)
    assert (inner(flow) - torch.tensor([5.0, -3.0]).view(1, 2, 1, 1)).abs().mean() < 0.1
    assert inner(holds).mean() > 0.99
    assert inner(motion.warped(before, flow) - after).abs().mean() < 0.5


def test_where_nothing_is_found_again_no_flow_holds():
    _, holds = motion.flow(texture(1), 255 - texture(2))
    assert holds.mean() < 0.5


def test_pictures_of_a_batch_are_on_their_own():
    before = torch.cat([texture(seed) for seed in (1, 2)])
    after = torch.cat([torch.roll(before[:1], 4, 3), before[1:]])
    flow, _ = motion.flow(before, after)
    for at in (0, 1):
        assert torch.allclose(flow[at:at + 1], motion.flow(before[at:at + 1], after[at:at + 1])[0], atol=1e-3)
    assert flow[1].abs().max() < 0.01


def test_it_is_the_flow_that_evaluations_measure_along():
    try:
        import onnxruntime
    except ImportError:
        print("skipped: no onnxruntime", flush=True)
        return
    before = texture(1).round()
    after = (torch.roll(before, (2, -3), (2, 3)) * 0.95 + 6).round()
    ref_prev, ref_cur = (v.numpy().astype(np.uint8) for v in (before, after))
    none = np.zeros((0, *ref_cur.shape[1:]), np.uint8)
    session = onnxruntime.InferenceSession(str(GRAPH))
    error, valid = session.run(["error", "valid"], {"ref_prev": ref_prev, "ref_cur": ref_cur, "prev": ref_prev, "cur": ref_cur, "moved_prev": none, "moved": none})
    flow, holds = motion.flow(before, after)
    ours = ((motion.warped(before, flow) - after) ** 2 * holds).sum() / holds.sum()
    assert abs(float(valid) - float(holds.mean())) < 1e-3
    assert abs(float(error[0]) - float(ours)) < 0.01 * float(ours)


if __name__ == "__main__":
    testing.run(globals())
