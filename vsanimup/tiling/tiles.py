"""A fixed grid of equal, overlapping tiles, blended with a feathered seam.

The grid depends on sizes alone, and tile corners stay on multiples of ``align``, so that a network's own
windows fall on the same pixels whether the frame is tiled or not.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vsanimup.sizes import round_up

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Axis:
    """Tiles along one axis, in samples."""

    length: int
    """Samples of the frame."""
    tile: int
    """Samples of a tile."""
    overlap: int
    """Samples that neighbours share."""

    @property
    def count(self) -> int:
        """Number of tiles."""
        if self.length <= self.tile:
            return 1
        return -(-(self.length - self.overlap) // (self.tile - self.overlap))

    @property
    def padded(self) -> int:
        """Samples that the tiles cover together."""
        return self.count * (self.tile - self.overlap) + self.overlap

    def starts(self) -> list[int]:
        """First sample of each tile."""
        return [i * (self.tile - self.overlap) for i in range(self.count)]

    def ramp(self, index: int, scale: int) -> Array:
        """Blending weight of tile ``index``, ``[scale * tile]``; the weights of all tiles add up to 1 everywhere.

        A quarter of the overlap at each edge is left out, since a network sees too little around it; between
        the two quarters the weight rises linearly.
        """
        weight = np.ones(scale * self.tile, np.float32)
        shared = scale * self.overlap
        if shared:
            margin = shared // 4
            rise = np.zeros(shared, np.float32)
            span = shared - 2 * margin
            rise[margin : margin + span] = (np.arange(span, dtype=np.float32) + 0.5) / span
            rise[margin + span :] = 1
            if index > 0:
                weight[:shared] *= rise
            if index < self.count - 1:
                weight[-shared:] *= 1 - rise
        return weight


@dataclass(frozen=True)
class Fixed(Axis):
    """Tiles of the one size that a network takes. The last of them ends where the frame does, and may share more with
    its neighbour than the others do; a frame that is shorter than a tile is one. Any overlap below a tile will do.

    An overlap of three quarters of a tile is blended as IPT's own test code blends: the mean of the tiles' middle
    halves, and what the others leave over at the end is the last tile's alone.
    """

    @property
    def padded(self) -> int:
        """Samples that the tiles cover together."""
        return max(self.length, self.tile)

    def starts(self) -> list[int]:
        """First sample of each tile."""
        last = self.padded - self.tile
        return [min(i * (self.tile - self.overlap), last) for i in range(self.count)]

    def ramp(self, index: int, scale: int) -> Array:
        """As :meth:`Axis.ramp`."""
        weights: Array = _shares(self, scale)[index]
        return weights


@functools.lru_cache(maxsize=64)
def _shares(axis: Fixed, scale: int) -> Array:
    """Blending weights of all tiles, ``[count, scale * tile]``."""
    tile, starts = scale * axis.tile, [scale * start for start in axis.starts()]
    if 4 * axis.overlap == 3 * axis.tile:
        weights = _halves(axis, scale)
    else:
        weights = np.stack([Axis.ramp(axis, index, scale) for index in range(axis.count)])
    total = np.zeros(scale * axis.padded, np.float32)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + tile] += weight
    for start, weight in zip(starts, weights, strict=True):
        np.divide(weight, total[start : start + tile], out=weight)
    return weights


def _halves(axis: Fixed, scale: int) -> Array:
    """The weights of IPT's test code, as far as they are 0 or 1."""
    tile, quarter = scale * axis.tile, scale * axis.tile // 4
    over = (axis.padded - axis.tile) % (axis.tile - axis.overlap)
    weights = np.zeros((axis.count, tile), np.float32)
    weights[:, quarter : tile - quarter] = 1
    weights[0, :quarter] = 1
    weights[-1, tile - quarter :] = 1
    if over:
        # here the last tile takes over
        begin = (scale * (axis.tile - over) + 1) // 2
        end = scale * axis.starts()[-1] + begin
        for start, weight in zip(axis.starts()[:-1], weights[:-1], strict=True):
            weight[max(0, end - scale * start) :] = 0
        weights[-2, tile - quarter : max(0, end - scale * axis.starts()[-2])] = 1
        weights[-1, :begin] = 0
        weights[-1, begin:] = 1
    return weights


@dataclass(frozen=True)
class Grid:
    """Tiles over a frame, in luma samples."""

    rows: Axis
    columns: Axis

    def __len__(self) -> int:
        return self.rows.count * self.columns.count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Grid positions ``(row, column)``, row by row."""
        for row in range(self.rows.count):
            for column in range(self.columns.count):
                yield row, column


def plan(
    width: int,
    height: int,
    *,
    tile: tuple[int, int] | None,
    overlap: tuple[int, int],
    align: int,
    most: int,
    multiple: int | None = None,
) -> Grid:
    """The grid for a frame of ``width`` x ``height``.

    ``tile`` and ``overlap`` are (width, height) and are rounded up to multiples of ``align``; a frame that is one tile
    across, to a multiple of ``multiple`` (of ``align`` unless given). Without ``tile`` the frame is cut into the fewest
    equal tiles of at most ``most`` samples each.
    """

    def axis(length: int, size: int, shared: int) -> Axis:
        size, shared = round_up(size, align), round_up(shared, align)
        size = max(size, 2 * shared, align)
        if size >= round_up(length, align):
            return Axis(length, round_up(length, multiple or align), 0)
        return Axis(length, size, shared)

    if tile is not None:
        return Grid(axis(height, tile[1], overlap[1]), axis(width, tile[0], overlap[0]))
    rows = columns = 1
    while True:
        grid = Grid(
            *(
                axis(length, -(-(length + (count - 1) * round_up(shared, align)) // count), shared)
                for length, count, shared in ((height, rows, overlap[1]), (width, columns, overlap[0]))
            )
        )
        if grid.rows.tile * grid.columns.tile <= most or rows * columns > 4096:
            return grid
        if grid.rows.tile > grid.columns.tile:
            rows += 1
        else:
            columns += 1


def fixed(width: int, height: int, *, tile: tuple[int, int], overlap: tuple[int, int]) -> Grid:
    """The grid for a network that takes nothing but pictures of ``tile``; all are (width, height)."""
    return Grid(Fixed(height, tile[1], overlap[1]), Fixed(width, tile[0], overlap[0]))


def surround(planes: Array, margin: int, rows: int, columns: int) -> None:
    """Continue pictures by reflection to the borders of the array ``[..., height, width]`` that they lie in.

    They have ``rows`` x ``columns`` samples, from ``margin`` samples below the top and right of the left border.
    """
    height, width = planes.shape[-2:]
    left, right = _mirrored(margin, columns, width)
    down = slice(margin, margin + rows)
    planes[..., down, :margin] = planes[..., down, left]
    planes[..., down, margin + columns :] = planes[..., down, right]
    above, below = _mirrored(margin, rows, height)
    planes[..., :margin, :] = planes[..., above, :]
    planes[..., margin + rows :, :] = planes[..., below, :]


@functools.lru_cache(maxsize=64)
def _mirrored(margin: int, length: int, whole: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Positions of the samples to be repeated before and after ``length`` samples."""
    inside = np.arange(margin, margin + length)
    around = np.pad(inside, (margin, whole - length - margin), mode="reflect" if length > 1 else "edge")
    return around[:margin], around[margin + length :]


class Blend:
    """Collects tiles of one output plane group ``[channels, rows, columns]`` and adds them up by weight."""

    def __init__(self, grid: Grid, channels: int, scale: int, divide: int) -> None:
        """``scale`` is the network's enlargement, ``divide`` the plane's subsampling (2 for 4:2:0 chroma)."""
        self._grid, self._scale, self._divide = grid, scale, divide
        size = [axis.padded * scale // divide for axis in (grid.rows, grid.columns)]
        self._sum = np.zeros((channels, *size), np.float32) if len(grid) > 1 else None
        self._only: Array | None = None

    def add(self, row: int, column: int, tile: Array) -> None:
        """Put the tile at a grid position, ``[channels, rows, columns]``."""
        if self._sum is None:
            self._only = tile
            return
        scale, divide = self._scale, self._divide
        top = self._grid.rows.starts()[row] * scale // divide
        left = self._grid.columns.starts()[column] * scale // divide
        # a subsampled plane's weights are the means over the luma samples that it covers, and so add up to 1 too
        down = self._grid.rows.ramp(row, scale).reshape(-1, divide).mean(1)
        across = self._grid.columns.ramp(column, scale).reshape(-1, divide).mean(1)
        view = self._sum[:, top : top + tile.shape[-2], left : left + tile.shape[-1]]
        view += tile * (down[:, None] * across[None, :])

    def result(self, margin: int, height: int, width: int) -> Array:
        """The blended planes without ``margin`` samples at the top and left, ``[channels, height, width]``."""
        whole = self._only if self._sum is None else self._sum
        assert whole is not None
        return whole[:, margin : margin + height, margin : margin + width]
