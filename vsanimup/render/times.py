"""When frames are shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import accumulate

TICKS = 1000
"""Parts of a second in which Matroska counts time."""


def ticks(start: Fraction, runs: Iterable[Sequence[int]]) -> list[int]:
    """Times of frames, and of the end of the last, rounded to ticks.

    Args:
        start: Time of the first frame, seconds.
        runs: Durations as ``[count, numerator, denominator]`` of seconds. They are added up exactly: nothing drifts.
    """
    durations = (Fraction(run[1], run[2]) for run in runs for _ in range(run[0]))
    return [rounded(time) for time in accumulate(durations, initial=start)]


def rounded(seconds: Fraction) -> int:
    """The nearest tick, halves up."""
    return (2 * seconds.numerator * TICKS + seconds.denominator) // (2 * seconds.denominator)


def steady_rate(runs: Sequence[Sequence[int]], nominal: Fraction) -> Fraction | None:
    """Frames a second, where all frames last equally long but for a source's rounding; None where they do not.

    Args:
        runs: Durations as above.
        nominal: The clip's own rate, 0 for none: what is given where it is true.
    """
    durations = [Fraction(run[1], run[2]) for run in runs]
    mean = sum(run[0] * duration for run, duration in zip(runs, durations, strict=True)) / sum(run[0] for run in runs)
    for rate in (nominal, 1 / mean):
        if rate and all(abs(duration - 1 / rate) <= Fraction(1, TICKS) for duration in {*durations, mean}):
            return Fraction(rate)
    return None
