"""Checking the arguments that the filters share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vsanimup.engines import choose
from vsanimup.errors import AnimupError, shown, unknown
from vsanimup.networks.settings import PRECISIONS, Settings

OVERLAP = 32
"""Luma samples that neighbouring tiles share unless told otherwise."""
MOST_OVERLAP = 256
"""More than any network sees to one side; beyond, tiles would be mostly overlap."""
MAX_STREAMS = 64
MAX_THRESHOLD = 64
"""Steps of 8-bit luma: beyond, nothing of a drawing is left."""
TINY = 1e-6
"""Shares and steps below this change no sample, and would vanish in 32 bits: they count as 0."""


def _pair(
    name: str, value: Sequence[int] | None, least: int, most: int | None = None, remedy: str = ""
) -> tuple[int, int] | None:
    if value is None:
        return None
    if len(value) not in (1, 2) or any(n < least or (most is not None and n > most) for n in value):
        got = value[0] if len(value) == 1 else list(value)
        span = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise AnimupError(f"{name} must be one or two numbers (width, height) {span}, got {got}{remedy}")
    return value[0], value[-1]


def _flag(name: str, value: int) -> bool:
    if value not in (0, 1):
        raise AnimupError(f"{name} must be 0 (off) or 1 (on), got {value}")
    return bool(value)


def _share(name: str, value: float, span: str, most: float) -> float:
    if not math.isfinite(value) or not 0 <= value <= most:
        raise AnimupError(f"{name} must lie between {span}, got {value}")
    return value if value >= TINY else 0.0


def settings(
    *,
    tilesize: Sequence[int] | None = None,
    overlap: Sequence[int] | None = None,
    backend: str = "auto",
    device_id: int = 0,
    num_streams: int | None = None,
    scenecut: int = 1,
    dedup: int = 1,
    strength: float = 1.0,
    spatial_threshold: float = 0.0,
    temporal_threshold: float = 0.0,
    gate: float = 1.0,
    tta: int = 0,
    precision: str = "auto",
) -> Settings:
    """The shared arguments as :class:`Settings`.

    Raises :class:`AnimupError` naming the argument, its value and what would do.
    """
    tiles = _pair("tilesize", tilesize, 32, remedy="; leave it out to have it chosen")
    shared = _pair("overlap", overlap, 0, MOST_OVERLAP) or (OVERLAP, OVERLAP)
    if device_id < 0:
        raise AnimupError(f"device_id must not be negative, got {device_id}")
    if num_streams is not None and not 1 <= num_streams <= MAX_STREAMS:
        raise AnimupError(f"num_streams must lie between 1 and {MAX_STREAMS}, got {num_streams}")
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    chosen = choose(backend)
    chosen.memory(device_id)  # says whether there is such a device
    if precision in ("fp16", "bf16") and not chosen.builds:
        raise AnimupError(
            f"precision={precision!r} needs backend='tensorrt', this is backend={chosen.name!r}: leave precision out"
        )
    if precision == "int8" and not chosen.integers:
        raise AnimupError(f"precision='int8' needs backend='cpu', this is backend={chosen.name!r}: leave precision out")
    evening = f"0 (off) and {MAX_THRESHOLD}"
    return Settings(
        tilesize=tiles, overlap=shared, backend=chosen, device_id=device_id,
        num_streams=num_streams or chosen.streams(), scenecut=_flag("scenecut", scenecut),
        dedup=_flag("dedup", dedup), strength=_share("strength", strength, "0 and 1", 1),
        spatial_threshold=_share("spatial_threshold", spatial_threshold, evening, MAX_THRESHOLD),
        temporal_threshold=_share("temporal_threshold", temporal_threshold, evening, MAX_THRESHOLD),
        gate=_share("gate", gate, "0 (off) and 1", 1), tta=_flag("tta", tta), precision=precision,
    )  # fmt: skip


def refuse_of_lite(shared: Mapping[str, Any]) -> None:
    """Raise :class:`AnimupError` for arguments that only lite models take."""
    for name in ("spatial_threshold", "temporal_threshold", "gate", "tta"):
        if name in shared:
            raise AnimupError(f"{name}={shared[name]:g} goes with lite models; leave it out")


def refuse_precision(shared: dict[str, Any], what: str) -> None:
    """Take out ``precision``; raise :class:`AnimupError` where it asks for something."""
    precision = shared.pop("precision", "auto")
    if precision != "auto":
        raise AnimupError(
            f"precision={shown(precision)}: {what} has the precision that it was exported with; leave precision out"
        )


def image_settings(**shared: Any) -> Settings:
    """As :func:`settings`, for networks that have the precision they were made with."""
    refuse_precision(shared, "this network")
    refuse_of_lite(shared)
    return settings(**shared)
