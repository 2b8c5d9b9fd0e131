"""The gate behind a lite network: its change is taken only as far as the source supports it.

Where a picture holds little in the upper octave of its band, interpolation is right already, and what a network adds
there is invention. The share of the change that is taken is found for cells of 8x8 luma samples of the source and
interpolated between them: ``result = plain + share * (network - plain)``, where ``plain`` is the source itself, or,
for networks that enlarge, the source enlarged by Lanczos. A pure function of the two pictures, whole frames at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vsanimup import bridge
from vsanimup.engines import Array
from vsanimup.filters.samples import Picture

CELL = 8
"""Luma samples of the source, across and down, that one share stands for; native code has the same."""


def shares(luma: Array) -> Array:
    """The share of a network's change to take, 0..1, float32 ``[cells down, cells across]``, for a source's luma
    ``[rows, columns]`` in 0..1."""
    rows, columns = luma.shape
    found = np.empty((-(-rows // CELL), -(-columns // CELL)), np.float32)
    bridge.gate_shares(_memory(luma), found.ctypes.data)
    return found


def blend(result: Array, source: Array, taken: Array, cell: int, *, left: bool = False) -> None:
    """Take only a share of the change from ``source`` to ``result``, in place.

    ``result`` is as large as ``source``, or twice as large, where ``left`` says that columns are sited as those of
    4:2:0 chroma. ``taken`` holds shares as :func:`shares` gives them, each for ``cell`` samples of the result.
    """
    scale = result.shape[0] // source.shape[0]
    if scale not in (1, 2) or result.shape != tuple(scale * side for side in source.shape):
        raise ValueError(f"a result of the source's size, or twice that, is needed, got {result.shape}")
    bridge.gate_blend(_memory(result), _memory(source), left, (taken.ctypes.data, *taken.shape), cell)


def limit(planes: Sequence[Array], picture: Picture, gate: float) -> None:
    """Limit a network's planes to what ``picture``, its source, supports, in place; ``gate`` 0..1 is how far."""
    sources = []
    for plane, scale in zip(picture.planes, picture.scales, strict=True):
        values = np.empty(plane.shape, np.float32)
        scale.read(plane, values)
        sources.append(values)
    taken = 1 - np.float32(gate) * (1 - shares(sources[0]))
    for index, (plane, source) in enumerate(zip(planes, sources, strict=True)):
        cell = CELL * plane.shape[0] // sources[0].shape[0]
        blend(plane, source, taken, cell, left=index > 0)


def _memory(plane: Array) -> bridge.PlaneMemory:
    """Where a plane lies, for native code."""
    down, across = plane.strides
    if plane.dtype != np.float32 or across != 4 or down % 4:
        raise ValueError(f"a float32 plane with samples side by side is needed, got {plane.dtype}")
    return plane.ctypes.data, *plane.shape, down // 4
