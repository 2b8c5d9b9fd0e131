"""Colours of the source for a picture that a diffusion network made of it."""

from __future__ import annotations

import numpy as np

from vsanimup.engines import Array

COLOURFIXES = ("wavelet", "adain", "none")
"""What ``colorfix=`` takes."""
LEVELS = 5
"""Levels of the wavelet: its low band are details of more than about 2 to this power samples."""
_SMALL = 1e-5


def correct(result: Array, source: Array, colorfix: str) -> None:
    """Change ``result [frames, 3, height, width]`` in place, frame by frame; ``source`` has the same shape.

    ``wavelet`` keeps the result's details and takes the source's low band; ``adain`` gives each channel of a frame the
    source's mean and spread; ``none`` does nothing. A frame that equals its source stays as it is, but for rounding.
    """
    if colorfix == "none":
        return
    for changed, wanted in zip(result, source, strict=True):
        for plane, like in zip(changed, wanted, strict=True):
            if colorfix == "wavelet":
                # high(result) + low(source) = result + low(source - result), for the low pass is linear
                np.add(plane, low_band(like - plane), out=plane)
            else:
                _match(plane, like)


def low_band(plane: Array) -> Array:
    """``plane [height, width]`` smoothed by [1, 2, 1] / 4 along both axes at distances 1, 2, 4, 8, 16.

    The picture goes on mirrored, which keeps its mean. May change ``plane``.
    """
    spare = np.empty_like(plane)
    for level in range(LEVELS):
        for axis in (0, 1):
            _smooth(plane, spare, 1 << level, axis)
            plane, spare = spare, plane
    return plane


def _smooth(plane: Array, out: Array, distance: int, axis: int) -> None:
    """One smoothing along one axis into ``out``; ``plane`` is left at a quarter of its values."""
    plane *= np.float32(0.25)
    np.add(plane, plane, out=out)
    across = (plane, out) if axis == 0 else (plane.T, out.T)
    quarter, total = across
    length = len(quarter)
    shift = min(distance, length)
    total[shift:] += quarter[: length - shift]
    total[:shift] += quarter[:shift][::-1]
    total[: length - shift] += quarter[shift:]
    total[length - shift :] += quarter[length - shift :][::-1]


def _match(plane: Array, like: Array) -> None:
    """Give ``plane`` the mean and the standard deviation of ``like``."""
    mean, wanted = plane.mean(dtype=np.float64), like.mean(dtype=np.float64)
    # a flat picture has no details that could be spread
    ratio = (like.std(dtype=np.float64) + _SMALL) / (plane.std(dtype=np.float64) + _SMALL)
    plane -= np.float32(mean)
    plane *= np.float32(ratio)
    plane += np.float32(wanted)
