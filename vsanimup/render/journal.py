"""The folder beside an unfinished film: what it is made of, and the chunks that are done.

``FILM.mkv.animup`` holds ``job.json``, which is all that the bytes depend on and where chunks begin, and a folder of
chunks, each a Matroska file with an entry beside it. Files are written under other names, flushed to the disk and
renamed; the entry comes last, so a chunk that has one is whole, whatever happened when. Its hash is looked at before it
is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vsanimup.errors import AnimupError
from vsanimup.render import identity

SUFFIX = ".animup"
FORMAT = 1
PART = ".part"
"""Ending of files that are being written."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is known of a finished chunk."""

    index: int
    first: int
    end: int
    """First frame, and the one after the last."""
    size: int
    sha256: str
    headers: str
    """SHA-256 of the parameter sets, which all chunks of a film share."""
    durations: list[list[int]]
    """Runs of equal frame durations: count, numerator and denominator of seconds."""
    seconds: float = 0.0
    """Time that it took."""


def chunk_name(index: int) -> str:
    """File name of a chunk."""
    return f"{index:05d}.mkv"


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def partial(final: Path) -> Path:
    """A name beside ``final`` that nobody else has."""
    return final.with_name(f"{final.name}.{uuid.uuid4().hex[:8]}{PART}")


def put(written: Path, final: Path) -> None:
    """Give a written file its name, once it is on the disk."""
    with open(written, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(written, final)
    if os.name == "posix":
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # some network folders cannot
                os.fsync(folder)
        finally:
            os.close(folder)


def put_json(value: Any, final: Path) -> None:
    """Write a JSON file as a whole."""
    written = partial(final)
    try:
        written.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
        put(written, final)
    finally:
        written.unlink(missing_ok=True)


def put_entry(folder: Path, entry: Entry) -> None:
    """Write the entry of a chunk whose file is in place."""
    put_json(asdict(entry), (folder / chunk_name(entry.index)).with_suffix(".json"))


def find_entry(folder: Path, index: int) -> Entry | None:
    """The entry of a chunk, if it is there and the chunk is whole."""
    chunk = folder / chunk_name(index)
    try:
        entry = Entry(**json.loads(chunk.with_suffix(".json").read_text(encoding="utf-8")))
        whole = chunk.stat().st_size == entry.size and file_hash(chunk) == entry.sha256 and entry.index == index
    except (OSError, ValueError, TypeError):
        return None
    return entry if whole else None


def receive(folder: Path, entry: Entry, data: bytes) -> None:
    """Put a chunk into its folder that came over the network.

    Raises:
        AnimupError: It is not what its entry says.
    """
    if len(data) != entry.size or hashlib.sha256(data).hexdigest() != entry.sha256:
        raise AnimupError(f"chunk {entry.index} was damaged on its way from a worker; start again")
    final = folder / chunk_name(entry.index)
    written = partial(final)
    try:
        written.write_bytes(data)
        put(written, final)
        put_entry(folder, entry)
    finally:
        written.unlink(missing_ok=True)


class Journal:
    """The folder of one film. Only its holder, see :meth:`held`, writes to it."""

    def __init__(self, film: Path) -> None:
        self.film = film.absolute()  # encoders run in folders of scripts
        self.folder = self.film.with_name(film.name + SUFFIX)
        self.facts: dict[str, str] = {}
        self.plan: dict[str, Any] = {}

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep others away while the film is being made.

        Raises:
            AnimupError: Another process is making it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "lock", timeout=0)
        try:
            lock.acquire()
            if not (self.folder / "lock").exists():  # its last holder deleted it while this one waited to open it
                raise Timeout(str(self.folder))
        except Timeout:
            raise AnimupError(f"another animup encode is at work on {self.film}; wait for it, or end it") from None
        except (OSError, NotImplementedError):
            pass  # a network folder without locks
        try:
            yield
        finally:
            lock.release()
            with contextlib.suppress(OSError):
                if not (self.folder / "job.json").exists():
                    (self.folder / "lock").unlink(missing_ok=True)
                    self.folder.rmdir()

    @property
    def chunks(self) -> Path:
        """Folder of this job's chunks. Its name is the job's, so that no late worker of another one writes here."""
        return self.folder / identity.digest({**self.facts, "plan": json.dumps(self.plan, sort_keys=True)})

    def read(self) -> bool:
        """Read what an earlier run left; whether there was anything.

        Raises:
            AnimupError: It cannot be understood.
        """
        try:
            found = json.loads((self.folder / "job.json").read_text(encoding="utf-8"))
            if found["format"] != FORMAT:
                raise KeyError
            self.facts, self.plan = dict(found["facts"]), dict(found["plan"])
        except FileNotFoundError:
            return False
        except (ValueError, KeyError, TypeError):
            raise AnimupError(
                f"{self.folder / 'job.json'} was written by another version of animup, or is damaged; "
                "begin anew with --restart"
            ) from None
        return True

    def begin(self, facts: dict[str, str], plan: dict[str, Any]) -> None:
        """Begin anew; whatever was there is deleted."""
        self.clear()
        self.facts, self.plan = facts, plan
        self.chunks.mkdir(parents=True)
        put_json({"format": FORMAT, "facts": facts, "plan": plan}, self.folder / "job.json")

    def clear(self) -> None:
        """Delete everything but the lock; what the job was goes first, so that half of it never counts."""
        (self.folder / "job.json").unlink(missing_ok=True)
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path.name != "lock":
                path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete what interrupted runs were writing."""
        for path in [*self.folder.glob(f"*{PART}"), *self.chunks.glob(f"*{PART}")]:
            path.unlink(missing_ok=True)

    def entries(self) -> tuple[dict[int, Entry], list[str]]:
        """Chunks that are there and whole, by number, and a sentence on each that is not."""
        found, damaged = {}, []
        for path in sorted(self.chunks.glob("*.json")):
            entry = find_entry(self.chunks, int(path.stem)) if path.stem.isdecimal() else None
            if entry is None:
                damaged.append(f"chunk {path.stem} is damaged, and is made again")
                path.unlink(missing_ok=True)
            else:
                found[entry.index] = entry
        return found, damaged
