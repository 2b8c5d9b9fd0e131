"""The lite networks: a small image-processing transformer over patch tokens (IPT, arXiv 2012.00364).

Conv head, transformer body with windowed attention over 4x4-pixel tokens, conv tail, on planes of a
YUV 4:2:0 frame at their own resolutions: nothing is spent on chroma samples that the video does not have.
One class serves restoration (``scale=1``) and enlargement (``scale=2``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WINDOW = 8
"""Side of an attention window, in tokens."""
TOKEN = 4
"""Side of a token, in luma samples."""
ALIGN = WINDOW * TOKEN
"""Luma width and height of the network's input must divide by this."""


@dataclass(frozen=True, kw_only=True)
class LiteConfig:
    """Shape of a lite network."""

    scale: int = 1
    """Enlargement: 1 or 2."""
    radius: int = 1
    """Frames seen on each side of the centre frame."""
    width: int = 32
    """Channels of head and tail, at half luma resolution."""
    dim: int = 96
    """Channels of a token."""
    depth: int = 3
    """Transformer blocks."""
    heads: int = 3
    """Attention heads."""
    ratio: int = 2
    """Hidden channels of the feed-forward layer, as a multiple of ``dim``."""

    @property
    def frames(self) -> int:
        """Frames in the temporal window."""
        return 2 * self.radius + 1

    def to_dict(self) -> dict[str, int]:
        """Plain fields, for a checkpoint or a manifest."""
        return asdict(self)


def act(x: Tensor) -> Tensor:
    """Leaky rectifier: as cheap as ReLU, fused into the convolutions before it, and no channel can die."""
    return F.leaky_relu(x, 0.1)


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


class Head(nn.Conv2d):
    """A 3x3 convolution of the unshuffled window whose weight lives in :func:`contrast_basis`."""

    basis: Tensor

    def __init__(self, frames: int, width: int) -> None:
        super().__init__(6 * frames, width, 3, padding=1)
        self.register_buffer("basis", contrast_basis(frames), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[batch, 6 * frames, rows, columns]`` to ``[batch, width, rows, columns]``."""
        return F.conv2d(x, self.plain_weight(), self.bias, padding=1)

    def plain_weight(self) -> Tensor:
        """The weight for input in the pixel basis."""
        return torch.einsum("ocyx,ci->oiyx", self.weight, self.basis)

    def folded(self) -> nn.Conv2d:
        """The same map as an ordinary convolution, for export."""
        out, channels = self.weight.shape[:2]
        conv = nn.Conv2d(channels, out, 3, padding=1)
        assert self.bias is not None and conv.bias is not None
        with torch.no_grad():
            conv.weight.copy_(self.plain_weight())
            conv.bias.copy_(self.bias)
        return conv


class WindowAttention(nn.Module):
    """Multi-head self-attention among the 64 tokens of one window, with a learned bias a token pair."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.proj = nn.Linear(dim, dim)
        self.bias = nn.Parameter(torch.zeros(heads, WINDOW * WINDOW, WINDOW * WINDOW))

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens ``[windows, 64, dim]`` to the same shape."""
        n, tokens, dim = x.shape
        q, k, v = (part.reshape(n, tokens, self.heads, dim // self.heads).transpose(1, 2)
                   for part in (self.q(x), self.k(x), self.v(x)))  # fmt: skip
        # written out, not F.scaled_dot_product_attention: plain operators export the same everywhere
        weights = (q @ k.transpose(-2, -1) + self.bias).softmax(-1)
        result: Tensor = self.proj((weights @ v).transpose(1, 2).reshape(n, tokens, dim))
        return result


class Block(nn.Module):
    """Pre-norm transformer layer over windows, then a 3x3 convolution that carries across their borders."""

    def __init__(self, dim: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = WindowAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, ratio * dim)
        self.fc2 = nn.Linear(ratio * dim, dim)
        self.mix = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map features ``[batch, dim, rows, columns]`` (rows, columns divide by 8) to the same shape."""
        b, c, h, w = x.shape
        rows, columns = h // WINDOW, w // WINDOW
        # two moves of long runs, NCHW -> NHWC -> windows: several times faster than one six-axis permutation
        t = x.permute(0, 2, 3, 1).reshape(b, rows, WINDOW, columns, WINDOW * c).transpose(2, 3)
        t = t.reshape(b * rows * columns, WINDOW * WINDOW, c)
        t = t + self.attention(self.norm1(t))
        t = t + self.fc2(act(self.fc1(self.norm2(t))))
        t = t.reshape(b, rows, columns, WINDOW, WINDOW * c).transpose(2, 3).reshape(b, h, w, c)
        x = t.permute(0, 3, 1, 2)
        mixed: Tensor = self.mix(act(x))
        return x + mixed


class Lite(nn.Module):
    """A small IPT: conv head, windowed transformer body, conv tail, over a short temporal window.

    Input: ``y`` ``[batch, frames, height, width]`` in 0..1 and ``uv`` ``[batch, 2 * frames, height / 2, width / 2]``
    in -0.5..0.5 (all frames' U and V interleaved by frame: U0 V0 U1 V1 ...), height and width dividing by
    :data:`ALIGN`. Output: the centre frame's ``y`` ``[batch, 1, scale * height, scale * width]`` and ``uv``
    ``[batch, 2, scale * height / 2, scale * width / 2]``.
    """

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.config = config
        width, dim, frames = config.width, config.dim, config.frames
        self.head: nn.Conv2d = Head(frames, width)
        self.enter = nn.Conv2d(width, dim, 2, stride=2)
        self.body = nn.ModuleList(Block(dim, config.heads, config.ratio) for _ in range(config.depth))
        self.leave = nn.Conv2d(dim, 4 * width, 1)
        self.tail = nn.Conv2d(width, width, 3, padding=1)
        self.luma = nn.Conv2d(width, 4 * config.scale**2, 3, padding=1)
        self.chroma = nn.Conv2d(width, 2 * config.scale**2, 3, padding=1)
        self._start_small()

    def _start_small(self) -> None:
        """Begin as plain interpolation, with branches that are quiet beside the path they branch from."""
        quiet: list[nn.Linear | nn.Conv2d] = [self.leave, self.tail]
        silent: list[nn.Linear | nn.Conv2d] = [self.luma, self.chroma]
        for block in self.body:
            assert isinstance(block, Block)
            quiet += [block.attention.proj, block.fc2]
            silent += [block.mix]
        with torch.no_grad():
            for layer in quiet + silent:
                layer.weight *= 0.1 if layer in quiet else 0.0
                if layer.bias is not None:
                    layer.bias.zero_()

    def output_parameters(self) -> list[nn.Parameter]:
        """Weights of the last layers: they sum hundreds of inputs, and want a gentler learning rate."""
        return [*self.luma.parameters(), *self.chroma.parameters()]

    def forward(self, y: Tensor, uv: Tensor) -> tuple[Tensor, Tensor]:
        """Restore or enlarge the centre frame of each window; see the class for shapes and ranges."""
        c = self.config
        x = torch.cat((F.pixel_unshuffle(y - 0.5, 2), uv), 1)
        head = self.head(x)
        x = self.enter(act(head))
        for block in self.body:
            x = block(x)
        x = F.pixel_shuffle(self.leave(x), 2) + head
        x = act(x + self.tail(act(x)))
        base_y, base_uv = y[:, c.radius : c.radius + 1], uv[:, 2 * c.radius : 2 * c.radius + 2]
        if c.scale > 1:
            base_y = F.interpolate(base_y, scale_factor=c.scale, mode="bilinear")
            base_uv = F.interpolate(base_uv, scale_factor=c.scale, mode="bilinear")
        y = base_y + F.pixel_shuffle(self.luma(x), 2 * c.scale)
        uv = base_uv + F.pixel_shuffle(self.chroma(x), c.scale)
        return y, uv
