"""matching.py as ONNX nodes: the tables of a still, made once, and the look-up of every frame. Those of several stills are one below the other.

Tables of a level are uint8, as all of them: [places, 2 * n], the cells with a margin of matching.MARGIN (halved from level to level) on
each side and each with those that a step leads to (finest level: 5, else 9), and [places], the cells alone; values are
[places + 1, 2 * CELL^2]: what a still has beyond its enlarging, with zero at 128, and 255 less that enlarging. The last row is what is found where
nothing is: 128, and 255. A row has the next place's, too: blocks of 2x2 places are looked up in one go, so two rows of pairs are half the look-ups.
"""
import math

import numpy as np
from onnx import TensorProto

import matching
import model as models

F32, I32, U8 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.UINT8


def steps(level):
    return matching.near(1) if level else matching.cross()


class Matching:
    """Nodes in a graph.Graph; sides of the picture in cells are multiples of 2^(LEVELS - 1)."""

    def __init__(self, g):
        self.g = g

    def number(self, value):
        return self.g.const(np.int32(value))

    def size(self, x, axes=(2, 3)):
        shape = self.g.add("Shape", x)
        return [self.g.add("Slice", shape, self.g.ints(i), self.g.ints(i + 1)) for i in axes]

    def pyramid(self, cells):
        levels = [cells]
        for _ in range(matching.LEVELS - 1):
            levels.append(self.g.add("AveragePool", levels[-1], kernel_shape=[2, 2], strides=[2, 2]))
        return levels

    def shifted(self, x, reach, places=None):
        """[1,1,h,w] -> [1,places,h - 2 * reach,…]: every place with those around it, all of them unless told which."""
        side = 2 * reach + 1
        pick = np.eye(side * side, dtype=np.float32)
        if places is not None:
            pick = pick[[(y + reach) * side + x + reach for y, x in places]]
        pick = pick.reshape(-1, 1, side, side)
        return self.g.add("Conv", x, self.g.const(pick), kernel_shape=[side, side])

    def paired(self, rows):
        """[places, n] -> [places, 2 * n]: every row and the next one."""
        g = self.g
        after = g.add("Concat", g.add("Slice", rows, g.ints(1), g.ints(2**31 - 1), g.ints(0)), g.add("Slice", rows, g.ints(-1), g.ints(2**31 - 1), g.ints(0)), axis=0)
        return g.add("Concat", rows, after, axis=1)

    def tables(self, luma, scale):
        """From a still's luma, uint8 [1,1,H,W]: the names of its tables, finest level first (of each but the coarsest, places with
        those around them, then alone), and of its values."""
        g, m = self.g, matching.MARGIN
        still = g.add("Cast", luma, to=F32)

        def mean(x, by):
            return g.add("AveragePool", x, kernel_shape=[by, by], strides=[by, by])
        small = g.add("Pad", mean(still, scale), g.ints(0, 0, 2, 2, 0, 0, 2, 2), mode="edge")
        plain = g.add("Conv", g.add("SpaceToDepth", small, blocksize=2), g.const(models.bicubic_weight(scale).float().numpy()),
                      kernel_shape=[3, 3])
        plain = g.add("DepthToSpace", plain, blocksize=2 * scale, mode="CRD")
        values = []
        for plane, zero, none in ((g.add("Max", g.add("Sub", still, plain), g.const(np.float32(-127))), 128, 128),
                                  (g.add("Sub", g.const(np.float32(255)), plain), 0, 255)):
            cells = g.add("Pad", g.add("SpaceToDepth", plane, blocksize=models.CELL), g.ints(0, 0, m, m, 0, 0, m, m), mode="edge")
            cells = g.add("QuantizeLinear", cells, g.const(np.float32(1)), g.const(np.uint8(zero)))
            cells = g.add("Reshape", g.add("Transpose", cells, perm=[0, 2, 3, 1]), g.ints(-1, models.CELL**2))
            values.append(g.add("Concat", self.paired(cells), g.const(np.full((1, 2 * models.CELL**2), none, np.uint8)), axis=0))
        plane, rows = g.add("Pad", g.add("Round", mean(still, models.CELL)), g.ints(0, 0, m, m, 0, 0, m, m), mode="edge"), []
        for level in range(matching.LEVELS):
            if level > 0:
                plane = g.add("Round", mean(plane, 2))
            column = g.add("Cast", g.add("Reshape", plane, g.ints(-1)), to=U8)
            if level == matching.LEVELS - 1:
                rows.append(column)
                break
            around = self.shifted(g.add("Pad", plane, g.ints(0, 0, 1, 1, 0, 0, 1, 1), mode="edge"), 1, steps(level))
            around = g.add("Reshape", g.add("Transpose", around, perm=[0, 2, 3, 1]), g.ints(-1, len(steps(level))))
            rows += [g.add("Cast", self.paired(around), to=U8), column]
        return [*rows, *values]

    def smooth(self, x, k):
        """matching.smooth."""
        pad, stride = (k // 2, 1) if k % 2 else (k // 2 - 1, 2)
        return self.g.add("AveragePool", x, kernel_shape=[k, k], pads=[pad] * 4, strides=[stride] * 2, count_include_pad=0)

    def unlike(self, candidates, cells, level):
        d = self.g.add("Sub", candidates, cells)
        return self.smooth(self.g.add("Mul", d, d), matching.AROUND[level])

    def against(self, unlike, elsewhere):
        """What is compared: standing still is preferred."""
        return self.g.add("Mul", self.g.add("Add", unlike, self.g.const(np.float32(matching.FLAT))), elsewhere)

    def places(self, cells, level):
        """(index of each pair's own place in the table of the first still [1,1,h,w/2], width of a still's table, its places), int32."""
        g, zero, one, m = self.g, self.number(0), self.number(1), self.number(matching.MARGIN >> level)
        height, width = (g.add("Squeeze", g.add("Cast", v, to=I32), g.ints(0)) for v in self.size(cells))
        both = self.number(2 * (matching.MARGIN >> level))
        wide, high = g.add("Add", width, both), g.add("Add", height, both)
        row = g.add("Unsqueeze", g.add("Range", zero, height, one), g.ints(0, 1, 3))
        column = g.add("Unsqueeze", g.add("Range", zero, width, self.number(2)), g.ints(0, 1, 2))
        own = g.add("Add", g.add("Mul", g.add("Add", row, m), wide), g.add("Add", column, m))
        return own, wide, g.add("Mul", wide, high)

    def first(self, plane, cells, level):
        """The cells of the first still that lie where `cells` do, float32 [1,1,h,w]."""
        g, margin = self.g, matching.MARGIN >> level
        height, width = self.size(cells)
        wide, high = (g.add("Add", v, g.ints(2 * margin)) for v in (width, height))
        ends = g.shape(g.ints(1), *(g.add("Add", v, g.ints(margin)) for v in (height, width)))
        own = g.add("Slice", g.add("Reshape", plane, g.shape(-1, 1, high, wide)), g.ints(0, margin, margin), ends, g.ints(0, 2, 3))
        return g.add("Cast", own, to=F32)

    def coarsest(self, plane, cells, level):
        """(still, row, column) of the likest places, the last two from the cells' own, int32 [1,1,h,w]."""
        g, reach, margin = self.g, matching.REACH, matching.MARGIN >> level
        height, width = self.size(cells)
        wide, high = (g.add("Add", v, g.ints(2 * margin)) for v in (width, height))
        plane = g.add("Reshape", plane, g.shape(-1, 1, high, wide))
        spare = margin - reach
        ends = g.shape(*(g.add("Add", v, g.ints(margin + reach)) for v in (height, width)))
        plane = g.add("Slice", plane, g.ints(spare, spare), ends, g.ints(2, 3))
        every = self.shifted(g.add("Cast", plane, to=F32), reach)
        places = np.array(matching.near(reach))
        elsewhere = np.where(places.any(1), matching.STILL, 1.0).astype(np.float32).reshape(1, -1, 1, 1)
        unlike, end = self.unlike(every, cells, level), g.ints(2**31 - 1)
        first, others = (g.add("Slice", unlike, g.ints(a), b, g.ints(0)) for a, b in ((0, g.ints(1)), (1, end)))
        unlike = g.add("Concat", self.against(first, g.const(elsewhere)), self.against(others, g.const(np.float32(matching.STILL))), axis=0)
        unlike = g.add("Add", unlike,
                       g.const((matching.NEAR * (places**2).sum(1)).astype(np.float32).reshape(1, -1, 1, 1)))
        unlike = g.add("Reshape", unlike, g.shape(1, -1, height, width))
        least = g.add("Cast", g.add("ArgMin", unlike, axis=1, keepdims=1), to=I32)
        side, r, count = self.number(2 * reach + 1), self.number(reach), self.number((2 * reach + 1) ** 2)
        which = g.add("Div", least, count)
        place = g.add("Sub", least, g.add("Mul", which, count))
        row = g.add("Div", place, side)
        return which, g.add("Sub", row, r), g.add("Sub", g.add("Sub", place, g.add("Mul", row, side)), r)

    def doubled(self, blocks, across=2):
        """Of every block, for its 2x2 places or for its two rows, [1,C,h,w]: as Resize this is five times as fast as by Expand."""
        return self.g.add("Resize", blocks, "", self.g.const(np.array([1, 1, 2, across], np.float32)), mode="nearest",
                          coordinate_transformation_mode="asymmetric", nearest_mode="floor")

    def doubled_nhwc(self, blocks, cells, channels):
        """Of every block [1,h/2,w/2,channels], for its 2x2 places [1,h,w,channels]."""
        g = self.g
        row = g.add("Reshape", g.add("Concat", blocks, blocks, axis=3), g.shape(*self.size(blocks, (1,)), 1, -1))
        return g.add("Reshape", g.add("Concat", row, row, axis=1), g.shape(1, *self.size(cells), channels))

    def finer(self, table, plane, cells, level, which, row, column):
        """(still, distance in its table of the likest place from the own one, width of the table, how unlike the likest is), of every place
        or of every block if those decide; near the offsets of the next coarser level, or standing still in the first still."""
        g = self.g
        own, wide, places = self.places(cells, level)
        ahead = g.add("Mul", g.add("Add", g.add("Mul", row, wide), column), self.number(2))
        other = g.add("Mul", which, places)
        start = g.add("Add", own, self.doubled(g.add("Add", ahead, other), across=1))
        around = g.add("Gather", table, g.add("Squeeze", start, g.ints(0, 1)))  # [h,w/2,2n]
        around = g.add("Cast", g.add("Reshape", around, g.ints(0, -1, len(steps(level)))), to=F32)
        around = g.add("Unsqueeze", g.add("Transpose", around, perm=[2, 0, 1]), g.ints(0))
        still = self.first(plane, cells, level)
        unlike = self.unlike(g.add("Concat", around, still, axis=1), cells, level)
        if matching.AROUND[level] % 2:
            ahead, which = self.doubled(ahead), self.doubled(which)
        nowhere, count = g.add("Mul", ahead, self.number(0)), len(steps(level))
        near = np.array(steps(level), np.int32)
        step = g.add("Add", g.add("Mul", g.const(near[:, :1].reshape(1, -1, 1, 1)), wide), g.const(near[:, 1:].reshape(1, -1, 1, 1)))
        moved = g.add("Concat", g.add("Add", ahead, step), nowhere, axis=1)
        which = g.add("Concat", *[which] * count, nowhere, axis=1)
        # Also a step may lead back to the own place.
        here = g.add("And", *(g.add("Equal", v, self.number(0)) for v in (moved, which)))
        elsewhere = g.add("Where", here, g.const(np.float32(1)), g.const(np.float32(matching.STILL)))
        least = g.add("ArgMin", self.against(unlike, elsewhere), axis=1, keepdims=1)
        which = g.add("GatherElements", which, least, axis=1)
        return which, g.add("GatherElements", moved, least, axis=1), wide, g.add("GatherElements", unlike, least, axis=1)

    def told(self, cells, stills):
        """(what was found, as the two kinds of values are, and 0 where nothing was, else 255, all uint8 [1,h,w,CELL^2]; matching.told's facts uint8
        [1,h,w,FACTS] with zero at 128); cells float32 [1,1,h,w].
        `found_out`, float32 [1], is how far the whole picture was found."""
        g, levels = self.g, self.pyramid(cells)
        *tables, beyond, less = stills
        which, row, column = self.coarsest(tables[-1], levels[-1], matching.LEVELS - 1)
        for level in range(matching.LEVELS - 2, -1, -1):
            which, moved, wide, unlike = self.finer(*tables[2 * level:2 * level + 2], levels[level], level, which, row, column)
            own = g.add("Cast", g.add("Equal", moved, self.number(0)), to=F32)
            if level == 0:
                break
            if level == 1:
                alike = g.add("Cast", g.add("Less", unlike, g.const(np.float32(matching.ALIKE))), to=F32)
                calm = g.add("ReduceMean", g.add("Mul", own, alike), axes=[0, 1, 2, 3], keepdims=1)
            # Back to rows and columns: offsets are smaller than the margin, and so than half a row.
            half = self.number(matching.MARGIN >> level)
            moved = g.add("Add", moved, g.add("Add", g.add("Mul", wide, half), half))
            row = g.add("Div", moved, wide)
            column = g.add("Sub", g.add("Sub", moved, g.add("Mul", row, wide)), half)
            row = g.add("Sub", row, half)
        one = g.const(np.float32(1))
        more = g.add("Log", g.add("Add", g.add("Mul", unlike, g.const(np.float32(1 / matching.NOISE))), one))
        trust = g.add("Sub", one, g.add("Mul", more, g.const(np.float32(1 / math.log1p(matching.ALIEN / matching.NOISE)))))
        trust = g.add("Max", trust, g.const(np.float32(0)))
        found = g.add("ReduceMean", trust, axes=[0, 1, 2, 3], keepdims=1)
        g.add("Reshape", found, g.ints(1), out="found_out")
        known = g.add("Greater", found, g.const(np.float32(matching.FOUND)))
        somewhere = g.add("Less", unlike, g.const(np.float32(matching.ALIEN)))
        nothing = g.add("Sub", one, g.add("Cast", somewhere, to=F32))
        somewhere = g.add("And", somewhere, known)
        facts = [trust, g.add("Mul", trust, g.add("Sub", one, own)), nothing, g.add("Expand", calm, g.add("Shape", trust))]
        facts = g.add("Mul", g.add("Concat", *facts, axis=1), g.add("Cast", known, to=F32))
        facts = g.add("QuantizeLinear", facts, g.const(np.float32(1 / matching.SURE)), g.const(np.uint8(128)))
        facts = self.doubled_nhwc(g.add("Transpose", facts, perm=[0, 2, 3, 1]), cells, models.FACTS)
        start, _, places = self.places(cells, 0)
        # A still's values have one row more than its keys; the last row of all is nothing, and any place before the first one leads to it.
        moved = g.add("Add", moved, g.add("Mul", which, g.add("Add", places, self.number(1))))
        moved = g.add("Where", somewhere, moved, self.number(-(2**30)))
        index = g.add("Max", g.add("Add", start, self.doubled(moved, across=1)), self.number(-1))
        index = g.add("Squeeze", index, g.ints(1))
        # Bytes of 0 where nothing was found, else of 255.
        some = np.array([[0], [255]], np.uint8).repeat(models.CELL**2, 1)
        some = g.add("Gather", g.const(some), g.add("Cast", g.add("Squeeze", somewhere, g.ints(1)), to=I32))
        some = self.doubled_nhwc(some, cells, models.CELL**2)
        beyond, less = (g.add("Reshape", g.add("Gather", v, index), g.ints(1, 0, -1, models.CELL**2)) for v in (beyond, less))
        return beyond, less, some, facts
