"""Recipes of networks: every shipped one can be read, and a stage that has ended is not run again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from training import recipe
from vsanimup.errors import AnimupError

RECIPES = sorted((Path(recipe.__file__).parent / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_name_modules_that_are_there(path: Path, tmp_path: Path) -> None:
    for stage in recipe.read(path):
        module = stage["module"].split()[0].replace(".", "/")
        assert (Path(recipe.__file__).parents[1] / f"{module}.py").exists() or module == "export"
        made = recipe.command(stage, tmp_path)
        assert "{work}" not in " ".join(made) and "True" not in made


def test_a_stage_that_failed_is_run_again_and_one_that_ended_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.toml"
    path.write_text('network = "n"\n[[stage]]\nmodule = "training.a"\n[[stage]]\nmodule = "training.b"\n')
    ran: list[str] = []
    codes = {"training.a": 0, "training.b": 3}

    def run(arguments: list[str], check: bool) -> subprocess.CompletedProcess[bytes]:
        ran.append(arguments[2])
        return subprocess.CompletedProcess(arguments, codes[arguments[2]])

    monkeypatch.setattr(recipe.subprocess, "run", run)
    with pytest.raises(SystemExit, match=r"training\.b ended with 3"):
        recipe.main(path, tmp_path)
    codes["training.b"] = 0
    recipe.main(path, tmp_path)
    recipe.main(path, tmp_path)
    assert ran == ["training.a", "training.b", "training.b"]


@pytest.mark.parametrize(
    "text", ["", 'network = "n"', '[[stage]]\nmodule = "training.a"', 'network = "n"\n[[stage]]\nmodule = "os"']
)
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(AnimupError, match=r"bad\.toml"):
        recipe.read(path)
