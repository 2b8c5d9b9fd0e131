"""Options that are numbers within a range, whose errors say what was given."""

from __future__ import annotations

from typing import Any

import typer


def ranged(*names: str, least: float, help: str, most: float | None = None, **more: Any) -> Any:
    """As ``typer.Option(*names, help=help, **more)``, of a number from ``least`` to ``most``; the help tells both."""
    span = f"at least {least:g}" if most is None else f"from {least:g} to {most:g}"

    def check(value: float | None) -> float | None:
        if value is not None and not (least <= value and (most is None or value <= most)):
            raise typer.BadParameter(f"must be {span}, got {value:g}")
        return value

    return typer.Option(*names, help=f"{help} {span[0].upper()}{span[1:]}.", callback=check, **more)
