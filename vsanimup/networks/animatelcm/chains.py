"""Chains of windows that hand on a memory: which window comes after which, and what a window in the middle takes.

A chain begins every so many blocks, so that a window depends on the frames from its chain's first block on and on no
others. A scene cut begins it anew: what was before counts for nothing behind it, not even in its bytes. So a seek
computes the windows of one chain at most up to the one that is asked for, and who reads in order computes each once.
What is kept between calls is memory of a pure function.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vsanimup.networks.animatelcm.memory import Budget, Carried, Stale, Turn
from vsanimup.networks.animatelcm.windows import OVERLAP
from vsanimup.networks.animatelcm.windows import Sequence as Drawings

Window = tuple[int, int]
"""Number of a block, and of a window in its sequence."""
Pictures = Sequence[NDArray[Any]]
"""Those of a window."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What somebody who wants a window knows of the clip."""

    of_block: Callable[[int], Drawings]
    """The sequence of a block."""
    cut: Callable[[int], bool]
    """Whether a scene starts with a block's first frame."""
    compute: Callable[[Window, Carried, Turn], Pictures]
    """The pictures of a window, given the memory of those before it, which it changes."""


class Kept[K: Hashable, V]:
    """The ``size`` things that were asked for or put last. Any number of threads."""

    def __init__(self, size: int) -> None:
        self._size, self._lock = size, threading.Lock()
        self._things: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """What was put under ``key``, if it is still here."""
        with self._lock:
            if key in self._things:
                self._things.move_to_end(key)
            return self._things.get(key)

    def put(self, key: K, value: V) -> V:
        """Keep it; gives what lies there already, if something does."""
        with self._lock:
            value = self._things.setdefault(key, value)
            self._things.move_to_end(key)
            while len(self._things) > self._size:
                self._things.popitem(last=False)
            return value


@dataclass
class Chain:
    """Where a chain's computation is."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    carried: Carried | None = None
    last: Window | None = None
    """The window after which ``carried`` is."""


class Chains:
    """Pictures of windows that remember, computed in the order of their chains."""

    def __init__(self, *, budget: Budget, spacing: int, streams: int, kept: int) -> None:
        """``spacing`` blocks make a chain. The pictures of ``kept`` windows stay here, and the memory of
        :func:`held` chains."""
        self._budget, self._spacing = budget, spacing
        self._windows = Kept[Window, Pictures](kept)
        self._chains = Kept[int, Chain](held(streams))

    def pictures(self, window: Window, asked: Asked) -> Pictures:
        """All pictures of a window.

        What the computation raises is raised here; the chain begins anew the next time.
        """
        found = self._windows.get(window)
        if found is not None:
            return found
        number = window[0] // self._spacing
        chain = self._chains.get(number) or self._chains.put(number, Chain())
        with chain.lock:
            found = self._windows.get(window)
            while found is None:
                try:
                    found = self._forward(chain, window, asked)
                except Stale:
                    chain.carried = chain.last = None
        return found

    def _forward(self, chain: Chain, target: Window, asked: Asked) -> Pictures:
        """Compute a chain's windows up to ``target``."""
        start = self._start(target[0], asked)
        # a block with a scene cut inside is begun at for what it leaves, but its first scene wants what was before
        whole = start % self._spacing == 0 or asked.cut(start)
        if chain.last is not None and (start, -1) <= chain.last < target:
            todo = [w for w in _windows(chain.last[0], target, asked) if w > chain.last]
            whole = True
        else:
            chain.carried, todo = Carried(self._budget), list(_windows(start, target, asked))
        carried, chain.carried, chain.last = chain.carried, None, None  # until it is done
        assert carried is not None
        pictures: Pictures = ()
        for window in todo:
            pictures = asked.compute(window, carried, self._turn(window, asked))
            if whole or window[0] > start:
                self._windows.put(window, pictures)
        last = (target[0] + 1) % self._spacing == 0 and target[1] == len(asked.of_block(target[0]).windows()) - 1
        if not last:  # else nobody asks for what it leaves
            chain.carried, chain.last = carried, target
        return pictures

    def _turn(self, window: Window, asked: Asked) -> Turn:
        """How a window stands to the memory before it.

        Drawings that lead a window were remembered by the one before, unless that is of another chain.
        """
        drawings = asked.of_block(window[0])
        first, end = drawings.windows()[window[1]]
        scenes = np.array([drawing.scene for drawing in drawings.drawings])
        if window[1]:
            shared, remembered = OVERLAP, int(scenes[first + OVERLAP - 1])
        else:
            shared = 0 if window[0] % self._spacing == 0 else drawings.lead
            remembered = -1 if asked.cut(window[0]) else 0
        mine = scenes[first:end]
        latest = int(np.argmax(mine == mine[-1]))
        return Turn(sees=mine == remembered, keeps=max(shared, latest))

    def _start(self, block: int, asked: Asked) -> int:
        """The block that ``block`` has to be computed from: the last before it with a scene cut, or the chain's
        first."""
        first = block - block % self._spacing
        if asked.cut(block):
            return block
        for earlier in range(block - 1, first, -1):
            if asked.cut(earlier) or asked.of_block(earlier).drawings[-1].scene > 0:
                return earlier
        return first


def held(streams: int) -> int:
    """Chains whose memory is held at the same time: one for each stream, and one that is just beginning."""
    return streams + 1


def _windows(first: int, target: Window, asked: Asked) -> Iterator[Window]:
    """All windows from those of block ``first`` on up to ``target``."""
    for block in range(first, target[0] + 1):
        for number in range(len(asked.of_block(block).windows())):
            if (block, number) <= target:
                yield block, number
