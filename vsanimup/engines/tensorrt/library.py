"""Which TensorRT is installed: ``tensorrt`` or ``tensorrt_rtx``, whose Python modules are nearly the same."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
from dataclasses import dataclass
from typing import Any

from vsanimup.errors import AnimupError

LOG = logging.getLogger("vsanimup.tensorrt")
FLAVOURS = {"tensorrt": "trt", "tensorrt_rtx": "trt-rtx"}
"""Modules in the order in which they are looked for, and what they are called in file names."""
REMEDY = "pip install 'vsanimup[tensorrt]'"


@dataclass(frozen=True, kw_only=True)
class Library:
    """A TensorRT that was imported."""

    module: Any
    """The Python module."""
    name: str
    """``tensorrt`` or ``tensorrt_rtx``."""
    version: str
    """Such as ``1.7.1.116``."""
    logger: Any
    """An ``ILogger`` that hands over to Python's logging; it must outlive whatever was made with it."""

    @property
    def short(self) -> str:
        """Flavour and version for file names, such as ``trt-rtx-1.7.1``."""
        return f"{FLAVOURS[self.name]}-{'.'.join(self.version.split('.')[:3])}"

    @property
    def is_rtx(self) -> bool:
        """Whether it is the flavour that builds without a GPU and compiles its kernels when they are first run."""
        return self.name == "tensorrt_rtx"


def missing() -> str | None:
    """Why there is none, with the remedy; ``None`` when one is installed. Imports nothing."""
    if any(importlib.util.find_spec(name) for name in FLAVOURS):
        return None
    return f"neither tensorrt nor tensorrt_rtx is installed: {REMEDY}"


@functools.cache
def find() -> Library:
    """The TensorRT that is installed; the ordinary one where both are.

    Raises :class:`AnimupError` with the remedy where there is none or it cannot be imported.
    """
    reasons = []
    for name in FLAVOURS:
        if importlib.util.find_spec(name) is None:
            continue
        try:
            module = importlib.import_module(name)
            return Library(module=module, name=name, version=str(module.__version__), logger=_logger(module))
        except Exception as error:  # a missing driver or library shows as ImportError, OSError or RuntimeError
            reasons.append(f"{name} cannot be imported ({error})")
    raise AnimupError(f"{'; '.join(reasons) or 'neither tensorrt nor tensorrt_rtx is installed'}: {REMEDY}")


def _logger(module: Any) -> Any:
    severity = module.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR, severity.ERROR: logging.ERROR, severity.WARNING: logging.WARNING,
        severity.INFO: logging.DEBUG, severity.VERBOSE: logging.NOTSET,
    }  # fmt: skip

    class Logger(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, level: Any, message: str) -> None:
            LOG.log(levels.get(level, logging.DEBUG), message)

    return Logger()
