"""Checking the arguments that the filters share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vsanimup.engines import choose
from vsanimup.errors import AnimupError
from vsanimup.filters.inference import PRECISIONS
from vsanimup.filters.lite import Settings

OVERLAP = 32
"""Luma samples that neighbouring tiles share unless told otherwise."""
MAX_STREAMS = 64
MAX_SMOOTH = 64
"""Steps of 8-bit luma: beyond, nothing of a drawing is left."""


def _pair(name: str, value: Sequence[int] | None, least: int) -> tuple[int, int] | None:
    if value is None:
        return None
    if len(value) not in (1, 2) or any(n < least for n in value):
        shown = value[0] if len(value) == 1 else list(value)
        raise AnimupError(f"{name} must be one or two numbers (width, height) of at least {least}, got {shown}")
    return value[0], value[-1]


def settings(
    *,
    tilesize: Sequence[int] | None = None,
    overlap: Sequence[int] | None = None,
    backend: str = "auto",
    device_id: int = 0,
    num_streams: int | None = None,
    scenecut: int = 1,
    drawings: int = 1,
    strength: float = 1.0,
    smooth: float = 0.0,
    steady: float = 0.0,
    tta: int = 0,
    precision: str = "auto",
) -> Settings:
    """The shared arguments as :class:`Settings`.

    Raises :class:`AnimupError` naming the argument, its value and what would do.
    """
    tiles = _pair("tilesize", None if tilesize is None or list(tilesize) == [0] else tilesize, 32)
    shared = _pair("overlap", overlap, 0) or (OVERLAP, OVERLAP)
    if device_id < 0:
        raise AnimupError(f"device_id must not be negative, got {device_id}")
    if scenecut not in (0, 1):
        raise AnimupError(f"scenecut must be 0 (off) or 1 (on), got {scenecut}")
    if drawings not in (0, 1):
        raise AnimupError(f"drawings must be 0 (off) or 1 (on), got {drawings}")
    if not math.isfinite(strength) or not 0 <= strength <= 1:
        raise AnimupError(f"strength must lie between 0 and 1, got {strength:g}")
    if not math.isfinite(smooth) or not 0 <= smooth <= MAX_SMOOTH:
        raise AnimupError(f"smooth must lie between 0 (off) and {MAX_SMOOTH}, got {smooth:g}")
    if not math.isfinite(steady) or not 0 <= steady <= MAX_SMOOTH:
        raise AnimupError(f"steady must lie between 0 (off) and {MAX_SMOOTH}, got {steady:g}")
    if tta not in (0, 1):
        raise AnimupError(f"tta must be 0 (off) or 1 (on), got {tta}")
    if num_streams is not None and not 1 <= num_streams <= MAX_STREAMS:
        raise AnimupError(f"num_streams must lie between 1 and {MAX_STREAMS}, got {num_streams}")
    if precision not in PRECISIONS:
        raise AnimupError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    chosen = choose(backend)
    if precision in ("fp16", "bf16") and not chosen.builds:
        raise AnimupError(
            f"precision={precision!r} needs backend='tensorrt', this is backend={chosen.name!r}: leave precision out"
        )
    if precision == "int8" and not chosen.integers:
        raise AnimupError(f"precision='int8' needs backend='cpu', this is backend={chosen.name!r}: leave precision out")
    return Settings(
        tilesize=tiles, overlap=shared, backend=chosen, device_id=device_id,
        num_streams=num_streams or chosen.streams(), scenecut=bool(scenecut),
        drawings=bool(drawings), strength=strength, smooth=smooth,
        steady=steady, tta=bool(tta), precision=precision,
    )  # fmt: skip


def refuse_of_lite(shared: Mapping[str, Any]) -> None:
    """Raise :class:`AnimupError` for arguments that only lite models take."""
    for name in ("smooth", "steady", "tta"):
        if name in shared:
            raise AnimupError(f"{name}={shared[name]:g} goes with lite models; leave it out")


def image_settings(**shared: Any) -> Settings:
    """As :func:`settings`, for networks that have the precision they were made with."""
    if shared.pop("precision", "auto") != "auto":
        raise AnimupError("precision: this network has the precision that it was exported with; leave precision out")
    refuse_of_lite(shared)
    return settings(**shared)
