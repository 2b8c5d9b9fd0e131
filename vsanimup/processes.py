"""Programs that animup starts."""

from __future__ import annotations

import sys


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of the package in a Python of its own.

    ``-P`` keeps the current folder off its path: a file there, such as ``av.py`` beside somebody's video, is never run.
    """
    return [sys.executable, "-P", "-m", module, *arguments]
