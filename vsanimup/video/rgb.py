"""Between YUV, as video has it, and RGB, as networks trained on photographs and drawings have it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

COEFFICIENTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
"""Weights of red and blue in luma, by ``_Matrix`` (ITU-T H.273)."""


def to_rgb(yuv: Array, matrix: int) -> Array:
    """Luma 0..1 and chroma -0.5..0.5, ``[3, rows, columns]``, to RGB 0..1. ``matrix`` is one of COEFFICIENTS."""
    red, blue = COEFFICIENTS[matrix]
    y, u, v = yuv
    rgb = np.empty_like(yuv)
    rgb[0] = y + np.float32(2 * (1 - red)) * v
    rgb[2] = y + np.float32(2 * (1 - blue)) * u
    rgb[1] = (y - np.float32(red) * rgb[0] - np.float32(blue) * rgb[2]) * np.float32(1 / (1 - red - blue))
    return rgb


def to_yuv(rgb: Array, matrix: int) -> Array:
    """The way back from :func:`to_rgb`."""
    red, blue = COEFFICIENTS[matrix]
    r, g, b = rgb
    yuv = np.empty_like(rgb)
    yuv[0] = np.float32(red) * r + np.float32(1 - red - blue) * g + np.float32(blue) * b
    yuv[1] = (b - yuv[0]) * np.float32(0.5 / (1 - blue))
    yuv[2] = (r - yuv[0]) * np.float32(0.5 / (1 - red))
    return yuv
