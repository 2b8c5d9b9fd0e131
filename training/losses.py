"""How far pictures are from each other: what training makes smaller, and what validation reports."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

CHROMA_WEIGHT = 0.5
"""Weight of the chroma planes' loss beside luma's: the eye, and every measure here, looks at luma."""
SSIM_WEIGHT = 0.12
"""Weight of 1 - SSIM: about half of the gradient; it keeps faint lines and textures that L1 gives up."""
FLOOR = 0.02
"""Added to a distance before its logarithm: without it, what is perfect already would weigh most."""


def charbonnier(a: Tensor, b: Tensor) -> Tensor:
    """Smooth L1 distance (Charbonnier) of each sample, ``[batch]``."""
    return ((a - b).square() + 1e-6).sqrt().mean((1, 2, 3))


def deviation(a: Tensor, b: Tensor) -> Tensor:
    """Root of the mean square of the difference of each sample, ``[batch]``; PSNR is its logarithm."""
    return ((a - b).square().mean((1, 2, 3)) + 1e-6).sqrt()


def ssim(a: Tensor, b: Tensor, side: int = 7) -> Tensor:
    """Structural similarity, ``[batch]``, of luma planes ``[batch, 1, rows, columns]`` in 0..1, uniform window.

    Windows at every third sample: all of them took a quarter of a training step.
    """

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, side, 3)

    mean_a, mean_b = mean(a), mean(b)
    var_a, var_b, both = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2, mean(a * b) - mean_a * mean_b
    above = (2 * mean_a * mean_b + 0.01**2) * (2 * both + 0.03**2)
    return (above / ((mean_a**2 + mean_b**2 + 0.01**2) * (var_a + var_b + 0.03**2))).mean((1, 2, 3))


def distance(y: Tensor, uv: Tensor, goal_y: Tensor, goal_uv: Tensor, ssim_weight: float = SSIM_WEIGHT) -> Tensor:
    """Training loss between pictures: mean over samples of the logarithm of a distance.

    The distance is half L1, which even areas want, and half L2, which lines want. Of the logarithm, as PSNR is: haze is
    a hundred times as far from its goal as a compressed picture, and would otherwise be all that the optimizer sees.
    """
    y = y.float()
    pixels = (charbonnier(y, goal_y) + deviation(y, goal_y)) / 2 + CHROMA_WEIGHT * charbonnier(uv.float(), goal_uv)
    return (pixels + ssim_weight * (1 - ssim(y, goal_y)) + FLOOR).log().mean()


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pictures in 0..1."""
    return -10 * float(torch.log10((a.float().clamp(0, 1) - b).square().mean().clamp_min(1e-7)))
