"""Classical measures of a short run of frames: grid, noise, ringing, sharpness, halos, chroma and repetition.

Everything is counted in 8-bit steps of limited range (1/219 of white for luma, 1/224 for chroma), whatever the
source's depth was. Pictures are stacks of tiles, float32 ``[tiles, rows, columns]``. Most measures are shares of
samples or blocks beyond fixed thresholds, on a logarithmic scale: cheap, bounded and robust against a few odd areas.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vsanimup.diagnosis.edges import edge_shapes

Array = NDArray[np.float32]
Planes = tuple[NDArray[Any], ...]
"""Luma ``[rows, columns]`` in 0..1, and for a picture with colour both chroma planes at half size in -0.5..0.5;
or the same of the :func:`tiles` of a picture, ``[tiles, rows, columns]``."""

LEAST_SIDE: Final = 64
"""Luma rows and columns below which a picture is too small for the measures."""
_WHOLE: Final = 640 * 384
"""Luma samples up to which a picture is measured as a whole."""
_TILE: Final = (192, 320)
"""Rows and columns of the four tiles that stand for a larger picture."""
_GRID: Final = 8

_STEPS: Final = (0.02, 0.6, 1.6, 3.2, 6.4, 12.8, 25.6)
_DEVIATIONS: Final = (0.05, 0.15, 0.3, 0.5, 0.8, 1.2, 2.0, 3.0, 5.0, 8.0, 16.0)
_FINE: Final = (0.02, 0.1, 0.25, 0.5, 0.8, 1.2, 2.0, 3.0, 5.0, 8.0)
_RINGS: Final = (0.1, 0.3, 0.6, 1.0, 2.0, 4.0)
_CHROMA: Final = (0.05, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
_CHANGES: Final = (0.02, 0.1, 0.3, 0.6, 1.0, 2.0, 4.0, 8.0)
_STRONG: Final = 24.0

_DCT: Final = np.array(
    [[np.cos(np.pi * (2 * x + 1) * u / 16) * (np.sqrt(0.125) if u == 0 else 0.5) for x in range(8)] for u in range(8)],
    np.float32,
)
_ORDER: Final = np.add.outer(np.arange(8), np.arange(8))
_BANDS: Final = tuple(np.isin(_ORDER, np.arange(low, high)) for low, high in ((1, 3), (3, 6), (6, 9), (9, 15)))


def measure(frames: Sequence[Planes]) -> Array | None:
    """Measures of a run of 1 to 3 consecutive frames of one size, float32 ``[COUNT]``.

    Still measures are those of the middle frame. ``None`` where there is nothing to measure: the picture is
    smaller than LEAST_SIDE or practically of one colour, or a frame holds what is no number. Depends on the frames
    alone; keeps no view of them.
    """
    middle = frames[len(frames) // 2]
    if not all(np.isfinite(plane).all() for frame in frames for plane in frame):
        return None
    if min(middle[0].shape[-2:]) < LEAST_SIDE:
        return None
    places = tiles(*middle[0].shape) if middle[0].ndim == 2 else None
    luma = _cut(middle[0], places, 1, 219.0)
    if float(luma.max() - luma.min()) < 4:
        return None
    still, phase = _luma(luma)
    parts = [
        still,
        _transform(luma, phase),
        edge_shapes(luma),
        edge_shapes(luma.swapaxes(1, 2)),
        _temporal([_cut(frame[0], places, 1, 219.0) for frame in frames]),
        _chroma(luma, [_cut(plane, places, 2, 224.0) for plane in middle[1:3]]),
    ]
    return np.nan_to_num(np.concatenate(parts)).astype(np.float32)


def tiles(rows: int, columns: int) -> list[tuple[int, int, int, int]]:
    """Where a picture is looked at, as (top, left, rows, columns) in luma samples, all even.

    The whole picture up to 640x384, else four tiles of up to 320x192 on the grid of eight: the cost is bounded.
    """
    if rows * columns <= _WHOLE:
        return [(0, 0, rows // 2 * 2, columns // 2 * 2)]
    high, wide = (min(most, side // 16 * 8) for most, side in zip(_TILE, (rows, columns), strict=True))
    tops, lefts = (
        [max(0, side * share // 4 - length // 2) // 8 * 8 for share in (1, 3)]
        for side, length in ((rows, high), (columns, wide))
    )
    return [(top, left, high, wide) for top in tops for left in lefts]


def _cut(plane: NDArray[Any], places: list[tuple[int, int, int, int]] | None, step: int, scale: float) -> Array:
    """The tiles of a plane ``[tiles, rows, columns]``, a copy, in 8-bit steps; values out of range are clipped.

    ``places`` as :func:`tiles` gives them, ``None`` where the plane is cut already; ``step`` luma samples a sample.
    """
    if places is not None:
        parts = [[n // step for n in place] for place in places]
        plane = np.stack([plane[top : top + high, left : left + wide] for top, left, high, wide in parts])
    clipped: Array = np.clip(plane, -1, 2, dtype=np.float32) * np.float32(scale)
    return clipped


def _log(share: float) -> float:
    """A share or a mean on a scale that tells 0.2 % from 1 % and 20 % from 100 % alike."""
    return float(np.log10(max(share, 0.0) + 2e-3))


def _beyond(values: Array, thresholds: Sequence[float]) -> list[float]:
    """Shares of the values beyond the thresholds, logarithmic."""
    if not values.size:
        return [_log(0.0)] * len(thresholds)
    return [_log(np.count_nonzero(values > t) / values.size) for t in thresholds]


def _blocks(picture: Array, side: int, top: int = 0, left: int = 0) -> Array:
    """Blocks ``[tiles, rows, side, columns, side]`` of a picture from (top, left) on; a view."""
    count, rows, columns = picture.shape
    high, wide = (rows - top) // side, (columns - left) // side
    part = picture[:, top : top + high * side, left : left + wide * side]
    return part.reshape(count, high, side, wide, side)


def _means(picture: Array, side: int) -> Array:
    """Mean of each block ``[tiles, rows, columns]``."""
    rows: Array = _rows(picture, side).sum(2)
    means: Array = rows.reshape(*rows.shape[:2], -1, side) @ np.full(side, 1 / side**2, np.float32)
    return means


def _greatest(picture: Array, side: int) -> Array:
    """Maximum of each block ``[tiles, rows, columns]``."""
    rows: Array = _rows(picture, side).max(2)
    greatest: Array = np.maximum.reduce([rows[..., i::side] for i in range(side)])
    return greatest


def _rows(picture: Array, side: int) -> Array:
    """Rows of blocks ``[tiles, rows, side, columns]``, what is left over cut off."""
    count, rows, columns = picture.shape
    cut = picture[:, : rows // side * side, : columns // side * side]
    return cut.reshape(count, -1, side, cut.shape[2])


def _deviation(picture: Array, side: int) -> Array:
    """Standard deviation of each block ``[tiles, rows, columns]``."""
    blocks = _blocks(picture, side)
    centred = (blocks - blocks[:, :, :1, :, :1]).reshape(len(picture), -1, blocks.shape[3] * side)
    spread: Array = np.sqrt(np.maximum(_means(np.square(centred), side) - np.square(_means(centred, side)), 0))
    return spread


def _fold(sums: NDArray[Any], first: int, period: int) -> NDArray[np.float64]:
    """Means over positions by their phase: ``sums[i]`` belongs to position ``first + i``."""
    phases = (np.arange(len(sums)) + first) % period
    folded: NDArray[np.float64] = np.bincount(phases, sums, period) / np.maximum(
        np.bincount(phases, minlength=period), 1
    )
    return folded


def _grid(steps: Array) -> tuple[list[float], int]:
    """How much the steps between neighbours along the last axis stand out every 8 samples, and at which phase.

    ``steps`` holds absolute differences; difference i lies between samples i and i + 1. The phase is the number of
    the first sample of a block.
    """
    inner, before, after = steps[..., 1:-1], steps[..., :-2], steps[..., 2:]
    excess = np.clip(inner - 0.5 * (before + after), -4, 4).mean((0, 1))
    peaks = (inner > np.maximum(before, after) + np.float32(0.3)).mean((0, 1))
    by_phase, peak_phase = _fold(excess, 2, _GRID), _fold(peaks, 2, _GRID)
    floor = float(np.median(peak_phase))
    quarter = _fold(peaks, 2, 4)
    step = float(by_phase.max() - np.median(by_phase))
    second = float(np.sort(by_phase)[-2] - np.median(by_phase))
    values = [
        _log(step),
        step / (float(np.abs(by_phase).mean()) + 0.02),
        _log(step - second),
        float(np.log((peak_phase.max() + 0.002) / (floor + 0.002))),
        float(np.log((quarter.max() + 0.002) / (float(np.median(quarter)) + 0.002))),
    ]
    return values, int(by_phase.argmax())


def _luma(luma: Array) -> tuple[Array, tuple[int, int]]:
    """Measures of the luma samples themselves, and the phase of the block grid (row, column)."""
    across, down = np.abs(np.diff(luma, axis=2)), np.abs(np.diff(luma, axis=1))
    values = _beyond(across, _STEPS) + _beyond(down, _STEPS)
    columns, left = _grid(across)
    rows, top = _grid(down.swapaxes(1, 2))
    values += columns + rows
    values += _beyond(_deviation(luma, 8), _DEVIATIONS)
    second = luma[:, :, :-2] - 2 * luma[:, :, 1:-1] + luma[:, :, 2:]
    fine = np.abs(second[:, :-2] - 2 * second[:, 1:-1] + second[:, 2:]) * np.float32(0.25)
    values += _beyond(_means(fine, 8), _FINE)
    values += _ringing(fine, np.maximum(across[:, 1:-1, 1:], down[:, 1:, 1:-1]))
    energies = [_energy(luma, 2, 1), _energy(luma, 2, 2), _energy(luma, 2, 4)]
    energies += [_energy(luma, 1, 1), _energy(luma, 1, 2), _energy(luma, 1, 4)]
    energies.append(float(np.log(np.square(fine).mean() + 0.01)))
    values += energies
    values += [energies[0] - energies[1], energies[1] - energies[2], energies[3] - energies[4]]
    values += [energies[4] - energies[5], energies[0] - energies[3]]
    return np.array(values, np.float32), (top, left)


def _energy(picture: Array, axis: int, distance: int) -> float:
    """Logarithm of the mean square difference of samples ``distance`` apart."""
    ahead = [slice(None)] * 3
    behind = list(ahead)
    ahead[axis], behind[axis] = slice(distance, None), slice(None, -distance)
    change = (picture[tuple(ahead)] - picture[tuple(behind)]).reshape(-1)
    return float(np.log(np.dot(change, change) / change.size + 0.01))


def _ringing(fine: Array, steps: Array) -> list[float]:
    """Fine detail in 4x4 blocks beside strong edges, and in those far from any."""
    strength = _means(fine, 4)
    edge = _greatest(steps, 4) > _STRONG
    beside = _grown(edge)
    far = ~_grown(beside)
    beside &= ~edge
    values = _beyond(strength[beside], _RINGS) + _beyond(strength[far], _RINGS)
    return [*values, _log(float(edge.mean())), _log(float(far.mean()))]


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask and its eight neighbours."""
    grown = mask.copy()
    for axis in (1, 2):
        base = np.moveaxis(grown, axis, 0)
        copy = base.copy()
        base[1:] |= copy[:-1]
        base[:-1] |= copy[1:]
    return grown


def _transform(luma: Array, phase: tuple[int, int]) -> Array:
    """DCT of blocks on the grid and half a block beside it: vanished coefficients, and energy by frequency."""
    values: list[float] = []
    shares = []
    for shift in (0, 4):
        blocks = _blocks(luma, 8, (phase[0] + shift) % 8, (phase[1] + shift) % 8).transpose(0, 1, 3, 2, 4)
        some = np.ascontiguousarray(blocks).reshape(-1, 8, 8)
        some = some[:: len(some) // 1500 + 1]
        coefficients = np.abs(_DCT @ some @ _DCT.T)
        coefficients[:, 0, 0] = 0
        deviation = np.sqrt(np.square(coefficients).sum((1, 2)) / 64)
        for low, high in ((0.3, 3.0), (3.0, 255.0)):
            chosen = coefficients[(deviation > low) & (deviation <= high)]
            if len(chosen) < 8:
                shares += [0.0, 0.0]
                values += [0.0] * (len(_BANDS) if shift == 0 else 0)
                continue
            shares += [float((chosen < 0.4).mean()), float((chosen[:, _BANDS[3]] < 0.3).mean())]
            if shift == 0:
                values += [float(np.log(chosen[:, band].mean() + 0.05)) for band in _BANDS]
    half = len(shares) // 2
    values += shares
    values += [on - off for on, off in zip(shares[:half], shares[half:], strict=True)]
    return np.array(values, np.float32)


def _temporal(lumas: list[Array]) -> Array:
    """Change of 8x8 blocks from frame to frame; zeros throughout for a single frame."""
    if len(lumas) < 2:
        return np.zeros(len(_CHANGES) + 5, np.float32)
    changes = [np.abs(after - before) for before, after in itertools.pairwise(lumas)]
    least = np.minimum.reduce([_means(change, 8) for change in changes])
    values = [1.0, *_beyond(least, _CHANGES)]
    same = [change < 0.02 for change in changes]
    for axis in (2, 1):
        turns = sum(np.moveaxis(np.diff(part, axis=axis), axis, 2).mean((0, 1)) for part in same)
        turns = np.asarray(turns, np.float64)
        by_phase = _fold(turns, 1, _GRID)
        values += [float(np.log((by_phase.max() + 0.002) / (float(np.median(by_phase)) + 0.002)))]
        values += [_log(float(turns.mean()))]
    return np.array(values, np.float32)


def _chroma(luma: Array, planes: list[Array]) -> Array:
    """Noise, grid and softness of the chroma planes, and where their edges lie beside those of luma."""
    total = len(_CHROMA) + 10 + 5 + 9
    spread = max((float(plane.max() - plane.min()) for plane in planes), default=0.0)
    if spread < 2:
        return np.zeros(total, np.float32)
    both = np.concatenate(planes)
    across, down = np.abs(np.diff(both, axis=2)), np.abs(np.diff(both, axis=1))
    values = [1.0, *_beyond(_deviation(both, 8), _CHROMA)]
    values += _grid(across)[0] + _grid(down.swapaxes(1, 2))[0]
    energies = [_energy(both, 2, 1), _energy(both, 2, 2), _energy(both, 1, 1), _energy(both, 1, 2)]
    values += [*energies[:1], energies[0] - energies[1], energies[2] - energies[3], energies[0] - energies[2]]
    small = 0.25 * (luma[:, ::2, ::2] + luma[:, 1::2, ::2] + luma[:, ::2, 1::2] + luma[:, 1::2, 1::2])
    edges = np.minimum(np.abs(np.diff(small, axis=2)), 40)
    colours = np.minimum(across[: len(small)] + across[len(small) :], 40)
    middle = edges[:, :, 5:-5]
    wide = colours.shape[2]
    match = np.array([(middle * colours[:, :, 5 + lag : wide - 5 + lag]).mean() for lag in range(-4, 5)])
    match = np.maximum(match - match.min(), 0) + 1e-3
    match /= match.sum()
    values += [float(m) for m in match[:4]] + [float(m) for m in match[5:]]
    values.append(float(match @ np.arange(-4, 5)))
    return np.array(values, np.float32)
