"""Modules import downwards, families of networks know nothing of each other: the contracts in pyproject.toml."""

import subprocess
import sys

from tests.helpers.places import ROOT


def test_contracts() -> None:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout
