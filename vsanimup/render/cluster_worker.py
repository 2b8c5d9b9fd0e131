"""What a worker of a Dask cluster does: one chunk after another, by a frame server that it keeps."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

from vsanimup.render import identity
from vsanimup.render.child import Child, Died
from vsanimup.render.chunk import Maker, Order, Script, Unfit, versions_here
from vsanimup.render.chunk_encoders import ChunkEncoder
from vsanimup.render.journal import Entry, chunk_name, find_entry
from vsanimup.render.local import shares

ROOT = "ANIMUP_SOURCE_ROOT"
"""Environment variable of a worker: its folder of sources."""
TELL_EVERY = 1.0
"""Seconds between reports of progress."""


@dataclass(kw_only=True)
class Place:
    """What a worker must know of the client's side."""

    topic: str
    """Dask topic for reports of progress."""
    source: str = ""
    """Path of the source on the client's machine; empty for none."""
    fingerprint: str = ""
    relative: str = ""
    """The same path, from the folder of sources."""
    token: tuple[str, str] = ("", "")
    """A file in the folder of chunks and what is in it: whoever can read that shares the folder."""
    slots: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Host of each worker, and how many threads of others are before its own there."""
    hosts: dict[str, int] = field(default_factory=dict)
    """Threads of all workers of a host."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What a worker gives back."""

    entry: Entry | None = None
    data: bytes | None = None
    """The chunk, where the folder is not shared."""
    unfit: str = ""
    """Why this worker cannot make chunks of the film."""
    worker: str = ""


_makers: dict[str, list[tuple[int, Maker]]] = defaultdict(list)
"""Idle makers of each worker in this process, with their numbers."""
_made: dict[str, int] = defaultdict(int)
_lock = threading.Lock()


def versions(encoder: ChunkEncoder) -> dict[str, str]:
    """Versions of what makes frames and encodes them on this worker."""
    with Child() as child:
        return versions_here(child.ask("machine"), encoder)


def make(order: Order, place: Place) -> Delivery:
    """Make a chunk.

    Raises:
        AnimupError: The script or the encoder failed, or the process that runs them died.
    """
    from distributed import get_worker

    worker = get_worker()
    address = worker.address
    told = 0.0

    def progress(frames: int) -> None:
        nonlocal told
        if time.monotonic() > told + TELL_EVERY:
            told = time.monotonic()
            worker.log_event(place.topic, {"index": order.index, "frames": frames})

    shared = _shares(place)
    if shared and (entry := find_entry(Path(order.folder), order.index)):
        return Delivery(entry=entry, worker=address)  # made for a client that has died since
    try:
        order = replace(order, script=_here(order, place))
        number, maker = _maker(address, place)
        try:
            if shared:
                return Delivery(entry=maker.make(order, progress), worker=address)
            with tempfile.TemporaryDirectory(prefix="animup_") as folder:
                entry = maker.make(replace(order, folder=folder), progress)
                return Delivery(entry=entry, data=Path(folder, chunk_name(order.index)).read_bytes(), worker=address)
        finally:
            with _lock:
                _makers[address].append((number, maker))
    except Unfit as refusal:
        text = str(refusal).replace("this machine", f"the worker {worker.name} at {address}")
        return Delivery(unfit=text, worker=address)


def is_death(error: BaseException) -> bool:
    """Whether a process died, as opposed to having said what is wrong."""
    return isinstance(error, Died)


def _maker(address: str, place: Place) -> tuple[int, Maker]:
    """An idle maker of this worker, or a new one with its share of the machine's CPUs."""
    with _lock:
        if _makers[address]:
            return _makers[address].pop()
        number = _made[address]
        _made[address] += 1
    host, before = place.slots.get(address, ("", 0))
    parts = shares(max(1, place.hosts.get(host, 1)))
    return number, Maker(parts[(before + number) % len(parts)])


def _shares(place: Place) -> bool:
    """Whether this machine sees the client's folder of chunks."""
    path, text = place.token
    try:
        return Path(path).read_text(encoding="ascii") == text
    except OSError:
        return False


def _here(order: Order, place: Place) -> Script:
    """The order's script with the source where this machine has it.

    Raises:
        Unfit: It is nowhere, or another.
    """
    script = order.script
    if not place.source:
        return script
    candidates = [Path(place.source)]
    if place.relative and ROOT in os.environ:
        candidates.insert(0, Path(os.environ[ROOT], place.relative))
    found = next((path for path in candidates if path.is_file()), None)
    if found is None:
        raise Unfit(
            f"this machine has no {' and no '.join(map(str, candidates))}; share the folder, or start the worker with "
            f"{ROOT}=FOLDER and animup encode with --source-root"
        )
    if identity.fingerprint(found) != place.fingerprint:
        raise Unfit(f"{found} on this machine is another file than {place.source}; copy it there again")
    arguments = {name: str(found) if value == place.source else value for name, value in script.arguments.items()}
    return replace(script, arguments=arguments)
