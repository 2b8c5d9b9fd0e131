"""Recipes of networks: every shipped one can be read, and a stage that has ended is not run again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from training import recipe
from vsanimup.errors import AnimupError
from vsanimup.networks.manifest import SHIPPED, open_model

RECIPES = sorted((Path(recipe.__file__).parent / "recipes").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_recipes_name_modules_that_are_there(path: Path, tmp_path: Path) -> None:
    stages, begins = recipe.read(path)
    assert begins or "begins with nothing" in path.read_text(encoding="utf-8"), "it must say what its weights began as"
    for stage in stages:
        module = stage["module"].split()[0].replace(".", "/")
        root = Path(recipe.__file__).parents[1]
        assert (root / f"{module}.py").exists() or (root / module / "__main__.py").exists()
        made = recipe.command(stage, tmp_path)
        assert "{work}" not in " ".join(made) and "True" not in made


def test_lists_are_options_given_more_than_once(tmp_path: Path) -> None:
    made = recipe.command({"module": "a", "options": {"b": ["{work}/c", "d"], "e": 1}}, tmp_path)
    assert made[2:] == ["a", "--b", f"{tmp_path}/c", "--b", "d", "--e", "1"]


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

    monkeypatch.setattr("training.recipe.subprocess.run", run)
    with pytest.raises(SystemExit, match=r"training\.b ended with 3"):
        recipe.main(path, tmp_path)
    codes["training.b"] = 0
    recipe.main(path, tmp_path)
    recipe.main(path, tmp_path)
    assert ran == ["training.a", "training.b", "training.b"]


def test_earlier_weights_come_from_the_checkout(tmp_path: Path) -> None:
    root, work = tmp_path / "checkout", tmp_path / "work"
    weights = root / recipe.MODELS / "lite" / "network.onnx"
    weights.parent.mkdir(parents=True)
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-C", str(root)]
    subprocess.run([*git, "init", "-q"], check=True)
    for text in ("old", "new"):
        weights.write_text(text)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-q", "-m", text], check=True)
    recipe.earlier("HEAD~1", work, root)
    assert [path.name for path in work.iterdir()] == ["before"]
    assert (work / "before" / "lite" / "network.onnx").read_text() == "old"
    with pytest.raises(AnimupError, match="commit nothere cannot be read"):
        recipe.earlier("nothere", tmp_path / "other", root)


@pytest.mark.parametrize(
    "text", ["", 'network = "n"', '[[stage]]\nmodule = "training.a"', 'network = "n"\n[[stage]]\nmodule = "os"']
)
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(AnimupError, match=r"bad\.toml"):
        recipe.read(path)


def test_manifests_name_recipes_that_are_there_and_these_name_the_networks() -> None:
    models = [open_model(folder) for folder in sorted(SHIPPED.iterdir()) if folder.is_dir()]
    named = {network.recipe for model in models for network in model.family()}
    assert {f"{name}.toml" for name in ("codecs", "upscale")} <= named
    assert named - {""} <= {path.name for path in RECIPES}
