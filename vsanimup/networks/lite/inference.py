"""A lite network applied to one window of frames, tile by tile."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from vsanimup.engines import Array, Backend, Engine, Size, on_host
from vsanimup.engines.shapes import side_range
from vsanimup.errors import AnimupError
from vsanimup.networks.manifest import Model
from vsanimup.networks.modulation import Modulation
from vsanimup.sizes import show_bytes
from vsanimup.tasks import CLEAN, TaskMix
from vsanimup.tiling.budget import MEMORY, memory_of_tile
from vsanimup.tiling.fallback import REMEDY, Fallback, halved
from vsanimup.tiling.tiles import Blend, Grid, plan, surround
from vsanimup.video.samples import Picture

FLOAT, INT8 = "network.onnx", "network.int8.onnx"
"""The network's files in a model folder of kind ``lite``; the one of 8-bit integers may be missing."""
MARGIN = 4
"""Luma samples by which a frame is continued on every side. Networks see zeros beyond their input's edge, which
shows as a tint of up to 2.5/255 on the last samples of flat colours; four samples in, 0.4/255 are left."""
MIRRORED = (1, 1), (-1, 1), (1, -1), (-1, -1)
"""Steps along rows and columns at which a tile is read: as it is, upside down, left to right, both."""

ENGINES = 4
"""Engines kept, of the task mixes used last."""


def tile_grid(
    model: Model, width: int, height: int, tile: tuple[int, int] | None, overlap: tuple[int, int], most: int = MEMORY
) -> Grid:
    """How frames of a size are cut into tiles; ``tile`` and ``overlap`` are (width, height), ``most`` the bytes that
    one may take where ``tile`` is left out."""
    wide, high = width + 2 * MARGIN, height + 2 * MARGIN
    if tile is not None:  # one as large as the clip means the clip in one piece
        tile = (wide if tile[0] >= width else tile[0], high if tile[1] >= height else tile[1])
    return plan(
        wide,
        high,
        tile=tile,
        overlap=overlap,
        align=model.align,
        most=most // model.bytes_per_pixel,
        multiple=model.multiple or None,
    )


def fixed(height: int, width: int) -> dict[str, Size]:
    """A lite network's dimensions for tiles of one size."""
    return {"height": height, "width": width, "half_height": height // 2, "half_width": width // 2}


def ranges(height: int, width: int) -> dict[str, Size]:
    """The same for an engine that serves all tiles of about a size."""
    down, across = side_range(height), side_range(width)
    if isinstance(down, int) or isinstance(across, int):
        return fixed(height, width)
    found: dict[str, Size] = {}
    for name, (least, usual, most) in (("height", down), ("width", across)):
        found[name] = least, usual, most
        found[f"half_{name}"] = least // 2, usual // 2, most // 2
    return found


@dataclass(frozen=True)
class Weights:
    """One network of a model: its file and its task biases."""

    origin: str
    network: bytes
    modulation: Modulation
    radius: int
    """Frames that it sees on each side."""


@dataclass(frozen=True)
class Tiled:
    """What belongs to a grid of tiles."""

    grid: Grid
    engines: OrderedDict[TaskMix, Engine] = field(default_factory=OrderedDict)
    spare: list[tuple[Array, Array]] = field(default_factory=list)
    """Inputs of finished computations."""


class Inference:
    """Runs one model on windows of a clip of one size.

    Safe to call from any number of threads, of which ``streams`` compute and the others wait.
    """

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
        streams: int,
        precision: str = "auto",
        tta: bool = False,
    ) -> None:
        """``tta`` averages over :data:`MIRRORED`."""
        self._variants = MIRRORED if tta else MIRRORED[:1]
        self._model, self._backend, self._device = model, backend, device_id
        self._has_chroma = has_chroma
        room = backend.memory(device_id)
        most = memory_of_tile(room, streams)
        first = tile_grid(model, width, height, tilesize, overlap, most)

        def smaller() -> Tiled | None:
            grid = tile_grid(model, width, height, halved(first), overlap, most)
            return Tiled(grid) if _area(grid) < _area(first) else None

        self._fallback = Fallback(Tiled(first), smaller, lambda tiled: tiled.grid)
        if precision == "int8" and INT8 not in model.files:
            raise AnimupError(
                f"precision='int8' needs {INT8}, which model {model.name} does not have; leave precision out"
            )
        # integers are for CPUs: on a device of its own they would be slower, or not be known
        integers = backend.integers and precision in ("auto", "int8") and INT8 in model.files
        self._file = INT8 if integers else FLOAT
        self._precision, self._streams = precision, streams
        self._parts = {part.folder: self._read(part) for part in model.family()}
        self._loading = threading.Lock()
        self._places = threading.BoundedSemaphore(streams)
        if room is not None and self._need(streams) > room.free:
            need, free = show_bytes(self._need(streams)), show_bytes(room.free)
            self._fallback.halve(f"{need} of the device's memory are needed, {free} are free")
            if self._need(streams) > room.free:
                raise AnimupError(
                    f"model {model.name} needs {show_bytes(self._need(streams))} of the device's memory, "
                    f"{show_bytes(room.free)} are free: {REMEDY}"
                )

    @property
    def grid(self) -> Grid:
        """The tiles, in luma samples of the continued frame."""
        return self._fallback.tiled.grid

    def _read(self, model: Model) -> Weights:
        return Weights(str(model.folder / self._file), model.read(self._file), Modulation(model), model.radius)

    def _need(self, streams: int) -> int:
        """Bytes that weights and the tiles of all streams take on a device, at most."""
        weights = sum(len(part.network) for part in self._parts.values())
        return weights + streams * _area(self.grid) * self._model.bytes_per_pixel

    def _part(self, mix: TaskMix) -> Weights:
        """The network for a task mix."""
        task = self._model.specialist(mix)
        return self._parts[self._model.folder / self._model.specialists[task] if task else self._model.folder]

    def radius(self, mix: TaskMix) -> int:
        """Frames on each side of the centre frame that windows of a task mix hold."""
        return self._part(mix).radius

    def engine(self, tiled: Tiled, mix: TaskMix = CLEAN) -> Engine:
        """The engine for a task mix, made on first use: scripts are often evaluated without a frame asked for."""
        with self._loading:
            engines = tiled.engines
            if mix not in engines:
                high, wide = tiled.grid.rows.tile, tiled.grid.columns.tile
                builds, part = self._backend.builds, self._part(mix)
                engines[mix] = self._backend.load(
                    part.network if builds else part.modulation.merge(self._file, part.network, mix),
                    origin=part.origin,
                    device_id=self._device,
                    sizes=ranges(high, wide) if builds else fixed(high, wide),
                    streams=self._streams,
                    precision="auto" if self._backend.memory(self._device) is None else self._precision,
                    weights=(part.modulation.weights(mix) or None) if builds else None,
                )
                while len(engines) > ENGINES:
                    engines.popitem(last=False)
            engines.move_to_end(mix)
            return engines[mix]

    def __call__(self, window: Sequence[Picture], mix: TaskMix, cancelled: Callable[[], bool]) -> tuple[Array, Array]:
        """Luma ``[rows, columns]`` and chroma ``[2, rows, columns]`` of the centre frame of a window.

        The window has :meth:`radius` frames on each side.
        """
        with self._places:
            return self._fallback.run(lambda tiled: self._compute(tiled, window, mix, cancelled))

    def _compute(
        self, tiled: Tiled, window: Sequence[Picture], mix: TaskMix, cancelled: Callable[[], bool]
    ) -> tuple[Array, Array]:
        """As a call, by these tiles."""
        try:
            y, uv = tiled.spare.pop()
        except IndexError:
            shape, most = (tiled.grid.rows.padded, tiled.grid.columns.padded), 2 * self._model.radius + 1
            y = np.empty((1, most, *shape), np.float32)
            uv = np.zeros((1, 2 * most, shape[0] // 2, shape[1] // 2), np.float32)
        inputs = y[:, : len(window)], uv[:, : 2 * len(window)]
        self._place(window, inputs[0][0], inputs[1][0])
        result = self._run(tiled.grid, *inputs, self.engine(tiled, mix), window[0].planes[0].shape, cancelled)
        tiled.spare.append((y, uv))
        return result

    def _place(self, window: Sequence[Picture], y: Array, uv: Array) -> None:
        """Write the window's values into the network's inputs, and continue them to the borders."""
        rows, columns = window[0].planes[0].shape
        for index, picture in enumerate(window):
            picture.scales[0].read(picture.planes[0], y[index, MARGIN : MARGIN + rows, MARGIN : MARGIN + columns])
        surround(y, MARGIN, rows, columns)
        if not self._has_chroma:
            return
        margin, rows, columns = MARGIN // 2, rows // 2, columns // 2
        for index, picture in enumerate(window):
            for plane in (1, 2):
                inside = uv[2 * index + plane - 1, margin : margin + rows, margin : margin + columns]
                picture.scales[plane].read(picture.planes[plane], inside)
        surround(uv, margin, rows, columns)

    def _run(
        self, grid: Grid, y: Array, uv: Array, engine: Engine, shape: tuple[int, ...], cancelled: Callable[[], bool]
    ) -> tuple[Array, Array]:
        """All tiles of the inputs, put together and cut to ``shape``, that of the luma plane, times the scale."""
        scale = self._model.scale
        luma, chroma = Blend(grid, 1, scale, 1), Blend(grid, 2, scale, 2)
        high, wide = grid.rows.tile, grid.columns.tile
        for row, column in grid:
            if cancelled():
                raise AnimupError("the clip was closed")
            top, left = grid.rows.starts()[row], grid.columns.starts()[column]
            tile_y = y[:, :, top : top + high, left : left + wide]
            tile_uv = uv[:, :, top // 2 : (top + high) // 2, left // 2 : (left + wide) // 2]
            result_y, result_uv = self._averaged(engine, tile_y, tile_uv)
            luma.add(row, column, result_y)
            chroma.add(row, column, result_uv)
        margin, height, width = MARGIN * scale, shape[0] * scale, shape[1] * scale
        return luma.result(margin, height, width)[0], chroma.result(margin // 2, height // 2, width // 2)

    def _averaged(self, engine: Engine, y: Array, uv: Array) -> tuple[Array, Array]:
        """Luma and chroma ``[planes, rows, columns]`` of one tile: the mean over the variants."""
        sums: list[Array] = []
        for rows, columns in self._variants:
            mirror = (..., slice(None, None, rows), slice(None, None, columns))
            results = engine.run({"y": np.ascontiguousarray(y[mirror]), "uv": np.ascontiguousarray(uv[mirror])})
            found = [on_host(results[name])[0][mirror] for name in ("result_y", "result_uv")]
            if len(self._variants) == 1:
                return found[0], found[1]
            sums = [a + b for a, b in zip(sums, found, strict=True)] if sums else found
        share = np.float32(1 / len(self._variants))
        return sums[0] * share, sums[1] * share


def _area(grid: Grid) -> int:
    """Samples of a tile."""
    return grid.rows.tile * grid.columns.tile
