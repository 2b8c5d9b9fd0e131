"""Evening out what little a network leaves in areas that are meant to be even."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vsanimup.bridge import functions

STEP = 1 / 219
"""A step of 8-bit luma, as a value."""
RADIUS = 4
"""Samples on each side that are looked at."""


def even_out(plane: NDArray[np.float32], threshold: float, radius: int = RADIUS) -> None:
    """A sigma filter (after Lee, 1983) along the rows, then the columns, of a plane ``[rows, columns]``, in place.

    Each sample becomes the mean of those up to ``radius`` away, weighted by ``max(0, threshold - |difference|)``: lines
    and edges stay as they are, noise fainter than the threshold goes. ``threshold`` is above 0, in the plane's own
    unit. Rows may lie apart, samples of a row may not.
    """
    down, across = plane.strides
    if plane.dtype != np.float32 or across != 4 or down % 4 or not plane.flags.writeable:
        raise ValueError(f"a writable float32 plane with samples side by side is needed, got {plane.dtype}")
    if plane.size:
        rows, columns = plane.shape
        functions().even_out(plane.ctypes.data, rows, columns, down // 4, threshold, radius)
