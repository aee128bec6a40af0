"""steady.py as ONNX nodes, for both kinds of graphs. Luma of fine cells and what lies on coarse ones are floats [1,1,H,W] in either."""
import numpy as np
from onnx import TensorProto

import model as models
import steady


class Still:
    def __init__(self, g):
        self.g = g

    def number(self, value):
        return self.g.const(np.float32(value))

    def box(self, x, size):
        return self.g.add("AveragePool", x, kernel_shape=[size, size], strides=[1, 1], pads=[size // 2] * 4, count_include_pad=0)

    def half(self, x, by=2):
        return self.g.add("AveragePool", x, kernel_shape=[by, by], strides=[by, by])

    def shifted(self, x, row, column):
        """The part of a picture with one pixel around it that lies (row, column) off its middle."""
        g, end = self.g, 2**31 - 1
        return g.add("Slice", x, g.ints(1 + row, 1 + column), g.ints(row - 1 or end, column - 1 or end), g.ints(2, 3))

    def moved(self, luma, prev):
        """steady.moved."""
        g = self.g
        around = g.edges(g.add("Mul", g.add("Add", luma, prev), self.number(0.5)), 1)
        ix, iy = (g.add("Mul", g.add("Sub", self.shifted(around, *at), self.shifted(around, *(-v for v in at))), self.number(0.5))
                  for at in ((0, 1), (1, 0)))
        it = g.add("Sub", luma, prev)
        products = [g.add("Mul", a, b) for a, b in ((ix, ix), (iy, iy), (ix, iy), (ix, it), (iy, it))]
        sums = self.box(self.half(g.add("Concat", *products, axis=1)), steady.AROUND)
        xx, yy, xy, xt, yt = g.split(sums, 1, 1, 1, 1, 1, 1)
        xx, yy = (g.add("Add", v, self.number(steady.RIDGE)) for v in (xx, yy))

        def apart(a, b, c, d):
            return g.add("Sub", g.add("Mul", a, b), g.add("Mul", c, d))
        x, y = apart(xy, yt, yy, xt), apart(xy, xt, xx, yt)
        length = g.add("Sqrt", g.add("Add", g.add("Mul", x, x), g.add("Mul", y, y)))
        return g.add("Div", length, apart(xx, yy, xy, xy))

    def share(self, luma, prev, there, scale):
        """What is taken on coarse cells, up to SHARE times the strength; `there` is 0 where there is no frame before, else 1."""
        g = self.g

        def under(x, most):
            rest = g.add("Add", g.add("Mul", x, self.number(-1 / most)), self.number(1))
            return g.add("Clip", rest, self.number(0), self.number(1))
        apart = self.box(self.half(g.add("Abs", g.add("Sub", luma, prev))), steady.NEAR)
        both = g.add("Mul", under(self.moved(luma, prev), steady.STILL[scale]), under(apart, steady.ALIKE))
        return g.add("Mul", both, g.add("Mul", there, g.add("Mul", "strength", self.number(steady.SHARE))))

    def cells(self, plane, scale):
        """A received plane [1,1,h,w], floats, on fine cells."""
        by = models.CELL // scale
        return plane if by == 1 else self.half(plane, by)


def integers(net, pixels, luma, old, fresh, coarse):
    """Pixels as cells [1,H,W,16], uint8, steadied; `net`: graph.Integers. `old` is the frame before or, where there is none (`fresh` 255), the frame itself."""
    g, still, c = net.g, Still(net.g), models.CELL**2
    luma, old = (still.cells(g.add("Cast", v, to=TensorProto.FLOAT), net.scale) for v in (luma, old))
    there = g.add("Sub", still.number(1), g.add("DequantizeLinear", fresh, still.number(1 / 255), net.zero))
    share = g.add("QuantizeLinear", still.share(luma, old, there, net.scale), still.number(1 / steady.LEVELS), net.zero)
    # For every pixel of two fine cells beside each other, in one look-up; their row is that below, too.
    rows, columns = coarse
    share = g.add("Reshape", g.add("Cast", share, to=TensorProto.INT32), g.shape(rows, 1, columns))
    every = g.const(np.repeat(np.arange(256, dtype=np.uint8)[:, None], 2 * c, 1))
    share = g.add("Gather", every, share)
    share = g.add("Reshape", g.add("Concat", share, share, axis=1), g.shape(1, *(g.add("Mul", v, g.ints(2)) for v in coarse), c))
    # 255 - x with its zero at 255 is -x.
    full = g.const(np.uint8(255))
    less = g.add("QLinearAdd", "shown_in", net.one, net.zero, g.add("Sub", full, pixels), net.one, full, net.one, net.middle, domain="com.microsoft")
    less = g.add("QLinearMul", less, net.one, net.middle, share, still.number(1 / steady.LEVELS), net.zero, net.one, net.middle, domain="com.microsoft")
    return g.add("QLinearAdd", pixels, net.one, net.zero, less, net.one, net.middle, net.one, net.zero, domain="com.microsoft", out="shown_out")


def floats(net, pixels, luma, old, fresh):
    """The same of a plane [1,1,H,W] of floats, whose bytes are then shown; `net`: graph_floats.Floats. `fresh` is 1 where there is no frame before."""
    g, still = net.g, Still(net.g)
    pixels = g.add("Clip", pixels, still.number(0), still.number(255))
    luma, old = (still.cells(v, net.scale) for v in (luma, old))
    share = still.share(luma, old, g.add("Sub", still.number(1), fresh), net.scale)
    share = g.add("Resize", share, "", g.const(np.array([1, 1, 2 * models.CELL, 2 * models.CELL], np.float32)), mode="nearest",
                  coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    less = g.add("Sub", g.add("Cast", "shown_in", to=TensorProto.FLOAT), pixels)
    return g.add("Add", pixels, g.add("Mul", less, share))
