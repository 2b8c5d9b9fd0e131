"""A lite network applied to one window of frames, tile by tile."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from vsanimup.engines import Array, Backend, Engine
from vsanimup.errors import AnimupError
from vsanimup.models import Model
from vsanimup.spatial.tiles import Blend, pad, plan

NETWORK = "network.onnx"
"""The network's file in a model folder of kind ``lite``."""
MEMORY = 1 << 30
"""Bytes of working memory that one tile may take when the tile size is left to us. Fixed, not what happens to
be free: the grid, and with it the picture, must not depend on the moment."""
MARGIN = 4
"""Luma samples by which a frame is continued on every side. Networks see zeros beyond their input's edge, which
shows as a tint of up to 2.5/255 on the last samples of flat colours; four samples in, 0.4/255 are left."""

Mix = tuple[tuple[str, float], ...]
"""Tasks and their weights, sorted by name, without zeros; empty for a network that has none."""
ENGINES = 4
"""Engines kept, of the task mixes used last."""


class Inference:
    """Runs one model on windows of a clip of one size; safe to call from several threads."""

    def __init__(
        self,
        model: Model,
        *,
        width: int,
        height: int,
        has_chroma: bool,
        tilesize: tuple[int, int] | None,
        overlap: tuple[int, int],
        backend: Backend,
        device_id: int,
    ) -> None:
        self._model, self._backend, self._device = model, backend, device_id
        self._has_chroma = has_chroma
        wide, high = width + 2 * MARGIN, height + 2 * MARGIN
        tile = tilesize
        if tile is not None:  # one as large as the clip means the clip in one piece
            tile = (wide if tile[0] >= width else tile[0], high if tile[1] >= height else tile[1])
        self.grid = plan(
            wide, high, tile=tile, overlap=overlap, align=model.align, most=MEMORY // model.bytes_per_pixel
        )
        self._network = model.read(NETWORK)
        self._engines: OrderedDict[Mix, Engine] = OrderedDict()
        self._loading = threading.Lock()

    def engine(self, mix: Mix = ()) -> Engine:
        """The engine for a task mix, made on first use: scripts are often evaluated without a frame asked for."""
        with self._loading:
            if mix not in self._engines:
                high, wide = self.grid.rows.tile, self.grid.columns.tile
                self._engines[mix] = self._backend.load(
                    self._network, origin=str(self._model.folder / NETWORK), device_id=self._device,
                    sizes={"height": high, "width": wide, "half_height": high // 2, "half_width": wide // 2},
                )  # fmt: skip
                while len(self._engines) > ENGINES:
                    self._engines.popitem(last=False)
            self._engines.move_to_end(mix)
            return self._engines[mix]

    def __call__(
        self, window: Sequence[tuple[NDArray[np.generic], ...]], mix: Mix, cancelled: Callable[[], bool]
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
        engine = self.engine(mix)
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
