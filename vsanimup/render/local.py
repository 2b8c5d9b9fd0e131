"""Chunks made by processes on this machine."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from vsanimup.engines.cpu import usable_cores
from vsanimup.errors import AnimupError
from vsanimup.render.child import Died
from vsanimup.render.chunk import Maker, Order
from vsanimup.render.chunk_encoders import ChunkEncoder
from vsanimup.render.journal import Entry

TRIES = 2
"""Times that a chunk is begun whose process dies."""

Told = Callable[[int, int], None]
"""Told of a chunk's number and the frames of it that are done."""


def shares(workers: int) -> list[list[int] | int]:
    """CPUs for each of so many workers: which, where the system lets one choose, else how many.

    Workers that have CPUs of their own do not fight for them, whatever their libraries think is theirs.
    """
    if not hasattr(os, "sched_getaffinity"):
        return [max(1, usable_cores() // workers)] * workers
    mine = sorted(os.sched_getaffinity(0))
    count = len(mine)
    return [mine[i * count // workers : (i + 1) * count // workers] or [mine[i % count]] for i in range(workers)]


class LocalWorkers:
    """``workers`` processes that make chunks."""

    def __init__(self, workers: int, warn: Callable[[str], None]) -> None:
        self.workers = workers
        self._warn = warn

    def versions(self, encoder: ChunkEncoder, here: dict[str, str]) -> dict[str, str]:
        """Those of this process."""
        return here

    def run(self, orders: Sequence[Order], told: Told) -> Iterator[Entry]:
        """Make chunks; each is given as it is done.

        Raises:
            AnimupError: A chunk cannot be made.
        """
        count = min(self.workers, len(orders))
        makers = [Maker(cores) for cores in shares(count)]
        idle: queue.SimpleQueue[Maker] = queue.SimpleQueue()
        for maker in makers:
            idle.put(maker)

        def work(order: Order) -> Entry:
            maker = idle.get()
            try:
                return self._make(maker, order, told)
            finally:
                idle.put(maker)

        with ThreadPoolExecutor(count) as pool:
            try:
                waiting: set[Future[Entry]] = {pool.submit(work, order) for order in orders}
                while waiting:
                    # not one long wait: Ctrl-C must get through everywhere
                    done, waiting = wait(waiting, 0.5, FIRST_COMPLETED)
                    for future in done:
                        yield future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                for maker in makers:
                    maker.kill()
        for maker in makers:
            maker.close()

    def _make(self, maker: Maker, order: Order, told: Told) -> Entry:
        where = f"chunk {order.index} (frames {order.first} to {order.end - 1})"
        for attempt in range(TRIES):
            try:
                return maker.make(order, lambda frames: told(order.index, frames))
            except Died as error:
                if maker.closed or attempt == TRIES - 1:
                    raise AnimupError(f"{where} failed {TRIES} times: {error}") from error
                self._warn(f"{where}: {error}; it is made again")
        raise AssertionError
