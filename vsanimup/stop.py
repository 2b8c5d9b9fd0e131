"""A request to end a computation whose result nobody wants any more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_thread = threading.local()
_underway = 0
_counting = threading.Lock()


class Stop:
    """Set once, from any thread; a computation looks at it, or is told."""

    __slots__ = ("_listeners", "_lock", "_set")

    def __init__(self) -> None:
        self._set = False
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []

    def __bool__(self) -> bool:
        return self._set

    def set(self) -> None:
        """End what goes on."""
        with self._lock:
            self._set = True
            listeners = list(self._listeners)
        for listener in listeners:
            listener()

    @contextmanager
    def telling(self, listener: Callable[[], None]) -> Iterator[None]:
        """While in this context, ``listener`` is called when it is set, or at once where it was set before."""
        with self._lock:
            self._listeners.append(listener)
            told = self._set
        if told:
            listener()
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(listener)

    @contextmanager
    def of_this_thread(self) -> Iterator[None]:
        """While in this context, :func:`current` finds it on this thread."""
        global _underway  # noqa: PLW0603
        with _counting:
            _underway += 1
        before, _thread.stop = current(), self
        try:
            yield
        finally:
            _thread.stop = before
            with _counting:
                _underway -= 1


def current() -> Stop:
    """What ends the computation of this thread; one that nobody sets where there is none."""
    found: Stop | None = getattr(_thread, "stop", None)
    return Stop() if found is None else found  # one that is not set yet is false


def underway() -> int:
    """Computations of this process that can be ended: threads within :meth:`Stop.of_this_thread`."""
    return _underway
