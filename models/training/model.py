"""The causal recurrent restorer, in PyTorch: trained here, written to ONNX by export.py.

One grid whatever the input's size: a fine cell gives CELL x CELL output pixels. Most of the work is done on cells of
twice the size, which see wide at a quarter of the cost. Memory is carried in two ways: a gated hidden state, and keys and
values of the frame before, which every cell attends to within its window (a reference picture can enter the same cache).

Everything is made for 8-bit integers: activations live on a fixed grid of 1/16 (unsigned 0..255/16 after a ReLU, signed
-128/16..127/16 else), weights on 127 levels a channel. Seven bits and not eight: without VNNI, x86 adds two products
in 16 bits, and 2 * 255 * 63 still fits. `quantised` switches the rounding on; floats in between stay the same network.
"""
import contextlib
import functools

import torch
import torch.nn as nn
import torch.nn.functional as F

CELL = 4  # output pixels a fine cell, each way
STEP = 1 / 16  # of all activations: exact in bfloat16; finer ones leave strong edges no room
LEVELS = 63  # of weights, each way
DETAIL = 0.5  # code values a step of what is added to the fixed enlarging
TIES = 1 - 1 / 512  # of what is added, when it is rounded with the enlarging: halves towards none of it, so that flat places stay flat
OUT = 8.0  # code values that one unit of the last layer stands for
SKIP = {4: 4.0, 2: 4.0, 1: 2.0}  # likewise for the linear path, by scale: less where many inputs are summed
WIDE = 2  # coarse cells, each way, that ask and answer as one: attention over single ones costs a fifth of the time
WINDOW = 8  # such wide cells, each way, that attend to each other
NOISE = {4: 9.0, 2: 9.0, 1: 0.5}  # variance below which a direction of the input is not amplified further: blur leaves little
BRIGHTNESS = 1e5  # variance that flat pictures count with when weights are rounded: how bright they are must not matter
LINEAR = {4: 2, 2: 2, 1: 1}  # frames that the linear path sees: at full size a second one costs more than it gives
FOLD = {4: 2, 2: 2, 1: 4}  # input pixels a cell of the head's grid: the coarse one at x4, else the fine one
FACTS = 4  # numbers that matching.told gives beside what was found
REACH = 2  # pixels that the first layer looks at on each side of a fine cell of one pixel

CONFIGS = {
    # name: channels of the fine grid, of the coarse grid; residual blocks on it; hidden state; keys and values (0: none)
    "swift": {"fine": 24, "coarse": 48, "blocks": 2, "hidden": 24, "keys": 16, "values": 32, "stills": True},
    "swift-lite": {"fine": 16, "coarse": 32, "blocks": 1, "hidden": 16, "keys": 0, "values": 0, "stills": True},
    "clear": {"fine": 48, "coarse": 96, "blocks": 5, "hidden": 48, "keys": 16, "values": 48, "stills": True},
}


def cubic(t, a=-0.5):
    """Keys' cubic kernel; a = -0.5 is Catmull-Rom, close to what 'bicubic' means in video tools."""
    t = abs(t)
    if t <= 1:
        return (a + 2) * t**3 - (a + 3) * t**2 + 1
    if t < 2:
        return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
    return 0.0


def bicubic_weight(scale, fold=2):
    """Bicubic enlarging as a 3x3 convolution over folded cells: [(fold * scale)^2, fold^2, 3, 3], float64."""
    rows = []
    for out in range(fold * scale):
        pos = (out + 0.5) / scale - 0.5
        row = [cubic(i - fold - pos) for i in range(3 * fold)]
        rows.append([v / sum(row) for v in row])
    m = torch.tensor(rows, dtype=torch.float64).view(fold * scale, 3, fold)
    # output (oy, ox), kernel tap (ky, kx), folded pixel (fy, fx)
    w = torch.einsum("akb,cld->acbdkl", m, m)
    return w.reshape((fold * scale) ** 2, fold * fold, 3, 3)


def levels(weight):
    """Weights as whole numbers of up to +-LEVELS, and each output channel's step."""
    step = weight.flatten(1).abs().amax(1).clamp(min=1e-8).view(-1, 1, 1, 1) / LEVELS
    return (weight / step).round(), step


def summing(exact):
    """Whole numbers near `exact` whose sums over the last axis are right: a filter rounded like this
    answers a flat picture as it should, however bright it is. The taps that rounding moved most the other way take a
    step back each."""
    whole = exact.round()
    error = exact - whole
    lack = error.sum(-1, keepdim=True).round()
    order = (-error * lack.sign()).argsort(-1).argsort(-1)
    return (whole + lack.sign() * (order < lack.abs())).clamp(-LEVELS, LEVELS)


def shaped(exact, white):
    """Whole numbers near `exact` [outputs, inputs] whose errors cancel in what the inputs have much of: each is rounded to what makes up for those before it
    (GPTQ: Frantar et al., "Accurate Post-Training Quantization for Generative Pre-trained Transformers", 2022). `white` takes the inputs, a frame and its
    predecessor, to unit variance. Neighbouring pixels are nearly equal and code values are large: rounded one by one, what should nearly cancel does not, and
    deblurring loses 0.2 dB."""
    energy = torch.linalg.inv(white.double() @ white.double())
    for frame in torch.eye(2, dtype=energy.dtype, device=energy.device).repeat_interleave(len(energy) // 2, 1):
        energy += BRIGHTNESS * torch.outer(frame, frame)
    spread = torch.linalg.cholesky(torch.linalg.inv(energy), upper=True)
    left, whole = exact.double().clone(), torch.zeros_like(exact)
    for at in range(exact.shape[1]):
        whole[:, at] = left[:, at].round().clamp(-LEVELS, LEVELS)
        error = (left[:, at] - whole[:, at]) / spread[at, at]
        left[:, at:] -= torch.outer(error, spread[at, at:])
    return whole


def through(rounded, value):
    """`rounded` forwards, the gradient of `value` backwards."""
    return value + (rounded - value).detach()


def whole_bias(bias, step, unit):
    """A bias as the graph adds it: a whole number of weight steps times the unit of the inputs."""
    unit = step.flatten().detach() * unit
    return through((bias / unit).round() * unit, bias)


def convolved(x, weight, pad):
    """F.conv2d. On one thread PyTorch gives 1x1 convolutions of less than 16 pictures to BLAS, which takes ten times as long as
    oneDNN: then pictures are taken in parts, which in channels-last memory costs nothing."""
    b, c, h, w = x.shape
    if weight.shape[2] > 1 or b >= 16 or b * h % 16 or x.is_cuda or not x.is_contiguous(memory_format=torch.channels_last):
        return F.conv2d(x, weight, padding=pad)
    parts = x.permute(0, 2, 3, 1).reshape(16, b * h // 16, w, c).permute(0, 3, 1, 2)
    return F.conv2d(parts, weight).permute(0, 2, 3, 1).reshape(b, h, w, -1).permute(0, 3, 1, 2)


class Conv(nn.Module):
    """A convolution whose weights can be rounded to levels."""

    def __init__(self, cin, cout, k=1, gain=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(cout, cin, k, k))
        self.bias = nn.Parameter(torch.zeros(cout))
        nn.init.kaiming_normal_(self.weight)
        self.weight.data *= gain

    def forward(self, x, quantised, inputs=None, outputs=None, unit=STEP):
        """`inputs` and `outputs`: the order of the channels, where it is not that of the weights; `unit`: the inputs' step."""
        weight, bias, pad = self.weight, self.bias, self.weight.shape[2] // 2
        if inputs is not None:
            weight = weight[:, inputs]
        if outputs is not None:
            weight, bias = weight[outputs], bias[outputs]
        if not quantised:
            return convolved(x, weight, pad) + bias.view(1, -1, 1, 1)
        whole, step = levels(weight)
        # Whole numbers are exact in bfloat16; the step is applied to what comes out.
        y = convolved(x, through(whole, weight / step), pad)
        return y * step.view(1, -1, 1, 1) + whole_bias(bias, step, unit).view(1, -1, 1, 1)


@functools.lru_cache(maxsize=None)
def constant(make, *args, device="cpu", dtype=None):
    """What make(*args) lists, as a tensor on a device: copied there once, since nothing may be copied while a CUDA graph is recorded."""
    return torch.as_tensor(make(*args), dtype=dtype, device=device)


@contextlib.contextmanager
def precisely(device):
    """All digits of floats, for code values that nearly cancel: no bfloat16, and no TF32 on GPUs."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def cell_places(channels, by):
    return [c * by * by + at for at in range(by * by) for c in range(channels)]


def cell_order(channels, by=2, device="cpu"):
    """Channels of by x by cells in the order (row, column, channel) of gathered(), by their places in that of the weights, which
    is PyTorch's (channel, row, column)."""
    return constant(cell_places, channels, by, device=device)


def gathered(x, by=2):
    """Cells of by x by as channels, in the order of cell_order. In channels-last memory these are whole rows, which
    PyTorch's own pixel_unshuffle takes one by one."""
    b, c, h, w = x.shape
    x = x.permute(0, 2, 3, 1).reshape(b, h // by, by, w // by, by, c).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h // by, w // by, by * by * c).permute(0, 3, 1, 2)


def scattered(x, by=2):
    """The inverse of gathered."""
    b, c, h, w = x.shape
    x = x.permute(0, 2, 3, 1).reshape(b, h, w, by, by, c // by**2).permute(0, 1, 3, 2, 4, 5)
    return x.reshape(b, h * by, w * by, c // by**2).permute(0, 3, 1, 2)


class OnGrid(torch.autograd.Function):
    """Cuts off, and rounds to steps if told; the gradient is that of cutting off (let through, it runs away: after 500 steps
    the network was worse than none). In place and of fast kernels: written out, autograd spends a third of a step on it."""

    @staticmethod
    def forward(ctx, x, low, high, quantised):
        y = x.clamp(low, high)
        if quantised:
            y.mul_(1 / STEP).round_().mul_(STEP)
        ctx.save_for_backward(y)
        ctx.range = low, high
        return y

    @staticmethod
    def backward(ctx, gradient):
        (y,), (low, high) = ctx.saved_tensors, ctx.range
        above = torch.ops.aten.threshold_backward(gradient, y, low)
        return torch.ops.aten.threshold_backward(above, y.neg(), -high), None, None, None


def positive(x, quantised):
    """ReLU onto the grid 0..255."""
    return OnGrid.apply(x, 0.0, 255 * STEP, quantised)


def signed(x, quantised):
    """Onto the grid -128..127."""
    return OnGrid.apply(x, -128 * STEP, 127 * STEP, quantised)


def share(x, quantised):
    """How much of something is taken, 0..1; its steps are of 1/256."""
    y = torch.sigmoid(4 * x.float())
    return through((y * 256).round().clamp(max=255) / 256, y) if quantised else y


class Attention(nn.Module):
    """Wide cells, WIDE x WIDE coarse ones, ask their window of the cached frames; a learned token takes those that find
    nothing."""

    def __init__(self, channels, keys, values):
        super().__init__()
        self.keys, self.values = keys, values
        self.project = Conv(WIDE**2 * channels, 2 * keys + values)
        self.merge = Conv(values, WIDE**2 * channels, gain=0.3)
        self.place = nn.Parameter(torch.zeros(WINDOW**2, WINDOW**2))
        self.none = nn.Parameter(torch.zeros(1))

    @staticmethod
    def windows(x):
        """[B,C,H,W] -> [B * windows, WINDOW^2, C], padded with zeros."""
        b, c, h, w = x.shape
        x = F.pad(x, (0, -w % WINDOW, 0, -h % WINDOW))
        x = x.view(b, c, x.shape[2] // WINDOW, WINDOW, x.shape[3] // WINDOW, WINDOW)
        return x.permute(0, 2, 4, 3, 5, 1).reshape(-1, WINDOW**2, c)

    @staticmethod
    def unwindows(x, b, h, w):
        hw, ww = -(-h // WINDOW), -(-w // WINDOW)
        x = x.view(b, hw, ww, WINDOW, WINDOW, -1).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(b, -1, hw * WINDOW, ww * WINDOW)[:, :, :h, :w]

    def forward(self, x, cache, quantised):
        """(what it adds to x, the new cache): the cache is [B, keys + values, H / WIDE, W / WIDE] of the frame before."""
        order = cell_order(x.shape[1], WIDE, x.device)
        x = gathered(x, WIDE)
        b, _, h, w = x.shape
        mixed = signed(self.project(x, quantised, inputs=order), quantised).float()
        ask, keep = mixed.split([self.keys, self.keys + self.values], 1)
        old = self.windows(cache)
        score = self.windows(ask) @ old[..., :self.keys].transpose(1, 2) * (64 / self.keys) + self.place
        # The empty token: a value of zero, and a score of its own.
        weight = torch.softmax(torch.cat([score, self.none.expand(*score.shape[:2], 1)], 2), 2)
        found = self.unwindows(weight[..., :-1] @ old[..., self.keys:], b, h, w)
        found = signed(self.merge(signed(found, quantised), quantised, outputs=order), quantised)
        return scattered(found, WIDE), keep


class Restorer(nn.Module):
    """One step: (luma, previous luma, mask, state) -> (output cells, state)."""

    def __init__(self, fine, coarse, blocks, hidden, keys, values, stills=False, scales=(4, 2)):
        super().__init__()
        self.fine, self.coarse, self.hidden, self.keys, self.values = fine, coarse, hidden, keys, values
        self.scales, self.quantised, self.stills = tuple(scales), False, stills
        self.heads, self.masks, self.biases = nn.ParameterDict(), nn.ParameterDict(), nn.ParameterDict()
        self.tails, self.skips = nn.ModuleDict(), nn.ParameterDict()
        for scale in self.scales:
            key, (fold, k) = str(scale), seen(scale)
            inputs = 2 * fold * fold * k * k
            self.heads[key] = nn.Parameter(torch.randn(fine, inputs) * (2 / inputs) ** 0.5)
            self.masks[key] = nn.Parameter(torch.zeros(fine, fold * fold, k, k))
            self.biases[key] = nn.Parameter(torch.zeros(fine))
            self.skips[key] = nn.Parameter(torch.zeros(CELL * CELL, inputs * LINEAR[scale] // 2))
            self.register_buffer(f"white{scale}", torch.eye(inputs))
            self.tails[key] = Conv(fine, CELL * CELL, gain=0.1)
            if scale > 1:
                exact = bicubic_weight(scale) * LEVELS
                self.register_buffer(f"bicubic{scale}", (summing(exact.flatten(1)).view_as(exact) / LEVELS).float(),
                                     persistent=False)
        self.before = Conv(fine, fine, 3, gain=0.3)
        self.down = Conv(4 * fine, coarse)
        self.recall = Conv(hidden, coarse, gain=0.5)
        self.blocks = nn.ModuleList(nn.ModuleList([Conv(coarse, coarse, 3), Conv(coarse, coarse, 3, gain=0.3)])
                                    for _ in range(blocks))
        self.attention = Attention(coarse, keys, values) if keys else None
        # A gated memory: where nothing changes, old content is kept and averaged.
        self.gate = Conv(coarse, hidden, gain=0.3)
        self.content = Conv(coarse, hidden, gain=0.5)
        self.up = Conv(coarse, 4 * fine, gain=0.5)
        self.merge = Conv(fine, fine, 3, gain=0.3)
        if stills:  # what was found in one, and how far to rely on it
            told = 2 * CELL * CELL + FACTS
            self.refer = Conv(told, fine, gain=0.02)
            # No bias: zeros, which stand for no still, change nothing.
            del self.refer.bias
            self.refer.register_buffer("bias", torch.zeros(fine))
            # A gate for what the enlarging lacks, and one for what is wrong in it. They see what they gate, and begin as a threshold: shut where trust is
            # below a third, or elsewhere below two thirds.
            self.rely, self.trust = Conv(fine, 2, gain=0.03), Conv(told, 2, gain=0.0)
            self.rely.bias.data.fill_(-0.9)
            self.trust.weight.data[:, -FACTS], self.trust.weight.data[:, 1 - FACTS] = 0.03, -0.015
            del self.trust.bias
            self.trust.register_buffer("bias", torch.zeros(2))

    def whiten(self, samples, scale):
        """Sets the input transform from sample neighbourhoods [N, 2 * pixels] (frame, predecessor; minus 128).

        Neighbouring pixels are nearly equal, so gradient descent on raw ones crawls. What is trained
        sees decorrelated inputs instead; being linear, that folds into the convolution.
        """
        rows = samples.double()
        values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
        white = vectors @ torch.diag((values.clamp(min=0) + NOISE[scale]).rsqrt()) @ vectors.T
        getattr(self, f"white{scale}").copy_(white)

    def raw(self, weight, scale):
        """Trained weights for code values minus 128, [outputs, 2 * fold^2, k, k]."""
        fold, k = seen(scale)
        return (weight @ getattr(self, f"white{scale}")).view(-1, 2 * fold * fold, k, k)

    def head_levels(self, scale):
        """Whole weights of the first convolution and their steps; frame, predecessor and mask share a step for each output. Rounded as a whole
        once training is over (`eval`): that takes a tenth of a second at x1."""
        weight, lost = self.raw(self.heads[str(scale)], scale), self.masks[str(scale)]
        step = torch.cat([weight, lost], 1).flatten(1).abs().amax(1).clamp(min=1e-8).view(-1, 1, 1, 1) / LEVELS
        exact = (weight / step).detach().flatten(1)
        whole = summing(exact.view(len(weight), 2, -1)) if self.training else shaped(exact, getattr(self, f"white{scale}"))
        return torch.cat([whole.view_as(weight), (lost / step).round()], 1), step

    def skip(self, scale):
        """The linear path's weights, in code values: flat and still areas are left alone."""
        weight, (fold, k) = self.skips[str(scale)], seen(scale)
        inputs = weight.shape[1]
        weight = (weight @ getattr(self, f"white{scale}")[:inputs, :inputs]).view(-1, LINEAR[scale] * fold * fold, k, k) * SKIP[scale]
        return weight - weight.mean((1, 2, 3), keepdim=True)

    def skip_levels(self, scale):
        weight = self.skip(scale)
        step = weight.flatten(1).abs().amax(1).clamp(min=1e-8).view(-1, 1, 1, 1) / LEVELS
        return summing((weight / step).flatten(1)).view_as(weight), step

    def head(self, cur, old, mask, scale):
        """(first features, the linear path's detail), both on the fine grid."""
        fold, k = seen(scale)
        around = REACH if fold == 1 else fold
        weight, bias = torch.cat([self.raw(self.heads[str(scale)], scale), self.masks[str(scale)]], 1), self.biases[str(scale)]
        skip = self.skip(scale)
        if self.quantised:
            whole, step = self.head_levels(scale)
            weight, bias = through(whole * step, weight), whole_bias(bias, step, 1)
            whole, step = self.skip_levels(scale)
            skip = through(whole * step, skip)
        cells = [folded(v, fold, around) for v in (cur - 128, old - 128, mask * 127)]
        first = F.conv2d(torch.cat(cells, 1), weight, bias)
        return first, F.conv2d(torch.cat(cells[:LINEAR[scale]], 1), skip)

    def base(self, luma, scale):
        """The fixed enlarging that the detail is added to, in fine cells."""
        if scale == 1:
            return F.pixel_unshuffle(luma, CELL)
        with precisely(luma.device):
            cells = F.conv2d(folded(luma, 2), getattr(self, f"bicubic{scale}"))
        return F.pixel_unshuffle(F.pixel_shuffle(cells, 8), CELL) if scale == 4 else cells

    def step(self, luma, prev, mask, state, scale, told=None):
        """luma and prev [B,1,h,w] in code values, mask likewise, 1 where pixels are lost; told as of matching.told, or None."""
        q, (hidden, cache) = self.quantised, state
        # A fresh state is all zeros, and no decoded luma is: then the frame is its own predecessor.
        old = torch.where(prev.amax((1, 2, 3), keepdim=True) == 0, luma, prev)
        with precisely(luma.device):
            first, linear = self.head(luma, old, mask, scale)
        first = positive(first, q)
        if told is not None:
            first = positive(first + signed(self.refer(told, q, unit=1), q), q)
        first = positive(first + signed(self.before(first, q), q), q)
        wide, order = gathered(first), cell_order(self.fine, device=first.device)
        x = signed(self.down(wide, q, inputs=order), q) + signed(self.recall(signed(hidden, q), q), q)
        x = positive(x, q)
        for i, (one, two) in enumerate(self.blocks):
            x = positive(x + signed(two(positive(one(x, q), q), q), q), q)
            if i == 0 and self.attention is not None:
                found, cache = self.attention(x, cache, q)
                x = positive(x + found, q)
        gate = torch.sigmoid(4 * signed(self.gate(x, q), q).float())
        content = signed(self.content(x, q), q).float()
        hidden = hidden + gate * (content - hidden)
        x = scattered(positive(signed(self.up(x, q, outputs=order), q) + wide, q))
        x = positive(x + signed(self.merge(x, q), q), q)
        detail = within(on_steps(self.tails[str(scale)](x, q).float() * OUT, q) + on_steps(linear, q))
        if told is not None:
            rely = signed(self.rely(x, q), q) + signed(self.trust(told, q, unit=1), q)
            for gate, found in zip(share(signed(rely, q), q).split(1, 1), told.split(CELL * CELL, 1)):
                detail = within(detail + on_steps(gate * found, q))
        return detail, (hidden, cache)

    def fresh(self, luma, scale):
        """(previous luma, state) at a reset."""
        b, _, h, w = luma.shape
        rows, columns = h * scale // 8, w * scale // 8
        return torch.zeros_like(luma), (luma.new_zeros(b, self.hidden, rows, columns),
                                        luma.new_zeros(b, self.keys + self.values, rows // WIDE, columns // WIDE))


def enlarged(luma, scale):
    """Bicubic enlarging of planes [B,1,h,w], at full precision."""
    weight = constant(bicubic_weight, scale, device=luma.device, dtype=torch.float32)
    with precisely(luma.device):
        return F.pixel_shuffle(F.conv2d(folded(luma, 2), weight), 2 * scale)


def seen(scale):
    """(pixels a cell each way, kernel size in cells) of the first layer: at x4 a fine cell is one pixel."""
    return (1, 2 * REACH + 1) if scale == 4 else (FOLD[scale], 3)


def on_steps(detail, quantised):
    """Code values onto the grid that the graph adds to the fixed enlarging."""
    return through(detail.div(DETAIL).round().clamp(-128, 127) * DETAIL, detail) if quantised else detail


def within(detail):
    """As a sum of bytes ends at theirs."""
    return detail.clamp(-128 * DETAIL, 127 * DETAIL)


def folded(x, fold, around=None):
    """[B,1,h,w] -> [B, fold^2, …, …] with `around` replicated pixels (one cell, unless told) on each side."""
    x = F.pad(x, (around or fold,) * 4, mode="replicate")
    return F.pixel_unshuffle(x, fold) if fold > 1 else x


def near():
    return torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]).view(1, 1, 3, 3) / 16


def filled(luma, mask):
    """Lost pixels (mask 1) from the nearest known ones, coarse to fine: what inpainting starts from."""
    known = 1 - mask
    weights = constant(near, device=luma.device)
    total, weight = luma * known, known
    pyramid = [tuple(F.conv2d(F.pad(v, (1,) * 4), weights) for v in (total, weight))]
    for _ in range(5):
        total, weight = F.avg_pool2d(total, 2, ceil_mode=True), F.avg_pool2d(weight, 2, ceil_mode=True)
        pyramid.append((total, weight))
    value = None
    for total, weight in reversed(pyramid):
        here = total / weight.clamp(min=1e-6)
        if value is None:
            value = torch.where(weight > 0, here, torch.full_like(here, 128.0))
        else:
            above = F.interpolate(value, scale_factor=2.0, mode="nearest")[..., :here.shape[2], :here.shape[3]]
            value = torch.where(weight > 0, here, above)
    return torch.where(mask > 0, value.round().clamp(0, 255), luma)


def make(name, scales=(4, 2)):
    config = dict(CONFIGS[name])
    # At full size there is nothing to look up: what is sent has the still's detail, or is too blurred to be matched.
    config["stills"] = config.get("stills", False) and 1 not in scales
    return Restorer(**config, scales=scales)
