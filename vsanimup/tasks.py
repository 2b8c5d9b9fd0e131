"""What can be removed from a picture: the names that ``task=`` takes."""

from __future__ import annotations

TASKS: tuple[str, ...] = (
    "deblock", "denoise", "deblur", "dehalo", "dechroma", "descratch", "deband", "derain", "dehaze", "desnow",
)  # fmt: skip
"""All tasks, in the order in which a network's task biases are stored."""
