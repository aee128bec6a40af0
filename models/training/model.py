"""The causal recurrent luma network, in PyTorch: trained here, written to ONNX by export.py.

Everything runs on one grid whatever the input's size: a cell gives CELL x CELL output pixels and holds the input
pixels that belong to them, one at x4 and 2x2 at x2. In between, two convolutions on cells of twice the size see wide at
a quarter of the cost.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

CELL = 4  # output pixels a cell, each way
DETAIL = 8.0  # code values that one unit of the last layer stands for
SKIP = 4.0  # likewise for the linear path
NOISE = 9.0  # variance below which a direction of the input is not amplified further

CONFIGS = {
    # name: channels of the trunk, of the hidden state, and of the context branch
    "swift": {"channels": 24, "hidden": 16, "context": 32},
    "swift-lite": {"channels": 16, "hidden": 8, "context": 24},
}


def pointwise(cin, cout):
    """A 1x1 convolution. Dilation changes nothing but PyTorch's choice of kernel: single-threaded and
    undilated it takes a plain matrix product, ten times slower where no fast BLAS is installed."""
    return nn.Conv2d(cin, cout, 1, dilation=2)


def cubic(t, a=-0.5):
    """Keys' cubic kernel; a = -0.5 is Catmull-Rom, close to what 'bicubic' means in video tools."""
    t = abs(t)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    if t < 2:
        return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    return 0.0


def reach(fold):
    """Cells that the first layer looks at on each side: two pixels at least, as bicubic needs."""
    return 2 if fold == 1 else 1


def bicubic_matrix(fold, scale):
    """1-D weights [fold * scale outputs, cells seen * fold inputs]."""
    rows, seen = [], 2 * reach(fold) + 1
    for out in range(fold * scale):
        pos = (out + 0.5) / scale - 0.5
        row = [cubic(i - reach(fold) * fold - pos) for i in range(seen * fold)]
        rows.append([v / sum(row) for v in row])
    return torch.tensor(rows, dtype=torch.float64)


def bicubic_weight(fold, scale):
    """The upsampling as a convolution over folded cells: [(fold*scale)^2, fold^2, k, k]."""
    m = bicubic_matrix(fold, scale).view(fold * scale, 2 * reach(fold) + 1, fold)
    # out (oy, ox), kernel tap (ky, kx), folded pixel (fy, fx)
    w = torch.einsum("akb,cld->acbdkl", m, m)
    k, n = w.shape[4], fold * scale
    return w.reshape(n * n, fold * fold, k, k).float()


def fold_cells(x, fold):
    """[B,1,h,w] -> [B, fold^2, h/fold + 2 * reach, w/fold + 2 * reach], with replicated cells around."""
    x = F.pad(x, (fold * reach(fold),) * 4, mode="replicate")
    return F.pixel_unshuffle(x, fold) if fold > 1 else x


class Restorer(nn.Module):
    """One step: (luma 0..255, previous luma, hidden) -> (output cells, hidden)."""

    def __init__(self, channels, hidden, context, scales=(4, 2)):
        super().__init__()
        self.hidden = hidden
        self.heads, self.tails, self.skips = nn.ModuleDict(), nn.ModuleDict(), nn.ParameterDict()
        for scale in scales:
            key, fold = str(scale), CELL // scale
            pixels, k = fold * fold, 2 * reach(fold) + 1
            self.heads[key] = nn.Conv2d(2 * pixels, channels, k)
            for name, inputs in (("pair", 2 * pixels * k * k), ("alone", pixels * k * k)):
                self.register_buffer(f"{name}{scale}", torch.eye(inputs))
            self.tails[key] = pointwise(channels, CELL * CELL)
            nn.init.zeros_(self.tails[key].bias)
            self.tails[key].weight.data *= 0.1
            self.skips[key] = nn.Parameter(torch.zeros(CELL * CELL, pixels, k, k))
            self.register_buffer(f"bicubic{scale}", bicubic_weight(fold, scale), persistent=False)
        # Pixels come in with replicated borders; the hidden state is read where it was written.
        self.recall = nn.Conv2d(hidden, channels, 1, dilation=2, bias=False)
        self.context = nn.ModuleDict({
            "before": nn.Conv2d(channels, channels, 3, padding=1),
            "down": nn.Conv2d(channels, context, 2, stride=2),
            "first": nn.Conv2d(context, context, 3, padding=1),
            "second": nn.Conv2d(context, context, 3, padding=1),
            "up": pointwise(context, channels),
            "merge": nn.Conv2d(channels, channels, 3, padding=1),
        })
        for name in ("before", "second", "up", "merge"):
            self.context[name].weight.data *= 0.3
        # A gated memory: where nothing changes, old content is kept and averaged.
        self.gate = pointwise(channels, hidden)
        self.content = pointwise(channels, hidden)

    def bicubic(self, cur, scale):
        return F.conv2d(cur, getattr(self, f"bicubic{scale}"))

    def whiten(self, samples, scale):
        """Sets the input transforms from sample cells [N, 2 * pixels, k, k] (frame, predecessor; minus 128).

        Neighbouring pixels are nearly equal, so gradient descent on raw ones crawls. What is trained
        sees decorrelated inputs instead; being linear, that folds into the convolutions.
        """
        for name, part in (("pair", samples), ("alone", samples[:, : samples.shape[1] // 2])):
            rows = part.flatten(1).double()
            values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
            white = vectors @ torch.diag((values.clamp(min=0) + NOISE).rsqrt()) @ vectors.T
            getattr(self, f"{name}{scale}").copy_(white)

    def head(self, scale):
        """Weight and bias of the first convolution for code values as they are."""
        conv = self.heads[str(scale)]
        weight = (conv.weight.flatten(1) @ getattr(self, f"pair{scale}")).view_as(conv.weight)
        return weight, conv.bias - 128 * weight.sum((1, 2, 3))

    def skip(self, scale):
        """The linear path: bicubic plus a learned correction that leaves flat areas alone."""
        extra = self.skips[str(scale)]
        extra = (extra.flatten(1) @ getattr(self, f"alone{scale}")).view_as(extra) * SKIP
        return getattr(self, f"bicubic{scale}") + extra - extra.mean((1, 2, 3), keepdim=True)

    def step(self, luma, prev, hidden, scale):
        fold = CELL // scale
        cur = fold_cells(luma, fold)
        # A fresh state is all zeros, and no decoded luma is: then the frame is its own predecessor.
        old = fold_cells(torch.where(prev == 0, luma, prev), fold)
        x = F.conv2d(torch.cat([cur, old], 1), *self.head(scale))
        x = F.relu(x + self.recall(hidden))
        part = self.context
        x = F.relu(x + part["before"](x))
        c = F.relu(part["down"](x))
        c = F.relu(c + part["second"](F.relu(part["first"](c))))
        x = F.relu(x + F.interpolate(part["up"](c), scale_factor=2.0, mode="nearest"))
        x = F.relu(x + part["merge"](x))
        gate = torch.sigmoid(self.gate(x))
        hidden = hidden + gate * (torch.tanh(self.content(x)) - hidden)
        return F.conv2d(cur, self.skip(scale)) + self.tails[str(scale)](x) * DETAIL, hidden

    def fresh(self, luma, scale):
        """The state at a reset."""
        b, _, h, w = luma.shape
        fold = CELL // scale
        return torch.zeros_like(luma), luma.new_zeros(b, self.hidden, h // fold, w // fold)


def make(name, scales=(4, 2)):
    return Restorer(**CONFIGS[name], scales=scales)
