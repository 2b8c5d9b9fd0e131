"""Scene cuts between neighbouring frames, and windows that stay within a scene."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vsanimup.video.blocks import block_means

Array = NDArray[np.float32]

BLOCK = 16
"""Side of the blocks whose means are compared, in luma samples."""
THRESHOLD = 0.10
"""Mean difference of block means, of a range of 1, from which two frames belong to different scenes."""


class Frame(Protocol):
    """What scene detection reads of a frame."""

    @property
    def planes(self) -> tuple[NDArray[np.float32], ...]:
        """Planes, luma first, in 0..1."""
        ...

    def prop(self, name: str, default: int | None = None) -> object:
        """A frame property, or the default."""
        ...


def thumbnail(luma: Array) -> Array:
    """Means of 16x16 blocks of a luma plane (of smaller ones where the frame is smaller)."""
    rows, columns = (max(1, n // BLOCK) for n in luma.shape)
    high, wide = (n // m for n, m in zip(luma.shape, (rows, columns), strict=True))
    return block_means(luma[: rows * high, : columns * wide], high, wide).reshape(rows, columns)


def is_cut(before: Frame, after: Frame) -> bool:
    """Whether a new scene starts at ``after``, the frame that follows ``before``.

    The properties ``_SceneChangeNext`` of the one and ``_SceneChangePrev`` of the other rule where either is
    set; else the pictures are compared. Depends on these two frames alone.
    """
    marks = [before.prop("_SceneChangeNext"), after.prop("_SceneChangePrev")]
    if any(mark is not None for mark in marks):
        return any(bool(mark) for mark in marks)
    with np.errstate(invalid="ignore"):  # floats may be infinite; no cut is seen there
        difference = thumbnail(before.planes[0]) - thumbnail(after.planes[0])
    return float(np.abs(difference).mean()) > THRESHOLD


def scene_window(count: int, centre: int, radius: int, cut: Callable[[int, int], bool]) -> list[int]:
    """Positions of the ``2 * radius + 1`` frames around ``centre``, held at the edges of the scene.

    ``count`` frames are at hand, ``cut(i, i + 1)`` tells whether a scene starts at ``i + 1``.
    """
    first = last = centre
    while first > max(0, centre - radius) and not cut(first - 1, first):
        first -= 1
    while last < min(count - 1, centre + radius) and not cut(last, last + 1):
        last += 1
    return [min(max(i, first), last) for i in range(centre - radius, centre + radius + 1)]
