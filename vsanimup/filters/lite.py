"""Running a lite network on a clip, window by window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import vapoursynth as vs

from vsanimup.bridge import FrameView, Job, block_node
from vsanimup.engines import Backend
from vsanimup.errors import AnimupError
from vsanimup.filters.inference import Inference
from vsanimup.models import Model
from vsanimup.temporal.scenes import is_cut, scene_window

UNSPECIFIED = 2
"""Value of ``_Matrix`` that says nothing."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to run a network; the arguments that both filters share, checked."""

    tilesize: tuple[int, int] | None
    """Width and height of a tile in luma samples; ``None`` chooses."""
    overlap: tuple[int, int]
    """Samples that neighbouring tiles share, across and down."""
    backend: Backend
    """Where to run."""
    device_id: int
    """Which device of the backend."""
    num_streams: int
    """Computations at once."""
    scenecut: bool
    """Whether windows stop at scene cuts."""
    strength: float = 1.0
    """Share of the network's change that is applied."""


class LiteProcess:
    """Computes output frames of one clip with one lite network."""

    def __init__(self, clip: vs.VideoNode, model: Model, settings: Settings) -> None:
        self._model, self._settings = model, settings
        self._has_chroma = clip.format.num_planes > 1
        self.inference = Inference(
            model, width=clip.width, height=clip.height, has_chroma=self._has_chroma, tilesize=settings.tilesize,
            overlap=settings.overlap, backend=settings.backend, device_id=settings.device_id,
        )  # fmt: skip

    def __call__(self, job: Job) -> None:
        """Fill the one output frame of ``job``."""
        (output,) = job.outputs
        frames = job.inputs
        centre = output.n - frames[0].n
        for frame in frames:
            if frame.prop("_FieldBased", 0) in (1, 2):
                raise AnimupError(
                    f"frame {frame.n} is interlaced (_FieldBased={frame.prop('_FieldBased')}); deinterlace first, "
                    "or, if it is progressive after all, clip.std.SetFrameProps(_FieldBased=0)"
                )
        window = self._window(frames, centre)
        y, uv = self.inference([frames[i].planes for i in window], (), lambda: job.cancelled)
        source = frames[centre].planes
        strength = np.float32(self._settings.strength)
        for plane, result, before in zip(output.planes, [y, *uv], source, strict=False):
            if strength == 1:
                plane[:] = result
            else:  # only restoring has a strength, so sizes agree
                plane[:] = before + strength * (result - before)
        if output.prop("_Matrix", UNSPECIFIED) == UNSPECIFIED and self._has_chroma:
            # players choose by height: a doubled DVD would change its colours unless its matrix is written down
            output.set_prop("_Matrix", matrix_by_height(source[0].shape[0]))

    def _window(self, frames: tuple[FrameView, ...], centre: int) -> list[int]:
        def cut(before: int, after: int) -> bool:
            return self._settings.scenecut and is_cut(frames[before], frames[after])

        return scene_window(len(frames), centre, self._model.radius, cut)


def matrix_by_height(height: int) -> int:
    """The ``_Matrix`` that players assume for a picture of this height: BT.601 (6) up to 576 lines, else BT.709 (1)."""
    return 6 if height <= 576 else 1


def lite_node(clip: vs.VideoNode, function: str, model: Model, settings: Settings) -> vs.VideoNode:
    """A GRAYS or YUV420PS clip through a lite network."""
    process = LiteProcess(clip, model, settings)
    return block_node(
        clip, process, function=function, before=model.radius, after=model.radius,
        width=clip.width * model.scale, height=clip.height * model.scale, streams=settings.num_streams,
    )  # fmt: skip
