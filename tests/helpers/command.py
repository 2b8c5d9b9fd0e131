"""``animup``, as the shell calls it."""

from __future__ import annotations

import re

from typer.testing import CliRunner

from vsanimup.cli.main import app

runner = CliRunner()


def run(*arguments: object) -> tuple[int, str]:
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, re.sub(r"\s+", " ", result.output)
