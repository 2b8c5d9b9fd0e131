"""Means of a plane's blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def block_means(plane: Array, high: int, wide: int) -> Array:
    """Means of the blocks of ``high`` x ``wide`` samples that fill a plane, row by row, in one dimension."""
    # rows first: sums along the memory are slow for so few samples
    sums = plane.reshape(-1, high, plane.shape[1]).sum(1).reshape(-1, wide).sum(1)
    sums *= np.float32(1 / (high * wide))
    return sums
