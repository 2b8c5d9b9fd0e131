"""Everything that is measured, behind one interface: networks of others and chains of VapourSynth filters."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pictures import HEIGHT, WIDTH, picture, video
from benchmarks.upscaler import SCALE, Image, Upscaler
from vsanimup.packages import need

OURS = "animup"
OURS_CLEAN = "animup-upscale"
OURS_ONE_PASS = "animup-one-pass"
OURS_FLOAT = "animup-fp32"
ALL_OURS = (OURS, OURS_CLEAN, OURS_ONE_PASS, OURS_FLOAT)
CLEAN = "clean"

LEAD = 36
"""Frames that a filter chain delivers before the clock of a turn starts: more than it computes ahead, so that as much
is done already when the clock starts as when it stops."""

Chain = Callable[[Any, str], Any]  # (clip, kind of degradation) -> enlarged clip


@dataclass(frozen=True)
class Turn:
    """What one frame took: on the clock, and of all cores together."""

    wall: float
    cpu: float


def clocked(work: Callable[[], object], frames: int) -> Turn:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Turn((time.perf_counter() - wall) / frames, (time.process_time() - cpu) / frames)


class Contender(ABC):
    """One row of the tables."""

    name: str

    @abstractmethod
    def warm_up(self) -> None:
        """Load, and run once outside the clock."""

    @abstractmethod
    def turn(self) -> Turn:
        """Time one turn, 640x360 to 1280x720."""

    @abstractmethod
    def frames(self, path: Path, kind: str, wanted: Sequence[int]) -> Iterator[Image]:
        """The enlarged frames `wanted` (ascending) of a video, as 8-bit RGB."""


class NetworkContender(Contender):
    """A peer's network on the CPU; the clock sees its padding, tiling and inference and nothing else."""

    def __init__(self, name: str, upscaler: Upscaler) -> None:
        self.name = name
        self._upscaler = upscaler
        self._still = upscaler.planes(picture()[:HEIGHT, :WIDTH])

    def warm_up(self) -> None:
        self._upscaler.infer(self._still)

    def turn(self) -> Turn:
        return clocked(self.warm_up, 1)

    def frames(self, path: Path, kind: str, wanted: Sequence[int]) -> Iterator[Image]:
        for image in decode(path, wanted):
            yield self._upscaler.enlarge(image)


class FilterContender(Contender):
    """A chain of VapourSynth filters; the clock sees the whole chain with the core's default threads, in full run."""

    def __init__(self, name: str, chain: Chain, *, kind: str, stretch: int, hold: int) -> None:
        self.name = name
        self._vs = need("vapoursynth")
        self._chain = chain
        self._kind = kind
        self._stretch = stretch
        self._hold = hold
        self._frames: Iterator[Any] = iter(())

    def warm_up(self) -> None:
        self._frames = self._enlarge(video(self._vs, hold=self._hold), self._kind).frames(close=True)
        self._pull(1)

    def turn(self) -> Turn:
        self._pull(LEAD)
        return clocked(lambda: self._pull(self._stretch), self._stretch)

    def _pull(self, count: int) -> None:
        for _ in range(count):
            next(self._frames)

    def frames(self, path: Path, kind: str, wanted: Sequence[int]) -> Iterator[Image]:
        return images(self._enlarge(source(path), kind), wanted)

    def _enlarge(self, clip: Any, kind: str) -> Any:
        try:
            return self._chain(clip, kind)
        except self._vs.Error as error:
            raise SystemExit(f"peers: {self.name}: {error}") from None


def source(path: Path) -> Any:
    """A video file as a clip."""
    return need("vapoursynth").core.bs.VideoSource(str(path), cachemode=0, showprogress=False)


def decode(path: Path, wanted: Sequence[int]) -> Iterator[Image]:
    """The frames `wanted` of a video as RGB."""
    clip = source(path)
    if wanted and wanted[-1] >= clip.num_frames:
        raise SystemExit(f"peers: {path} has no frame {clip.num_frames}")
    return images(clip, wanted)


def images(clip: Any, wanted: Sequence[int]) -> Iterator[Image]:
    """The frames `wanted` of a clip as 8-bit RGB, by VapourSynth's own conversion; BT.709 where nothing is said."""
    vs = need("vapoursynth")
    with clip.get_frame(0) as frame:
        matrix = frame.props.get("_Matrix", vs.MATRIX_UNSPECIFIED)
    untold = clip.format.color_family == vs.YUV and matrix == vs.MATRIX_UNSPECIFIED
    colours = clip.resize.Bicubic(format=vs.RGB24, matrix_in=vs.MATRIX_BT709 if untold else None)
    for n in wanted:
        with colours.get_frame(n) as frame:
            yield np.stack([np.asarray(frame[p]) for p in range(3)], -1)


def lanczos(clip: Any, kind: str) -> Any:
    """VapourSynth's own resizer."""
    return need("vapoursynth").core.resize.Lanczos(clip, clip.width * SCALE, clip.height * SCALE)


@dataclass(frozen=True)
class Ours:
    """animup's two filters, or one pass; what is clean already is only enlarged."""

    precision: str = "auto"
    task: str = "auto"
    one_pass: bool = False

    def __call__(self, clip: Any, kind: str) -> Any:
        """The chain after a clip of this kind."""
        animup = need("vapoursynth").core.animup
        if kind == CLEAN:
            return animup.Upscale(clip, precision=self.precision)
        if self.one_pass:
            return animup.Upscale(clip, task=self.task, precision=self.precision)
        restored = animup.Restore(clip, task=self.task, precision=self.precision)
        return animup.Upscale(restored, precision=self.precision)


def missing_ours() -> str:
    """Why animup cannot be measured here; empty if it can."""
    if hasattr(need("vapoursynth").core, "animup"):
        return ""
    return "core.animup is not there; run: pip install vsanimup"
