"""The lite networks: a small image-processing transformer (IPT, arXiv 2012.00364) made for integer arithmetic.

A conv head at half resolution, conv pairs at a quarter, a transformer body with windowed attention over 8x8-pixel
tokens, and the same way back, with sums across. Planes of a YUV 4:2:0 frame go in at their own resolutions: nothing
is spent on chroma samples that the video does not have. Every layer but the attention's products is a convolution,
with a rectifier or a sum after it, which 8-bit kernels run at three to four times the speed of floats. What such
kernels round, :class:`Round` rounds in training.

One class serves restoration (``scale=1``) and enlargement (``scale=2``). Restoration carries task biases after
Instruct-IPT (arXiv 2407.00676): see :class:`TaskConv`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsanimup.architectures.lite.layers import Conv, Round, Sum

WINDOW = 6
"""Side of an attention window, in tokens."""
TOKEN = 8
"""Side of a token, in luma samples."""
ALIGN = WINDOW * TOKEN
"""Side of an attention window in luma samples; tiles lie on multiples of it, so that their windows agree."""


@dataclass(frozen=True, kw_only=True)
class LiteConfig:
    """Shape of a lite network."""

    scale: int = 1
    """Enlargement: 1 or 2."""
    radius: int = 2
    """Frames seen on each side of the centre frame."""
    half: int = 32
    """Channels at half luma resolution."""
    quarter: int = 64
    """Channels at a quarter."""
    dim: int = 96
    """Channels of a token."""
    first: int = 1
    """Pairs of convolutions at half resolution before the body."""
    inner: int = 2
    """Pairs at a quarter, before the body and again after it."""
    depth: int = 2
    """Transformer blocks."""
    last: int = 1
    """Pairs at half resolution after the body."""
    half_hidden: int = 0
    """Channels between the two convolutions of a pair at half resolution; 0 for as many as around them."""
    quarter_hidden: int = 0
    """The same at a quarter."""
    heads: int = 3
    """Attention heads."""
    ratio: int = 2
    """Hidden channels of the feed-forward layer, as a multiple of ``dim``."""
    tasks: int = 0
    """Tasks that have biases of their own."""
    rank: int = 4
    """Rank of a task's bias of one weight."""

    @property
    def frames(self) -> int:
        """Frames in the temporal window."""
        return 2 * self.radius + 1

    def scaled(self, factor: float) -> LiteConfig:
        """The same network with ``factor`` times as many channels, in whole heads and even numbers."""
        heads = max(1, round(self.heads * factor))
        names = ("half", "quarter", "half_hidden", "quarter_hidden")
        sizes = {name: max(4, 2 * round(n * factor / 2)) for name in names if (n := getattr(self, name))}
        return replace(self, heads=heads, dim=self.dim // self.heads * heads, **sizes)

    def to_dict(self) -> dict[str, int]:
        """Plain fields, for a checkpoint or a manifest."""
        return asdict(self)


def contrast_basis(frames: int) -> Tensor:
    """Fixed change of basis for the head's input, ``[6 * frames, 6 * frames]``.

    Each 2x2 group of luma samples becomes its mean and three differences (Haar), and every frame but the centre
    one its difference to the centre. What a restorer needs is small beside the picture itself; without this, Adam
    spends thousands of steps finding it.
    """
    centre = frames // 2
    haar = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 4
    spatial = torch.eye(6 * frames)
    temporal = torch.eye(6 * frames)
    gain = torch.full((6 * frames,), 6.0)
    gain[4 * centre] = 1
    gain[4 * frames + 2 * centre : 4 * frames + 2 * centre + 2] = 2
    for t in range(frames):
        spatial[4 * t : 4 * t + 4, 4 * t : 4 * t + 4] = haar
        if t != centre:
            temporal[4 * t : 4 * t + 4, 4 * centre : 4 * centre + 4] = -torch.eye(4)
            first, middle = 4 * frames + 2 * t, 4 * frames + 2 * centre
            temporal[first : first + 2, middle : middle + 2] = -torch.eye(2)
    return gain[:, None] * (temporal @ spatial)


class Head(nn.Module):
    """The window, unshuffled and in :func:`contrast_basis`, then a 3x3 convolution."""

    basis_y: Tensor
    basis_uv: Tensor

    def __init__(self, frames: int, width: int, tasks: int = 0, rank: int = 0) -> None:
        super().__init__()
        basis, luma = contrast_basis(frames), 4 * frames
        # unshuffling by 2 and the change of basis at once: a convolution with 2x2 samples at stride 2
        self.register_buffer("basis_y", basis[:luma, :luma].reshape(luma, frames, 2, 2), persistent=False)
        self.register_buffer("basis_uv", basis[luma:, luma:, None, None], persistent=False)
        self.round = Round()
        self.conv = TaskConv(6 * frames, width, 3, tasks, rank)

    def forward(self, y: Tensor, uv: Tensor) -> Tensor:
        """Map ``y`` and ``uv`` as :class:`Lite` takes them to ``[batch, width, height / 2, width / 2]``."""
        with torch.autocast(y.device.type, enabled=False):  # small differences of large numbers
            middle = -0.5 * self.basis_y.sum((1, 2, 3))
            x = torch.cat((F.conv2d(y.float(), self.basis_y, middle, 2), F.conv2d(uv.float(), self.basis_uv)), 1)
        result: Tensor = self.conv(self.round(x))
        return result


class TaskConv(Conv):
    """A convolution with low-rank biases on its weight, one a task (Instruct-IPT, arXiv 2407.00676).

    The weight in force is ``W + sum over tasks t of mix[t] * B[t] A[t]``, with ``A`` ``[tasks, rank, inputs]`` and
    ``B`` ``[tasks, outputs, rank]``, and the offset in force ``b + sum of mix[t] * c[t]``. Backbone and biases are
    trained together; for use they are merged, and cost nothing.
    """

    mix: Tensor | None = None
    """Weight of each task for each sample, ``[batch, tasks]``; ``None`` for the backbone alone."""

    def __init__(self, inputs: int, outputs: int, kernel: int, tasks: int, rank: int, relu: bool = False) -> None:
        super().__init__(inputs, outputs, kernel, relu=relu)
        size = inputs * kernel * kernel
        self.task_a = nn.Parameter(torch.randn(tasks, rank, size) * size**-0.5) if tasks else None
        self.task_b = nn.Parameter(torch.zeros(tasks, outputs, rank)) if tasks else None
        self.task_c = nn.Parameter(torch.zeros(tasks, outputs)) if tasks else None

    def convolved(self, x: Tensor) -> Tensor:
        """Convolve ``[batch, inputs, rows, columns]``, each sample under its own mix.

        The biases are applied as the two thin convolutions that they factor into, so one batch holds many mixes.
        """
        plain = super().convolved(x)
        if self.mix is None or self.task_a is None or self.task_b is None or self.task_c is None:
            return plain
        thin = F.conv2d(x, self.task_a.reshape(-1, *self.weight.shape[1:]), padding=self.padding)
        share = self.mix.repeat_interleave(self.task_a.shape[1], 1)[..., None, None]
        bias = F.conv2d(thin * share.to(thin.dtype), self.task_b.permute(1, 0, 2).flatten(1)[..., None, None])
        offset: Tensor = (self.mix @ self.task_c)[..., None, None].to(plain.dtype)
        return plain + bias + offset


class Pair(nn.Module):
    """Two 3x3 convolutions beside a shortcut, with ``hidden`` channels between them, as many as around unless given."""

    def __init__(self, channels: int, hidden: int = 0, tasks: int = 0, rank: int = 0) -> None:
        super().__init__()
        self.a = TaskConv(channels, hidden or channels, 3, tasks, rank, relu=True)
        self.b = TaskConv(hidden or channels, channels, 3, tasks, rank)
        self.sum = Sum()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, channels, rows, columns]`` to the same shape."""
        result: Tensor = self.sum(x, self.b(self.a(x)))
        return result


class WindowAttention(nn.Module):
    """Multi-head self-attention among the 36 tokens of one window, with a learned bias a token pair."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.proj = (Conv(dim, dim) for _ in range(4))
        self.mixed = Round()
        self.bias = nn.Parameter(torch.zeros(heads, WINDOW * WINDOW, WINDOW * WINDOW))

    def _windows(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        # two moves of long runs, NCHW -> NHWC -> windows: several times faster than one six-axis permutation
        t = x.permute(0, 2, 3, 1).reshape(b, h // WINDOW, WINDOW, w // WINDOW, WINDOW * c).transpose(2, 3)
        t = t.reshape(b * (h // WINDOW) * (w // WINDOW), WINDOW * WINDOW, self.heads, c // self.heads)
        return t.transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens ``[batch, dim, rows, columns]`` to the same shape. The last are repeated to fill their windows."""
        rows, columns = x.shape[-2:]
        down, across = -rows % WINDOW, -columns % WINDOW
        if torch.onnx.is_in_onnx_export() or down or across:
            x = F.pad(x, (0, across, 0, down), mode="replicate")
        b, c, h, w = x.shape
        q, k, v = (self._windows(part(x)) for part in (self.q, self.k, self.v))
        # written out, not F.scaled_dot_product_attention: plain operators export the same everywhere
        weights = (q @ k.transpose(-2, -1) + self.bias).softmax(-1)
        t = self.mixed(weights @ v).transpose(1, 2).reshape(b, h // WINDOW, w // WINDOW, WINDOW, WINDOW * c)
        t = t.transpose(2, 3)
        result: Tensor = self.proj(t.reshape(b, h, w, c).permute(0, 3, 1, 2))
        return result[:, :, :rows, :columns]


class Block(nn.Module):
    """Transformer layer over windows of tokens, then a 3x3 convolution that carries across their borders.

    Without layer norms, which have no 8-bit kernels; quiet beginnings make up for them.
    """

    def __init__(self, dim: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.attention = WindowAttention(dim, heads)
        self.fc1 = Conv(dim, ratio * dim, relu=True)
        self.fc2 = Conv(ratio * dim, dim)
        self.across = Conv(dim, dim, 3)
        self.sums = nn.ModuleList(Sum() for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, dim, rows, columns]`` to the same shape."""
        x = self.sums[0](x, self.attention(x))
        x = self.sums[1](x, self.fc2(self.fc1(x)))
        result: Tensor = self.sums[2](x, self.across(x))
        return result


def activity(y: Tensor, uv: Tensor) -> Tensor:
    """0 where a frame is one colour within 6 luma samples around, 1 where it varies by two 8-bit levels or more.

    ``y`` ``[batch, 1, height, width]`` and ``uv`` ``[batch, 2, height / 2, width / 2]`` in, ``[batch, 1, height / 2,
    width / 2]`` out.
    """
    both = torch.cat((F.max_pool2d(y, 2), F.max_pool2d(-y, 2), uv, -uv), 1)  # highest, and lowest with its sign turned
    both = F.max_pool2d(F.max_pool2d(both, (1, 7), 1, (0, 3)), (7, 1), 1, (3, 0))
    spread = both[:, :1] + both[:, 1:2] + both[:, 2:3] + both[:, 4:5] + both[:, 3:4] + both[:, 5:6]
    return (spread * 128).clamp(0, 1)


def unfolded(x: Tensor, channels: int, rows: int, columns: int) -> Tensor:
    """Lay four groups of channels side by side as 2x2 positions: ``[b, 4 * channels, rows, columns]`` to
    ``[b, channels, 2 * rows, 2 * columns]``.

    It is ``F.pixel_shuffle`` but for the channels' order, by which whole groups move in memory: the kernel that moves
    single 8-bit integers takes half as long as a convolution. The sizes are told, since whoever asks ``x`` for them in
    an exported network makes floats of it.
    """
    t = x.permute(0, 2, 3, 1).reshape(-1, rows, columns, 2, 2 * channels).transpose(2, 3)
    return t.reshape(-1, 2 * rows, 2 * columns, channels).permute(0, 3, 1, 2)


class Lite(nn.Module):
    """A small IPT over a short temporal window.

    Input: ``y`` ``[batch, frames, height, width]`` in 0..1 and ``uv`` ``[batch, 2 * frames, height / 2, width / 2]``
    in -0.5..0.5 (all frames' U and V interleaved by frame: U0 V0 U1 V1 ...), height and width dividing by
    :data:`TOKEN`. Output: the centre frame's ``y`` ``[batch, 1, scale * height, scale * width]`` and ``uv``
    ``[batch, 2, scale * height / 2, scale * width / 2]``.
    """

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.config = c = config
        # The biases of tasks sit where tasks differ most for their size, at half resolution: see docs/tasks.md.
        self.head = Head(c.frames, c.half, c.tasks, c.rank)
        self.first = nn.Sequential(*(Pair(c.half, c.half_hidden, c.tasks, c.rank) for _ in range(c.first)))
        self.down = Conv(c.half, c.quarter, 2, 2)
        self.before = nn.Sequential(*(Pair(c.quarter, c.quarter_hidden) for _ in range(c.inner)))
        self.enter = Conv(c.quarter, c.dim, 2, 2)
        self.body = nn.Sequential(*(Block(c.dim, c.heads, c.ratio) for _ in range(c.depth)))
        self.leave = Conv(c.dim, 4 * c.quarter)
        self.behind = nn.Sequential(*(Pair(c.quarter, c.quarter_hidden) for _ in range(c.inner)))
        self.up = TaskConv(c.quarter, 4 * c.half, 1, c.tasks, c.rank)
        self.last = nn.Sequential(*(Pair(c.half, c.half_hidden, c.tasks, c.rank) for _ in range(c.last)))
        self.out = Conv(c.half, 6 * c.scale**2, 3)
        self.sum_quarter, self.sum_half = Sum(), Sum()
        self._start_quietly()

    def _start_quietly(self) -> None:
        """Begin as plain interpolation, with branches that are quiet beside the path they branch from."""
        gains: dict[nn.Conv2d, float] = {self.out: 0.0, self.leave: 0.3, self.up: 0.3}
        for module in self.modules():
            if isinstance(module, Pair):
                gains[module.b] = 0.1
            elif isinstance(module, Block):
                gains |= {module.attention.proj: 0.1, module.fc2: 0.1, module.across: 0.1}
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
                    module.weight *= gains.get(module, 1.0)
                    if module.bias is not None:
                        module.bias.zero_()

    def set_rounding(self, mode: str) -> None:
        """Put every :class:`Round` into a mode."""
        for module in self.modules():
            if isinstance(module, Round):
                module.mode = mode

    def set_mix(self, mix: Tensor | None) -> None:
        """Put the biases of a mix of tasks for each sample, ``[batch, tasks]``, in force, or the backbone alone."""
        for module in self.modules():
            if isinstance(module, TaskConv) and module.task_a is not None:
                module.mix = mix

    def output_parameters(self) -> list[nn.Parameter]:
        """Weights of the last layer: it sums hundreds of inputs, and wants a gentler learning rate."""
        return list(self.out.parameters())

    def forward(self, y: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
        """Restore or enlarge the centre frame of each window; see the class for shapes and ranges."""
        c = self.config
        half = self.first(self.head(y, uv))
        quarter = self.before(self.down(half))
        tokens = self.body(self.enter(quarter))
        rows, columns = y.shape[-2] // TOKEN, y.shape[-1] // TOKEN
        quarter = self.behind(self.sum_quarter(quarter, unfolded(self.leave(tokens), c.quarter, rows, columns)))
        half = self.last(self.sum_half(half, unfolded(self.up(quarter), c.half, 2 * rows, 2 * columns)))
        change = self.out(half)
        luma = 4 * c.scale**2
        base_y, base_uv = y[:, c.radius : c.radius + 1], uv[:, 2 * c.radius : 2 * c.radius + 2]
        if c.scale > 1:
            # a flat area is enlarged already; rounding inside an integer network would shift its colour
            change = change * activity(base_y, base_uv)
            base_y = F.interpolate(base_y, scale_factor=c.scale, mode="bilinear")
            base_uv = F.interpolate(base_uv, scale_factor=c.scale, mode="bilinear")
        return (
            base_y + F.pixel_shuffle(change[:, :luma], 2 * c.scale),
            base_uv + F.pixel_shuffle(change[:, luma : luma + 2 * c.scale**2], c.scale),
        )


def evened_out(y: Tensor, threshold: float, radius: int = 4) -> Tensor:
    """The sigma filter that the product runs after a network (``vsanimup/native/sigma.cpp``), along rows and columns.

    ``y`` ``[batch, 1, rows, columns]`` and ``threshold`` in units of luma's range. Weights have no gradient.
    """
    for dim in (3, 2):
        sides = (radius, radius, 0, 0) if dim == 3 else (0, 0, radius, radius)
        wide = F.pad(y, sides, mode="replicate")
        total, weight = torch.zeros_like(y), torch.full_like(y, threshold)
        for k in range(2 * radius + 1):
            if k == radius:
                continue
            difference = wide.narrow(dim, k, y.shape[dim]) - y
            share = F.relu(threshold - difference.detach().abs())
            total, weight = total + share * difference, weight + share
        y = y + total / weight
    return y
