"""A network as IPT is, small."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """A layer as in IPT."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.fc1, self.fc2 = nn.Linear(dim, 2 * dim), nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor, place: Tensor) -> Tensor:
        batch, count, dim = x.shape
        q, k, v = self.qkv(self.norm1(x) + place).reshape(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        shares = (q @ k.transpose(-2, -1) / (dim // self.heads) ** 0.5).softmax(-1)
        x = x + self.out((shares @ v).transpose(1, 2).reshape(batch, count, dim))
        result: Tensor = x + self.fc2(self.fc1(self.norm2(x)).relu())
        return result


class Ipt(nn.Module):
    """Patches through a head, tokens through layers, and a tail that doubles them."""

    def __init__(self, patch: int = 12, width: int = 8) -> None:
        super().__init__()
        self.head, self.dim = nn.Conv2d(3, width, 3, padding=1), width * 9
        self.place = nn.Parameter(torch.randn(1, (patch // 3) ** 2, self.dim) * 0.1)
        self.blocks = nn.ModuleList(Block(self.dim, 4) for _ in range(2))
        self.tail = nn.Sequential(nn.Conv2d(width, 4 * width, 3, padding=1), nn.PixelShuffle(2))
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        batch, width, side, _ = x.shape
        tokens = x.reshape(batch, width, side // 3, 3, side // 3, 3).permute(0, 2, 4, 1, 3, 5)
        tokens = tokens.reshape(batch, (side // 3) ** 2, self.dim)
        for block in self.blocks:
            tokens = block(tokens, self.place)
        grid = tokens.reshape(batch, side // 3, side // 3, width, 3, 3).permute(0, 3, 1, 4, 2, 5)
        result: Tensor = self.last(self.tail(x + grid.reshape(batch, width, side, side)))
        return result
