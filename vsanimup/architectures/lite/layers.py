"""Layers whose weights and results are rounded as 8-bit kernels round them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsanimup.networks.modulation import LEVELS


class RoundedTo256(torch.autograd.Function):
    """Values at the nearest of 256 levels; the gradient is left out beyond them and is as without rounding within.

    As ``torch.fake_quantize_per_tensor_affine``, which takes a sixth of a training step on the CPU; this a twentieth.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, scale: float) -> Tensor:
        """Map a tensor to one of the same shape; ``low`` is the lowest level, ``scale`` what lies between two."""
        ctx.save_for_backward(x)
        ctx.ends = (low, low + 255 * scale)
        return x.mul(1 / scale).round_().mul_(scale).clamp_(*ctx.ends)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Gradient of the tensor."""
        (x,) = ctx.saved_tensors
        low, high = ctx.ends
        gradient: Tensor = torch.ops.aten.hardtanh_backward(gradients[0], x, low, high)
        return gradient, None, None


class Round(nn.Module):
    """Rounds a tensor to the 256 levels that an 8-bit kernel holds it in, once its range is known.

    Rounding is left out of the gradient, but values beyond the range have none (quantisation-aware training, Jacob et
    al., arXiv 1712.05877). A range always holds zero, which padding needs.
    """

    low: Tensor
    high: Tensor
    OFF, WATCH, ROUND, CLIP = "off", "watch", "round", "clip"
    mode = OFF
    """``WATCH`` moves the range towards what is seen, ``ROUND`` rounds, ``CLIP`` does but cut off what lies beyond."""
    OUTLIERS = 1e-4
    """Share of the values at each end of what is seen that may be clipped."""
    PACE = 0.02
    """Share of the way that one step of ``WATCH`` moves a range."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Map a tensor to one of the same shape."""
        if self.mode == self.WATCH:
            sample = x.detach().flatten()[:: max(1, x.numel() // 50_000)].float()
            ends = torch.quantile(sample, sample.new_tensor([self.OUTLIERS, 1 - self.OUTLIERS]))
            # a mean over steps: the widest range ever seen leaves half of the levels without use
            pace = self.PACE if bool(self.high > self.low) else 1.0
            self.low.lerp_(ends[0].clamp_max(0), pace)
            self.high.lerp_(ends[1].clamp_min(0), pace)
        elif self.mode == self.ROUND:
            scale = max((float(self.high) - float(self.low)) / 255, 1e-8)
            levels_below_zero = min(255, max(0, round(-float(self.low) / scale)))
            result: Tensor = RoundedTo256.apply(x, -levels_below_zero * scale, scale)
            return result
        elif self.mode == self.CLIP:
            return x.clamp(float(self.low), float(self.high))
        return x


class Sum(nn.Module):
    """A sum whose result is rounded."""

    def __init__(self) -> None:
        super().__init__()
        self.round = Round()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Add two tensors."""
        result: Tensor = self.round(a + b)
        return result


def free_of(weights: Tensor, mean: Tensor) -> Tensor:
    """The part of ``weights`` ``[outputs, inputs, rows, columns]`` that gives 0 for an even input of these values."""
    size = weights.shape[2] * weights.shape[3] * mean.square().sum()
    share = (weights.sum((2, 3)) @ mean) / size.clamp_min(1e-12)
    return weights - share[:, None, None, None] * mean[:, None, None]


class Conv(nn.Conv2d):
    """A convolution that keeps the size or divides it by its stride, whose weight and result are rounded."""

    mean: Tensor | None = None
    """Mean of the last input by channel, ``[inputs]``, of a layer in front of a rectifier in training."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, relu: bool = False) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=0 if stride > 1 else kernel // 2)
        self.relu = relu
        self.round = Round()

    def rounded_weight(self) -> Tensor:
        """The weight as 8-bit kernels have it: a scale an output channel, half the range of integers."""
        if self.round.mode != Round.ROUND:
            return self.weight
        scale = self.weight.detach().abs().amax((1, 2, 3)).clamp_min(1e-12) / LEVELS
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(self.weight, scale, zero, 0, -LEVELS, LEVELS)

    def convolved(self, x: Tensor) -> Tensor:
        """The plain convolution."""
        return F.conv2d(x, self.rounded_weight(), self.bias, self.stride, self.padding)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``[batch, inputs, rows, columns]``."""
        if self.relu and self.training:
            self.mean = x.detach().float().mean((0, 2, 3))
        x = self.convolved(x)
        result: Tensor = self.round(F.relu(x) if self.relu else x)
        return result
