"""The network without rounding as an ONNX graph, NCHW: for GPUs. graph.py has what both kinds share."""
import numpy as np
import torch

import graph_steady
import model as models
from graph import F32, Graph, chroma, filled, looked_up, masked, ports, steadied

HALVED = 4096  # weights of convolutions that are written in 16 bits


class Floats:
    """The network without rounding, NCHW."""

    def __init__(self, net, scale, fill, stills):
        self.net, self.scale, self.fill, self.stills, self.g, self.host = net, scale, fill, stills, Graph(), []

    def number(self, value):
        return self.g.const(np.float32(value))

    def conv(self, x, weight, bias=None, pad=0, stride=1):
        weight = np.ascontiguousarray(weight.detach().numpy())
        if weight.size < HALVED:
            weight_name = self.g.const(weight)
        else:  # half the bytes on disk; folded back when a session is made
            weight_name = self.g.add("Cast", self.g.const(weight.astype(np.float16)), to=F32)
        inputs = [x, weight_name]
        if bias is not None:
            inputs.append(self.g.const(bias.detach().numpy()))
        return self.g.add("Conv", *inputs, kernel_shape=list(weight.shape[2:]), pads=[pad] * 4, strides=[stride] * 2)

    def layer(self, x, conv, fold=1):
        """A Conv of the network, or one of cells of fold x fold."""
        if fold > 1:
            return self.signed(self.strided(x, conv.weight, fold, conv.bias))
        return self.signed(self.conv(x, conv.weight, conv.bias, conv.weight.shape[2] // 2))

    def positive(self, x):
        return self.g.add("Clip", x, self.number(0), self.number(255 * models.STEP))

    def signed(self, x):
        return self.g.add("Clip", x, self.number(-128 * models.STEP), self.number(127 * models.STEP))

    def plus(self, x, y):
        return self.positive(self.g.add("Add", x, y))

    def strided(self, x, weight, fold, bias=None):
        """A convolution of folded pixels, [outputs, planes * fold^2, k, k], as one of the planes: WebGPU has no SpaceToDepth."""
        outputs, _, k, _ = weight.shape
        weight = weight.view(outputs, -1, fold, fold, k, k).permute(0, 1, 4, 2, 5, 3).reshape(outputs, -1, k * fold, k * fold)
        return self.conv(x, weight, bias, stride=fold)

    def windows(self, x, padded, channels):
        rows, columns = (self.g.add("Div", v, self.g.ints(models.WINDOW)) for v in padded)
        n = models.WINDOW
        return self.g.permute(x, (channels, rows, n, columns, n), [1, 3, 2, 4, 0], (-1, n * n, channels))

    def attention(self, x, grid):
        g, part, n = self.g, self.net.attention, models.WINDOW
        keys, values, by = part.keys, part.values, models.WIDE
        grid = [g.add("Div", v, g.ints(by)) for v in grid]
        ask, keep = g.split(self.layer(x, part.project, by), 1, keys, keys + values)
        g.add("Identity", keep, out="cache_out")
        more = [g.add("Mod", g.add("Neg", v), g.ints(n)) for v in grid]
        padded = [g.add("Add", v, m) for v, m in zip(grid, more)]
        pads = g.shape(0, 0, 0, 0, 0, 0, *more)
        ask = self.windows(g.add("Pad", g.add("Mul", ask, self.number(64 / keys)), pads), padded, keys)
        old = self.windows(g.add("Pad", "cache_in", pads), padded, keys + values)
        old = g.add("Pad", old, g.ints(0, 0, 0, 0, 1, 0))  # the empty token
        key, value = g.split(old, 2, keys, values)
        place = torch.cat([part.place, part.none.expand(n * n, 1)], 1).detach().numpy()
        score = g.add("Add", g.add("MatMul", ask, g.add("Transpose", key, perm=[0, 2, 1])), g.const(place))
        found = g.add("MatMul", g.add("Softmax", score, axis=-1), value)
        rows, columns = (g.add("Div", v, g.ints(n)) for v in padded)
        found = g.permute(found, (rows, columns, n, n, values), [4, 0, 2, 1, 3], (1, values, *padded))
        found = g.add("Slice", found, g.ints(0, 0), g.shape(*grid), g.ints(2, 3))
        return g.add("DepthToSpace", self.layer(self.signed(found), part.merge), blocksize=by, mode="CRD")

    def build(self):
        g, net, scale = self.g, self.net, self.scale
        fold, k = models.seen(scale)
        around = models.REACH if fold == 1 else fold

        luma = filled(g, "luma", 1, "mask") if self.fill else "luma"
        # A previous frame of zeros alone means that there is none: then the frame is its own.
        most = g.add("Cast", g.add("ReduceMax", "prev_in", keepdims=1), to=F32)
        fresh = g.add("Sub", self.number(1), g.add("Clip", most, self.number(0), self.number(1)))
        cur, old = (g.add("Cast", v, to=F32) for v in (luma, "prev_in"))
        old = g.add("Add", old, g.add("Mul", fresh, cur))
        planes = [g.edges(g.add("Sub", v, self.number(128)), around) for v in (cur, old)]
        key = str(scale)
        weight = net.raw(net.heads[key], scale)
        linear = self.strided(g.add("Concat", *planes[:models.LINEAR[scale]], axis=1), net.skip(scale), fold)
        if masked(scale, self.fill):
            mask = g.add("Mul", g.add("Cast", "mask", to=F32), self.number(127 / 255))
            planes.append(g.edges(mask, around))
            weight = torch.cat([weight, net.masks[key]], 1)
        first = self.positive(self.strided(g.add("Concat", *planes, axis=1), weight, fold, net.biases[key]))
        base = self.base(cur)
        if self.stills:
            told, finds = self.told(luma, base)
            first = self.plus(first, self.layer(told, net.refer))
        first = self.plus(first, self.layer(first, net.before))
        shape = g.add("Shape", "hidden_in")
        grid = [g.add("Slice", shape, g.ints(i), g.ints(i + 1)) for i in (2, 3)]
        x = self.plus(self.layer(first, net.down, 2), self.layer(self.signed("hidden_in"), net.recall))
        for i, (one, two) in enumerate(net.blocks):
            y = self.positive(self.conv(x, one.weight, one.bias, 1))
            x = self.plus(x, self.layer(y, two))
            if i == 0 and net.attention is not None:
                x = self.plus(x, self.attention(x, grid))
        gate = g.add("Sigmoid", g.add("Mul", self.layer(x, net.gate), self.number(4)))
        content = self.layer(x, net.content)
        g.add("Add", "hidden_in", g.add("Mul", gate, g.add("Sub", content, "hidden_in")), out="hidden_out")
        g.add("Identity", luma, out="prev_out")

        x = self.plus(g.add("DepthToSpace", self.layer(x, net.up), blocksize=2, mode="CRD"), first)
        x = self.plus(x, self.layer(x, net.merge))
        tail = net.tails[key]
        detail = g.add("Add", self.conv(x, tail.weight * models.OUT, tail.bias * models.OUT), linear)
        detail = self.within(detail)
        if self.stills:
            rely = self.signed(g.add("Add", self.layer(x, net.rely), self.layer(told, net.trust)))
            gates = g.add("Sigmoid", g.add("Mul", rely, self.number(4)))
            for found, gate in zip(finds, g.split(gates, 1, 1, 1)):
                detail = self.within(g.add("Add", detail, g.add("Mul", found, gate)))
        detail = g.add("Mul", detail, "strength")
        if scale > 1:
            pixels = g.add("DepthToSpace", g.add("Add", base, detail), blocksize=models.CELL, mode="CRD")
        else:
            pixels = g.add("Add", base, g.add("DepthToSpace", detail, blocksize=models.CELL, mode="CRD"))
        if steadied(scale):
            pixels = graph_steady.floats(self, pixels, cur, old, fresh)
        g.add("QuantizeLinear", pixels, self.number(1), g.const(np.uint8(0)), out="luma_out")
        if steadied(scale):
            g.add("Identity", "luma_out", out="shown_out")
        chroma(g, scale, self.fill)
        return g.model(f"vireo-x{scale}", *ports(net, scale, self.fill, "nchw", self.stills))

    def base(self, x):
        """The fixed enlarging in cells [1,CELL^2,H,W]; at full size the picture itself."""
        g, scale, c = self.g, self.scale, models.CELL
        if scale == 1:
            return x
        weight = getattr(self.net, f"bicubic{scale}")
        if scale == 4:  # four cells each: those of one place in their cell beside each other
            weight = weight.view(2, c, 2, c, *weight.shape[1:]).permute(1, 3, 0, 2, 4, 5, 6).reshape(weight.shape)
        cells = self.strided(g.edges(x, 2), weight, 2)
        return g.add("DepthToSpace", cells, blocksize=2, mode="CRD") if scale == 4 else cells

    def within(self, detail):
        return self.g.add("Clip", detail, *(self.number(v * models.DETAIL) for v in (-128, 127)))

    def of_bytes(self, x, zero):
        """uint8 [1,H,W,C] less its zero as floats [1,C,H,W]."""
        x = self.g.add("Cast", self.g.add("Transpose", x, perm=[0, 3, 1, 2]), to=F32)
        return self.g.add("Sub", x, self.number(zero)) if zero else x

    def told(self, luma, base):
        """(what a still says of every fine cell; the two parts of it that can be added)."""
        g = self.g
        g.host = self.host
        beyond, less, some, facts = looked_up(g, luma, self.scale)
        g.host = None
        beyond = self.of_bytes(beyond, 128)
        # `less` is 255 less the enlarging of the still; where nothing was found it is 255, and `some` 0.
        plain = g.add("Floor", g.add("Add", base, self.number(0.5)))
        difference = g.add("Sub", g.add("Sub", self.number(255), self.of_bytes(less, 0)), plain)
        difference = g.add("Clip", difference, self.number(-128), self.number(127))
        difference = g.add("Mul", difference, g.add("Mul", self.of_bytes(some, 0), self.number(1 / 255)))
        return g.add("Concat", beyond, difference, self.of_bytes(facts, 128), axis=1), (beyond, difference)


def floats(net, scale, fill=False, stills=False):
    return Floats(net, scale, fill, stills).build()
