"""Runs a recipe, which says everything that made a network: ``python -m training.recipe FILE --work DIR``.

A recipe is a TOML file: ``network``, ``notes``, and ``[[stage]]`` tables run in order, each with ``module`` (run as
``python -m``) and ``options``. ``{work}`` in an option stands for the folder of ``--work``, where all data and runs
go; options that are true are flags. Stages may be stopped: each module goes on where it was, and one that has ended is
not run again, which ``DIR/done`` remembers by the whole text of the stage.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from vsanimup.errors import AnimupError


def read(path: Path) -> list[dict[str, Any]]:
    """The stages of a recipe; raises :class:`AnimupError` where one is not what a stage must be."""
    recipe = tomllib.loads(path.read_text(encoding="utf-8"))
    stages = recipe.get("stage", [])
    for number, stage in enumerate(stages, 1):
        module = stage.get("module", "")
        if not module.startswith(("training.", "export")) or set(stage) - {"module", "options"}:
            raise AnimupError(
                f"{path}: stage {number} must have a module of training or export, and options; it has {stage}"
            )
    if not stages or not recipe.get("network"):
        raise AnimupError(f"{path}: a recipe must name its network and have at least one [[stage]]")
    return list(stages)


def command(stage: dict[str, Any], work: Path) -> list[str]:
    """What runs a stage."""
    made = [sys.executable, "-m", *stage["module"].split()]
    for name, value in stage.get("options", {}).items():
        if value is True:
            made.append(f"--{name}")
            continue
        made += [f"--{name}", str(value).replace("{work}", str(work))]
    return made


def main(
    recipe: Annotated[Path, typer.Argument(help="a file of training/recipes")],
    work: Annotated[Path, typer.Option(help="folder for data and runs")],
    show: Annotated[bool, typer.Option(help="print the commands, run nothing")] = False,
) -> None:
    """Run the stages of a recipe that have not ended yet."""
    try:
        stages = read(recipe)
    except (AnimupError, OSError, tomllib.TOMLDecodeError) as error:
        raise SystemExit(f"recipe: {error}") from error
    for stage in stages:
        run = command(stage, work)
        print(" ".join(run[1:]), flush=True)
        if show:
            continue
        mark = work / "done" / hashlib.sha256(json.dumps(stage, sort_keys=True).encode()).hexdigest()[:16]
        if mark.exists():
            continue
        mark.parent.mkdir(parents=True, exist_ok=True)
        if code := subprocess.run(run, check=False).returncode:
            raise SystemExit(f"recipe: {stage['module']} ended with {code}; run the same command to go on")
        mark.touch()


if __name__ == "__main__":
    typer.run(main)
