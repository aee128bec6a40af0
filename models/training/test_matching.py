"""Tests of what the network is told of a still, on synthetic pictures. A few seconds.

Usage: python3 test_matching.py [NAME...]
"""
import torch
import torch.nn.functional as F

import matching
import model as models
import testing

C = models.CELL**2


def picture(seed, h=192, w=256):
    """Texture without any two places alike, [1,1,h,w]."""
    noise = torch.rand(1, 1, h // 48, w // 48, generator=torch.Generator().manual_seed(seed))
    fine = torch.rand(1, 1, h, w, generator=torch.Generator().manual_seed(seed + 1))
    return (40 + 150 * F.interpolate(noise, (h, w), mode="bicubic", align_corners=False) + 30 * fine).round().clamp(16, 235)


def checkers():
    rows, columns = torch.arange(192).view(-1, 1) // 24, torch.arange(256) // 24
    return torch.where((rows + columns) % 2 == 0, 16.0, 235.0)[None, None]


def told(frame, still, scale=4):
    """(beyond, difference, trust, elsewhere, nothing, calm) of a frame, made small, in a still."""
    small = F.avg_pool2d(frame, scale).round()
    net = models.make("swift")
    parts = matching.told(F.avg_pool2d(small, models.CELL // scale), net.base(small, scale), matching.padded_tables(still, scale))
    return parts.split([C, C, 1, 1, 1, 1], 1), small, net


def test_a_still_of_the_frame_itself_is_all_of_it():
    frame = picture(1)
    for scale in (4, 2):
        (beyond, difference, trust, elsewhere, nothing, calm), small, net = told(frame, frame, scale)
        assert trust.min() > 95 and elsewhere.max() == 0 and nothing.max() == 0 and calm.min() == 100
        assert difference.abs().max() <= 2
        again = F.pixel_shuffle(net.base(small, scale) + beyond + difference, models.CELL)
        assert (again - frame).abs().max() <= 2


def test_what_the_encoder_did_is_the_difference():
    frame = picture(1)
    worse = frame + 3 * torch.sin(torch.arange(256.0) / 20)
    (beyond, difference, trust, *_, calm), small, net = told(worse, frame)
    again = F.pixel_shuffle(net.base(small, 4) + beyond + difference, models.CELL)
    assert (again - frame).abs().max() <= 2 and trust.min() < 98 and calm.min() > 90


def test_what_moved_by_whole_cells_is_found_elsewhere():
    frame = picture(1)
    (beyond, _, trust, elsewhere, _, calm), *_ = told(torch.roll(frame, (16, -32), (2, 3)), frame)
    inner = (..., slice(12, -12), slice(12, -12))
    assert (elsewhere[inner] > 0).float().mean() > 0.9 and trust[inner].median() > 95 and calm.max() < 20
    exact = F.pixel_unshuffle(torch.roll(frame - models.enlarged(F.avg_pool2d(frame, 4), 4), (16, -32), (2, 3)), models.CELL)
    assert (beyond - exact)[inner].abs().median() < 1


def test_flat_pictures_stand_still_though_noise_would_choose():
    noise = torch.randn(2, 1, 192, 256, generator=torch.Generator().manual_seed(3))
    (*_, elsewhere, nothing, calm), *_ = told(100 + noise[:1], 100 + noise[1:])
    assert (elsewhere > 0).float().mean() < 0.02 and nothing.max() == 0 and calm.min() > 98


def test_what_is_another_scene_is_nothing_and_adds_nothing():
    half = torch.cat([picture(1)[..., :128], checkers()[..., 128:]], 3)
    (beyond, difference, trust, _, nothing, _), *_ = told(picture(1), half)
    lost = nothing > 0
    assert lost[..., 36:].float().mean() > 0.3 and not lost[..., :28].any() and (trust * lost).max() == 0
    assert (beyond * lost).abs().max() == 0 and (difference * lost).abs().max() == 0


def test_a_still_of_something_else_altogether_is_none():
    noise = torch.rand(1, 1, 192, 256, generator=torch.Generator().manual_seed(7))
    for other in (16 + 219 * noise, checkers()):
        assert all((part == 0).all() for part in told(picture(1), other)[0])
    assert any((part != 0).any() for part in told(picture(1), picture(1))[0])


def test_the_nearer_of_two_stills_is_taken():
    frame, other = picture(1), picture(5)
    small = F.avg_pool2d(frame, 4).round()
    base = models.make("swift").base(small, 4)
    both = matching.told(small, base, *(matching.padded_tables(v, 4) for v in (other, frame)))
    one = matching.told(small, base, matching.padded_tables(frame, 4))
    assert (both - one)[:, :C].abs().mean() < 1


def test_what_is_alike_by_what_the_encoder_did_does_not_displace_the_first_still():
    frame = picture(1)
    small = (F.avg_pool2d(frame, 4) + torch.randn(1, 1, *(v // 4 for v in frame.shape[2:]), generator=torch.Generator().manual_seed(3))).round()
    base = models.make("swift").base(small, 4)
    one, both = (matching.told(small, base, *(matching.padded_tables(v, 4) for v in stills))
                 for stills in ([frame], [frame, models.enlarged(small, 4).round()]))
    assert ((both - one)[:, :2 * C] == 0).float().mean() > 0.95


if __name__ == "__main__":
    with torch.no_grad():
        testing.run(globals())
