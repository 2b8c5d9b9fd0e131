"""What can be removed from a picture: the names that ``task=`` takes, and their weighted mixes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vsanimup.errors import AnimupError, guess, shown

TASKS: tuple[str, ...] = (
    "deblock", "denoise", "deblur", "dehalo", "dechroma", "descratch", "deband", "derain", "dehaze", "desnow",
    "destream",
)  # fmt: skip
"""All tasks, in the order in which a network's task biases are stored."""
AUTO = "auto"
"""What ``task=`` takes instead, for a diagnosis."""

TaskMix = tuple[tuple[str, float], ...]
"""Tasks and their weights, sorted by name, without zeros; empty for a network that has none."""


def parse_task(text: str, known: Sequence[str]) -> dict[str, float]:
    """A mix such as ``deblock+0.5*denoise``: task -> weight in (0, 1], in the order of ``known``.

    Raises :class:`AnimupError` for an unknown task, one named twice, or a weight outside 0..1.
    """
    mix: dict[str, float] = {}
    for term in text.split("+"):
        number, star, name = term.rpartition("*")
        name = name.strip()
        if name not in known:
            got = shown(text) if name == text else f"{shown(name)} in {shown(text)}"
            near = guess(name, (AUTO, *known) if name == text else known)
            raise AnimupError(
                f"task must be one of {', '.join(known)}, {AUTO}, or a mix such as a+0.5*b, got {got}{near}"
            )
        if name in mix:
            raise AnimupError(f"task must name {name} once, got {shown(text)}")
        try:
            weight = float(number) if star else 1.0
        except ValueError:
            weight = -1.0
        if not 0 <= weight <= 1:
            raise AnimupError(f"task must weigh {name} by a number from 0 to 1, as in 0.5*{name}, got {shown(text)}")
        mix[name] = weight
    if not any(mix.values()):
        raise AnimupError(f"task must leave something to do, got {shown(text)}")
    return {name: mix[name] for name in known if mix.get(name)}


def spelled(mix: Mapping[str, float]) -> str:
    """A mix as :func:`parse_task` takes it, weights to two decimals, those of 0 left out; empty where none is left."""
    rounded = {task: round(weight, 2) for task, weight in mix.items()}
    return "+".join(task if weight == 1 else f"{weight:g}*{task}" for task, weight in rounded.items() if weight)
