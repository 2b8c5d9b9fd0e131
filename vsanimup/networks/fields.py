"""Fields of manifests: a table says what each must be, and one reader says what is wrong with one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vsanimup.errors import AnimupError, shown


@dataclass(frozen=True)
class Field:
    """What one field of a manifest must be."""

    wanted: str
    """That in words, after "must be"."""
    takes: Callable[[Any], bool]
    """Whether a value, of any type that JSON has, is so."""
    default: Any = None
    """Its value where it is left out; ``None`` where it may not be."""


def text(default: str | None = None) -> Field:
    """A text."""
    return Field("a text", lambda value: isinstance(value, str), default)


def texts() -> Field:
    """A list of texts."""
    return Field("texts", lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value))


def flag() -> Field:
    """True or false."""
    return Field("true or false", lambda value: isinstance(value, bool))


def whole(least: int, most: int, *, even: bool = False, default: int | None = None) -> Field:
    """A whole number from ``least`` to ``most``."""
    numbers = range(least, most + 1, 2 if even else 1)
    wanted = f"a whole number from {least} to {most}{', even' if even else ''}"
    return Field(wanted, lambda value: type(value) is int and value in numbers, default)


def entries(default: Mapping[str, Any] | None = None) -> Field:
    """An object."""
    return Field("an object", lambda value: isinstance(value, dict), default)


Refusal = Callable[[str], AnimupError]
"""The error that names the manifest and the remedy, for what is wrong with a field."""


def read(values: Mapping[str, Any], fields: Mapping[str, Field], refusal: Refusal, within: str = "") -> dict[str, Any]:
    """The values of all ``fields``, by name, lists as tuples; ``within`` goes before names in errors, with its dot.

    Raises :class:`AnimupError` for the first that is missing or not what it must be.
    """
    found = {}
    for name, field in fields.items():
        value = values.get(name, field.default)
        if not field.takes(value):
            raise refusal(f"{within}{name} must be {field.wanted}, got {shown(value)}")
        found[name] = _frozen(value)
    return found


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
