"""Finds each fine cell's like in sharp stills: attention with one winner, coarse to fine.

Queries are the mean luma of the frame's fine cells, keys those of the stills'. Values are of two kinds: what a still has beyond its own
bicubic enlarging, and that enlarging itself, which has all that the sender's encoder took from the smaller picture. On the cells' pyramid of three levels every place within REACH of the coarsest is tried in every still, then its
neighbours at each finer level, and standing still at all of them; what is compared is a neighbourhood, since single cells
are alike everywhere. The finest level moves blocks of 2x2 cells: a decision a cell costs four times as much and finds the
same. Nothing here is trained: how far a find is to be trusted the network decides, from how unlike it is.
"""
import math

import torch
import torch.nn.functional as F

import model as models

LEVELS = 3
REACH = 3  # places each way at the coarsest level: 48 pixels at 720 lines
NEAR = 0.02  # per squared place: of equals, the nearest
AROUND = (8, 5, 5)  # size of the compared neighbourhoods, finest first; even for blocks
MARGIN = 20  # cells, a multiple of 2^(LEVELS - 1), that a find may lie outside of a crop
NOISE = 8.0  # squared code values; from here on trust falls with their logarithm: thin uplinks leave a hundred times as much
ALIEN = 400.0  # and from which on a find is none at all
SURE = 100  # trust in equals
# What stands still in the first still may be so many times as unlike as another find, and be taken: codec noise makes one of many places the likest by chance, and the stream's
# own picture, which has the same noise, the likest of all.
STILL = 1.3
ALIKE = 200.0  # as unlike may be what stands still: all of a still of noise would, for nothing is likelier
FLAT = 8.0  # squared code values within which all are alike: there, too, standing still is taken
FOUND = 0.15  # mean trust over the picture, below which a still is of something else and nothing is told: others have 0.07 at most, their own 0.35 at least


def everywhere(stills):
    return [(s, *place) for s in range(stills) for place in near(REACH)]


def near(reach):
    return [(y, x) for y in range(-reach, reach + 1) for x in range(-reach, reach + 1)]


def cross():
    """The finest level's steps: with the diagonal ones it takes half as long again."""
    return [(y, x) for y, x in near(1) if y == 0 or x == 0]


def smooth(unlike, size):
    """Means of neighbourhoods: of every place, or of every block of 2x2 for an even size."""
    if size % 2:
        return F.avg_pool2d(unlike, size, 1, size // 2, count_include_pad=False)
    return F.avg_pool2d(unlike, size, 2, size // 2 - 1, count_include_pad=False)


def at(table, which, y, x, margin):
    """[B,N,C,h,w] of tables [B,S,C,H + 2 * margin, …] of S stills, in still `which`, at offsets y and x from each place; all three [B,N,h,w]."""
    b, n, h, w = y.shape
    c, rows, columns = table.shape[2:]
    y, x = y + torch.arange(h, device=y.device).view(-1, 1) + margin, x + torch.arange(w, device=x.device) + margin
    index = ((which * rows + y) * columns + x).view(b, 1, -1).expand(-1, c, -1)
    return table.transpose(1, 2).flatten(2).gather(2, index).view(b, c, n, h, w).transpose(1, 2)


def best(cells, table, which, y, x, margin, size, cost=0.0):
    """The likest of candidates [B,N,h,w], the same ones for each block if blocks decide: (which, y, x, unlikeness), each [B,1,…]."""
    unlike = smooth((at(table, which, y, x, margin)[:, :, 0] - cells) ** 2, size)
    if size % 2 == 0:
        which, y, x = (v[..., ::2, ::2] for v in (which, y, x))
    elsewhere = 1 + (STILL - 1) * ((which != 0) | (y != 0) | (x != 0))
    least = ((unlike + FLAT) * elsewhere + cost).argmin(1, keepdim=True)
    return *(v.gather(1, least) for v in (which, y, x)), unlike.gather(1, least)


def doubled(block):
    """Of every block, for its 2x2 places."""
    return block.repeat_interleave(2, 2).repeat_interleave(2, 3)


@torch.no_grad()
def places(cells, stills, finest=0):
    """Of each level's places (for 0, of blocks of 2x2): (still, row, column, unlikeness), each [B,1,…], rows and columns from the own place; stills
    are keys [B,S,1,h + 2 * MARGIN,…]."""
    pyramid = [(cells, stills, MARGIN)]
    for _ in range(LEVELS - 1):
        one, other, margin = pyramid[-1]
        pyramid.append((F.avg_pool2d(one, 2), F.avg_pool2d(other.flatten(1, 2), 2).round().unflatten(1, (-1, 1)), margin // 2))
    b, _, h, w = pyramid[-1][0].shape
    places = models.constant(everywhere, stills.shape[1], device=cells.device).view(1, -1, 1, 1, 3).expand(b, -1, h, w, -1)
    cost = NEAR * (places[..., 1:] ** 2).sum(-1)
    cells, keys, margin = pyramid[-1]
    which, y, x, unlike = best(cells, keys, *places.unbind(-1), margin, AROUND[-1], cost)
    for level in range(LEVELS - 2, finest - 1, -1):
        cells, keys, margin = pyramid[level]
        steps = (models.constant(near, 1, device=cells.device) if level else models.constant(cross, device=cells.device)).view(1, -1, 1, 1, 2)
        which, y, x = doubled(which), doubled(2 * y), doubled(2 * x)
        y, x = (torch.cat([v + steps[..., i], torch.zeros_like(v)], 1) for i, v in enumerate((y, x)))
        # Standing still is tried in the first still alone.
        which = torch.cat([which.expand(-1, len(steps[0]), -1, -1), torch.zeros_like(which)], 1)
        which, y, x, unlike = best(cells, keys, which, y, x, margin, AROUND[level])
    return which, y, x, unlike


def calm(cells, keys):
    """Share of the picture that stands where it does in the still, [B]: by the last level but one, which a whole picture takes little time for."""
    _, y, x, unlike = places(cells, keys, finest=1)
    return ((y == 0) & (x == 0) & (unlike < ALIKE)).float().mean((1, 2, 3))


def match(cells, stills):
    """(found [B,C,h,w], unlikeness, whether it is elsewhere, both [B,1,h,w]): cells [B,1,h,w], sides multiples of 2^(LEVELS - 1), in stills, each as (keys
    [B,1,h + 2 * MARGIN, …], values [B,C,…] of the same size)."""
    keys, values = (torch.stack(v, 1) for v in zip(*stills))
    which, y, x, unlike = (doubled(v) for v in places(cells, keys))
    return at(values, which, y, x, MARGIN)[:, 0], unlike, (y != 0) | (x != 0)


def keys_of(still):
    """Mean luma of a still's cells, in whole code values, as that of larger ones: tables of bytes are looked up sooner."""
    return F.avg_pool2d(still, models.CELL).round()


def tables(still, scale):
    """(keys [B,1,h,w], values [B,2 * CELL^2,h,w], the enlarging last) of a still's luma [B,1,H,W]: made once for each still. A whole picture's
    are to be padded by MARGIN; a crop has its margin already."""
    plain = models.enlarged(F.avg_pool2d(still, scale), scale)
    beyond, plain = (F.pixel_unshuffle(v, models.CELL).round() for v in (still - plain, plain))
    return keys_of(still), torch.cat([beyond.clamp(-127, 127), plain.clamp(0, 255)], 1)


def padded(table):
    return F.pad(table, (MARGIN,) * 4, mode="replicate")


def padded_tables(still, scale):
    """As `tables`, of a whole picture."""
    return tuple(padded(v) for v in tables(still, scale))


def trust(unlike):
    """1 for equals, 0 from ALIEN on."""
    return (1 - torch.log1p(unlike / NOISE) / math.log1p(ALIEN / NOISE)).clamp(min=0)


@torch.no_grad()
def told(cells, base, *stills, share=None):
    """What the network is told [B,2 * CELL^2 + models.FACTS,h,w] in whole numbers: what the finds have beyond their enlarging, what
    their enlarging has beyond the frame's, `base` in cells, zeros in both where nothing was found; and models.FACTS, 0..SURE: trust, trust in what is elsewhere, nothing found, how calm the picture is. Zeros everywhere,
    as without a still, where next to nothing of a whole picture is found. `share`: as of calm, [B], where cells are not a whole picture."""
    found, unlike, elsewhere = match(cells, stills)
    beyond, plain = found.split(models.CELL**2, 1)
    nothing, sure = unlike >= ALIEN, trust(unlike)
    whole = share is None
    if whole:
        share = calm(cells, torch.stack([keys for keys, _ in stills], 1))
    known = sure.mean((1, 2, 3), keepdim=True) > FOUND
    sure = (SURE * sure).round()
    parts = torch.cat([beyond, (plain - base.round()).clamp(-128, 127)], 1) * ~nothing
    facts = [sure, sure * elsewhere, SURE * nothing.float(), (SURE * share).round().view(-1, 1, 1, 1).expand_as(sure)]
    out = torch.cat([parts, *facts], 1)
    return out * known if whole else out
