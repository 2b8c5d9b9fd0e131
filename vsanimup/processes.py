"""Programs that animup starts."""

from __future__ import annotations

import os
import shutil
import sys


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of the package in a Python of its own.

    ``-P`` keeps the current folder off its path: a file there, such as ``av.py`` beside somebody's video, is never run.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def find_program(name: str, path: str | None = None) -> str | None:
    """Where a program lies on PATH, or in the folder ``path``.

    Windows would look into the current folder before all others, unless this variable is set.
    """
    os.environ.setdefault("NoDefaultCurrentDirectoryInExePath", "1")
    return shutil.which(name, path=path)
