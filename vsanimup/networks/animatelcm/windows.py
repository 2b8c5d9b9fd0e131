"""Windows of drawings on a fixed grid, for networks that look at many frames at once.

A clip is cut into blocks of 24 frames. A block's sequence is its drawings (runs of frames that show one picture, see
``drawings.py``), led by up to four drawings from the end of the block before, as far as they belong to the same scene.
A sequence that is longer than a window is split into two windows of about equal length that share four drawings. Where
windows share drawings, within a block or between two, their results are cross-faded.

So frame n depends on the frames from 8 before its block to the end of the block after it, and on two windows at most;
and a block of animation on twos, with what leads it, fills one window of 16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

BLOCK = 24
"""Frames whose drawings are put into windows together, counted from frame 0."""
LEAD = 8
"""Frames before a block that may lead it."""
OVERLAP = 4
"""Drawings that neighbouring windows share."""
WINDOW = 16
"""Drawings in a window at most; what AnimateLCM was trained with."""

Test = Callable[[int], bool]
"""Asks something of frame n and frame n - 1."""
Same = Callable[[int, int], bool]
"""Asks whether frames a < b show one drawing."""


@dataclass(frozen=True)
class Drawing:
    """A run of frames that show one drawing."""

    first: int
    last: int
    scene: int
    """Number of its scene in the sequence."""


@dataclass(frozen=True)
class Sequence:
    """The drawings of one block, and of what leads it."""

    drawings: tuple[Drawing, ...]
    start: int
    """First frame of the block."""

    def of(self, n: int) -> int:
        """Position of the drawing that shows frame ``n``; -1 for a frame before the first."""
        return next((i for i, drawing in enumerate(self.drawings) if drawing.first <= n <= drawing.last), -1)

    @property
    def lead(self) -> int:
        """Drawings that begin before the block."""
        return sum(drawing.first < self.start for drawing in self.drawings)

    def windows(self) -> tuple[tuple[int, int], ...]:
        """Positions of the first drawing of each window and after its last; two windows share :data:`OVERLAP`."""
        count = len(self.drawings)
        if count <= WINDOW:
            return ((0, count),)
        size = -(-(count + OVERLAP) // 2)
        return (0, size), (size - OVERLAP, count)


@dataclass(frozen=True)
class Share:
    """What a window contributes to a frame."""

    block: int
    window: int
    """Number of the window in the block's sequence."""
    position: int
    """Position of the frame's drawing in the window."""
    weight: float


def sequence(block: int, count: int, same: Same, cut: Test) -> Sequence:
    """The drawings of block ``block`` of a clip of ``count`` frames.

    ``same(a, b)`` tells whether frames a < b show one drawing, ``cut(n)`` whether a scene starts at frame n. Both are
    asked only about frames from :data:`LEAD` before the block to its end.
    """
    start = block * BLOCK
    end = min(start + BLOCK, count) - 1
    first = start
    while first > max(0, start - LEAD) and not cut(first):
        first -= 1
    drawings: list[Drawing] = []
    scene, begin = 0, first
    for n in range(first + 1, end + 2):
        if n <= end and same(n - 1, n) and (n - 1 == begin or same(begin, n)) and not cut(n):
            continue
        drawings.append(Drawing(begin, n - 1, scene))
        begin = n
        scene += int(n <= end and cut(n))
    surplus = max(0, sum(drawing.first < start for drawing in drawings) - OVERLAP)
    return Sequence(tuple(drawings[surplus:]), start)


def shares(n: int, count: int, of_block: Callable[[int], Sequence]) -> tuple[Share, ...]:
    """The one or two windows that frame ``n`` of a clip of ``count`` frames is made of; their weights add up to 1.

    ``of_block(k)`` gives the sequence of block k. Copies of one drawing in one block have the same shares.
    """
    block = n // BLOCK
    own = of_block(block)
    position = own.of(n)
    parts = _within(block, own, position)
    following = (block + 1) * BLOCK
    last = own.drawings[position].last  # by which all copies of the drawing go, or they would differ
    if following < count and last >= following - LEAD:
        after = of_block(block + 1)
        place = after.of(last)
        if place >= 0:
            assert len(parts) == 1, "fades within a sequence end before its last drawings"
            weight = (place + 1) / (after.lead + 1)
            # drawings that lead a sequence are in its first window alone
            return Share(block, parts[0].window, parts[0].position, 1 - weight), Share(block + 1, 0, place, weight)
    return parts


def _within(block: int, own: Sequence, position: int) -> tuple[Share, ...]:
    windows = own.windows()
    holding = [(i, position - first) for i, (first, end) in enumerate(windows) if first <= position < end]
    if len(holding) == 1:
        return (Share(block, *holding[0], 1.0),)
    weight = (position - windows[1][0] + 1) / (OVERLAP + 1)
    return Share(block, *holding[0], 1 - weight), Share(block, *holding[1], weight)
