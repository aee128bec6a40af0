"""The network as ONNX graphs, node by node: `integers` for processors (NHWC, QLinearConv), and what `floats` for GPUs (graph_floats.py) shares with it.

They take and give uint8 planes of any size that the variant's fold allows, one frame a run (T = 1).
"""
import itertools

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

import graph_matching
import graph_steady
import model as models

F32, U8 = TensorProto.FLOAT, TensorProto.UINT8


HOST = "host_"  # how nodes are called that are better left to the processor


class Graph:
    """A small builder: every call adds nodes and returns its output's name."""

    def __init__(self):
        self.nodes, self.weights, self.count, self.known, self.consts = [], [], 0, {}, 0
        self.host = None  # while it is a list: names of nodes that GPUs are slow at

    def const(self, array):
        array = np.asarray(array, order="C")
        key = (array.tobytes(), array.shape, str(array.dtype))
        if key not in self.known:
            self.known[key] = f"c{self.consts}"
            self.consts += 1
            self.weights.append(numpy_helper.from_array(array, self.known[key]))
        return self.known[key]

    def ints(self, *values):
        return self.const(np.array(values, np.int64))

    def add(self, op, *inputs, out=None, domain="", **attrs):
        self.count += 1
        out = out or f"t{self.count}"
        self.nodes.append(helper.make_node(op, list(inputs), [out], name=self.name(op), domain=domain, **attrs))
        return out

    def name(self, op):
        if self.host is None:
            return f"{op}_{self.count}"
        self.host.append(f"{HOST}{len(self.host)}")
        return self.host[-1]

    def split(self, x, axis, *sizes):
        self.count += 1
        outs = [f"t{self.count}_{i}" for i in range(len(sizes))]
        self.nodes.append(helper.make_node("Split", [x, self.ints(*sizes)], outs, name=self.name("Split"), axis=axis))
        return outs

    def either(self, condition, *branches):
        """What the first of two functions that add nodes returns, uint8, where the condition holds, else what the second one does."""
        outside, made = (self.nodes, self.weights, self.known), {}
        for name, branch in zip(("then_branch", "else_branch"), branches):
            self.nodes, self.weights, self.known = [], [], {}
            outs = branch()
            made[name] = helper.make_graph(self.nodes, name, [], [helper.make_tensor_value_info(out, U8, None) for out in outs], self.weights)
        self.nodes, self.weights, self.known = outside
        self.count += 1
        outs = [f"t{self.count}_{i}" for i in range(len(outs))]
        self.nodes.append(helper.make_node("If", [condition], outs, name=self.name("If"), **made))
        return outs

    def shape(self, *parts):
        """A shape from numbers and names of one-element int64 tensors."""
        return self.add("Concat", *(self.ints(p) if isinstance(p, int) else p for p in parts), axis=0)

    def permute(self, x, before, perm, after):
        """Reshape, transpose, reshape; shapes as for `shape`."""
        x = self.add("Reshape", x, self.shape(*before))
        return self.add("Reshape", self.add("Transpose", x, perm=perm), self.shape(*after))

    def edges(self, x, by):
        """Replicated pixels around the last two axes."""
        return self.add("Pad", x, self.ints(0, 0, by, by, 0, 0, by, by), mode="edge")

    def model(self, name, inputs, outputs):
        def value(what):
            return helper.make_tensor_value_info(what[0], what[1], list(what[2:]))
        graph = helper.make_graph(self.nodes, name, [value(v) for v in inputs], [value(v) for v in outputs], self.weights)
        made = helper.make_model(graph, producer_name="vireo", opset_imports=[
            helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)])
        made.ir_version = 8
        return made


def times(name, factor):
    """A dimension as the manifest writes it: h, h/2, h*4."""
    return name if factor == 1 else f"{name}*{factor}" if factor > 1 else f"{name}/{round(1 / factor)}"


def state_shapes(net, scale, layout):
    """Shapes of the carried tensors, by input name."""
    def cells(channels, pixels):
        grid = [times(v, scale / pixels) for v in ("h", "w")]
        return [1, *grid, channels] if layout == "nhwc" else [1, channels, *grid]
    shapes = {"prev": ("uint8", [1, 1, "h", "w"]), "hidden": ("float32", cells(net.hidden, 8))}
    if net.attention is not None:
        shapes["cache"] = ("float32", cells(net.keys + net.values, 8 * models.WIDE))
    if steadied(scale):
        plane = [1, 1, times("h", scale), times("w", scale)]
        shapes["shown"] = ("uint8", cells(models.CELL**2, models.CELL) if layout == "nhwc" else plane)
    return shapes


def steadied(scale):
    """Whether a variant takes of what it showed before: what is seen at full size is the encoder's own picture."""
    return scale > 1


def masked(scale, fill):
    """Whether a variant takes a mask: at full size only the one that fills in, for a third of the first layer's work."""
    return scale > 1 or fill


# Of a still, bytes: name, and how many stand in a place's row, of two places beside each other; None: one.
TABLES = [("keys0", 10), ("cells0", None), ("keys1", 18), ("cells1", None), ("cells2", None), ("beyond", 2 * models.CELL**2), ("less", 2 * models.CELL**2)]


def table_ports(suffix):
    return [(f"{name}{suffix}", U8, f"{name}_places", *([width] if width else [])) for name, width in TABLES]


def ports(net, scale, fill, layout, stills=False):
    """(inputs, outputs) of a variant."""
    inputs = [("luma", U8, 1, 1, "h", "w"), ("chroma", U8, 1, 2, "h/2", "w/2"), ("strength", F32, 1)]
    if masked(scale, fill):
        inputs.append(("mask", U8, 1, 1, "h", "w"))
    outputs = [("luma_out", U8, 1, 1, times("h", scale), times("w", scale)),
               ("chroma_out", U8, 1, 2, times("h", scale / 2), times("w", scale / 2))]
    if stills:
        inputs += table_ports("_in")
        outputs.append(("found_out", F32, 1))
    for name, (dtype, shape) in state_shapes(net, scale, layout).items():
        kind = U8 if dtype == "uint8" else F32
        inputs.append((f"{name}_in", kind, *shape))
        outputs.append((f"{name}_out", kind, *shape))
    return inputs, outputs


def bytes_of(g, x):
    """Round half to even, clip to 0..255 and cast, in one node."""
    return g.add("QuantizeLinear", x, g.const(np.float32(1)), g.const(np.uint8(0)))


def bicubic_kernel(scale):
    """Bicubic enlarging as a convolution of one plane, [scale^2, 1, 5, 5]."""
    rows = torch.zeros(scale, 5, dtype=torch.float64)
    for out in range(scale):
        rows[out] = torch.tensor([models.cubic(i - 2 - ((out + 0.5) / scale - 0.5)) for i in range(5)])
    rows /= rows.sum(1, keepdim=True)
    return torch.einsum("ak,bl->abkl", rows, rows).reshape(scale * scale, 1, 5, 5).float()


def chroma(g, scale, fill):
    """Each chroma plane enlarged bicubically on its own grid, as swscale and libyuv do; U and V go as a batch.

    Filled in at full size, where all four luma pixels of one of chroma are lost."""
    if scale == 1 and not fill:
        g.add("Identity", "chroma", out="chroma_out")
        return
    planes = g.add("Transpose", "chroma", perm=[1, 0, 2, 3])
    if scale == 1:
        known = g.add("MaxPool", g.add("Sub", g.const(np.uint8(255)), "mask"), kernel_shape=[2, 2], strides=[2, 2])
        planes = filled(g, planes, 2, g.add("Sub", g.const(np.uint8(255)), known))
        g.add("Transpose", planes, perm=[1, 0, 2, 3], out="chroma_out")
        return
    planes = g.add("Cast", g.edges(planes, 2), to=F32)
    planes = bytes_of(g, g.add("Conv", planes, g.const(bicubic_kernel(scale).numpy()), kernel_shape=[5, 5]))
    planes = g.add("DepthToSpace", planes, blocksize=scale)
    g.add("Transpose", planes, perm=[1, 0, 2, 3], out="chroma_out")


def filled(g, planes, count, mask):
    """models.filled in the graph: lost pixels of [count,1,h,w] from the nearest known ones, coarse to fine. Returns uint8."""
    one, tiny = g.const(np.float32(1)), g.const(np.float32(1e-6))
    zero = g.const(np.float32(0))
    lost = g.add("Cast", g.add("Cast", mask, to=TensorProto.BOOL), to=F32)
    known = g.add("Sub", one, lost)
    pair = g.add("Concat", g.add("Mul", g.add("Cast", planes, to=F32), known), known, axis=0)
    near = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32).reshape(1, 1, 3, 3) / 16
    pyramid = [g.add("Conv", pair, g.const(near), kernel_shape=[3, 3], pads=[1] * 4)]
    for _ in range(5):
        pair = g.add("AveragePool", pair, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
        pyramid.append(pair)
    value = None
    for pair in reversed(pyramid):
        total, weight = g.split(pair, 0, count, 1)
        here = g.add("Div", total, g.add("Max", weight, tiny))
        if value is None:
            above = g.const(np.float32(128))
        else:
            big = g.add("Resize", value, "", g.const(np.array([1, 1, 2, 2], np.float32)), mode="nearest",
                        coordinate_transformation_mode="asymmetric", nearest_mode="floor")
            size = g.add("Slice", g.add("Shape", here), g.ints(2), g.ints(4))
            above = g.add("Slice", big, g.ints(0, 0), size, g.ints(2, 3))
        value = g.add("Where", g.add("Greater", weight, zero), here, above)
    return g.add("Where", g.add("Cast", mask, to=TensorProto.BOOL), bytes_of(g, value), planes)


def looked_up(g, luma, scale):
    """Matching.told of a frame's luma."""
    by = models.CELL // scale
    cells = g.add("Cast", luma, to=F32)
    if by > 1:
        cells = g.add("AveragePool", cells, kernel_shape=[by, by], strides=[by, by])
    return graph_matching.Matching(g).told(cells, [f"{name}_in" for name, _ in TABLES])


def on_coarse_cells(weight):
    """A convolution of pixels, [outputs, planes, k, k], as one of 2x2 pixels: [4 * outputs, 4 * planes, 3, 3].

    Outputs are ordered (row, column, output), inputs (plane, row, column)."""
    outputs, planes, k, _ = weight.shape
    wide = torch.zeros(2, 2, outputs, planes, 2, 2, 3, 3)
    for y, x, dy, dx in itertools.product((0, 1), (0, 1), range(k), range(k)):
        row, column = y + dy - k // 2, x + dx - k // 2
        wide[y, x, :, :, row % 2, column % 2, row // 2 + 1, column // 2 + 1] = weight[:, :, dy, dx]
    return wide.view(4 * outputs, 4 * planes, 3, 3)


PAIRED = 24  # outputs of a convolution up to which two places beside each other are computed as one: a fifth to a quarter faster, though a quarter of its weights are zeros


FEWEST = 16  # outputs of a 1x1 convolution that are computed anyway: two alone take more than twice as long


def two_as_one(whole):
    """Weights [outputs, inputs, k, k] for two places beside each other as one, [2 * outputs, inputs, k, k + 1]."""
    outputs, inputs, k, _ = whole.shape
    both = np.zeros((2, outputs, inputs, k, k + 1), whole.dtype)
    for place in (0, 1):
        both[place, ..., place:place + k] = whole
    return both.reshape(2 * outputs, inputs, k, k + 1)


class Integers:
    """The quantised network: activations uint8, models.STEP a level, weights int8, everything NHWC."""

    def __init__(self, net, scale, fill, stills):
        self.net, self.scale, self.stills, self.g = net, scale, stills, Graph()
        g = self.g
        self.step, self.one = g.const(np.float32(models.STEP)), g.const(np.float32(1))
        self.zero, self.middle = g.const(np.uint8(0)), g.const(np.uint8(128))
        self.fill = fill
        # The fine grid is even in width, the coarse one need not be: its convolutions must have more outputs.
        assert net.coarse > PAIRED

    def conv(self, x, x_zero, whole, step, bias, zero, x_scale=None, y_scale=None, pad=None, stride=1):
        """A QLinearConv of whole weights [outputs, inputs, k, k] onto the grid of activations; where they are few, of FEWEST outputs, the others being zeros."""
        g, k = self.g, whole.shape[2]
        scale = np.float32(models.STEP if x_scale is None else x_scale)
        step = step.detach().numpy().astype(np.float32).ravel()
        whole = whole.detach().numpy()
        assert np.abs(whole).max() <= models.LEVELS
        if bias is None:
            bias = np.zeros(len(whole))
        bias = np.round(np.asarray(bias, np.float64) / (scale * step.astype(np.float64))).astype(np.int32)
        outputs, pair = len(whole), stride == 1 and k > 1 and len(whole) <= PAIRED
        if pair:
            whole, step, bias = two_as_one(whole), np.tile(step, 2), np.tile(bias, 2)
            if pad == 0:
                x, whole = self.seen_by_pairs(x, whole)
        elif k == 1 and outputs < FEWEST:
            more = [(0, FEWEST - outputs)]
            whole, step, bias = np.pad(whole, more + [(0, 0)] * 3), np.pad(step, more, constant_values=1), np.pad(bias, more)
        y = g.add(
            "QLinearConv", x, g.const(scale), x_zero, g.const(whole.astype(np.int8)), g.const(step),
            g.const(np.zeros(len(step), np.int8)), g.const(np.float32(models.STEP if y_scale is None else y_scale)), zero,
            g.const(bias), domain="com.microsoft", channels_last=1,
            kernel_shape=list(whole.shape[2:]), pads=[k // 2 if pad is None else pad] * 4, strides=[stride, 2 if pair and pad != 0 else stride])
        return g.add("Reshape", y, g.ints(1, 0, -1, outputs)) if pair else y

    def seen_by_pairs(self, x, whole):
        """(cells with one around them, seen as two beside each other; the weights of two_as_one for those): half as many places to gather from, of twice the size."""
        outputs, inputs, k, width = whole.shape
        whole = whole.reshape(outputs, inputs, k, width // 2, 2).transpose(0, 4, 1, 2, 3).reshape(outputs, 2 * inputs, k, width // 2)
        return self.by_pairs(x, inputs), whole

    def layer(self, x, conv, zero, x_zero=None, outputs=None, y_scale=None):
        """A Conv of the network; `outputs` says which of its outputs, in which order."""
        weight, bias = conv.weight, conv.bias.detach()
        if outputs is not None:
            weight, bias = weight[outputs], bias[outputs]
        return self.conv(x, x_zero or self.zero, *models.levels(weight), bias.numpy(), zero, y_scale=y_scale)

    def sum(self, a, a_zero, b, b_zero, zero):
        s = self.step
        return self.g.add("QLinearAdd", a, s, a_zero, b, s, b_zero, s, zero, domain="com.microsoft")

    def floats(self, x, scale=models.STEP):
        return self.g.add("DequantizeLinear", x, self.g.const(np.float32(scale)), self.middle)

    def signed(self, x):
        return self.g.add("QuantizeLinear", x, self.step, self.middle)

    def size(self, name):
        """One-element tensors (h, w) of a uint8 input."""
        shape = self.g.add("Shape", name)
        return [self.g.add("Slice", shape, self.g.ints(i), self.g.ints(i + 1)) for i in (2, 3)]

    def part(self, size, by):
        return [self.g.add("Div", v, self.g.ints(by)) for v in size]

    def cells(self, x, fold, size, around=1, planes=1):
        """Planes [n,1,h,w] as cells [n, h/fold + 2 * around, …, fold^2]."""
        g = self.g
        if around:
            x = g.edges(x, fold * around)
            size = [g.add("Add", v, g.ints(2 * fold * around)) for v in size]
        rows, columns = self.part(size, fold)
        return g.permute(x, (-1, fold, columns, fold), [0, 2, 1, 3], (planes, rows, columns, fold * fold))

    def spread(self, x, grid, by, channels):
        """[1,H,W,by*by*channels] -> [1, H*by, W*by, channels]; channels are ordered (row, column, c)."""
        g, (rows, columns) = self.g, grid
        high, wide = (g.add("Mul", v, g.ints(by)) for v in grid)
        return g.permute(x, (rows, columns, by, by * channels), [0, 2, 1, 3], (1, high, wide, channels))

    def of_cells(self, x, conv, by, x_zero=None):
        """A 1x1 Conv of cells of by x by places, whose weights are in PyTorch's order of them, as a strided one of the places: a third faster than gathering them."""
        whole, step = models.levels(conv.weight)
        whole = whole.view(len(whole), -1, by, by)
        return self.conv(x, x_zero or self.zero, whole, step, conv.bias.detach().numpy(), self.middle, pad=0, stride=by)

    def to_cells(self, x, conv, grid, channels, x_zero=None):
        """A 1x1 Conv onto cells of 2x2 places, spread: [1,H,W,…] -> [1,2H,2W,channels]. Row by row of cells: rows copy faster than places."""
        order = [c * 4 + at for at in range(4) for c in range(channels)]
        half = len(order) // 2
        rows = [self.layer(x, conv, self.middle, x_zero, outputs=part) for part in (order[:half], order[half:])]
        return self.interleaved(rows, grid, channels)

    def interleaved(self, rows, grid, channels):
        """Upper and lower rows of 2x2 cells, each [1,H,W,2*channels], below each other."""
        g, (high, broad) = self.g, grid
        rows = [g.add("Reshape", x, g.shape(high, 1, -1)) for x in rows]
        high, broad = (g.add("Mul", v, g.ints(2)) for v in (high, broad))
        return g.add("Reshape", g.add("Concat", *rows, axis=1), g.shape(1, high, broad, channels))

    def windows(self, x, padded, channels):
        g, n = self.g, models.WINDOW
        rows, columns = self.part(padded, n)
        return g.permute(x, (rows, n, columns, n, channels), [0, 2, 1, 3, 4], (-1, n * n, channels))

    def attention(self, x, grid):
        g, part, n = self.g, self.net.attention, models.WINDOW
        keys, values, by, channels = part.keys, part.values, models.WIDE, self.net.coarse
        grid = self.part(grid, by)
        mixed = self.of_cells(x, part.project, by)
        ask, keep = g.split(mixed, 3, keys, keys + values)
        keep = g.add("DequantizeLinear", keep, self.step, self.middle, out="cache_out")
        more = [g.add("Mod", g.add("Neg", v), g.ints(n)) for v in grid]
        padded = [g.add("Add", v, m) for v, m in zip(grid, more)]
        pads = g.shape(0, 0, 0, 0, 0, *more, 0)
        ask = self.windows(g.add("Pad", self.floats(ask, models.STEP * 64 / keys), pads), padded, keys)
        old = self.windows(g.add("Pad", "cache_in", pads), padded, keys + values)
        # The empty token: a row of zeros behind each window, with a score of its own.
        old = g.add("Pad", old, g.ints(0, 0, 0, 0, 1, 0))
        key, value = g.split(old, 2, keys, values)
        place = torch.cat([part.place, part.none.expand(n * n, 1)], 1).detach().numpy()
        score = g.add("Add", g.add("MatMul", ask, g.add("Transpose", key, perm=[0, 2, 1])), g.const(place))
        found = g.add("MatMul", g.add("Softmax", score, axis=-1), value)
        rows, columns = self.part(padded, n)
        found = g.permute(found, (rows, columns, n, n, values), [0, 2, 1, 3, 4], (1, *padded, values))
        found = g.add("Slice", found, g.ints(0, 0), g.shape(*grid), g.ints(1, 2))
        assert by == 2
        return self.to_cells(self.signed(found), part.merge, grid, channels, self.middle)

    def head(self, planes, coarse):
        """(first features, the linear path's detail) of the frame, its predecessor and, if something may be lost, the mask, each in cells."""
        net, scale, zero, middle = self.net, self.scale, self.zero, self.middle
        inputs = self.g.add("Concat", *planes, axis=3)
        bias = net.biases[str(scale)].detach().numpy()
        channels = len(planes) * models.FOLD[scale]**2
        whole, step = net.head_levels(scale)
        first = self.pixels(inputs, whole[:, :channels if scale < 4 else len(planes)], step, bias, zero, coarse)
        whole, step = net.skip_levels(scale)
        if models.LINEAR[scale] == 1:
            inputs = planes[0]
        elif len(planes) > 2:  # not of the mask
            whole = torch.cat([whole, torch.zeros_like(whole[:, :whole.shape[1] // 2])], 1)
        return first, self.pixels(inputs, whole, step, None, middle, coarse, models.DETAIL)

    def build(self):
        g, net, scale, zero, middle = self.g, self.net, self.scale, self.zero, self.middle
        fold, fine = models.FOLD[scale], net.fine
        size = self.size("luma")
        coarse, cells = self.part(size, 8 // scale), self.part(size, fold)

        luma = filled(g, "luma", 1, "mask") if self.fill else "luma"
        # A previous frame of zeros alone means that there is none: then the frame is its own. Where takes ten times as long.
        most = g.add("ReduceMax", "prev_in", keepdims=1)
        fresh = g.add("Where", g.add("Cast", most, to=TensorProto.BOOL), self.zero, g.const(np.uint8(255)))
        old = g.add("Max", "prev_in", g.add("Min", luma, fresh))
        planes = [self.cells(v, fold, size) for v in (luma, old)]
        lost = self.cells(g.add("Max", "mask", middle), fold, size) if masked(scale, self.fill) else None
        if lost is None or self.fill:
            first, linear = self.head(planes if lost is None else [*planes, lost], coarse)
        else:  # Most pictures arrive whole: without their masks' share of the work.
            damaged = g.add("Cast", g.add("ReduceMax", "mask", keepdims=0), to=TensorProto.BOOL)
            first, linear = g.either(damaged, lambda: self.head([*planes, lost], coarse), lambda: self.head(planes, coarse))
        base = self.base(luma, size, cells, coarse)
        if self.stills:
            told, finds = self.told(luma, base)
            refer, trust = self.of_told(told, net.refer), self.of_told(told, net.trust, gates=True)
            first = self.sum(first, zero, refer, middle, zero)
        first = self.sum(first, zero, self.layer(first, net.before, middle), middle, zero)

        x = self.sum(self.of_cells(first, net.down, 2), middle,
                     self.layer(self.signed("hidden_in"), net.recall, middle, middle), middle, zero)
        for i, (one, two) in enumerate(net.blocks):
            x = self.sum(x, zero, self.layer(self.layer(x, one, zero), two, middle), middle, zero)
            if i == 0 and net.attention is not None:
                x = self.sum(x, zero, self.attention(x, coarse), middle, zero)
        gate = g.add("Sigmoid", self.floats(self.layer(x, net.gate, middle), 4 * models.STEP))
        content = self.floats(self.layer(x, net.content, middle))
        g.add("Add", "hidden_in", g.add("Mul", gate, g.add("Sub", content, "hidden_in")), out="hidden_out")
        g.add("Identity", luma, out="prev_out")

        x = self.sum(self.to_cells(x, net.up, coarse, fine), middle, first, zero, zero)
        x = self.sum(x, zero, self.layer(x, net.merge, middle), middle, zero)
        unit = g.const(np.float32(models.DETAIL))
        detail = self.layer(x, net.tails[str(scale)], middle, y_scale=models.DETAIL / models.OUT)
        detail = g.add("QLinearAdd", detail, unit, middle, linear, unit, middle, unit, middle, domain="com.microsoft")
        if self.stills:
            rely = self.sum(self.gates(x, net.rely), middle, trust, middle, middle)
            # Sigmoid, and a gate for every pixel of a cell, in one look-up; as many steps as bytes.
            logits = torch.arange(-128, 128) * 4 * models.STEP
            shares = (torch.sigmoid(logits) * 256).round().clamp(max=255).byte().view(-1, 1).expand(-1, models.CELL**2).numpy()
            part = g.const(np.float32(1 / 256))
            for at, (found, sign) in zip((0, 2), finds):
                gate = g.add("Slice", rely, g.ints(at), g.ints(at + 2), g.ints(3))
                gate = g.add("Cast", g.add("Reshape", gate, g.ints(1, 0, -1)), to=TensorProto.INT32)
                # 255 - x with its zero at 255 is -x.
                gate = g.add("Gather", g.const(shares if sign > 0 else 255 - shares), gate)
                nothing = zero if sign > 0 else g.const(np.uint8(255))
                found = g.add("QLinearMul", found, self.one, middle, gate, part, nothing, unit, middle, domain="com.microsoft")
                detail = g.add("QLinearAdd", detail, unit, middle, found, unit, middle, unit, middle, domain="com.microsoft")
        amount = g.add("Mul", g.add("Squeeze", "strength", g.ints(0)), g.const(np.float32(models.DETAIL * models.TIES)))
        pixels = g.add("QLinearAdd", base, self.one, zero, detail, amount, middle,
                       self.one, zero, domain="com.microsoft")
        if steadied(scale):
            pixels = graph_steady.integers(self, pixels, luma, old, fresh, coarse)
        high, broad = (g.add("Mul", v, g.ints(scale)) for v in size)
        rows, columns = self.part([high, broad], models.CELL)
        g.permute(pixels, (rows, columns, models.CELL, models.CELL), [0, 2, 1, 3], (1, 1, high, broad))
        g.nodes[-1].output[0] = "luma_out"
        self.chroma(size)
        return g.model(f"vireo-x{scale}", *ports(net, scale, self.fill, "nhwc", self.stills))

    def by_pairs(self, x, channels):
        """[1,H,W,channels] as two places beside each other: [1,H,W/2,2*channels]."""
        return self.g.add("Reshape", x, self.g.ints(1, 0, -1, 2 * channels))

    def of_told(self, told, conv, gates=False):
        """A Conv of pairs of what the network is told; the differences come with their sign turned. [1,H,W,outputs], or, of gates, as `gates` has it."""
        whole, step = models.levels(conv.weight)
        whole = whole[:, :, 0, 0]
        both, at = torch.zeros(2, len(whole), 2 * whole.shape[1]), 0
        for part, sign in zip(whole.split([models.CELL**2, models.CELL**2, models.FACTS], 1), (1, -1, 1)):
            for place in (0, 1):
                both[place, :, at:at + part.shape[1]] = part * sign
                at += part.shape[1]
        y = self.of_pairs(told, self.middle, 1, both, step, conv, gates)
        return y if gates else self.g.add("Reshape", y, self.g.ints(1, 0, -1, len(whole)))

    def gates(self, x, conv):
        """A Conv of a fine cell's features as of pairs of them, two gates: [1,H,W/2,FEWEST], of which four are used, both places' of one and then of the other."""
        whole, step = models.levels(conv.weight)
        both = torch.stack([F.pad(whole[:, :, 0, 0], pads) for pads in ((0, self.net.fine), (self.net.fine, 0))])
        return self.of_pairs(self.by_pairs(x, self.net.fine), self.zero, models.STEP, both, step, conv, gates=True)

    def of_pairs(self, x, x_zero, x_scale, both, step, conv, gates):
        """A QLinearConv of whole weights [place, outputs, inputs of a pair], outputs by place or, of gates, places by output."""
        order = (1, 0) if gates else (0, 1)
        bias, step = (v.detach().flatten().expand(2, -1).permute(order).flatten() for v in (conv.bias, step))
        whole = both.permute(*order, 2).flatten(0, 1)[:, :, None, None]
        return self.conv(x, x_zero, whole, step, bias.numpy(), self.middle, x_scale=x_scale)

    def told(self, luma, base):
        """(what a still says of every pair of fine cells [1,H,W/2,…]; the two parts of it that can be added to a cell, with their signs)."""
        g, cell = self.g, models.CELL**2
        beyond, less, some, facts = looked_up(g, luma, self.scale)
        # A difference as a sum: the enlarging, and 255 less that of the still. Where nothing was found, 0 and 255.
        full = g.const(np.uint8(255))
        difference = g.add("QLinearAdd", g.add("Min", base, some), self.one, self.zero, less, self.one, full, self.one, self.middle,
                           domain="com.microsoft")
        told = [self.by_pairs(v, n) for v, n in ((beyond, cell), (difference, cell), (facts, models.FACTS))]
        return g.add("Concat", *told, axis=3), ((beyond, 1), (difference, -1))

    def pixels(self, inputs, whole, step, bias, zero, coarse, y_scale=None):
        """A convolution of the input's pixels, onto the fine grid."""
        if self.scale != 4:
            return self.conv(inputs, self.middle, whole, step, bias, zero, x_scale=1, y_scale=y_scale, pad=0)
        step, bias = step.repeat(2, 1, 1, 1), None if bias is None else np.tile(bias, 2)
        rows = [self.conv(inputs, self.middle, part, step, bias, zero, x_scale=1, y_scale=y_scale, pad=0) for part in on_coarse_cells(whole).chunk(2)]
        return self.interleaved(rows, coarse, len(whole))

    def base(self, luma, size, cells, coarse):
        """The fixed enlarging in fine cells [1,H,W,16], uint8."""
        g, scale, c = self.g, self.scale, models.CELL
        if scale == 1:
            return self.cells(luma, c, size, around=0)
        if scale == 2:
            return self.enlarged(luma, size)
        # The 8x8 outputs of a coarse cell, by fine cell.
        order = torch.arange(4 * c * c).view(2, c, 2, c).transpose(1, 2).flatten()
        return self.spread(self.enlarged(luma, size, order), coarse, 2, c * c)

    def enlarged(self, planes, size, order=slice(None), count=1):
        """The fixed enlarging of planes [count,1,h,w], uint8 in cells of 2x2 input pixels, outputs in this order."""
        g, whole = self.g, (getattr(self.net, f"bicubic{self.scale}") * models.LEVELS).round()[order]
        outputs, whole = len(whole), whole.numpy()
        # Chroma's cells may be odd in number.
        pair, inputs = count == 1 and outputs <= PAIRED, self.cells(planes, 2, size, planes=count)
        if pair:
            inputs, whole = self.seen_by_pairs(inputs, two_as_one(whole))
        y = g.add(
            "QLinearConv", inputs, self.one, self.zero, g.const(whole.astype(np.int8)),
            g.const(np.full(len(whole), 1 / models.LEVELS, np.float32)), g.const(np.zeros(len(whole), np.int8)), self.one, self.zero,
            domain="com.microsoft", channels_last=1, kernel_shape=list(whole.shape[2:]), pads=[0] * 4, strides=[1, 1])
        return g.add("Reshape", y, g.ints(1, 0, -1, outputs)) if pair else y

    def chroma(self, size):
        """As `chroma`, in integers: U and V go as a batch."""
        g, scale = self.g, self.scale
        if scale == 1:
            chroma(g, scale, self.fill)
            return
        planes, size = g.add("Transpose", "chroma", perm=[1, 0, 2, 3]), self.part(size, 2)
        out, (rows, columns) = 2 * scale, self.part(size, 2)
        high, broad = (g.add("Mul", v, g.ints(scale)) for v in size)
        g.permute(self.enlarged(planes, size, count=2), (-1, columns, out, out), [0, 2, 1, 3], (1, 2, high, broad))
        g.nodes[-1].output[0] = "chroma_out"


def integers(net, scale, fill=False, stills=False):
    return Integers(net, scale, fill, stills).build()


def tables(scale):
    """What is made once of a still, uint8 luma of the output's size: the tables that variants with stills take."""
    g = Graph()
    for (name, _), table in zip(TABLES, graph_matching.Matching(g).tables("still", scale)):
        g.add("Identity", table, out=f"{name}_out")
    return g.model(f"vireo-x{scale}-still", [("still", U8, 1, 1, "h", "w")], table_ports("_out"))
