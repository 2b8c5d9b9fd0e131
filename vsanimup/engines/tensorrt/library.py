"""Which TensorRT is installed: ``tensorrt`` or ``tensorrt_rtx``, whose Python modules are nearly the same."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from vsanimup.errors import AnimupError

LOG = logging.getLogger("vsanimup.tensorrt")
FLAVOURS = {"tensorrt": "trt", "tensorrt_rtx": "trt-rtx"}
"""Modules in the order in which they are looked for, and what they are called in file names."""
REMEDY = "pip install 'vsanimup[tensorrt]'"


class _Threads(threading.local):
    runs_engines = False
    """Whether errors told on this thread are of an engine that runs, and none of a build that goes on meanwhile."""


threads = _Threads()


@dataclass(frozen=True)
class Said:
    """Errors that a TensorRT told its logger."""

    lines: list[str] = field(default_factory=list)

    def errors(self) -> str:
        """The last of them, which says most, on one line."""
        return " ".join(self.lines[-1].split())[:500] if self.lines else "it does not say why"


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

    def __str__(self) -> str:
        return f"{'TensorRT-RTX' if self.is_rtx else 'TensorRT'} {self.version}"

    @contextlib.contextmanager
    def listen(self) -> Iterator[Said]:
        """Collect the errors that are told meanwhile, by whatever thread that runs no engine."""
        said = Said()
        self.logger.heard.append(said)
        try:
            yield said
        finally:
            self.logger.heard[:] = [other for other in self.logger.heard if other is not said]

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
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.WARNING,
        severity.INFO: logging.DEBUG,
        severity.VERBOSE: logging.NOTSET,
    }

    class Logger(module.ILogger):  # type: ignore[misc]
        """Errors go to the builds that listen, or to the engine that runs on the thread, and come back as exceptions;
        warnings are for who wrote the network."""

        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.heard: list[Said] = []

        def log(self, level: Any, message: str) -> None:
            level = levels.get(level, logging.DEBUG)
            if level >= logging.ERROR and self.heard and not threads.runs_engines:
                for said in self.heard:
                    said.lines.append(message)
                level = logging.DEBUG
            LOG.log(logging.DEBUG if level == logging.WARNING else level, "%s", message)

    return Logger()
