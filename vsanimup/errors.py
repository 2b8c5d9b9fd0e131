"""The error that a script author is meant to see, and how it shows what it was given."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST = 200
"""Characters of an argument that an error shows."""
LONGEST_REASON = 500
"""Characters of another program's complaint that an error shows."""


class AnimupError(ValueError):
    """A mistake in arguments, models or source that its text names along with the remedy.

    Raised anywhere below a filter function, its text becomes the VapourSynth error as it stands;
    any other exception is reported as an internal error, with its traceback in the log.
    """


class OutOfMemory(AnimupError):
    """A device has too little memory for what it was asked to do; smaller tiles may fit."""


def shown(value: object) -> str:
    """A value as errors show it: its ``repr``, cut where it is long."""
    return cut(repr(value), LONGEST)


def cut(text: object, longest: int = LONGEST_REASON) -> str:
    """A text, or what an exception says, of at most ``longest`` characters."""
    whole = str(text)
    return whole if len(whole) <= longest else f"{whole[: longest - 1]}…"


def unknown(name: str, value: str, known: Iterable[str], more: str = "") -> AnimupError:
    """The error for a word that is none of ``known``, nor what ``more`` says besides."""
    words = list(known)
    return AnimupError(f"{name} must be one of {', '.join(words)}{more}, got {shown(value)}{guess(value, words)}")


def guess(word: str, known: Iterable[str]) -> str:
    """`` (nearest guess: …)`` for a word that is close to one of ``known``, else nothing."""
    near = difflib.get_close_matches(word[:LONGEST].strip().lower(), list(known), n=1)
    return f" (nearest guess: {near[0]})" if near else ""
