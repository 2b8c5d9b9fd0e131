"""What IPT's checkpoints were trained for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """What a network was trained for."""

    scale: int
    index: int
    """Of its head, query and tail in the pretrained file of six."""


TASKS = {
    "x2": Task(2, 0),
    "x3": Task(3, 1),
    "x4": Task(4, 2),
    "derain": Task(1, 3),
    "denoise30": Task(1, 4),
    "denoise50": Task(1, 5),
}
