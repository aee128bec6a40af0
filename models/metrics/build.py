"""Writes warp-error.onnx: how much a video flickers, and how true its motion is, as one graph without learned weights.

Usage: build.py            (needs numpy and onnx)

Optical flow between two frames of the reference, coarse to fine: at each level the earlier frame is warped by
what is known so far, and the rest is solved for by least squares in a window (Lucas and Kanade 1981; iterative and pyramidal
after Bouguet 2000), clipped to a pixel and smoothed. Then the earlier picture of every method is warped by that flow and
compared with its later one (E_warp, Lai et al. 2018), where the flow holds: where the reference itself, warped, comes within
TRUSTED code values of the frame it should give. Elsewhere something was uncovered, or the flow is wrong.

The same flow is found between the two frames of every method; how far it lies from the reference's is tOF (Chu et al.,
"Learning Temporal Coherence via Self-Supervision for GAN-based Video Generation" (TecoGAN), 2020). They use Farneback's flow,
so their numbers compare with one another, and these with one another.

Inputs   ref_prev, ref_cur  uint8 [1, 1, h, w]   luma of two successive frames of the reference
         prev, cur          uint8 [n, 1, h, w]   luma of the same frames as n methods show them
         moved_prev, moved  uint8 [m, 1, h, w]   the same for tOF; m may be 0, for flow takes long
Outputs  error  float [n]              mean squared difference of luma code values where the flow holds
         valid  float []               share of the picture where it does
         tof    float [m]              mean over the picture of |dx| + |dy| between a method's flow and the reference's, pixels
         flow   float [1, 2, h/2, w/2] x and y displacement into the earlier frame, pixels of half size
"""
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LEVELS = 5  # the finest is half size
ITERATIONS = 3
WINDOW = 9
TRUSTED = 12.0
RIDGE = 20.0  # keeps flat windows still


class Graph:
    def __init__(self):
        self.nodes, self.weights, self.count = [], [], 0

    def const(self, value, dtype=np.float32):
        self.count += 1
        name = f"c{self.count}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def ints(self, *values):
        return self.const(values, np.int64)

    def add(self, op, *inputs, out=None, **attrs):
        self.count += 1
        out = out or f"t{self.count}"
        self.nodes.append(helper.make_node(op, list(inputs), [out], name=f"{op}_{self.count}", **attrs))
        return out

    def half(self, x):
        return self.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])

    def box(self, x, size):
        return self.add("AveragePool", x, kernel_shape=[size, size], strides=[1, 1], pads=[size // 2] * 4,
                        count_include_pad=0)

    def conv(self, x, kernel):
        kernel = np.asarray(kernel, np.float32)[None, None]
        pads = [kernel.shape[2] // 2, kernel.shape[3] // 2] * 2
        padded = self.add("Pad", x, self.ints(0, 0, pads[0], pads[1], 0, 0, pads[2], pads[3]), mode="edge")
        return self.add("Conv", padded, self.const(kernel))

    def side(self, x, axis):
        """Height (2) or width (3) as an int64 vector of one."""
        return self.add("Slice", self.add("Shape", x), self.ints(axis), self.ints(axis + 1))

    def resized(self, x, like):
        size = self.add("Concat", self.add("Slice", self.add("Shape", x), self.ints(0), self.ints(2)),
                        self.add("Slice", self.add("Shape", like), self.ints(2), self.ints(4)), axis=0)
        return self.add("Resize", x, "", "", size, mode="linear", coordinate_transformation_mode="half_pixel")

    def channel(self, x, at):
        return self.add("Slice", x, self.ints(at), self.ints(at + 1), self.ints(1))

    def warped(self, picture, flow):
        """The picture seen at x + flow(x), bilinear; outside it is the border."""
        axes = []
        for at, axis in ((0, 3), (1, 2)):
            length = self.add("Squeeze", self.side(flow, axis), self.ints(0))
            zero, one = self.const(0, np.int64), self.const(1, np.int64)
            steps = self.add("Cast", self.add("Range", zero, length, one), to=TensorProto.FLOAT)
            shape = self.ints(1, 1, 1, -1) if axis == 3 else self.ints(1, 1, -1, 1)
            at_pixel = self.add("Add", self.channel(flow, at), self.add("Reshape", steps, shape))
            # GridSample's coordinates: -1 and 1 are the centres of the outermost pixels.
            last = self.add("Cast", self.add("Sub", length, one), to=TensorProto.FLOAT)
            unit = self.add("Sub", self.add("Div", self.add("Mul", at_pixel, self.const(2.0)), last), self.const(1.0))
            axes.append(self.add("Transpose", unit, perm=[0, 2, 3, 1]))
        grid = self.add("Concat", *axes, axis=3)
        batch = self.add("Slice", self.add("Shape", picture), self.ints(0), self.ints(1))
        rest = self.add("Slice", self.add("Shape", grid), self.ints(1), self.ints(4))
        grid = self.add("Expand", grid, self.add("Concat", batch, rest, axis=0))
        return self.add("GridSample", picture, grid, mode="bilinear", padding_mode="border",
                        align_corners=1)


def refine(g, prev, cur, flow):
    """One step of Lucas and Kanade at one level."""
    w = g.warped(prev, flow)
    derivative = np.array([[-1, 8, 0, -8, 1]]) / -12.0
    both = g.add("Mul", g.add("Add", w, cur), g.const(0.5))
    ix, iy = g.conv(both, derivative), g.conv(both, derivative.T)
    it = g.add("Sub", w, cur)
    xx, yy, xy = g.add("Mul", ix, ix), g.add("Mul", iy, iy), g.add("Mul", ix, iy)
    xt, yt = g.add("Mul", ix, it), g.add("Mul", iy, it)
    sums = g.box(g.add("Concat", xx, yy, xy, xt, yt, axis=1), WINDOW)
    xx, yy, xy, xt, yt = (g.channel(sums, i) for i in range(5))
    xx, yy = g.add("Add", xx, g.const(RIDGE)), g.add("Add", yy, g.const(RIDGE))
    det = g.add("Sub", g.add("Mul", xx, yy), g.add("Mul", xy, xy))
    dx = g.add("Div", g.add("Sub", g.add("Mul", xy, yt), g.add("Mul", yy, xt)), det)
    dy = g.add("Div", g.add("Sub", g.add("Mul", xy, xt), g.add("Mul", xx, yt)), det)
    step = g.add("Clip", g.add("Concat", dx, dy, axis=1), g.const(-1.0), g.const(1.0))
    return g.box(g.add("Add", flow, step), 5)


def build():
    g = Graph()
    u8, f32 = TensorProto.UINT8, TensorProto.FLOAT
    full = {n: g.add("Cast", n, to=f32) for n in ("ref_prev", "ref_cur", "prev", "cur", "moved_prev", "moved")}
    pyramid = []
    # The reference first, then the methods: one batch, of which each picture is on its own.
    a, b = (g.add("Concat", full[ref], full[own], axis=0) for ref, own in (("ref_prev", "moved_prev"), ("ref_cur", "moved")))
    for _ in range(LEVELS):
        a, b = g.half(a), g.half(b)
        pyramid.append((a, b))
    flow = None
    for prev, cur in reversed(pyramid):
        if flow is None:
            zero = g.add("Mul", cur, g.const(0.0))
            flow = g.add("Concat", zero, zero, axis=1)
        else:
            flow = g.add("Mul", g.resized(flow, cur), g.const(2.0))
        for _ in range(ITERATIONS):
            flow = refine(g, prev, cur, flow)
    everyone = flow
    flow = g.add("Slice", everyone, g.ints(0), g.ints(1), g.ints(0), out="flow")
    others = g.add("Slice", everyone, g.ints(1), g.ints(2**31 - 1), g.ints(0))
    apart = g.add("Abs", g.add("Sub", others, flow))
    # Both components, and pixels of full size: twice two times the mean over everything.
    g.add("Mul", g.add("ReduceMean", apart, axes=[1, 2, 3], keepdims=0), g.const(4.0), out="tof")
    large = g.add("Mul", g.resized(flow, full["ref_cur"]), g.const(2.0))
    miss = g.add("Abs", g.add("Sub", g.warped(full["ref_prev"], large), full["ref_cur"]))
    holds = g.add("Cast", g.add("Less", g.box(miss, 3), g.const(TRUSTED)), to=f32)
    difference = g.add("Sub", g.warped(full["prev"], large), full["cur"])
    squared = g.add("Mul", g.add("Mul", difference, difference), holds)
    area = g.add("Max", g.add("ReduceSum", holds, keepdims=0), g.const(1.0))
    g.add("Div", g.add("ReduceSum", squared, g.ints(1, 2, 3), keepdims=0), area, out="error")
    g.add("ReduceMean", holds, keepdims=0, out="valid")

    def value(name, kind, *dims):
        return helper.make_tensor_value_info(name, kind, list(dims))
    graph = helper.make_graph(
        g.nodes, "vireo-warp-error",
        [value("ref_prev", u8, 1, 1, "h", "w"), value("ref_cur", u8, 1, 1, "h", "w"),
         value("prev", u8, "n", 1, "h", "w"), value("cur", u8, "n", 1, "h", "w"),
         value("moved_prev", u8, "m", 1, "h", "w"), value("moved", u8, "m", 1, "h", "w")],
        [value("error", f32, "n"), value("valid", f32), value("tof", f32, "m"), value("flow", f32, 1, 2, "h/2", "w/2")], g.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], producer_name="vireo")
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    path = Path(__file__).with_name("warp-error.onnx")
    path.write_bytes(build().SerializeToString())
    print("wrote", path.name, path.stat().st_size, "bytes")
