"""Finds each fine cell's like in sharp stills: attention with one winner, coarse to fine.

Queries are the mean luma of the frame's fine cells, keys those of the stills', values what a still has beyond its own
bicubic enlarging. On the cells' pyramid of three levels every place within REACH of the coarsest is tried in every still, then its
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
MOVED = 0.6  # times that, where the find is elsewhere: it may lie between two cells
STILL = 1.3  # times as unlike may standing still be and be taken: codec noise makes one of many places the likest by chance


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
    y, x = y + torch.arange(h).view(-1, 1) + margin, x + torch.arange(w) + margin
    index = ((which * rows + y) * columns + x).view(b, 1, -1).expand(-1, c, -1)
    return table.transpose(1, 2).flatten(2).gather(2, index).view(b, c, n, h, w).transpose(1, 2)


def best(cells, table, which, y, x, margin, size, cost=0.0):
    """The likest of candidates [B,N,h,w], the same ones for each block if blocks decide: (which, y, x, unlikeness), each [B,1,…]."""
    unlike = smooth((at(table, which, y, x, margin)[:, :, 0] - cells) ** 2, size)
    if size % 2 == 0:
        which, y, x = (v[..., ::2, ::2] for v in (which, y, x))
    elsewhere = 1 + (STILL - 1) * ((y != 0) | (x != 0))
    least = (unlike * elsewhere + cost).argmin(1, keepdim=True)
    return *(v.gather(1, least) for v in (which, y, x)), unlike.gather(1, least)


def doubled(block):
    """Of every block, for its 2x2 places."""
    return block.repeat_interleave(2, 2).repeat_interleave(2, 3)


@torch.no_grad()
def match(cells, stills):
    """(found [B,C,h,w], unlikeness, whether it is elsewhere, both [B,1,h,w]): cells [B,1,h,w], sides multiples of 2^(LEVELS - 1), in stills, each as (keys
    [B,1,h + 2 * MARGIN, …], values [B,C,…] of the same size)."""
    keys, values = (torch.stack(v, 1) for v in zip(*stills))
    pyramid = [(cells, keys, MARGIN)]
    for _ in range(LEVELS - 1):
        one, other, margin = pyramid[-1]
        pyramid.append((F.avg_pool2d(one, 2), F.avg_pool2d(other.flatten(1, 2), 2).unflatten(1, (-1, 1)), margin // 2))
    b, _, h, w = pyramid[-1][0].shape
    places = torch.tensor([(s, *place) for s in range(len(stills)) for place in near(REACH)]).view(1, -1, 1, 1, 3).expand(b, -1, h, w, -1)
    cost = NEAR * (places[..., 1:] ** 2).sum(-1)
    cells, keys, margin = pyramid[-1]
    which, y, x, unlike = best(cells, keys, *places.unbind(-1), margin, AROUND[-1], cost)
    for level in range(LEVELS - 2, -1, -1):
        cells, keys, margin = pyramid[level]
        steps = torch.tensor(near(1) if level else cross()).view(1, -1, 1, 1, 2)
        which, y, x = doubled(which), doubled(2 * y), doubled(2 * x)
        y, x = (torch.cat([v + steps[..., i], torch.zeros_like(v)], 1) for i, v in enumerate((y, x)))
        # Standing still is tried in the first still alone.
        which = torch.cat([which.expand(-1, len(steps[0]), -1, -1), torch.zeros_like(which)], 1)
        which, y, x, unlike = best(cells, keys, which, y, x, margin, AROUND[level])
    which, y, x, unlike = (doubled(v) for v in (which, y, x, unlike))
    return at(values, which, y, x, margin)[:, 0], unlike, (y != 0) | (x != 0)


def tables(still, scale):
    """(keys [B,1,h,w], values [B,CELL^2,h,w]) of a still's luma [B,1,H,W]: made once for each still. A whole picture's are
    to be padded by MARGIN; a crop has its margin already."""
    keys = F.avg_pool2d(still, models.CELL)
    plain = models.enlarged(F.avg_pool2d(still, scale), scale)
    values = F.pixel_unshuffle(still - plain, models.CELL)
    return keys, values.round().clamp(-127, 127)


def padded_tables(still, scale):
    """As `tables`, of a whole picture."""
    return tuple(F.pad(v, (MARGIN,) * 4, mode="replicate") for v in tables(still, scale))


def trust(unlike):
    """1 for equals, 0 from ALIEN on."""
    return (1 - torch.log1p(unlike / NOISE) / math.log1p(ALIEN / NOISE)).clamp(min=0)


def told(cells, *stills):
    """What the network is told [B,C + 1,h,w] in whole numbers: what was found, zeros where nothing was, and trust in it, 0..SURE."""
    found, unlike, moved = match(cells, stills)
    sure = SURE * (1 - (1 - MOVED) * moved)
    return torch.cat([found * (unlike < ALIEN), (sure * trust(unlike)).round()], 1)
