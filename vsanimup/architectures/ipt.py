"""The Image Processing Transformer of 2021 (arXiv 2012.00364) for one task, its parameters named as in checkpoints.

Written after the paper and the layout of the checkpoints. Patches are cut and joined by reshape and transpose alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsanimup.architectures.animatelcm.layers import FloatLayerNorm, attend

RGB_RANGE = 255
"""Values that the checkpoints were trained on go up to this."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of a network; the published ones are 64, 3, 16, 12, 12, 12 and 2304."""

    features: int
    """Channels of head and tail."""
    patch_dim: int
    """Samples along a token's side."""
    side: int
    """Tokens along a patch's side."""
    heads: int
    """Of attention."""
    encoders: int
    decoders: int
    """Layers."""
    hidden: int
    """Width of the feed-forward layers."""
    scale: int
    """Enlargement, 1 to 4."""
    index: int = 0
    """Of head and tail in the checkpoint."""

    @property
    def width(self) -> int:
        """Numbers a token."""
        return self.features * self.patch_dim**2

    @property
    def patch(self) -> int:
        """Samples along a patch's side."""
        return self.side * self.patch_dim


class Projections(nn.Module):
    """Attention ``[batch, tokens, width]`` whose projections have no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.out_proj = nn.Linear(width, width, bias=False)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        q, k, v = self.in_proj_weight.chunk(3)
        mixed = attend(F.linear(query, q), F.linear(key, k), F.linear(value, v), self.heads)
        return F.linear(mixed, self.out_proj.weight)


class Layer(nn.Module):
    """What encoder and decoder layers have in common."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.self_attn = Projections(sizes.width, sizes.heads)
        self.linear1 = nn.Linear(sizes.width, sizes.hidden)
        self.linear2 = nn.Linear(sizes.hidden, sizes.width)
        self.norm1 = FloatLayerNorm(sizes.width)
        self.norm2 = FloatLayerNorm(sizes.width)

    def forward_part(self, x: Tensor) -> Tensor:
        """The feed-forward layer."""
        return self.linear2(F.relu(self.linear1(x)))  # type: ignore[no-any-return]


class EncoderLayer(Layer):
    """Tokens look at one another; each norm stands before what it is for."""

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm1(x)
        x = x + self.self_attn(normed, normed, normed)
        return x + self.forward_part(self.norm2(x))


class DecoderLayer(Layer):
    """Tokens look at one another and then at the encoder's, led by the task's query."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__(sizes)
        self.multihead_attn = Projections(sizes.width, sizes.heads)
        self.norm3 = FloatLayerNorm(sizes.width)

    def forward(self, x: Tensor, memory: Tensor, task: Tensor) -> Tensor:
        normed = self.norm1(x)
        x = x + self.self_attn(normed + task, normed + task, normed)
        x = x + self.multihead_attn(self.norm2(x) + task, memory, memory)
        return x + self.forward_part(self.norm3(x))


class Positions(nn.Module):
    """The learned code of each token's place."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.pe = nn.Embedding(sizes.side**2, sizes.width)


class Stack(nn.Module):
    """Layers one after the other."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


class Body(nn.Module):
    """The transformer, from features ``[batch, features, patch, patch]`` to the same."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        width = sizes.width
        self.linear_encoding = nn.Linear(width, width)
        self.mlp_head = nn.Sequential(  # a place is kept for the dropout that training has here
            nn.Linear(width, sizes.hidden), nn.Identity(), nn.ReLU(), nn.Linear(sizes.hidden, width)
        )
        self.query_embed = nn.Embedding(1, width * sizes.side**2)
        self.position_encoding = Positions(sizes)
        self.encoder = Stack([EncoderLayer(sizes) for _ in range(sizes.encoders)])
        self.decoder = Stack([DecoderLayer(sizes) for _ in range(sizes.decoders)])

    def forward(self, features: Tensor) -> Tensor:
        x = self._tokens(features)
        x = self.linear_encoding(x) + x
        x = x + self.position_encoding.pe.weight
        for layer in self.encoder.layers:
            x = layer(x)
        memory, task = x, self.query_embed.weight.reshape(-1, self.sizes.width)
        for layer in self.decoder.layers:
            x = layer(x, memory, task)
        return self._picture(self.mlp_head(x) + x)

    def _tokens(self, features: Tensor) -> Tensor:
        """A token for each small square of features: channels first, then its rows and columns."""
        s = self.sizes
        x = features.reshape(-1, s.features, s.side, s.patch_dim, s.side, s.patch_dim)
        return x.permute(0, 2, 4, 1, 3, 5).reshape(-1, s.side**2, s.width)

    def _picture(self, tokens: Tensor) -> Tensor:
        """The way back from :meth:`_tokens`."""
        s = self.sizes
        x = tokens.reshape(-1, s.side, s.side, s.features, s.patch_dim, s.patch_dim)
        return x.permute(0, 3, 1, 4, 2, 5).reshape(-1, s.features, s.patch, s.patch)


class Residual(nn.Module):
    """Two convolutions and a way past them."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(features, features, 5, padding=2), nn.ReLU(), nn.Conv2d(features, features, 5, padding=2)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + x  # type: ignore[no-any-return]


def enlarger(features: int, scale: int) -> nn.Sequential:
    """Convolutions and pixel shuffles that enlarge by ``scale``; 4 is twice 2, 1 is nothing."""
    steps = {1: [], 2: [2], 3: [3], 4: [2, 2]}[scale]
    layers: list[nn.Module] = []
    for step in steps:
        layers += [nn.Conv2d(features, step**2 * features, 3, padding=1), nn.PixelShuffle(step)]
    return nn.Sequential(*layers)


class Ipt(nn.Module):
    """RGB patches in 0..1, ``[batch, 3, patch, patch]``, to the same, ``scale`` times as large."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        features = sizes.features
        self.sub_mean, self.add_mean = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        head = nn.Sequential(nn.Conv2d(3, features, 3, padding=1), Residual(features), Residual(features))
        tail = nn.Sequential(enlarger(features, sizes.scale), nn.Conv2d(features, 3, 3, padding=1))
        self.place = str(sizes.index)
        self.head = nn.ModuleDict({self.place: head})
        self.body = Body(sizes)
        self.tail = nn.ModuleDict({self.place: tail})

    def forward(self, image: Tensor) -> Tensor:
        kind = self.sub_mean.weight.dtype
        x = self.head[self.place](self.sub_mean((image * RGB_RANGE).to(kind)))
        x = self.add_mean(self.tail[self.place](self.body(x) + x))
        result: Tensor = x.float() * (1 / RGB_RANGE)
        return result
