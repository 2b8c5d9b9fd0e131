"""The shape of isolated steps: how sharp they are and how far they overshoot."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

SIZE: Final = 12
"""Numbers that :func:`edge_shapes` gives."""
_LEAST: Final = 12
"""Edges below which nothing is said."""
_MOST: Final = 2500
"""Edges that are looked at."""


def edge_shapes(picture: Array) -> Array:
    """Statistics of the steps along the last axis of ``[tiles, rows, columns]`` in 8-bit steps, float32 ``[SIZE]``.

    Steps are taken as profiles of twelve samples, turned so that they rise, from 0 (dark side, away from the step)
    to 1. Zeros where there are too few.
    """
    steps = np.diff(picture, axis=2)
    size = np.abs(steps)
    inner = size[:, :, 5:-5]
    peak = (inner > 10) & (inner >= size[:, :, 4:-6]) & (inner > size[:, :, 6:-4])
    found = np.flatnonzero(peak)
    result = np.zeros(SIZE, np.float32)
    if len(found) < _LEAST:
        return result
    found = found[:: len(found) // _MOST + 1]
    tile, row, column = np.unravel_index(found, peak.shape)
    start = (tile * picture.shape[1] + row) * picture.shape[2] + column
    profiles = picture.reshape(-1)[start[:, None] + np.arange(12)]
    falling = profiles[:, 6] < profiles[:, 5]
    profiles[falling] = profiles[falling, ::-1]
    low, high = profiles[:, :3].mean(1), profiles[:, 9:].mean(1)
    height = high - low
    calm = np.maximum(np.ptp(profiles[:, :3], axis=1), np.ptp(profiles[:, 9:], axis=1))
    alone = (height > 20) & (calm < 0.2 * height)
    if np.count_nonzero(alone) < _LEAST:
        return result
    scaled = (profiles[alone] - low[alone, None]) / height[alone, None]
    sharp = scaled[:, 6] - scaled[:, 5]
    wide = scaled[:, 7] - scaled[:, 4]
    over = scaled[:, 6:9].max(1) - 1
    under = -scaled[:, 3:6].min(1)
    result[:3] = np.quantile(sharp, (0.2, 0.5, 0.8))
    result[3:5] = np.quantile(wide, (0.2, 0.5))
    result[5:7] = np.quantile(over, (0.5, 0.8))
    result[7:9] = np.quantile(under, (0.5, 0.8))
    result[9] = np.quantile(np.abs(np.diff(scaled[:, [0, 1, 2, 9, 10, 11]], axis=1))[:, [0, 1, 3, 4]], 0.8)
    result[10] = np.log10(len(sharp) / peak.size + 1e-4)
    result[11] = np.log10(len(sharp) / len(found) + 1e-2)
    return result
