"""What can be removed from a picture: the names that ``task=`` takes, and their weighted mixes."""

from __future__ import annotations

from collections.abc import Sequence

from vsanimup.errors import AnimupError

TASKS: tuple[str, ...] = (
    "deblock", "denoise", "deblur", "dehalo", "dechroma", "descratch", "deband", "derain", "dehaze", "desnow",
)  # fmt: skip
"""All tasks, in the order in which a network's task biases are stored."""

def parse_task(text: str, known: Sequence[str]) -> dict[str, float]:
    """A mix such as ``deblock+0.5*denoise``: task -> weight in (0, 1], in the order of ``known``.

    Raises :class:`AnimupError` for an unknown task, one named twice, or a weight outside 0..1.
    """
    remedy = f"give one of {', '.join(known)}, or a mix such as deblock+0.5*denoise"
    mix: dict[str, float] = {}
    for term in text.split("+"):
        number, star, name = term.rpartition("*")
        name = name.strip()
        if name not in known:
            raise AnimupError(f"task {text!r}: no {name!r} among the model's tasks; {remedy}")
        if name in mix:
            raise AnimupError(f"task {text!r} names {name} twice; {remedy}")
        try:
            weight = float(number) if star else 1.0
        except ValueError:
            raise AnimupError(f"task {text!r}: {number!r} is no number; {remedy}") from None
        if not 0 <= weight <= 1:
            raise AnimupError(f"task {text!r}: the weight of {name} must lie between 0 and 1, got {weight:g}")
        mix[name] = weight
    return {name: mix[name] for name in known if mix.get(name)}
