"""Which frames of a clip show one drawing, where its scenes start, and what its frames say of themselves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import vapoursynth as vs
from numpy.typing import NDArray

from vsanimup.bridge import FrameView
from vsanimup.errors import AnimupError
from vsanimup.single_flight import SingleFlight
from vsanimup.video.duplicates import CELL, NOISIEST, run_of, same_drawing
from vsanimup.video.rgb import COEFFICIENTS
from vsanimup.video.samples import UNSPECIFIED, Picture, is_full, matrix_by_height, scales
from vsanimup.video.scenes import is_cut

PAIRS = 256
"""Comparisons of frames that are remembered."""
RESTORED = "AnimupRestored"
"""Frame property of what was restored in full: the task whose own network did it, for enlarging has another beside it,
or the model. Copies of a drawing are equal there, and evened out along time, so nothing of that is done again."""

Frames = Mapping[int, FrameView]
"""Source frames at hand, by number."""
Run = tuple[int, int]
"""First and last frame of a drawing."""


class Likeness:
    """Compares frames of one gray or YUV clip; remembers what it found. Safe to use from several threads."""

    def __init__(self, format: vs.VideoFormat, *, scenecut: bool, noisiest: float = NOISIEST) -> None:
        """``scenecut`` tells whether cuts are looked for; drawings end at them too. Frames that differ by more noise
        than ``noisiest`` are drawings of their own."""
        self._format, self._scenecut, self._noisiest = format, scenecut, noisiest
        self._same = SingleFlight[tuple[int, int], bool](PAIRS)
        self._cuts = SingleFlight[int, bool](PAIRS)

    def picture(self, frame: FrameView) -> Picture:
        """The frame's samples and what they mean."""
        return Picture(frame.planes, scales(self._format, is_full(frame)))

    def same(self, frames: Frames, a: int, b: int) -> bool:
        """Whether frames ``a`` < ``b`` show one drawing."""

        def compare() -> bool:
            if _layout(frames[a]) != _layout(frames[b]) or _restored(frames[a]) != _restored(frames[b]):
                return False  # a run holds for all of its frames, and restored ones are drawings of their own
            one, other = self.picture(frames[a]), self.picture(frames[b])
            return one.same_samples(other) or same_drawing(one.levels(), other.levels(), self._noisiest)

        return self._same.get((a, b), compare) and not (b == a + 1 and self.cut(frames, b))

    def run(self, frames: Frames, n: int) -> Run:
        """The drawing that frame ``n`` belongs to, within its cell, of which all frames are at hand."""
        first = n - n % CELL
        return run_of(n, first, min(first + CELL - 1, max(frames)), lambda a, b: self.same(frames, a, b))

    def cut(self, frames: Frames, n: int) -> bool:
        """Whether a scene starts at frame ``n``."""

        def compare() -> bool:
            before, after = frames[n - 1], frames[n]
            # whoever writes different chroma locations has joined two clips
            return _layout(before)[1] != _layout(after)[1] or is_cut(
                _Values(before, self.picture(before)), _Values(after, self.picture(after))
            )

        return self._scenecut and self._cuts.get(n, compare)


class _Values:
    """A frame for scene detection: luma as values."""

    def __init__(self, frame: FrameView, picture: Picture) -> None:
        self.prop = frame.prop
        self._picture = picture

    @property
    def planes(self) -> tuple[NDArray[np.float32], ...]:
        """The luma plane."""
        luma = np.empty(self._picture.planes[0].shape, np.float32)
        self._picture.scales[0].read(self._picture.planes[0], luma)
        return (luma,)


def _layout(frame: FrameView) -> tuple[bool, object]:
    """What a frame's properties say of its samples: range and chroma location, 0 (left) where unset."""
    return is_full(frame), frame.prop("_ChromaLocation", 0)


def _restored(frame: FrameView) -> bool:
    return frame.prop(RESTORED) is not None


def refuse_interlaced(frame: FrameView) -> None:
    """Raise :class:`AnimupError` for a frame that its properties call interlaced."""
    if frame.prop("_FieldBased", 0) in (1, 2):
        raise AnimupError(
            f"frame {frame.n} is interlaced (_FieldBased={frame.prop('_FieldBased')}); deinterlace first, "
            "or, if it is progressive after all, clip.std.SetFrameProps(_FieldBased=0)"
        )


def matrix_of(frame: FrameView, height: int) -> int:
    """The frame's ``_Matrix``, or the one that its height implies. Raises :class:`AnimupError` for one not in use."""
    matrix = frame.prop("_Matrix", UNSPECIFIED)
    if matrix == UNSPECIFIED:
        return matrix_by_height(height)
    if matrix not in COEFFICIENTS:
        raise AnimupError(
            f"frame {frame.n} has _Matrix={matrix}, which networks on RGB cannot take; "
            "convert first, as in core.resize.Bicubic(clip, matrix_s='709')"
        )
    assert isinstance(matrix, int)
    return matrix
