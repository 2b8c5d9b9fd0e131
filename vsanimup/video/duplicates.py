"""Drawings: runs of frames that show one picture, apart from the noise of tape and codec.

Animation is drawn on twos and threes. Copies of a drawing differ only by noise, so they can be averaged, and
what is computed for one serves them all. Everything that really moves must not be averaged: a pan, a small
mouth in a still picture, a slow fade. Hence no single figure decides. Two frames show one drawing if

- no 8x8 block differs clearly more than noise does in blocks like it,
- their difference is not what a displaced picture would give, as a whole or in a part,
- neither the picture nor a large part of it became brighter or darker.

All values are levels: luma and chroma as if in 8 bit, 0 to 255.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from vsanimup.video.blocks import block_means

Array = NDArray[np.float32]

CELL = 12
"""Frames between the borders that no run crosses, counted from frame 0: so that the run of a frame, and with
it the picture, depends on a bounded number of frames."""

BLOCK = 8
"""Side of the blocks that are compared, in samples."""
PART = 48
"""Side of the parts of the picture in which motion and fades are looked for, a multiple of ``BLOCK``."""
CLASSES = 6
"""Classes of blocks by how much detail they have: noise of codecs is greatest where there is detail."""

OUTLIER = (5.0, 5.5)
"""A block differs clearly when its mean difference exceeds twice the noise of its class by more than this, in
luma and in chroma. Copies in MPEG-2 and MPEG-4 came to 4.8, a panning quarter of a sample a frame to 6.4."""
MOST = 40.0
"""Mean difference of a block that is never noise; spares most moving pictures the rest."""
NOISIEST = 12.0
"""Median difference of blocks from which nothing can be told; at two frames of white noise, sigma 11."""
FAINT = 0.5
"""The same where noise is to be kept, for it may be the picture's own grain. What differs in still pictures after
codecs alone is less: 0.2 on DVDs and in streams, while what they leave of film grain came to 0.8 and more."""
MOTION = (0.06, 0.03)
"""The whole picture has moved: by more than this many samples, if that explains more than this share of the
difference's energy."""
PART_MOTION = (0.15, 0.40, 1.0)
"""A part has moved: samples, share of the energy explained, least mean energy of the difference there."""
FADE = (0.15, 0.06)
"""Change of the mean level that is a fade, and how much more for each level of noise."""
PART_FADE = (0.5, 0.2)
"""The same for a part of the picture."""


def same_drawing(before: Iterable[Array], after: Iterable[Array], noisiest: float = NOISIEST) -> bool:
    """Whether two frames show one drawing, and differ by noise no stronger than ``noisiest``.

    ``before`` and ``after`` are planes ``[rows, columns]`` of one size, luma first, then any chroma, in levels;
    as luma decides most cases, they may be made on demand.
    A function of these samples alone.
    """
    noise = 0.0
    for index, (a, b) in enumerate(zip(before, after, strict=True)):
        difference = b - a
        level = _noise_unless_changed(difference, None if index else a, noisiest)
        noise = noise if index else level
        if level == np.inf or _faded(difference, noise):
            return False
        if index == 0 and _moved(a, b, difference):
            return False
    return True


def run_of(n: int, first: int, last: int, same: Callable[[int, int], bool]) -> tuple[int, int]:
    """First and last frame of the run that frame ``n`` belongs to.

    Runs lie within the frames ``first`` to ``last``, which hold ``n``. ``same(a, b)``, a < b, tells whether two
    frames show one drawing. A run ends where a frame is not the same as its predecessor, or no longer the
    same as the run's first frame: a change too slow to be seen from one frame to the next adds up.
    """
    start = n
    while start > first and same(start - 1, start):
        start -= 1
    while True:
        end = start
        while end < last and same(end, end + 1) and (end == start or same(start, end + 1)):
            end += 1
        if end >= n:
            return start, end
        start = end + 1


def _noise_unless_changed(difference: Array, luma: Array | None, noisiest: float) -> float:
    """The noise: median difference of the blocks. Infinite when a block stands out, or there is too much of it."""
    values = _blocks(np.abs(difference), BLOCK)
    middle, most = float(np.median(values)), float(values.max())
    if not (middle <= noisiest and most <= MOST):  # nor what is no number
        return np.inf
    if luma is None:
        return middle if most <= 2 * middle + OUTLIER[1] else np.inf
    usual, detail = middle, _blocks(np.abs(_slope(luma, 1)), BLOCK)
    order = np.argsort(detail, kind="stable")
    for members in np.array_split(values[order], min(CLASSES, values.size)):
        usual = max(usual, float(np.median(members)))
        if float(members.max()) > 2 * usual + OUTLIER[0]:
            return np.inf
    return middle


def _faded(difference: Array, noise: float) -> bool:
    if abs(float(difference.mean())) > FADE[0] + FADE[1] * noise:
        return True
    return float(np.abs(_blocks(difference, PART)).max()) > PART_FADE[0] + PART_FADE[1] * noise


def _moved(before: Array, after: Array, difference: Array) -> bool:
    """Whether the difference looks like motion: least squares of ``difference = -dx * slope_x - dy * slope_y``."""
    middle = before + after
    middle *= np.float32(0.5)
    across, down = _slope(middle, 1), _slope(middle, 0)
    pairs = (
        (across, across),
        (across, down),
        (down, down),
        (across, difference),
        (down, difference),
        (difference, difference),
    )
    moments = np.stack([_blocks(np.multiply(a, b, out=middle), PART) for a, b in pairs]).astype(np.float64)
    distance, share, _ = _displacement(moments.mean(1))
    if distance > MOTION[0] and share > MOTION[1]:
        return True
    distance, share, energy = _displacement(moments)
    return bool(((distance > PART_MOTION[0]) & (share > PART_MOTION[1]) & (energy > PART_MOTION[2])).any())


def _displacement(moments: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Samples of motion, the share of the difference's energy that it explains, and that energy."""
    xx, xy, yy, xd, yd, dd = moments
    # where there is an edge in one direction only, motion along it cannot be seen and is taken as none
    determinant = xx * yy - xy * xy + 1e-3 * (xx + yy) ** 2 + 1e-6
    dx, dy = (xy * yd - yy * xd) / determinant, (xy * xd - xx * yd) / determinant
    return np.hypot(dx, dy), -(dx * xd + dy * yd) / (dd + 1e-3), dd


def _slope(plane: Array, axis: int) -> Array:
    """Central differences along an axis, zero at the borders."""
    slope = np.zeros_like(plane)
    if axis == 0:
        np.subtract(plane[2:], plane[:-2], out=slope[1:-1])
    else:
        np.subtract(plane[:, 2:], plane[:, :-2], out=slope[:, 1:-1])
    slope *= np.float32(0.5)
    return slope


def _blocks(plane: Array, side: int) -> Array:
    """Means of blocks of ``side`` x ``side`` samples, in one dimension.

    Where the plane's size does not divide by ``side``, more blocks lie along the right and bottom borders.
    """
    high, wide = (min(side, n) for n in plane.shape)
    rows, columns = (n // m for n, m in zip(plane.shape, (high, wide), strict=True))
    means = [block_means(plane[: rows * high, : columns * wide], high, wide)]
    if columns * wide < plane.shape[1]:
        means.append(block_means(plane[: rows * high, -wide:], high, wide))
    if rows * high < plane.shape[0]:
        means.append(block_means(plane[-high:, : columns * wide], high, wide))
    return np.concatenate(means)
