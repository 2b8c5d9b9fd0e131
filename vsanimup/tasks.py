"""What can be removed from a picture: the names that ``task=`` takes, and their weighted mixes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Final

from vsanimup.errors import AnimupError, guess, shown

TASKS: tuple[str, ...] = (
    "deblock",
    "denoise",
    "deblur",
    "dehalo",
    "dechroma",
    "descratch",
    "deband",
    "derain",
    "dehaze",
    "desnow",
    "destream",
)
"""All tasks, in the order in which a network's task biases are stored."""
CODECS: Final = frozenset({"deblock", "destream"})
"""Those that take away what compression did, and mean nothing of what was there before."""
AUTO = "auto"
"""What ``task=`` takes instead, for a diagnosis."""


def _place(name: str) -> tuple[int, str]:
    return TASKS.index(name) if name in TASKS else len(TASKS), name


def _weight(number: str, name: str, text: str) -> float:
    """The number before ``name`` in a mix's ``text``."""
    try:
        weight = float(number)
    except ValueError:
        weight = -1.0
    if not 0 <= weight <= 1:
        raise AnimupError(f"task must weigh {name} by a number from 0 to 1, as in 0.5*{name}, got {shown(text)}")
    return weight


class TaskMix(Mapping[str, float]):
    """Tasks and their weights above 0 and up to 1, immutable.

    Those of :data:`TASKS` come first, in that order. What else a model or a filter before it is named for may be among
    them. As a text it is what ``task=`` takes and the frame property ``AnimupMix`` shows: ``deblock+0.5*denoise``.
    """

    __slots__ = ("_weights",)

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        """Weights of 0 are left out. Raises :class:`AnimupError` for those outside 0..1."""
        given = dict(weights or {})
        for name, weight in given.items():
            if not 0 <= weight <= 1:
                raise AnimupError(f"the weight of {name} must lie between 0 and 1, got {weight:g}")
        self._weights = {name: given[name] for name in sorted(given, key=_place) if given[name]}

    @classmethod
    def parse(cls, text: str, known: Sequence[str] = TASKS) -> TaskMix:
        """The mix that a text names; at least one task of ``known``.

        Raises :class:`AnimupError` for an unknown task, one named twice, or a weight outside 0..1.
        """
        weights: dict[str, float] = {}
        for term in text.split("+"):
            number, star, name = term.rpartition("*")
            number, name = number.strip(), name.strip()
            if number in known:
                raise AnimupError(f"task must have a weight before its name, as in 0.5*{number}, got {shown(text)}")
            if name == AUTO != text:
                raise AnimupError(f"task: auto finds all tasks by itself and stands alone, got {shown(text)}")
            if name not in known:
                got = shown(text) if name == text else f"{shown(name)} in {shown(text)}"
                near = guess(name, (AUTO, *known) if name == text else known) if name else "; leave out what is empty"
                raise AnimupError(
                    f"task must be one of {', '.join(known)}, {AUTO}, or a mix such as a+0.5*b, got {got}{near}"
                )
            if name in weights:
                raise AnimupError(f"task must name {name} once, got {shown(text)}")
            weights[name] = _weight(number if star else "1", name, text)
        mix = cls(weights)
        if not mix:
            raise AnimupError(f"task must leave something to do, got {shown(text)}")
        return mix

    @classmethod
    def of_property(cls, text: str) -> TaskMix:
        """The mix that the frame property ``AnimupMix`` holds; raises as :meth:`parse`."""
        return cls.parse(text) if text else CLEAN

    def __str__(self) -> str:
        """Weights to two decimals, those of 0 left out; empty where none is left."""
        rounded = {task: round(weight, 2) for task, weight in self.items()}
        return "+".join(task if weight == 1 else f"{weight:g}*{task}" for task, weight in rounded.items() if weight)

    def __repr__(self) -> str:
        return f"TaskMix({self._weights})"

    def __getitem__(self, task: str) -> float:
        return self._weights[task]

    def __iter__(self) -> Iterator[str]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    def __hash__(self) -> int:
        return hash(tuple(self._weights.items()))


class Diagnose(Enum):
    """What is asked for in place of a mix: that of each frame, as a diagnosis tells it."""

    DIAGNOSE = AUTO


DIAGNOSE: Final = Diagnose.DIAGNOSE
CLEAN: Final = TaskMix()
"""Nothing is to be removed: a network with task biases leaves such frames alone, one without does what it does."""
