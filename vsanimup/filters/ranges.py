"""What an argument may be: each kind of range checks a value, and gives what is computed with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from vsanimup.errors import AnimupError, shown, unknown

TINY = 1e-6
"""Shares and steps below this change no sample, and would vanish in 32 bits: they count as 0."""


class Range(Protocol):
    """Values that an argument may have."""

    def checked(self, name: str, value: Any) -> Any:
        """``value`` as the networks take it.

        Raises :class:`AnimupError` naming the argument, its value and what would do.
        """
        ...


@dataclass(frozen=True)
class Anything:
    """What is looked at elsewhere: it depends on the clip or the model."""

    def checked(self, name: str, value: Any) -> Any:
        """See :class:`Range`."""
        return value


ANYTHING = Anything()


@dataclass(frozen=True)
class Span:
    """A number from ``least`` to ``most``; ``low`` and ``high`` are what errors say of these."""

    least: float
    most: float
    low: str = ""
    high: str = ""

    def checked(self, name: str, value: float) -> float:
        """See :class:`Range`."""
        if not math.isfinite(value) or not self.least <= value <= self.most:
            low, high = self.low or f"{self.least:g}", self.high or f"{self.most:g}"
            raise AnimupError(f"{name} must lie between {low} and {high}, got {shown(value)}")
        return 0.0 if isinstance(value, float) and abs(value) < TINY else value


@dataclass(frozen=True)
class AtLeast:
    """A whole number that has no upper end."""

    least: int

    def checked(self, name: str, value: int) -> int:
        """See :class:`Range`."""
        if value < self.least:
            raise AnimupError(f"{name} must be at least {self.least}, got {shown(value)}")
        return value


@dataclass(frozen=True)
class Flag:
    """0 or 1."""

    def checked(self, name: str, value: int) -> bool:
        """See :class:`Range`."""
        if value not in (0, 1):
            raise AnimupError(f"{name} must be 0 (off) or 1 (on), got {shown(value)}")
        return bool(value)


@dataclass(frozen=True)
class Whole:
    """One of a few whole numbers, of which VapourSynth may give floats."""

    choices: Sequence[int]

    def checked(self, name: str, value: float) -> int:
        """See :class:`Range`."""
        if value not in self.choices:
            *first, last = map(str, self.choices)
            raise AnimupError(f"{name} must be {', '.join(first)} or {last}, got {value:g}")
        return int(value)


@dataclass(frozen=True)
class Word:
    """One of a few words."""

    choices: Sequence[str]

    def checked(self, name: str, value: str) -> str:
        """See :class:`Range`."""
        if value not in self.choices:
            raise unknown(name, value, self.choices)
        return value


@dataclass(frozen=True)
class Pair:
    """A number across and one down, or one for both; ``remedy`` ends errors."""

    least: int
    most: int | None = None
    remedy: str = ""

    def checked(self, name: str, value: Sequence[int]) -> tuple[int, int]:
        """See :class:`Range`."""
        within = all(self.least <= n and (self.most is None or n <= self.most) for n in value)
        if len(value) not in (1, 2) or not within:
            got = value[0] if len(value) == 1 else list(value)
            span = f"of at least {self.least}" if self.most is None else f"from {self.least} to {self.most}"
            raise AnimupError(f"{name} must be one or two numbers (width, height) {span}, got {got}{self.remedy}")
        return value[0], value[-1]
