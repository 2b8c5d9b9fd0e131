"""Running a lite network on a clip: window by window, tile by tile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import vapoursynth as vs
from numpy.typing import NDArray

from vsanimup.bridge import FrameView, Job, block_node
from vsanimup.engines import Backend, Engine
from vsanimup.errors import AnimupError
from vsanimup.models import Model
from vsanimup.spatial.tiles import Blend, pad, plan
from vsanimup.temporal.scenes import is_cut, scene_window

Array = NDArray[np.float32]

NETWORK = "network.onnx"
"""The network's file in a model folder of kind ``lite``."""
MEMORY = 1 << 30
"""Bytes of working memory that one tile may take when the tile size is left to us. Fixed, not what happens to
be free: the grid, and with it the picture, must not depend on the moment."""
MARGIN = 4
"""Luma samples by which a frame is continued on every side. Networks see zeros beyond their input's edge, which
shows as a tint of up to 2.5/255 on the last samples of flat colours; four samples in, 0.4/255 are left."""
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
        width, height = clip.width + 2 * MARGIN, clip.height + 2 * MARGIN
        tile = settings.tilesize
        if tile is not None:  # one as large as the clip means the clip in one piece
            tile = (width if tile[0] >= clip.width else tile[0], height if tile[1] >= clip.height else tile[1])
        self.grid = plan(
            width, height, tile=tile, overlap=settings.overlap, align=model.align, most=MEMORY // model.bytes_per_pixel
        )
        self._network: bytes | None = model.read(NETWORK)
        self._engine: Engine | None = None
        self._loading = threading.Lock()

    def engine(self) -> Engine:
        """The engine, made on first use: scripts are often evaluated without a frame being asked for."""
        with self._loading:
            if self._engine is None:
                assert self._network is not None
                height, width = self.grid.rows.tile, self.grid.columns.tile
                self._engine = self._settings.backend.load(
                    self._network, origin=str(self._model.folder / NETWORK), device_id=self._settings.device_id,
                    sizes={"height": height, "width": width, "half_height": height // 2, "half_width": width // 2},
                )  # fmt: skip
                self._network = None
            return self._engine

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
        y, uv = self._compute([frames[i].planes for i in window], lambda: job.cancelled)
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

    def _compute(
        self, window: list[tuple[NDArray[np.generic], ...]], cancelled: Callable[[], bool]
    ) -> tuple[Array, Array]:
        """Luma ``[rows, columns]`` and chroma ``[2, rows, columns]`` of the centre frame of a window of planes."""
        grid, scale = self.grid, self._model.scale
        rows, columns = window[0][0].shape
        y = pad(np.stack([planes[0] for planes in window]), MARGIN, grid.rows.padded, grid.columns.padded)
        half = (grid.rows.padded // 2, grid.columns.padded // 2)
        if self._has_chroma:
            uv = pad(np.stack([plane for planes in window for plane in planes[1:]]), MARGIN // 2, *half)
        else:
            uv = np.zeros((2 * len(window), *half), np.float32)
        luma, chroma = Blend(grid, 1, scale, 1), Blend(grid, 2, scale, 2)
        engine = self.engine()
        high, wide = grid.rows.tile, grid.columns.tile
        for row, column in grid:
            if cancelled():
                raise AnimupError("the clip was closed")
            top, left = grid.rows.starts()[row], grid.columns.starts()[column]
            results = engine.run({
                "y": np.ascontiguousarray(y[None, :, top : top + high, left : left + wide]),
                "uv": np.ascontiguousarray(
                    uv[None, :, top // 2 : (top + high) // 2, left // 2 : (left + wide) // 2]
                ),
            })  # fmt: skip
            luma.add(row, column, results["result_y"][0])
            chroma.add(row, column, results["result_uv"][0])
        margin, height, width = MARGIN * scale, rows * scale, columns * scale
        return luma.result(margin, height, width)[0], chroma.result(margin // 2, height // 2, width // 2)


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
