"""Runs a recipe, which says everything that made a network: ``python -m training.recipe FILE --work DIR``.

A recipe is a TOML file: ``network``, ``notes``, and ``[[stage]]`` tables run in order, each with ``module`` (run as
``python -m``) and ``options``. ``{work}`` in an option stands for the folder of ``--work``, where all data and runs
go; options that are true are flags. Where the recipe ``begins`` with the weights of an earlier commit, they are put
into ``{work}/before``, which takes a git checkout. Stages may be stopped: each module goes on where it was, and one
that has ended is not run again, which ``DIR/done`` remembers by the whole text of the stage.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from vsanimup.errors import AnimupError

ROOT = Path(__file__).parents[1]
MODELS = "vsanimup/models"


def read(path: Path) -> tuple[list[dict[str, Any]], str]:
    """The stages of a recipe and the commit it begins with, if any.

    Raises :class:`AnimupError` where a stage is not what it must be.
    """
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
    return list(stages), str(recipe.get("begins", ""))


def earlier(commit: str, work: Path, root: Path = ROOT) -> None:
    """Puts the models of a commit of the checkout ``root`` into ``work/before``, once.

    Raises :class:`AnimupError` where there is no such commit.
    """
    if (work / "before").exists():
        return
    found = subprocess.run(["git", "archive", commit, MODELS], cwd=root, capture_output=True, check=False)
    if found.returncode:
        raise AnimupError(f"the weights of commit {commit} cannot be read: {found.stderr.decode().strip()}")
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work) as temporary:
        with tarfile.open(fileobj=io.BytesIO(found.stdout)) as archive:
            archive.extractall(temporary, filter="data")
        (Path(temporary) / MODELS).rename(work / "before")


def command(stage: dict[str, Any], work: Path) -> list[str]:
    """What runs a stage."""
    made = [sys.executable, "-m", *stage["module"].split()]
    for name, value in stage.get("options", {}).items():
        if value is True:
            made.append(f"--{name}")
            continue
        for one in value if isinstance(value, list) else [value]:
            made += [f"--{name}", str(one).replace("{work}", str(work))]
    return made


def main(
    recipe: Annotated[Path, typer.Argument(help="a file of training/recipes")],
    work: Annotated[Path, typer.Option(help="folder for data and runs")],
    show: Annotated[bool, typer.Option(help="print the commands, run nothing")] = False,
) -> None:
    """Run the stages of a recipe that have not ended yet."""
    try:
        stages, begins = read(recipe)
        if begins and not show:
            earlier(begins, work)
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
