"""Ranges of sizes that one engine serves."""

from __future__ import annotations

CLASSES = (96, 288, 544, 736, 1088, 1440, 1936, 2176, 2880, 3856)
"""Engines that are built serve all tiles whose sides lie between the first of these and one of the others. One for
much more would take memory for that."""
STEP = 1024
"""Beyond them, sides are rounded up to multiples of this."""


def side_range(side: int, multiple: int = 8) -> tuple[int, int, int] | int:
    """Least, usual and largest side of tiles that go through the same engine as those of ``side``.

    All divide by ``multiple``. Sides below the first class stay as they are.
    """
    least = -(-CLASSES[0] // multiple) * multiple
    if side < least:
        return side
    most = next((size for size in CLASSES[1:] if size >= side), -(-side // STEP) * STEP)
    most = -(-most // multiple) * multiple
    return least, most, most
