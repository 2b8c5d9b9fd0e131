"""Plain enlargement, for networks that work at the size of the result."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def _weights(distance: float) -> Array:
    """Catmull-Rom weights of the four samples around a point, ``distance`` after the second of them."""
    t = distance
    return np.array(
        [((2 - t) * t - 1) * t, (3 * t - 5) * t * t + 2, ((4 - 3 * t) * t + 1) * t, (t - 1) * t * t], np.float32
    ) / np.float32(2)


def _stretch(planes: Array, scale: int, axis: int) -> Array:
    length = planes.shape[axis]
    padding = [(0, 0)] * planes.ndim
    padding[axis] = (2, 2)
    moved = np.moveaxis(np.pad(planes, padding, mode="edge"), axis, 0)
    result = np.empty((length, scale, *moved.shape[1:]), np.float32)
    for phase in range(scale):
        place = (phase + 0.5) / scale - 0.5
        whole = int(np.floor(place))
        weights = _weights(place - whole)
        begin = whole + 1  # of the padded samples: two more before, and one to the left of the point
        np.multiply(moved[begin : begin + length], weights[0], out=result[:, phase])
        for tap in range(1, 4):
            result[:, phase] += weights[tap] * moved[begin + tap : begin + tap + length]
    return np.moveaxis(result.reshape(length * scale, *moved.shape[1:]), 0, axis)


def enlarge(planes: Array, scale: int) -> Array:
    """Planes ``[..., rows, columns]`` made ``scale`` times as large by Catmull-Rom interpolation, edges held.

    Sample centres lie as resizers of video have them. A constant plane stays exactly constant up to float rounding.
    """
    return np.ascontiguousarray(_stretch(_stretch(planes, scale, -2), scale, -1))
