"""Chunks made by the workers of a Dask cluster.

Dask schedules, moves results and notices dead workers; here is what it cannot know: which workers are fit for the film,
where they find its source, whether they see the folder of its chunks, and what to do when the scheduler itself dies.
"""

from __future__ import annotations

import logging
import secrets
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from vsanimup.errors import AnimupError
from vsanimup.render import cluster_worker, identity
from vsanimup.render.chunk import Order
from vsanimup.render.chunk_encoders import ChunkEncoder
from vsanimup.render.cluster_worker import Delivery, Place
from vsanimup.render.journal import Entry, receive

Client = Any  # Dask has no types
Future = Any

PATIENCE = 600.0
"""Seconds to wait for a scheduler that went away, and for workers to come."""
AHEAD = 2
"""Chunks given out for each thread: those that wait at the scheduler begin at once when a worker has time."""
CONNECT = 10.0
"""Seconds to wait for a scheduler's first answer."""
FETCH = 300.0
"""Seconds that a chunk may take to travel."""
TRIES = 3
"""Times that a chunk is given out whose workers die."""
LATE = 2.0
"""A last chunk that takes so many times the usual is given to an idle worker as well."""

Told = Callable[[int, int], None]


class _Lost(Exception):
    """The scheduler is gone."""


@dataclass(kw_only=True)
class _Job:
    """A chunk that was given out."""

    order: Order
    began: float
    allowed: frozenset[str] | None
    """Addresses of workers that may make it; None for all."""


class DaskWorkers:
    """The workers of a cluster, those that come later included."""

    def __init__(
        self,
        address: str,
        *,
        source: Path | None,
        root: Path | None,
        resources: dict[str, float],
        warn: Callable[[str], None],
        patience: float = PATIENCE,
    ) -> None:
        """Raises :class:`AnimupError` when Dask is not installed, or the source is not in the folder of sources."""
        try:
            import distributed  # noqa: F401

            # its errors are told here in plain words
            logging.getLogger("distributed").setLevel(logging.CRITICAL)
        except ImportError:
            raise AnimupError("--dask needs Dask; install it with  pip install 'vsanimup[cluster]'") from None
        self._address, self._resources, self._warn, self._patience = address, resources, warn, patience
        self._place = Place(topic=f"animup-{secrets.token_hex(4)}")
        if source is not None:
            self._place.source = str(source.resolve())
            self._place.fingerprint = identity.fingerprint(source)
        if root is not None:
            if source is None or not source.resolve().is_relative_to(root.resolve()):
                raise AnimupError(f"--source-root: {source} does not lie in {root}")
            self._place.relative = source.resolve().relative_to(root.resolve()).as_posix()
        self._unfit: dict[str, str] = {}
        self._deaths: Counter[int] = Counter()
        self._took: list[float] = []

    def versions(self, encoder: ChunkEncoder, here: dict[str, str]) -> dict[str, str]:
        """Those of this process, if a worker has the same; else those that most workers have.

        Raises:
            AnimupError: There are no workers, or they cannot make films.
        """
        with self._connected(False) as client:
            end = time.monotonic() + self._patience
            while not client.ncores():
                if time.monotonic() > end:
                    self._nobody(-self._patience)
                time.sleep(1)
            found = client.run(cluster_worker.versions, encoder, on_error="return")
        good = [each for each in found.values() if isinstance(each, dict)]
        if not good:
            address, error = next(iter(found.items()))
            raise AnimupError(f"the worker at {address} cannot make films: {error}")
        if here in good:
            return here
        return max(good, key=lambda each: (good.count(each), sorted(each.items())))

    def run(self, orders: Sequence[Order], told: Told) -> Iterator[Entry]:
        """Make chunks; each is given as it is done.

        Raises:
            AnimupError: A chunk cannot be made, no worker is fit, or the scheduler does not come back.
        """
        folder = Path(orders[0].folder)
        token = folder / "token"
        self._place.token = str(token), secrets.token_hex(16)
        token.write_text(self._place.token[1], encoding="ascii")
        left = {order.index: order for order in orders}
        gone = False
        try:
            while left:
                try:
                    with self._connected(gone) as client:
                        for delivery in self._deliveries(client, left, told):
                            entry = delivery.entry
                            if entry is None or entry.index not in left:
                                continue
                            if delivery.data is not None:
                                receive(folder, entry, delivery.data)
                            del left[entry.index]
                            yield entry
                except _Lost:
                    gone = True
                    self._warn(f"the scheduler {self._address} is gone; waiting for it")
        finally:
            token.unlink(missing_ok=True)

    def _connected(self, again: bool) -> Client:
        """A client; after a scheduler's death it is waited for."""
        import distributed

        connect: Any = distributed.Client
        end = time.monotonic() + (self._patience if again else 0)
        while True:
            try:
                return connect(self._address, timeout=CONNECT, set_as_default=False)
            except (OSError, ValueError) as error:
                if time.monotonic() > end:
                    raise AnimupError(
                        f"there is no Dask scheduler at {self._address} ({error}); start one with  dask scheduler"
                    ) from None
                time.sleep(1)

    def _deliveries(self, client: Client, left: dict[int, Order], told: Told) -> Iterator[Delivery]:
        """What the workers make, until all of ``left`` is made."""
        import distributed

        wait: Any = distributed.wait

        def heard(event: tuple[float, dict[str, int]]) -> None:
            told(event[1]["index"], event[1]["frames"])

        client.subscribe_topic(self._place.topic, heard)
        queue = list(left.values())[::-1]
        going: dict[Future, _Job] = {}
        alone = time.monotonic()
        try:
            while left:
                cores = self._cores(client)
                if cores:
                    alone = time.monotonic()
                elif not going or time.monotonic() > alone + self._patience:
                    self._nobody(alone)
                queue += self._recall(client, going, cores)
                slots = sum(cores.values())
                queue = [order for order in queue if order.index in left]
                while cores and queue and len(going) < AHEAD * slots:
                    self._submit(client, queue.pop(), going, cores)
                if not queue and len(going) < slots:
                    self._hurry(client, going, cores)
                try:
                    with client.as_current():
                        if going:
                            wait(list(going), timeout=1, return_when="FIRST_COMPLETED")
                        else:
                            time.sleep(1)
                except TimeoutError:
                    pass
                except (CancelledError, OSError) as error:
                    raise _Lost from error
                for future in [future for future in going if future.done()]:
                    job = going.pop(future)
                    delivery = self._result(future, job, client)
                    if delivery.entry is None:
                        if job.order.index in left and not _other(going, job.order.index):
                            queue.append(job.order)
                        continue
                    self._took.append(time.monotonic() - job.began)
                    for other in _other(going, job.order.index):
                        going.pop(other)
                        other.cancel()
                    yield delivery
        finally:
            with suppress(Exception):
                client.cancel(list(going))

    def _cores(self, client: Client) -> dict[str, int]:
        """Threads of each fit worker by its address."""
        if client.status != "running":
            raise _Lost
        try:
            cores: dict[str, int] = client.ncores()
        except (OSError, TimeoutError, ValueError) as error:
            raise _Lost from error
        hosts: Counter[str] = Counter()
        for address, threads in sorted(cores.items()):
            host = urlsplit(address).hostname or ""
            self._place.slots[address] = (host, hosts[host])
            hosts[host] += threads
        self._place.hosts = dict(hosts)
        return {address: threads for address, threads in cores.items() if address not in self._unfit}

    def _nobody(self, alone: float) -> None:
        """Nobody is there to work: wait, or give up."""
        if self._unfit:
            raise AnimupError(f"no worker is fit for the film: {next(iter(self._unfit.values()))}")
        if time.monotonic() > alone + self._patience:
            raise AnimupError(f"{self._address} has no workers; start some with  dask worker {self._address}")

    def _recall(self, client: Client, going: dict[Future, _Job], cores: dict[str, int]) -> list[Order]:
        """Take back chunks whose workers are all gone: nobody else may make them, so Dask would keep them for ever."""
        lost = [future for future, job in going.items() if job.allowed is not None and not job.allowed & cores.keys()]
        client.cancel(lost)
        return [going.pop(future).order for future in lost]

    def _submit(self, client: Client, order: Order, going: dict[Future, _Job], cores: dict[str, int]) -> None:
        allowed = frozenset(cores) if self._unfit else None
        future = client.submit(
            cluster_worker.make,
            order,
            self._place,
            key=f"animup-chunk-{order.index}-{secrets.token_hex(4)}",
            workers=sorted(allowed) if allowed is not None else None,
            resources=self._resources or None,
            pure=False,
        )
        going[future] = _Job(order=order, began=time.monotonic(), allowed=allowed)

    def _hurry(self, client: Client, going: dict[Future, _Job], cores: dict[str, int]) -> None:
        """Give the last chunks to idle workers, too, where the first ones are slow. Both make the same bytes."""
        if not self._took:
            return
        for job in sorted(going.values(), key=lambda job: job.began):
            late = time.monotonic() - job.began > LATE * statistics.median(self._took)
            if late and len(_other(going, job.order.index)) == 1:
                self._submit(client, job.order, going, cores)
                return

    def _result(self, future: Future, job: _Job, client: Client) -> Delivery:
        """What came of a chunk; an empty delivery where it has to be given out again."""
        where = f"chunk {job.order.index} (frames {job.order.first} to {job.order.end - 1})"
        if future.status in ("cancelled", "lost"):
            if client.status != "running":
                raise _Lost
            return Delivery()
        if future.status == "error":
            error: Any = future.exception()
            if isinstance(error, AnimupError) and not cluster_worker.is_death(error):
                raise AnimupError(f"{where}: {error}")
            self._deaths[job.order.index] += 1
            if self._deaths[job.order.index] >= TRIES:
                raise AnimupError(f"{where} failed {TRIES} times: {error}")
            self._warn(f"{where}: {error}; it is made again")
            return Delivery()
        try:
            delivery: Delivery = future.result(timeout=FETCH)
        except (TimeoutError, CancelledError, OSError) as error:
            self._warn(f"{where}: its worker went away with it ({type(error).__name__}); it is made again")
            return Delivery()
        if delivery.unfit:
            if delivery.worker not in self._unfit:
                self._warn(f"{delivery.unfit}; it gets no chunks")
            self._unfit[delivery.worker] = delivery.unfit
        return delivery


def _other(going: dict[Any, _Job], index: int) -> list[Any]:
    """Futures of a chunk."""
    return [future for future, job in going.items() if job.order.index == index]
