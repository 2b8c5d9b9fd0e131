"""``animup scripts``: where the ready scripts lie, and copies of them."""

from __future__ import annotations

import shutil
from pathlib import Path

from vsanimup.cli.demo import COMPARE, SCRIPT, script_path
from vsanimup.errors import AnimupError


def script_paths() -> list[Path]:
    """The ready scripts. Raises :class:`AnimupError` when one is missing."""
    return [script_path(name) for name in (SCRIPT, COMPARE)]


def copy_scripts(folder: Path) -> list[Path]:
    """Copy the ready scripts into ``folder``, which is made where it is missing; returns the copies.

    Raises :class:`AnimupError` where one of them would overwrite a file, before any is written.
    """
    pairs = [(path, folder / path.name) for path in script_paths()]
    for _, copy in pairs:
        if copy.exists():
            raise AnimupError(f"--output: {copy} exists already; remove it, or give another folder")
    folder.mkdir(parents=True, exist_ok=True)
    return [shutil.copyfile(path, copy) for path, copy in pairs]
