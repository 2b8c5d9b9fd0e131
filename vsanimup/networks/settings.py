"""How a network is to be run: the arguments that both filters and all families share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from vsanimup.engines import Backend, choose
from vsanimup.errors import AnimupError

PRECISIONS = ("auto", "int8", "fp32", "fp16", "bf16")
"""What ``precision=`` takes; ``auto`` is integers where the model has such a network, and ``fp16`` on backends that
build engines, which have no integers."""
OVERLAP = 32
"""Luma samples that neighbouring tiles share unless told otherwise."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to run a network. Fields are named as the arguments of filters that they come from."""

    tilesize: tuple[int, int] | None = None
    """Width and height of a tile in luma samples; ``None`` chooses."""
    overlap: tuple[int, int] = (OVERLAP, OVERLAP)
    """Samples that neighbouring tiles share, across and down."""
    backend: Backend
    """Where to run."""
    device_id: int = 0
    """Which device of the backend."""
    num_streams: int = 1
    """Computations at once."""
    scenecut: bool = True
    """Whether windows stop at scene cuts."""
    dedup: bool = True
    """Whether frames that show one drawing are averaged and computed once."""
    spatial_threshold: float = 0.0
    """Differences of the result that are evened out, in steps of 8-bit luma; 0 for none."""
    temporal_threshold: float = 0.0
    """Differences between neighbouring frames of the result that are evened out, in the same steps; 0 for none."""
    gate: float = 1.0
    """How far the network's change is limited to what the source supports; 0 for not at all."""
    tta: bool = False
    """Whether the mean over a tile's four mirror images is taken (test-time augmentation)."""
    precision: str = "auto"
    """Arithmetic, see :data:`PRECISIONS`."""
    share: float = 1.0
    """Share of the network's change that is applied: ``strength`` where that is what it says."""

    @classmethod
    def of(cls, values: Mapping[str, Any], **otherwise: Any) -> Settings:
        """The settings by the values of arguments; ``otherwise`` are those of fields whose values are ``None``.

        Raises :class:`AnimupError` where there is no such backend or device, or it lacks the precision.
        """
        found = {each.name: values[each.name] for each in fields(cls) if values.get(each.name) is not None}
        backend = choose(found.pop("backend"))
        backend.memory(found["device_id"])  # says whether there is such a device
        _check_precision(found["precision"], backend)
        return cls(**{"num_streams": backend.streams(), **otherwise, **found}, backend=backend)


def _check_precision(precision: str, backend: Backend) -> None:
    """Raise :class:`AnimupError` where a backend cannot be told to compute in a precision."""
    needed = None
    if precision in ("fp16", "bf16") and not backend.builds:
        needed = "tensorrt"
    elif precision == "int8" and not backend.integers:
        needed = "cpu"
    if needed:
        raise AnimupError(
            f"precision={precision!r} needs backend={needed!r}, this is backend={backend.name!r}: leave precision out"
        )
