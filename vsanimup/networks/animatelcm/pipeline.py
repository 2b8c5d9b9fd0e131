"""A window of pictures through AnimateLCM: encoded, partly noised, denoised in few steps, decoded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vsanimup.engines import Array, Backend, DeviceArray, Engine, Feed, Result, Size, on_host
from vsanimup.errors import AnimupError
from vsanimup.networks.animatelcm import colour, noise
from vsanimup.networks.animatelcm.memory import Budget, Carried, Key, Stale, Turn, empty, size_of
from vsanimup.networks.animatelcm.model import CONTROL, HALVINGS, REMEMBER, AnimateLcm
from vsanimup.networks.animatelcm.schedule import Step
from vsanimup.tiling.fallback import Fallback, halved
from vsanimup.tiling.tiles import Axis, Blend, Grid, plan

TILE, OVERLAP = 512, 64
"""Samples of a tile and of what neighbours share, along each axis, unless told otherwise: what SD1.5 was trained on.
The autoencoder's tiles, which are of one frame each, always have them."""
LEAST = 16
"""Samples along each axis that a picture must have."""
APART = -10000.0
"""Added to the attention between frames of different scenes, of which nothing is left then."""

Cancelled = Callable[[], bool]


@dataclass(frozen=True, kw_only=True)
class Tiled:
    """What belongs to the tiles of one size."""

    grid: Grid
    """The denoiser's tiles, in samples of pictures."""
    encoded: Grid
    """The encoder's: of all that the denoiser's cover."""
    decoded: Grid
    """The decoder's: of the picture."""
    shape: tuple[int, int, int]
    """Channels, rows and columns of the latents of all that the denoiser's tiles cover."""
    noise: list[Array]
    """Noise of each step for these."""
    engines: dict[str, Engine] = field(default_factory=dict)


class Enhancer:
    """Runs one model on windows of pictures of one size.

    The result is a pure function of the window and of what was given here: the same bytes from whichever thread, and
    any number of threads may call at once.

    A window takes, per megapixel of a picture, 12 MB a frame for the result, as much again for the pictures that are
    given, 30 MB for the frame at work and 0.3 MB a frame for latents: 0.42 GB for 16 frames, each call.
    To this come the networks' weights and, while one runs, the ``bytes_per_pixel`` of the model's manifest for each
    sample of a tile, which is 3.1 GB for 16 frames of 512x512, and what a ControlNet hands over, 0.4 GB of the same;
    these do not grow with the picture. The autoencoder runs frame by frame.
    """

    def __init__(
        self, *, model: AnimateLcm, width: int, height: int, backend: Backend, device_id: int = 0,
        tilesize: tuple[int, int] | None = None, overlap: tuple[int, int] = (OVERLAP, OVERLAP), steps: int = 2,
        strength: float = 0.3, prompt: str = "", negative_prompt: str = "", cfg: float = 1.0, seed: int = 0,
        colorfix: str = "wavelet", control: float | None = None, streams: int = 1, budget: Budget | None = None,
        mix: Mapping[str, float] | None = None,
    ) -> None:  # fmt: skip
        """``width`` and ``height`` are those of the pictures, ``tilesize`` and ``overlap`` (width, height) in their
        samples, rounded up to multiples of the model's ``align``; without ``tilesize`` the picture is cut into the
        fewest tiles of at most 512x512, all equal. ``steps`` and ``strength`` are those of
        :class:`.schedule.Schedule`. ``cfg`` is the weight of the prompt against the negative prompt,
        1 to 30, where 1 leaves out the latter and halves the time. ``seed`` is any number of 64 bits, ``colorfix`` one
        of :data:`.colour.COLOURFIXES`, ``control`` the strength of the ControlNet, 0 to 2; it is 1
        unless given where the model has one. ``streams`` is the number of calls that go on at once. With a ``budget``
        windows hand on a memory of that size. ``mix`` are the model's tasks that are in force. All are in the ranges of
        the filters' arguments: here is looked only at what depends on the model and the picture.

        Encodes the text; the other networks are loaded when they are first used. Raises :class:`AnimupError` naming
        the argument, its value and what would do, or the file that is damaged.
        """
        if width < LEAST or height < LEAST:
            raise AnimupError(f"pictures must be {LEAST}x{LEAST} at least, got {width}x{height}")
        if control is not None and not model.control:
            raise AnimupError(
                f"control needs a model with a ControlNet, which {model.model.name} has not; leave it out"
            )
        model.check_memory(budget)
        self._mix = mix
        if mix:
            model.merged("denoise", mix, builds=False)  # says what is damaged
        self.budget = budget
        self._model, self._backend, self._device, self._streams = model, backend, device_id, streams
        self._width, self._height = width, height
        self._cfg, self._colorfix = float(cfg), colorfix
        self._control = np.array([1.0 if control is None else control], np.float32)
        self._steps: list[Step] = list(model.schedule(steps, strength))
        self._seed, self._overlap = seed, overlap
        first = self._tiled(
            even_grid(width, height, overlap, model.align, TILE)
            if tilesize is None
            else plan(width, height, tile=tilesize, overlap=overlap, align=model.align, most=0),
            TILE,
        )
        self._fallback = Fallback(first, lambda: self._half(first), lambda tiled: tiled.grid)
        self._loading = threading.Lock()
        self._texts = self._encode_texts([prompt] if self._cfg == 1 else [prompt, negative_prompt])

    @property
    def grid(self) -> Grid:
        """The denoiser's tiles, in samples of pictures."""
        return self._fallback.tiled.grid

    @property
    def memory_size(self) -> int:
        """Bytes that the memory of one chain of windows takes: that of each tile, step and text. 0 without a budget."""
        return self._memory_of_run * len(self.grid) * len(self._steps) * (1 if self._cfg == 1 else 2)

    @property
    def memory_work(self) -> int:
        """Bytes that it takes besides while a window is computed: what one run sees, and what it leaves."""
        return 2 * self._memory_of_run

    @property
    def _memory_of_run(self) -> int:
        """Bytes that one run of the denoiser remembers."""
        if self.budget is None:
            return 0
        height, width = (axis.tile // self._model.factor for axis in (self.grid.rows, self.grid.columns))
        return size_of(self._model.memory, height, width, self.budget.slots)

    def _tiled(self, grid: Grid, most: int, like: Tiled | None = None) -> Tiled:
        """For the denoiser's tiles ``grid`` and the autoencoder's of at most ``most`` samples along each axis."""
        model, shared = self._model, (OVERLAP, OVERLAP)
        rows, columns = (axis.padded // model.factor for axis in (grid.rows, grid.columns))
        shape = model.latent_channels, rows, columns
        if like is None:
            fields = [noise.field(self._seed, step, shape) for step in range(len(self._steps))]
        else:  # the picture has the same noise whatever the tiles, and only beyond it more may be needed
            more = [(0, max(0, now - before)) for now, before in zip(shape, like.shape, strict=True)]
            fields = [np.pad(values, more, mode="wrap")[:, :rows, :columns] for values in like.noise]
        # the denoiser sees latents of all that its tiles cover, and only the picture is decoded
        return Tiled(
            grid=grid,
            encoded=even_grid(grid.columns.padded, grid.rows.padded, shared, model.align, most),
            decoded=even_grid(self._width, self._height, shared, model.align, most),
            shape=shape,
            noise=fields,
        )

    def _half(self, first: Tiled) -> Tiled | None:
        """The same with smaller tiles; none where they cannot be smaller."""
        grid = plan(
            self._width, self._height, tile=halved(first.grid), overlap=self._overlap, align=self._model.align, most=0
        )
        smaller = self._tiled(grid, TILE // 2, first)
        changed = (smaller.grid, smaller.encoded, smaller.decoded) != (first.grid, first.encoded, first.decoded)
        return smaller if changed else None

    def __call__(
        self, images: Array, scenes: NDArray[np.integer], cancelled: Cancelled,
        memory: tuple[Carried, Turn] | None = None,
    ) -> Array:  # fmt: skip
        """Enhanced pictures ``[frames, 3, height, width]``, RGB in 0..1, of such ``images``.

        ``scenes [frames]`` numbers the scene of each: nothing passes between frames of different numbers. There may be
        as many frames as the model's ``most_frames``. ``memory``, which goes with the budget, is that of the windows
        before in the chain, and is changed; :class:`Stale` says that it is of other tiles. Raises :class:`AnimupError`
        when ``cancelled()`` says so between two runs of a network, or when one fails.
        """
        frames = len(images)
        if images.shape[1:] != (3, self._height, self._width) or scenes.shape != (frames,):
            raise ValueError(f"pictures {images.shape} and scenes {scenes.shape} do not fit")
        if not 1 <= frames <= self._model.most_frames:
            raise AnimupError(f"a window must have 1 to {self._model.most_frames} frames, got {frames}")
        if (memory is None) != (self.budget is None):
            raise ValueError("memory and budget go together")
        return self._fallback.run(lambda tiled: self._enhance(tiled, images, scenes, cancelled, memory))

    def _enhance(
        self, tiled: Tiled, images: Array, scenes: NDArray[np.integer], cancelled: Cancelled,
        memory: tuple[Carried, Turn] | None,
    ) -> Array:  # fmt: skip
        """As a call, by these tiles."""
        if memory is not None:
            carried = memory[0]
            if carried.owner is not None and carried.owner is not tiled:
                raise Stale
            carried.owner = tiled
        latents = self._encode(tiled, images, cancelled)
        latents = self._denoise(tiled, images, latents, scenes, cancelled, memory)
        if memory is not None:
            carried.follow(memory[1])
        return self._decode(tiled, images, latents, cancelled)

    def _encode_texts(self, texts: list[str]) -> list[Array]:
        """What the denoiser sees of each text, ``[1, 77, channels]``. The network is let go at once."""
        tokenizer = self._model.tokenizer()
        engine = self._model.load("text", self._backend, sizes={}, device_id=self._device)
        return [on_host(engine.run({"tokens": tokenizer(text)})["text"]) for text in texts]

    def _engine(self, tiled: Tiled, network: str, grid: Grid) -> Engine:
        """A network for tiles of a grid, loaded on first use: scripts are often evaluated without a frame asked for."""
        with self._loading:
            if network not in tiled.engines:
                sizes = network_sizes(self._model, network, grid, self.budget)
                engine = self._model.load(
                    network, self._backend, sizes=sizes, device_id=self._device, streams=self._streams,
                    mix=self._mix,
                )  # fmt: skip
                tiled.engines[network] = engine
            return tiled.engines[network]

    def _run(
        self, tiled: Tiled, network: str, grid: Grid, inputs: Mapping[str, Feed | DeviceArray], cancelled: Cancelled,
        keep: Collection[str] = (),
    ) -> dict[str, Result]:  # fmt: skip
        """One run of a network on a tile; ``keep`` names the results that stay on the device."""
        if cancelled():
            raise AnimupError("the clip was closed")
        return self._engine(tiled, network, grid).run(inputs, keep=keep)

    def _encode(self, tiled: Tiled, images: Array, cancelled: Cancelled) -> Array:
        """Latents ``[frames, channels, rows, columns]`` of all that the denoiser's tiles cover."""
        latents = np.empty((len(images), *tiled.shape), np.float32)
        for picture, target in zip(images, latents, strict=True):
            blend = Blend(tiled.encoded, tiled.shape[0], 1, self._model.factor)
            for row, column in tiled.encoded:
                tile = 2 * _cut(picture[None], tiled.encoded, row, column) - 1
                found = self._run(tiled, "encode", tiled.encoded, {"image": tile}, cancelled)["latents"]
                blend.add(row, column, on_host(found)[0])
            target[:] = blend.result(0, *tiled.shape[1:])
        return latents

    def _denoise(
        self, tiled: Tiled, images: Array, latents: Array, scenes: NDArray[np.integer], cancelled: Cancelled,
        memory: tuple[Carried, Turn] | None,
    ) -> Array:  # fmt: skip
        """Latents of the enhanced pictures: each tile through all steps, then put together."""
        frames, channels = latents.shape[:2]
        mask = np.where(scenes[:, None] == scenes[None, :], 0, APART).astype(np.float32)
        blend = Blend(tiled.grid, frames * channels, 1, self._model.factor)
        first = self._steps[0]
        for row, column in tiled.grid:
            area = _area(tiled.grid, row, column, self._model.factor)
            hint = _cut(images, tiled.grid, row, column) if self._model.control else None
            tile: Result = (
                np.float32(first.signal) * latents[..., *area] + np.float32(first.spread) * tiled.noise[0][:, *area]
            )
            for i, step in enumerate(self._steps, 1):
                # the last step adds none, whatever it is given
                added = tiled.noise[i % len(self._steps)][:, *area]
                inputs = {"latents": tile, "noise": np.repeat(added[None], frames, 0), "mask": mask, **step.inputs()}
                # latents stay on the device, except between steps that a negative prompt is weighed in
                tile, *without = [
                    self._step(tiled, inputs, text, hint, cancelled, memory, (row, column, i, n))
                    for n, text in enumerate(self._texts)
                ]
                for negative in map(on_host, without):
                    tile = negative + np.float32(self._cfg) * (on_host(tile) - negative)
            blend.add(row, column, on_host(tile).reshape(frames * channels, *tile.shape[2:]))
        return blend.result(0, *tiled.shape[1:]).reshape(latents.shape)

    def _step(
        self, tiled: Tiled, inputs: Mapping[str, Result], text: Array, hint: Array | None, cancelled: Cancelled,
        memory: tuple[Carried, Turn] | None, key: Key,
    ) -> Result:  # fmt: skip
        """One step of one tile with one text; its latents stay on the device, as do those that lead to them, and what
        it remembers."""
        every: dict[str, Feed | DeviceArray] = {**inputs, "text": text}
        if hint is not None:
            seen = {name: every[name] for name in ("latents", "timestep", "text")}
            given = {**seen, "image": hint, "strength": self._control}
            residuals = [f"residual_{i}" for i in range(self._model.residuals)]
            every |= self._run(tiled, CONTROL, tiled.grid, given, cancelled, keep=residuals)
        if memory is None:
            return self._run(tiled, "denoise", tiled.grid, every, cancelled, keep=["next_latents"])["next_latents"]
        carried, turn = memory
        height, width = (axis.tile // self._model.factor for axis in (tiled.grid.rows, tiled.grid.columns))
        before = carried.tensors.get(key) or empty(self._model.memory, height, width, carried.budget.slots)
        names = [f"next_{name}" for name in before]
        found = self._run(
            tiled, REMEMBER, tiled.grid, {**every, **carried.inputs(turn), **before}, cancelled,
            keep=["next_latents", *names],
        )  # fmt: skip
        carried.tensors[key] = {name: found[f"next_{name}"] for name in before}
        return found["next_latents"]

    def _decode(self, tiled: Tiled, images: Array, latents: Array, cancelled: Cancelled) -> Array:
        """Pictures of latents, in the colours of ``images``."""
        grid, factor = tiled.decoded, self._model.factor
        result = np.empty(images.shape, np.float32)
        for n, frame in enumerate(latents):
            blend = Blend(grid, 3, 1, 1)
            for row, column in grid:
                tile = _cut(frame[None], grid, row, column, factor)
                blend.add(
                    row, column, on_host(self._run(tiled, "decode", grid, {"latents": tile}, cancelled)["image"])[0]
                )
            picture = result[n : n + 1]
            picture[0] = blend.result(0, self._height, self._width)
            if not np.isfinite(picture).all():
                raise AnimupError(
                    f"model {self._model.folder}: its networks gave values that are no numbers at "
                    f"{self._model.precision}; export it with --precision fp32"
                )
            picture += 1
            picture *= 0.5
            colour.correct(picture, images[n : n + 1], self._colorfix)
            np.clip(picture, 0, 1, out=picture)
        return result


def tile_sizes(grid: Grid, factor: int) -> dict[str, Size]:
    """The networks' symbolic dimensions for tiles of a grid."""
    sizes: dict[str, Size] = {}
    for name, axis in (("height", grid.rows), ("width", grid.columns)):
        sizes[f"image_{name}"] = axis.tile
        # the ControlNet's lower levels have names of their own
        for level in (1, 2, 4, HALVINGS):
            suffix = "" if level == 1 else f"_{level}"
            sizes[f"{name}{suffix}"] = axis.tile // factor // level
    return sizes


def network_sizes(model: AnimateLcm, network: str, grid: Grid, budget: Budget | None) -> dict[str, Size]:
    """The symbolic dimensions of a network but for frames, for tiles of a grid."""
    slots: dict[str, Size] = {"slots": budget.slots} if budget is not None and network == REMEMBER else {}
    return tile_sizes(grid, model.factor) | slots


def network_grids(model: AnimateLcm, width: int, height: int, budget: Budget | None = None) -> dict[str, Grid]:
    """The grids of all networks that see pictures, for pictures of a size and tiles as they are by themselves; with a
    ``budget`` the denoiser is the one with memory."""
    shared = (OVERLAP, OVERLAP)
    drawn = even_grid(width, height, shared, model.align)
    seen = even_grid(drawn.columns.padded, drawn.rows.padded, shared, model.align)
    denoise = "denoise" if budget is None else REMEMBER
    grids = {"encode": seen, denoise: drawn, "decode": even_grid(width, height, shared, model.align)}
    return grids | ({CONTROL: drawn} if model.control else {})


def even_grid(width: int, height: int, overlap: tuple[int, int], align: int, most: int = TILE) -> Grid:
    """The fewest tiles of at most ``most`` samples along each axis, all equal and no larger than they need be."""

    def least(axis: Axis) -> int:
        return -(-(axis.length + (axis.count - 1) * axis.overlap) // axis.count)

    whole = plan(width, height, tile=(most, most), overlap=overlap, align=align, most=0)
    return plan(
        width, height, tile=(least(whole.columns), least(whole.rows)), overlap=overlap, align=align, most=0
    )  # fmt: skip


def _area(grid: Grid, row: int, column: int, divide: int) -> tuple[slice, slice]:
    """Where a tile lies in planes of which one sample stands for ``divide`` of the grid's."""
    top, left = grid.rows.starts()[row], grid.columns.starts()[column]
    return (
        slice(top // divide, (top + grid.rows.tile) // divide),
        slice(left // divide, (left + grid.columns.tile) // divide),
    )


def _cut(planes: Array, grid: Grid, row: int, column: int, divide: int = 1) -> Array:
    """A tile of ``planes [..., height, width]``, which go on by reflection beyond their borders; contiguous."""
    down, across = (
        np.pad(np.arange(length), (0, max(0, axis.padded // divide - length)), mode="reflect")[part]
        for length, axis, part in zip(
            planes.shape[-2:], (grid.rows, grid.columns), _area(grid, row, column, divide), strict=True
        )
    )
    return np.ascontiguousarray(planes[..., down[:, None], across])
