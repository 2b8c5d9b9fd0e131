"""What a sample was before it was rounded to one of few levels: a small convolutional network, in two scales.

It sees a plane in distances of its levels, and what the smoothing of ramps makes of it (``vsanimup/video/deband.py``),
whose result it corrects where a picture has texture. Half of its layers work on blocks of 2x2 samples, half on 4x4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MEAN = 17
"""Samples across and down that a sample is seen against: levels themselves say nothing."""


@dataclass(frozen=True, kw_only=True)
class BandsConfig:
    """Shape of the network."""

    half: int = 16
    """Channels of blocks of 2x2 samples."""
    quarter: int = 32
    """Channels of blocks of 4x4 samples."""
    depth: int = 4
    """Layers on these."""


class Bands(nn.Module):
    """See the module. Rows and columns must divide by 4; what is within 32 samples of a sample tells of it."""

    def __init__(self, config: BandsConfig) -> None:
        super().__init__()
        self.config = config
        half, quarter = config.half, config.quarter
        self.head = nn.Conv2d(4 * 3 + 1, half, 3, padding=1)
        self.down = nn.Conv2d(half, quarter, 2, stride=2)
        self.body = nn.ModuleList(nn.Conv2d(quarter, quarter, 3, padding=1) for _ in range(config.depth))
        self.up = nn.Conv2d(quarter, 4 * half, 1)
        self.middle = nn.Conv2d(half, half, 3, padding=1)
        self.tail = nn.Conv2d(half, 4, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        assert self.tail.bias is not None
        nn.init.zeros_(self.tail.bias)

    def forward(self, plane: Tensor, smooth: Tensor, distance: Tensor) -> Tensor:
        """What to add to a plane, in distances of its levels, ``[batch, 1, rows, columns]``.

        ``plane`` and ``smooth``, what smoothing adds to it, are in the same unit and shape. ``distance`` ``[batch, 1,
        1, 1]`` is that of the levels, 1 for 16 steps of 8 bits.
        """
        reach = MEAN // 2
        around = F.pad(plane, (reach, reach, reach, reach), mode="replicate")
        apart = plane - F.avg_pool2d(F.avg_pool2d(around, (MEAN, 1), 1), (1, MEAN), 1)
        seen = torch.cat((apart.clamp(-2, 2), (apart / 4).clamp(-3, 3), 2 * smooth), 1)
        blocks = F.pixel_unshuffle(seen, 2)
        x = F.relu(self.head(torch.cat((blocks, distance + torch.zeros_like(blocks[:, :1])), 1)))
        coarse = F.relu(self.down(x))
        for layer in self.body:
            coarse = coarse + F.relu(layer(coarse))
        x = x + F.pixel_shuffle(self.up(coarse), 2)
        x = x + F.relu(self.middle(x))
        return smooth + F.pixel_shuffle(self.tail(x), 2)
