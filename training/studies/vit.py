"""A transformer for restoration whose steps get cheaper with fewer tokens, and the ways to give it fewer.

The body of the lite networks is a fifth of their work, and their convolutions cannot skip single tokens. So sequence
compression is studied on a network after IPT (arXiv 2012.00364) for the same windows: a conv head, one linear embedding
a patch, transformer layers with attention all over the crop, and the same way back. Nine tenths of its work are in
what is done once a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsanimup.architectures.lite.network import TOKEN, contrast_basis
from vsanimup.tasks import TASKS

CROP = 96
"""Side of a whole training crop, in luma samples."""
PARTS = 2
"""Patches of one picture that the contrastive loss pulls together, along each side."""


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """How much of a batch a training step computes."""

    drop: float = 0.0
    """Share of the tokens that is dropped at random: the body never sees them, and the loss leaves them out."""
    patch: int = TOKEN
    """Side of a token in luma samples: 8, 12, 16 or 24."""
    windows: int = 4
    """Quarters of each crop (48x48) that are cut out and kept: 4, 2 or 1. The head and the tail are cut too."""
    crops: int = 0
    """Crops of the batch that are kept, 0 for all: not a compression but a smaller batch, for comparison."""

    @property
    def label(self) -> str:
        """Short name for tables."""
        parts = (
            f"drop {self.drop:g}" if self.drop else "",
            f"patch {self.patch}" if self.patch != TOKEN else "",
            f"{self.windows} of 4 windows" if self.windows != 4 else "",
            f"{self.crops} crops" if self.crops else "",
        )
        return ", ".join(part for part in parts if part) or "whole"

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of what is left of a crop, in luma samples."""
        return (CROP if self.windows == 4 else CROP // 2), (CROP // 2 if self.windows == 1 else CROP)


WHOLE = Strategy()


@cache
def resize_matrix(small: int, large: int) -> Tensor:
    """Bilinear enlargement of flattened ``small`` x ``small`` patches, ``[large * large, small * small]``."""
    basis = torch.eye(small * small).reshape(small * small, 1, small, small)
    return F.interpolate(basis, size=(large, large), mode="bilinear").reshape(small * small, -1).T.contiguous()


@cache
def inverse_matrix(small: int, large: int) -> Tensor:
    """Pseudo-inverse of :func:`resize_matrix`."""
    with torch.autocast("cpu", enabled=False):
        inverse: Tensor = torch.linalg.pinv(resize_matrix(small, large))
    return inverse


def resize_embedding(weight: Tensor, patch: int) -> Tensor:
    """Embedding weights ``[..., a * a]`` for patches of ``patch`` x ``patch`` instead (FlexiViT, arXiv 2212.08013).

    By the pseudo-inverse: an enlarged patch gives the token that the small one gave, which plain resizing of the
    weights does not.
    """
    side = round(weight.shape[-1] ** 0.5)
    return weight if patch == side else weight @ inverse_matrix(side, patch)


def resize_picture(weight: Tensor, patch: int) -> Tensor:
    """Weights ``[..., a * a]`` that draw a patch from a token, for patches of ``patch`` x ``patch``: drawn larger."""
    side = round(weight.shape[-1] ** 0.5)
    return weight if patch == side else weight @ resize_matrix(side, patch).T


@dataclass(frozen=True, kw_only=True)
class VitConfig:
    """Shape of a :class:`Vit`."""

    radius: int = 2
    """Frames seen on each side of the centre frame."""
    width: int = 16
    """Channels of the conv head and tail, at half luma resolution."""
    dim: int = 96
    """Channels of a token."""
    depth: int = 6
    """Transformer layers; the first half is the encoder, whose tokens the contrastive loss compares."""
    heads: int = 4
    ratio: int = 2
    """Hidden channels of the feed-forward layer, as a multiple of ``dim``."""
    tasks: int = len(TASKS)


class Layer(nn.Module):
    """One transformer layer as in IPT: norms before, a rectifier in the feed-forward part."""

    def __init__(self, dim: int, heads: int, ratio: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.q, self.k, self.v = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        self.proj = nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, ratio * dim), nn.Linear(ratio * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens ``[batch, tokens, dim]`` to the same shape."""
        b, n, d = x.shape
        t = self.norm1(x)
        q, k, v = (
            part(t).reshape(b, n, self.heads, d // self.heads).transpose(1, 2) for part in (self.q, self.k, self.v)
        )
        # written out, as the counter of operations does not know the fused kernel of every CPU
        mixed = ((q * (d // self.heads) ** -0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
        x = x + self.proj(mixed.transpose(1, 2).reshape(b, n, d))
        fed: Tensor = self.fc2(F.relu(self.fc1(self.norm2(x))))
        return x + fed


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a network makes of a batch."""

    y: Tensor
    """Restored centre frames ``[batch, 1, rows, columns]``."""
    uv: Tensor
    """Their chroma ``[batch, 2, rows / 2, columns / 2]``."""
    kept: Tensor | None = None
    """1 where a sample's token was computed and 0 elsewhere, ``[batch, 1, rows / patch, columns / patch]``."""
    codes: Tensor | None = None
    """Mean of the encoder's tokens in the 2x2 parts of each sample, ``[batch, 4, dim]``; 0 where all are out."""


class Vit(nn.Module):
    """Conv head, patch embedding, transformer, and back to the planes; input as that of :class:`Lite`."""

    basis: Tensor

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = c = config
        side, frames = TOKEN // 2, 2 * config.radius + 1
        self.register_buffer("basis", contrast_basis(frames)[..., None, None], persistent=False)
        self.head = nn.Conv2d(6 * frames, c.width, 3, padding=1)
        self.embed = nn.Parameter(torch.randn(c.dim, c.width * side * side) * (c.width * side * side) ** -0.5)
        self.position = nn.Parameter(0.02 * torch.randn(1, c.dim, (CROP // TOKEN) ** 2))
        self.task = nn.Parameter(torch.zeros(1, c.tasks, c.dim))
        self.body = nn.ModuleList(Layer(c.dim, c.heads, c.ratio) for _ in range(c.depth))
        self.norm = nn.LayerNorm(c.dim)
        self.leave = nn.Parameter(0.3 * torch.randn(c.dim, c.width * side * side) * c.dim**-0.5)
        self.out = nn.Conv2d(c.width, 6, 3, padding=1)
        with torch.no_grad():
            self.out.weight *= 0.1  # begins near the plain centre frame, but lets gradients through from the first step
            self.out.bias.zero_()  # type: ignore[union-attr]
            for layer in self.body:
                assert isinstance(layer, Layer)
                layer.proj.weight *= 0.3
                layer.fc2.weight *= 0.3

    def output_parameters(self) -> list[nn.Parameter]:
        """Weights of the last layer, which wants a gentler learning rate."""
        return list(self.out.parameters())

    def _positions(self, patch: int, places: Tensor, rows: int, columns: int) -> Tensor:
        """Position codes of the tokens of each sample, ``[batch, rows * columns, dim]``.

        ``places`` ``[batch, 2]``: top and left of each sample within a whole crop, in luma samples.
        """
        side = CROP // TOKEN
        table = self.position.reshape(1, -1, side, side)
        if patch != TOKEN:
            table = F.interpolate(table, size=(CROP // patch,) * 2, mode="bilinear", antialias=True)
        table = table[0].permute(1, 2, 0)
        tops, lefts = (places // patch).T
        down = tops[:, None, None] + torch.arange(rows)[:, None]
        right = lefts[:, None, None] + torch.arange(columns)[None]
        return table[down.expand(-1, rows, columns), right.expand(-1, rows, columns)].flatten(1, 2)

    def forward(
        self,
        y: Tensor,
        uv: Tensor,
        mix: Tensor,
        places: Tensor,
        strategy: Strategy = WHOLE,
        generator: torch.Generator | None = None,
    ) -> Output:
        """Restore the centre frames of windows, with a ``mix`` of tasks ``[batch, tasks]`` each."""
        c, half_patch = self.config, strategy.patch // 2
        with torch.autocast("cpu", enabled=False):  # small differences of large numbers
            planes = F.conv2d(torch.cat((F.pixel_unshuffle(y - 0.5, 2), uv), 1), self.basis)
        half = self.head(planes)
        b, width, height, breadth = half.shape
        rows, columns = height // half_patch, breadth // half_patch
        whole = rows * columns
        count = max(1, round((1 - strategy.drop) * whole))
        patches = F.unfold(half, half_patch, stride=half_patch).transpose(1, 2)
        index = None
        if count < whole:
            index = torch.rand(b, whole, generator=generator).argsort(1)[:, :count, None]
            patches = patches.gather(1, index.expand(-1, -1, patches.shape[2]))
        weight = resize_embedding(self.embed.reshape(c.dim, width, -1), half_patch).flatten(1)
        where = self._positions(strategy.patch, places, rows, columns)
        if index is not None:
            where = where.gather(1, index.expand(-1, -1, c.dim))
        tokens = patches @ weight.T.to(patches.dtype) + where + mix[:, None] @ self.task
        codes = None
        for number, layer in enumerate(self.body, 1):
            tokens = layer(tokens)
            if number == c.depth // 2:
                codes = self._codes(tokens, index, rows, columns)
        weight = resize_picture(self.leave.reshape(c.dim, width, -1), half_patch).flatten(1)
        drawn = self.norm(tokens) @ weight
        kept = None
        if index is not None:
            kept = torch.zeros(b, whole).scatter(1, index[..., 0], 1.0).reshape(b, 1, rows, columns)
            empty = drawn.new_zeros(b, whole, drawn.shape[2])
            drawn = empty.scatter(1, index.expand(-1, -1, drawn.shape[2]), drawn)
        back = F.fold(drawn.transpose(1, 2), (height, breadth), half_patch, stride=half_patch)
        change = self.out(half + back)
        r = c.radius
        return Output(
            y=y[:, r : r + 1] + F.pixel_shuffle(change[:, :4], 2),
            uv=uv[:, 2 * r : 2 * r + 2] + change[:, 4:],
            kept=kept,
            codes=codes,
        )

    @staticmethod
    def _codes(tokens: Tensor, index: Tensor | None, rows: int, columns: int) -> Tensor:
        part = torch.arange(rows)[:, None] * PARTS // rows * PARTS + torch.arange(columns)[None] * PARTS // columns
        member = F.one_hot(part.flatten(), PARTS * PARTS).to(tokens.dtype).expand(len(tokens), -1, -1)
        if index is not None:
            member = member.gather(1, index.expand(-1, -1, PARTS * PARTS))
        return member.transpose(1, 2) @ tokens / member.sum(1).clamp_min(1)[..., None]
