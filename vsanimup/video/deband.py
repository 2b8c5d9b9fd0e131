"""Bands: a picture with too few levels, and what it was before.

A network sees too little of a slow ramp to tell it from flat areas. But what was rounded tells by how much: its levels
lie apart. What a sample was lies within half of that, and between two bands a ramp goes on. So means over runs of
neighbouring levels are taken along rows and columns, ever shorter ones, and no sample leaves what rounds to it
(``native/deband.cpp``). Lines and edges are further than the levels of a ramp, and where few neighbours are equal there
are no bands: there a small network tells what texture was before it was rounded (``posterised.py``), within the same
limits. Levels are a frame's own, so frame n is a pure function of source frame n.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import vapoursynth as vs
from numpy.typing import NDArray

from vsanimup.bridge import FrameView, Job, block_node, functions
from vsanimup.engines import Array
from vsanimup.video.likeness import refuse_interlaced
from vsanimup.video.posterised import WIDEST, Network
from vsanimup.video.samples import UNSPECIFIED, Plane, Scale, is_full, matrix_by_height, scales

TASK: Final = "deband"
"""The task that this serves."""
FEWEST: Final = 4
"""Levels that a ramp has at the least: fewer may be tones that somebody drew."""
LEAST: Final = 3.0
"""Least that they lie apart where a network has a say, in the same steps."""
RICH: Final = 6
"""Least of their pairs where it has a say: fewer tones may be those of somebody who draws pixel by pixel."""
CERTAIN: Final = 8.0
"""From where on it has its whole say: the closer levels lie, the more counts that integers between them may have no
middle, and that nobody knows which way it was rounded."""
SLACK: Final = 1.01
"""How much nearer or further levels may seem: floats are a little off."""
WITHIN: Final = 0.498
"""Share of the distance to the next level that a sample may have been off by; half of it, also once it is rounded to 16
bits, would round to either."""


@dataclass(frozen=True)
class Levels:
    """The levels of a plane, from the least to the greatest."""

    values: Array
    """``[levels]``, as samples."""
    least: Array
    """What a sample of each may have been."""
    most: Array
    """The same."""
    joined: NDArray[np.uint8]
    """Whether each and the next are neighbours in a ramp."""
    distance: float
    """How far apart those mostly lie."""


def levels_of(found: NDArray[Any], level: float) -> Levels | None:
    """What is known of samples by the values that occur, sorted; ``level`` is a sample's step in those of 8 bits.

    ``None`` where no ramp can be told: levels of a ramp lie apart by one distance, which rounding varies.
    """
    values = found.astype(np.float32)
    if not FEWEST <= len(values) <= 1 << 16:
        return None
    gaps = np.diff(values.astype(np.float64))
    joined = (gaps <= 1.5 * float(gaps.min())) & (gaps * level <= WIDEST * SLACK)
    ends = np.flatnonzero(np.diff(joined, prepend=False, append=False))
    for first, end in ends.reshape(-1, 2):
        if end - first < FEWEST - 1:
            joined[first:end] = False
    if not joined.any():
        return None
    room = np.where(joined, WITHIN * gaps, 0).astype(np.float32)
    least, most = values.copy(), values.copy()
    least[1:] -= room
    most[:-1] += room
    return Levels(values, least, most, joined.astype(np.uint8), float(gaps[joined].mean()))


@dataclass(frozen=True)
class Banded:
    """A plane whose levels are a ramp's."""

    ranks: NDArray[np.uint16]
    """Which level each sample has."""
    levels: Levels

    @classmethod
    def of(cls, plane: Plane, level: float) -> Banded | None:
        """A plane by its samples, a step of which is ``level`` in those of 8 bits; ``None`` where it has no bands."""
        if plane.dtype.kind == "u" and plane.size:
            counts = np.bincount(plane.reshape(-1), minlength=1)
            found = np.flatnonzero(counts)
            table = np.zeros(len(counts), np.uint16)
            table[found] = np.arange(len(found), dtype=np.uint16)
            ranks = table[plane]
        else:
            found, places = np.unique(plane, return_inverse=True)
            if len(found) > 1 << 16 or not np.isfinite(found).all():
                return None
            ranks = places.reshape(plane.shape).astype(np.uint16)
        levels = levels_of(found, level)
        return None if levels is None else cls(ranks, levels)

    def smooth(self) -> tuple[Array, Array]:
        """The plane with ramps as far as it has bands, and how far that is, 0..1; float32 both."""
        result, shares = (np.empty(self.ranks.shape, np.float32) for _ in range(2))
        levels, (rows, columns) = self.levels, self.ranks.shape
        functions().deband(
            self.ranks.ctypes.data, rows, columns, levels.values.ctypes.data, levels.least.ctypes.data,
            levels.most.ctypes.data, levels.joined.ctypes.data, shares.ctypes.data, result.ctypes.data,
        )  # fmt: skip
        return result, shares

    def within(self, values: Array) -> Array:
        """Values limited to what rounds to the plane."""
        return np.clip(values, self.levels.least[self.ranks], self.levels.most[self.ranks])


def before_rounding(plane: Plane, level: float, strength: float = 1.0, network: Network | None = None) -> Array:
    """What a plane's samples were, float32, where they have bands; themselves where not.

    ``level`` is a sample's step in those of 8 bits, ``strength`` 0..1 how much of the change to take.
    """
    own = plane.astype(np.float32)
    banded = Banded.of(plane, level)
    if banded is None:
        return own
    (found, shares), distance = banded.smooth(), banded.levels.distance
    apart = distance * level
    if network is not None and apart * SLACK >= LEAST and banded.levels.joined.sum() >= RICH:
        changed = banded.within(network(own, found, distance, level))
        found += np.float32(min(1.0, apart / CERTAIN)) * (1 - shares) * (changed - found)  # what ramps leave over
    return found if strength == 1 else own + np.float32(strength) * (found - own)


def debanded(clip: vs.VideoNode, function: str, strength: float, streams: int = 1) -> vs.VideoNode:
    """The clip with ramps where it had bands, in 16 bits, or in 32-bit floats where it is of floats.

    ``strength`` 0..1 is how much of the change to take. Planes whose levels lie :data:`LEAST` to ``WIDEST`` apart go
    through the network. Raises :class:`vsanimup.errors.AnimupError` for what
    :func:`vsanimup.bridge.block_node` refuses; frames that are said to be interlaced fail.
    """
    own = clip.format
    depth = 32 if own.sample_type == vs.FLOAT else 16
    target = vs.core.query_video_format(own.color_family, own.sample_type, depth, own.subsampling_w, own.subsampling_h)
    network = Network(streams)

    def process(job: Job) -> None:
        source = job.inputs[0]
        refuse_interlaced(source)
        if own.color_family == vs.YUV and source.prop("_Matrix", UNSPECIFIED) == UNSPECIFIED:
            job.outputs[0].set_prop("_Matrix", matrix_by_height(source.planes[0].shape[0]))
        full = _is_full(source, own)
        planes = zip(source.planes, _scales(own, full), job.outputs[0].planes, _scales(target, full), strict=True)
        for plane, scale, result, finer in planes:
            values = before_rounding(plane, _level(scale, full), strength, network)
            scale.read(values, values)
            finer.write(values, result)

    return block_node(clip, process, function=function, format=target.id, streams=streams, cached_blocks=streams + 2)


def _is_full(frame: FrameView, format: vs.VideoFormat) -> bool:
    """As :func:`vsanimup.video.samples.is_full`, but where nothing is said RGB is of full range."""
    said = any(frame.prop(name) is not None for name in ("_Range", "_ColorRange"))
    return is_full(frame) if said or format.color_family != vs.RGB else True


def _scales(format: vs.VideoFormat, full: bool) -> tuple[Scale, ...]:
    """The scale of each plane; those of RGB are those of gray."""
    if format.color_family != vs.RGB:
        return scales(format, full)
    gray = vs.core.query_video_format(vs.GRAY, format.sample_type, format.bits_per_sample, 0, 0)
    return scales(gray, full) * 3


def _level(scale: Scale, full: bool) -> float:
    """A sample's step in those of 8 bits and the same range: levels lie as far apart in any format."""
    if not full:
        return scale.level
    return 255.0 if scale.top is None else 255.0 / scale.top
