"""Films that the tests share."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.helpers import render_files
from vsanimup.cli.main import app


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film to be encoded; beside it ``script.vpy`` that doubles it, and ``slow.vpy`` that takes its time."""
    path = render_files.make_film(tmp_path_factory.mktemp("film"))
    path.with_name("script.vpy").write_text(render_files.SCRIPT)
    path.with_name("slow.vpy").write_text(render_files.SLOW)
    return path


@pytest.fixture(scope="session")
def whole(film: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That film doubled by one process in chunks of 12 frames."""
    out = tmp_path_factory.mktemp("whole") / "whole.mkv"
    given = ["-a", f"source={film}", "-o", str(out), "--chunk", "12"]
    assert CliRunner().invoke(app, ["encode", str(film.with_name("script.vpy")), *given]).exit_code == 0
    return out
