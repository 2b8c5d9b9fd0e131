"""VapourSynth's log."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Final, Literal

import vapoursynth as vs

_LEVELS: Final = {
    "debug": vs.MESSAGE_TYPE_DEBUG,
    "info": vs.MESSAGE_TYPE_INFORMATION,
    "warning": vs.MESSAGE_TYPE_WARNING,
}
_informed = threading.Lock()
"""Taken by the first message at information level, for good."""


def log(message: str, level: Literal["debug", "info", "warning"] = "info") -> None:
    """Write to VapourSynth's log; warnings to stderr where no script environment is active.

    Programs that read a clip through a pipe may take every line for data: of a process's messages at information level
    only the first is told there, and the others as debugging.
    """
    if level == "info" and not _informed.acquire(blocking=False):
        level = "debug"
    try:
        vs.core.log_message(_LEVELS[level], message)
    except (RuntimeError, vs.Error):
        if level == "warning":
            print(message, file=sys.stderr)


class _ScriptLog(logging.Handler):
    """What the parts below say through Python's logging goes where :func:`log` writes."""

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelno
        log(self.format(record), "debug" if level < logging.INFO else "info" if level < logging.WARNING else "warning")


def _hand_over_logs() -> None:
    logger = logging.getLogger("vsanimup")
    if not any(isinstance(handler, _ScriptLog) for handler in logger.handlers):
        logger.addHandler(_ScriptLog(logging.DEBUG))
        logger.setLevel(min(logger.getEffectiveLevel(), logging.DEBUG))
        logger.propagate = False


_hand_over_logs()
