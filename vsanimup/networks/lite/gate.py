"""The gate after a lite network: what it does is taken only as far as the source supports it.

For cells of 8x8 luma samples of the source a small predictor tells which share of the network's change, and which of
the evening out after it, to take: ``plain + change * (network - plain) + evening * (evened - network)``, where
``plain`` is the source itself, or, for networks that enlarge, the source enlarged by Lanczos. Shares are interpolated
between cells. All this is a pure function of these pictures, of whole frames, whatever the tiles were.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from vsanimup.bridge import functions
from vsanimup.diagnosis.decision import load
from vsanimup.engines import Array
from vsanimup.networks.manifest import Model
from vsanimup.tasks import CODECS, TASKS, TaskMix
from vsanimup.video.samples import Picture
from vsanimup.video.sigma import STEP, even_out

FILE: Final = Path(__file__).parents[2] / "models" / "gate.npz"
"""The predictors, by role: ``ROLE_0``, ``_1``, ``_2``, matrices of the layers, ``ROLE_b0`` …, their biases, and
``ROLE_tasks`` ``[tasks, hidden]``, what each task adds to the first biases; all float32."""
DIGEST: Final = "35afa1f765b8180d909cf8d7f51e69cd080ed882727adfef317fe7fad3a4c3ad"
"""SHA-256 of the file; ``python -m training.gate`` prints it."""
FITTED: Final = {"restore": 4.0, "named": 4.0, "upscale": 8.0, "restored": 8.0, "cleaned": 8.0, "once": 12.0}
"""Threshold of the evening out, in steps of 8-bit luma, that each predictor was fitted with, and judges by."""
CELL = 8
"""Luma samples of the source, across and down, that one share stands for; this and the next are native code's."""
MEASURES = 17
"""Numbers known of each cell."""
SHARES = 3
"""Shares of a cell: of luma's change, of its evening out, and of both for chroma."""


@dataclass(frozen=True)
class Passage:
    """One plane on its way through a network: float32 ``[rows, columns]``."""

    source: Array
    """What the network was given."""
    plain: Array
    """The source, or, for a network that doubles, the source enlarged by Lanczos."""
    network: Array
    """What the network made of it."""
    evened: Array
    """The same, evened out; may be ``network`` itself."""


def enlarge(source: Array, *, left: bool) -> Array:
    """A plane enlarged twice by Lanczos (three lobes); ``left``: its columns are sited as those of 4:2:0 chroma."""
    result = np.empty((2 * source.shape[0], 2 * source.shape[1]), np.float32)
    table = _table(source, result)
    functions().enlarge(table.ctypes.data, left)
    return result


def passages(picture: Picture, network: Sequence[Array], evened: Sequence[Array]) -> list[Passage]:
    """What became of each plane of ``picture``."""
    found = []
    for index, (plane, scale) in enumerate(zip(picture.planes, picture.scales, strict=True)):
        source = np.empty(plane.shape, np.float32)
        scale.read(plane, source)
        larger = network[index].shape != source.shape
        plain = enlarge(source, left=index > 0) if larger else source
        found.append(Passage(source, plain, network[index], evened[index]))
    return found


def measure(planes: Sequence[Passage]) -> Array:
    """Measures of the cells of a frame, float32 ``[MEASURES, cells down, cells across]``."""
    rows, columns = planes[0].source.shape
    found = np.empty((MEASURES, -(-rows // CELL), -(-columns // CELL)), np.float32)
    table = _table(*(plane for p in planes for plane in (p.source, p.plain, p.network, p.evened)))
    functions().measure_cells(table.ctypes.data, len(planes), found.ctypes.data)
    return found


def shares(planes: Sequence[Passage], weights: Array, hidden: tuple[int, int]) -> Array:
    """Shares to take, 0..1, float32 ``[SHARES, cells down, cells across]``, by what :func:`packed` gives."""
    measures = measure(planes)
    _, rows, columns = measures.shape
    found = np.empty((SHARES, rows, columns), np.float32)
    functions().predict_shares(measures.ctypes.data, rows, columns, weights.ctypes.data, *hidden, found.ctypes.data)
    return found


@functools.lru_cache(maxsize=64)
def predictor(role: str, mix: TaskMix) -> tuple[Array, tuple[int, int]]:
    """The shipped predictor of one of :data:`FITTED` for a mix of tasks."""
    return packed(predictors(), role, mix)


def packed(arrays: Mapping[str, Array], role: str, mix: TaskMix) -> tuple[Array, tuple[int, int]]:
    """A predictor's weights as native code takes them, and the sizes of its hidden layers."""
    first = arrays[f"{role}_b0"].copy()
    for index, task in enumerate(TASKS):
        first += np.float32(mix.get(task, 0.0)) * arrays[f"{role}_tasks"][index]
    layers = [arrays[f"{role}_{layer}"] for layer in range(3)]
    parts = (layers[0], first, layers[1], arrays[f"{role}_b1"], layers[2], arrays[f"{role}_b2"])
    flat = np.concatenate([part.astype(np.float32).reshape(-1) for part in parts])
    return flat, (layers[0].shape[1], layers[1].shape[1])


@functools.cache
def predictors() -> Mapping[str, Array]:
    """The arrays of :data:`FILE`. Raises :class:`AnimupError` when it is missing or damaged."""
    return load(FILE, DIGEST, "take the networks' whole change by gate=0")


def take(planes: Sequence[Passage], taken: Array) -> None:
    """Take the shares of :func:`shares`, in place of each plane's ``evened``."""
    cell = CELL * planes[0].network.shape[0] // planes[0].source.shape[0]
    blend(planes[0], taken[0], taken[1], cell)
    for plane in planes[1:]:
        blend(Passage(plane.source, plane.plain, plane.evened, plane.evened), taken[2], taken[2], cell // 2)


def blend(plane: Passage, change: Array, evening: Array, cell: int) -> None:
    """Take shares ``[cells down, cells across]`` of a change, in place of ``plane.evened``.

    Each share stands for ``cell`` samples of the result, across and down.
    """
    table = _table(plane.source, plane.plain, plane.network, plane.evened)
    rows, columns = change.shape
    functions().blend_shares(table.ctypes.data, change.ctypes.data, evening.ctypes.data, rows, columns, cell)


def limit(
    picture: Picture,
    network: Sequence[Array],
    evened: Sequence[Array],
    spatial_threshold: float,
    model: Model,
    mix: TaskMix,
    gate: float,
) -> None:
    """Take, in place of ``evened``, what ``picture`` supports of what a model made of it by a task mix.

    ``evened`` is ``network`` evened out by the threshold ``spatial_threshold``, or, for 0, ``network`` itself. ``gate``
    0..1 is how far to go by the shares: 0 would take all.
    """
    role = role_of(model, mix)
    planes = passages(picture, network, evened)
    judged = planes
    if spatial_threshold != FITTED[role]:
        judged = [replace(plane, evened=plane.network.copy()) for plane in planes]
        for plane in judged:
            even_out(plane.evened, FITTED[role] * STEP)
    taken = shares(judged, *predictor(role, mix))
    take(planes, 1 - np.float32(gate) * (1 - taken) if gate < 1 else taken)


def role_of(model: Model, mix: TaskMix) -> str:
    """What a model does: its predictor's name. Restoring has two: for mixes with a codec's task, which are mostly a
    diagnosis, and for what somebody names. Enlarging what was restored before has two as well: after networks for
    codecs, and after all else."""
    if model.scale == 1:
        return "restore" if CODECS & mix.keys() else "named"
    if model.modulation:
        return "once"
    if not mix:
        return "upscale"
    return "restored" if any(task in TASKS for task in mix) else "cleaned"


def _table(*planes: Array) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Where planes lie, for native code."""
    for plane in planes:
        if plane.dtype != np.float32 or plane.strides[1] != 4 or plane.strides[0] % 4:
            raise ValueError(f"float32 planes with samples side by side are needed, got {plane.dtype}")
    return np.array([(p.ctypes.data, *p.shape, p.strides[0] // 4) for p in planes], np.int64)
