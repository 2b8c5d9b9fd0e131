"""Between samples as a clip stores them and the values that networks work with.

Networks take luma as 0..1 and chroma as -0.5..0.5. Integers are scaled by the frame's own range, as zimg does.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import vapoursynth as vs
from numpy.typing import NDArray

from vsanimup.engines import Array

UNSPECIFIED = 2
"""Value of ``_Matrix`` that says nothing."""

type Plane = NDArray[Any]
"""Samples ``[rows, columns]`` of any type that a clip may have."""


class Props(Protocol):
    """A frame whose properties can be read."""

    def prop(self, name: str, default: int | None = None) -> object:
        """The first value of a property, or the default."""
        ...


@dataclass(frozen=True, slots=True)
class Scale:
    """How one plane's samples stand for values: ``value = (sample - zero) * unit``."""

    zero: float = 0.0
    """Sample of the value 0."""
    unit: float = 1.0
    """Value of one step between samples."""
    top: float | None = None
    """The largest sample of an integer format; ``None`` for floats, which have no limits."""
    level: float = 219.0
    """Steps of an 8 bit plane that a sample's step is worth."""

    def read(self, plane: Plane, out: Array) -> None:
        """Write the values of ``plane`` into ``out``, of the same shape."""
        if self.top is None:
            np.copyto(out, plane, casting="same_kind")
        else:
            np.subtract(plane, np.float32(self.zero), out=out)
            out *= np.float32(self.unit)

    def write(self, values: Array, plane: Plane) -> None:
        """Round and limit ``values`` to samples in ``plane``, of the same shape; what is no number becomes 0."""
        if self.top is None:
            np.copyto(plane, values, casting="same_kind")
            return
        samples = values * np.float32(1 / self.unit)
        samples += np.float32(self.zero + 0.5)
        np.clip(samples, 0, np.float32(self.top + 0.5), out=samples)
        if np.isnan(samples.max()):  # which CPUs convert as they like
            np.nan_to_num(samples, copy=False)
        np.copyto(plane, samples, casting="unsafe")  # cuts the fraction off

    def levels(self, plane: Plane) -> Array:
        """The samples as float32 in steps of an 8 bit plane."""
        return plane.astype(np.float32) if self.level == 1 else np.multiply(plane, np.float32(self.level))


@functools.lru_cache(maxsize=64)
def _scales(bits: int, floating: bool, planes: int, full: bool) -> tuple[Scale, ...]:
    if floating:
        luma, chroma = Scale(), Scale(level=224.0)
    else:
        top, step = (1 << bits) - 1, 1 << (bits - 8)
        spans = (top, top) if full else (219 * step, 224 * step)
        luma = Scale(0 if full else 16 * step, 1 / spans[0], top, 1 / step)
        chroma = Scale(128 * step, 1 / spans[1], top, 1 / step)
    return (luma, chroma, chroma)[:planes]


def scales(format: vs.VideoFormat, full: bool) -> tuple[Scale, ...]:
    """The scale of each plane of a gray or YUV format, for full or limited range."""
    return _scales(format.bits_per_sample, format.sample_type == vs.FLOAT, format.num_planes, full)


def is_full(frame: Props) -> bool:
    """Whether a frame's properties say full range; limited where they say nothing."""
    old = frame.prop("_ColorRange", 1) == 0  # what ``_Range`` was called, with its values the other way round
    return bool(frame.prop("_Range", int(old)))


def matrix_by_height(height: int) -> int:
    """The ``_Matrix`` that players assume for a picture of this height: BT.601 (6) up to 576 lines, else BT.709 (1)."""
    return 6 if height <= 576 else 1


@dataclass(frozen=True, slots=True)
class Picture:
    """The planes of one frame, or of several averaged, and what their samples mean."""

    planes: Sequence[Plane]
    scales: Sequence[Scale]

    def same_samples(self, other: Picture) -> bool:
        """Whether all samples are equal."""
        return all(np.array_equal(a, b) for a, b in zip(self.planes, other.planes, strict=True))

    def values(self, index: int) -> Array:
        """The values of a plane; not to be written to."""
        plane, scale = self.planes[index], self.scales[index]
        if scale.top is None and plane.dtype == np.float32:
            return plane
        values = np.empty(plane.shape, np.float32)
        scale.read(plane, values)
        return values

    def digest(self) -> bytes:
        """Equal for equal samples that mean the same."""
        found = hashlib.blake2b(repr(self.scales).encode(), digest_size=16)
        for plane in self.planes:
            found.update(np.ascontiguousarray(plane))
        return found.digest()

    def levels(self) -> Iterator[Array]:
        """The planes in steps of an 8 bit plane, each when it is asked for."""
        return (scale.levels(plane) for plane, scale in zip(self.planes, self.scales, strict=True))


def keep_black_and_white(luma: Array, picture: Picture) -> None:
    """Put luma values that lie beyond black and white back there, in place, as far as the picture's own do not.

    Bars around a picture are black already, and what takes haze off would make them blacker.
    """
    before = np.empty(luma.shape, np.float32)
    picture.scales[0].read(picture.planes[0], before)
    np.clip(luma, np.minimum(before, 0), np.maximum(before, 1), out=luma)


def average(pictures: Sequence[Picture]) -> Picture:
    """The mean of pictures of one size, as values; equal pictures give the first of them."""
    first = pictures[0]
    if all(first.same_samples(other) for other in pictures[1:]):
        return first
    planes = []
    for index, plane in enumerate(first.planes):
        total, value = np.zeros(plane.shape, np.float32), np.empty(plane.shape, np.float32)
        for picture in pictures:
            picture.scales[index].read(picture.planes[index], value)
            total += value
        total *= np.float32(1 / len(pictures))
        planes.append(total)
    return Picture(planes, [Scale()] * len(planes))
