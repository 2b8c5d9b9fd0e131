"""What a command makes of errors and of requests to end."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import typer

from vsanimup.errors import AnimupError


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Errors that a user can do something about become one line and exit code 1; Ctrl-C becomes 130."""
    try:
        yield
    except AnimupError as error:
        typer.echo(f"animup: {error}", err=True)
        raise typer.Exit(1) from None
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        typer.echo(f"animup: {name}{error.strerror or error}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("animup: stopped; nothing unfinished was left behind", err=True)
        raise typer.Exit(130) from None


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """A polite request to end (SIGTERM) cleans up as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
