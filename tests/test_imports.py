"""Modules import downwards, families of networks know nothing of each other: the contracts in pyproject.toml."""

from pathlib import Path

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports


def test_contracts(monkeypatch):
    monkeypatch.chdir(Path(__file__).parent.parent)
    assert lint_imports(no_cache=True) == EXIT_STATUS_SUCCESS
