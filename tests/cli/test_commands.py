"""``animup``: what its commands share, and ``animup models``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.command import run
from vsanimup import processes
from vsanimup.encoding.vspipe import explain
from vsanimup.networks import manifest
from vsanimup.partial import partial_file
from vsanimup.sizes import show_bytes


def test_programs_are_not_looked_for_in_the_current_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "NoDefaultCurrentDirectoryInExePath"  # which Windows and Python heed
    monkeypatch.delenv(name, raising=False)
    assert processes.find_program("nothing-of-that-name") is None
    assert os.environ[name] == "1"


def test_a_file_system_without_locks_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr("filelock.FileLock.acquire", none)
    with partial_file(tmp_path / "out.mkv") as partial:
        partial.write_text("whole")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole"]


def test_models_list() -> None:
    code, text = run("models")
    assert code == 0
    assert text.count("lite-restore-codecs") == 1, "it serves two tasks"
    for word in ("lite-restore", "lite-upscale-codecs", "lite-one-pass-destream", "deblock", "x2", "MiB"):
        assert word in text


def test_models_list_when_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "SHIPPED", tmp_path)
    code, text = run("models")
    assert code == 1 and "install the package again" in text


@pytest.mark.parametrize("command", [[], ["demo"], ["flags"], ["doctor"], ["models"]])
def test_help(command: list[str]) -> None:
    code, text = run(*command, "--help")
    assert code == 0 and "Usage" in text


def test_importing_the_command_is_light() -> None:
    heavy = ("vapoursynth", "numpy", "av", "onnxruntime", "rich.console")
    code = f"import sys, vsanimup.cli.main; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_explain_names_the_cure_for_an_unconfigured_vspipe() -> None:
    text = "Failed to initialize VSScript. VSScript reported error: Python executable couldn't be determined"
    assert explain(text).endswith("vapoursynth config")
    assert "without saying why" in explain("Script evaluation done in 0.1 seconds\rFrame: 1/3\n")
    missing = "Python exit with code restore_upscale.vpy: No attribute with the name animup exists."
    assert "animup doctor" in explain(missing)


def test_sizes_are_readable() -> None:
    assert [show_bytes(n) for n in (5, 2048, 3 << 20, 5 << 30, 4 << 40)] == [
        "5 B",
        "2.0 KiB",
        "3.0 MiB",
        "5.0 GiB",
        "4096.0 GiB",
    ]
