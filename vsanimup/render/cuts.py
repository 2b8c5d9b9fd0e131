"""Where chunks begin: on a grid of frames, moved to a scene cut where one lies close by."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

REACH = 12
"""Frames by which a border may be moved to a cut."""


@dataclass(frozen=True)
class SceneFrame:
    """What scene detection looks at of a frame: luma in 0..1, and marks."""

    planes: tuple[NDArray[np.float32], ...]
    marks: dict[str, int]

    @classmethod
    def of(cls, frame: Any) -> SceneFrame:
        """Copy it from a VapourSynth frame; of RGB it takes green."""
        import vapoursynth as vs

        plane = np.asarray(frame[1 if frame.format.color_family == vs.RGB else 0]).astype(np.float32)
        if frame.format.sample_type == vs.INTEGER:
            plane /= np.float32((1 << frame.format.bits_per_sample) - 1)
        names = ("_SceneChangePrev", "_SceneChangeNext")
        return cls((plane,), {name: int(frame.props[name]) for name in names if name in frame.props})

    def prop(self, name: str, default: int | None = None) -> object:
        """A mark, or the default."""
        return self.marks.get(name, default)


def grid(frames: int, length: int) -> list[int]:
    """Borders between chunks of ``length`` frames, 0 and ``frames`` left out; a last chunk of less than half a length
    is added to the one before it."""
    return list(range(length, frames - length // 2, length))


def chunks(frames: int, borders: list[int]) -> list[tuple[int, int]]:
    """First frames and ends of the chunks between borders."""
    return list(pairwise([0, *borders, frames]))
