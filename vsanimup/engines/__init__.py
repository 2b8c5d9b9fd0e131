"""Backends that run networks: one file each, chosen by name or, with ``auto``, the best that works here."""

from __future__ import annotations

from vsanimup.engines.base import (
    Array,
    Backend,
    DeviceArray,
    DeviceMemory,
    Engine,
    Feed,
    Result,
    Size,
    Weights,
    on_host,
)
from vsanimup.engines.cpu import CpuBackend
from vsanimup.errors import AnimupError

__all__ = [
    "BACKENDS", "Array", "Backend", "DeviceArray", "DeviceMemory", "Engine", "Feed", "Result", "Size", "Weights",
    "choose", "on_host",
]  # fmt: skip

BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (CpuBackend(),)}
"""All backends by name, best first."""


def choose(name: str) -> Backend:
    """The backend called ``name``, or the first that works for ``"auto"``.

    Raises :class:`AnimupError` for an unknown name, or when it cannot be used here.
    """
    if name == "auto":
        reasons = []
        for backend in BACKENDS.values():
            reason = backend.unavailable()
            if reason is None:
                return backend
            reasons.append(f"{backend.name}: {reason}")
        raise AnimupError(f"backend='auto' found none that works ({'; '.join(reasons)})")
    if name not in BACKENDS:
        raise AnimupError(f"backend must be one of auto, {', '.join(BACKENDS)}, got {name!r}")
    if reason := BACKENDS[name].unavailable():
        raise AnimupError(f"backend={name!r} cannot be used: {reason}")
    return BACKENDS[name]
