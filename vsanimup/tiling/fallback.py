"""Smaller tiles where a device's memory does not suffice."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from vsanimup.errors import AnimupError, OutOfMemory
from vsanimup.tiling.tiles import Grid

LOG = logging.getLogger("vsanimup.memory")
REMEDY = "give a smaller tilesize or num_streams, or free memory of the device"


class Fallback[Tiled]:
    """What works on tiles of one size, and on tiles of half the size from when the device's memory ran out.

    The grid that is begun with depends on arguments and the device alone. Half of it gives the same picture but for
    what tiles change, which the log then says; a second time is an error. Any number of threads may call at once.
    """

    def __init__(self, whole: Tiled, half: Callable[[], Tiled | None], grid: Callable[[Tiled], Grid]) -> None:
        """``half`` makes the same for smaller tiles, or ``None`` where tiles cannot be smaller; ``grid`` tells its
        denoiser's or network's tiles."""
        self.tiled = whole
        """What is worked with now."""
        self._half, self._grid = half, grid
        self._halved = False
        self._changed = threading.Condition()
        self._users: dict[int, int] = {}

    def halve(self, reason: str) -> None:
        """Go over to smaller tiles.

        Raises :class:`AnimupError` when that was done before or cannot be done.
        """
        before = self._grid(self.tiled)
        smaller = None if self._halved else self._half()
        if smaller is None:
            raise AnimupError(f"{reason}; tiles of {_size(before)} do not fit: {REMEDY}")
        self.tiled, self._halved = smaller, True
        self._half = lambda: None  # which may hold what is to be let go
        LOG.warning(
            "%s; tiles of %s do not fit, going on with %s: expect other rounding, and see tilesize",
            reason,
            _size(before),
            _size(self._grid(smaller)),
        )

    def run[Result](self, work: Callable[[Tiled], Result]) -> Result:
        """What ``work`` makes with the present tiles, or with smaller ones when it raises :class:`OutOfMemory`."""
        tiled = self._enter()
        try:
            return work(tiled)
        except OutOfMemory as error:
            reason = str(error)
        finally:
            self._leave(tiled)
        with self._changed:
            if self.tiled is tiled:  # else another thread was first
                self.halve(reason)
            # what the others have in use is needed, and they end soon: well, or here
            self._changed.wait_for(lambda: not self._users.get(id(tiled)))
        del tiled
        tiled = self._enter()
        try:
            return work(tiled)
        except OutOfMemory as error:
            raise AnimupError(f"{error}; tiles of {_size(self._grid(tiled))} do not fit: {REMEDY}") from error
        finally:
            self._leave(tiled)

    def _enter(self) -> Tiled:
        with self._changed:
            self._users[id(self.tiled)] = self._users.get(id(self.tiled), 0) + 1
            return self.tiled

    def _leave(self, tiled: Tiled) -> None:
        with self._changed:
            self._users[id(tiled)] -= 1
            if not self._users[id(tiled)]:
                del self._users[id(tiled)]
                self._changed.notify_all()


def halved(size: Grid) -> tuple[int, int]:
    """Width and height of tiles half as wide and high."""
    return -(-size.columns.tile // 2), -(-size.rows.tile // 2)


def _size(grid: Grid) -> str:
    return f"{grid.columns.tile}x{grid.rows.tile}"
