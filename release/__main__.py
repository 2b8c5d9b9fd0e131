"""``python -m release``: build the wheels into a folder, and check each.

This machine's lies in the folder itself, so that ``dist/*.whl`` is the one that can be installed; those of other
platforms lie in ``other/``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Annotated

import typer
from packaging.tags import platform_tags

from release.check import Faulty, check

ROOT = Path(__file__).resolve().parents[1]
TAGS: list[str] = list(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["animup"]["wheels"])


def place(tag: str, folder: Path) -> Path:
    """Where a platform's wheel belongs."""
    return folder if tag in platform_tags() else folder / "other"


def build(tag: str, folder: Path) -> Path:
    """The wheel for a platform, built from nothing with the packages of this environment."""
    shutil.rmtree(ROOT / "build" / tag, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"*{tag}.whl"):
        old.unlink()
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--skip-dependency-check"]
    done = subprocess.run(
        [*command, "--outdir", str(folder), str(ROOT)],
        env={**os.environ, "ANIMUP_TARGET": tag},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{tag}: the build failed\n{done.stdout}")
    (wheel,) = folder.glob(f"*{tag}.whl")
    return wheel


def main(
    folder: Annotated[Path, typer.Option("--output", "-o", help="Folder for the wheels.")] = ROOT / "dist",
    only: Annotated[list[str] | None, typer.Option(help=f"One platform of {', '.join(TAGS)}.")] = None,
) -> None:
    """Build the wheels of all platforms, and check what is in them."""
    for tag in only or TAGS:
        if tag not in TAGS:
            raise SystemExit(f"--only must be one of {', '.join(TAGS)}, got {tag!r}")
    for tag in only or TAGS:
        began = time.monotonic()
        wheel = build(tag, place(tag, folder))
        try:
            found = check(wheel, tag)
        except Faulty as error:
            raise SystemExit(f"{wheel.name}: {error}") from error
        print(f"{wheel.name}: {found}; {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    typer.run(main)
