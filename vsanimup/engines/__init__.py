"""Backends that run networks: one file each, chosen by name or, with ``auto``, the best that works here."""

from __future__ import annotations

import functools
import logging

from vsanimup.engines import device
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
from vsanimup.engines.cuda import CudaBackend
from vsanimup.engines.providers import PROVIDERS
from vsanimup.engines.tensorrt.backend import TensorRtBackend
from vsanimup.errors import AnimupError, unknown

__all__ = [
    "BACKENDS",
    "Array",
    "Backend",
    "DeviceArray",
    "DeviceMemory",
    "Engine",
    "Feed",
    "Result",
    "Size",
    "Weights",
    "choose",
    "on_host",
]

_AUTO: tuple[Backend, ...] = (TensorRtBackend(), CudaBackend(), CpuBackend())
"""Those that ``"auto"`` looks at, best first; the others are taken by name only."""
BACKENDS = {backend.name: backend for backend in (*_AUTO, *PROVIDERS)}
"""All backends by name."""
LOG = logging.getLogger("vsanimup.engines")


def choose(name: str) -> Backend:
    """The backend called ``name``, or the first that works for ``"auto"``; then the log says which, and why.

    Raises :class:`AnimupError` for an unknown name, or when it cannot be used here.
    """
    if name == "auto":
        reasons: list[str] = []
        for backend in (BACKENDS[each.name] for each in _AUTO):
            reason = backend.unavailable()
            if reason is None:
                _tell(backend.name, tuple(reasons))
                return backend
            reasons.append(f"{backend.name}: {reason}")
        raise AnimupError(f"backend='auto' found none that works ({'; '.join(reasons)})")
    if name not in BACKENDS:
        raise unknown("backend", name, ("auto", *BACKENDS))
    if reason := BACKENDS[name].unavailable():
        raise AnimupError(f"backend={name!r} cannot be used: {reason}")
    return BACKENDS[name]


@functools.cache
def _tell(chosen: str, reasons: tuple[str, ...]) -> None:
    """Say once what was chosen."""
    LOG.debug("backend='auto' is %s%s", chosen, f" ({'; '.join(reasons)})" if reasons else "")
    if chosen == CpuBackend.name and device.is_there():
        LOG.info("backend='auto' is %s though there is an NVIDIA GPU; 'animup doctor' says why", chosen)
