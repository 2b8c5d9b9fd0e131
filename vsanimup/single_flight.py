"""A bounded memory of results that are worth waiting for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable


class _Entry[V]:
    """A result that is there, on its way, or failed."""

    __slots__ = ("ready", "value")

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.value: V | None = None


class SingleFlight[K: Hashable, V]:
    """Computes each result once, whichever threads ask for it; keeps the ``size`` results used last.

    Only for pure functions of the key: a forgotten result is computed anew. A computation may not ask for its
    own key, nor for one whose computation waits for it.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[K, _Entry[V]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K, compute: Callable[[], V]) -> V:
        """The result for ``key``. Waits where another thread is computing it.

        What ``compute`` raises is raised here; others that waited for it try it themselves.
        """
        while True:
            with self._lock:
                entry = self._entries.get(key)
                mine = entry is None
                if entry is None:
                    entry = self._entries[key] = _Entry()
                    while len(self._entries) > self._size:
                        self._entries.popitem(last=False)  # who waits for it holds it
                else:
                    self._entries.move_to_end(key)
            if mine:
                return self._fill(key, entry, compute)
            entry.ready.wait()
            if entry.value is not None:
                return entry.value

    def _fill(self, key: K, entry: _Entry[V], compute: Callable[[], V]) -> V:
        try:
            entry.value = compute()
        except BaseException:
            with self._lock:
                if self._entries.get(key) is entry:
                    del self._entries[key]
            raise
        finally:
            entry.ready.set()
        return entry.value
