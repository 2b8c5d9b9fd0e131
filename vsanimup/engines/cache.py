"""Engines that took long to build, kept in a folder that the user can see.

Each is a file ``NAME.engine`` with a ``NAME.json`` beside it, which holds its key: everything that the engine depends
on. Whatever happens to them, the worst is that an engine is built once more.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsanimup.errors import AnimupError

LOG = logging.getLogger("vsanimup.engines")
VARIABLE = "ANIMUP_ENGINES"
"""Environment variable that names another folder."""
SUFFIX = ".engine"
FORMAT = 1
"""Version of the layout of the JSON files."""
CENTURIES = 1e11
"""More seconds since 1970 than any file has."""
PATIENCE = 2.0
"""Seconds that another process may hold an engine before the log says that it is waited for."""

Key = Mapping[str, Any]
"""Everything that an engine depends on, as JSON has it."""


def default_folder() -> Path:
    """Where engines lie: ``$ANIMUP_ENGINES``, or a folder of the user's cache."""
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("animup", appauthor=False)) / "engines"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One engine of the folder."""

    path: Path
    """The engine."""
    key: Key
    """What it depends on; empty where its JSON file is missing or damaged."""
    size: int
    """Bytes of the engine."""
    built: float
    """When, in seconds since 1970; 0 where that is not known."""
    seconds: float
    """What building took."""


class Cache:
    """A folder of engines. Any number of threads and processes may use it at once."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = default_folder() if folder is None else folder

    def name(self, label: str, key: Key) -> str:
        """A readable file name that no other key has."""
        digest = hashlib.sha256(_text(key).encode()).hexdigest()[:8]
        return re.sub(r"[^A-Za-z0-9._-]+", "-", label).strip("-.")[:150] + f"_{digest}"

    def find(self, name: str, key: Key) -> bytes | None:
        """An engine, if it is there and whole."""
        return self._read(name, key)[0]

    def get(self, label: str, key: Key, build: Callable[[], bytes]) -> bytes:
        """The engine of a key: from the folder, or built and put there.

        ``label`` goes into the file name. Of several processes that ask at once, one builds and the others wait. The
        log says why an engine is built. A folder that cannot be written to costs a build each time, and a warning.
        Raises whatever ``build`` raises.
        """
        name = self.name(label, key)
        found, _ = self._read(name, key)
        if found is not None:
            return found
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            return self._unkept(name, error, build)
        from filelock import FileLock, Timeout

        # kept when released: were it deleted, one process could hold the old file and another a new one
        lock = FileLock(self.folder / f"{name}.lock", timeout=PATIENCE)
        try:
            try:
                lock.acquire()
            except Timeout:
                LOG.info("engine %s is being built by another process; waiting for it", name)
                lock.acquire(timeout=-1)
        except (OSError, NotImplementedError) as error:
            return self._unkept(name, error, build)
        with contextlib.ExitStack() as stack:
            stack.callback(lock.release)
            found, reason = self._read(name, key)
            if found is not None:
                return found
            LOG.info("building engine %s: %s", name, reason or self._news(key))
            self._sweep(name)
            began = time.monotonic()
            engine = build()
            seconds = time.monotonic() - began
            LOG.info("engine %s built in %.1f s", name, seconds)
            self._keep(name, key, engine, seconds)
            return engine

    def entries(self) -> list[Entry]:
        """All engines of the folder by name, whole or not."""
        found = []
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            about = _about(path) or {}
            with contextlib.suppress(OSError):  # somebody may be pruning
                found.append(
                    Entry(
                        path=path,
                        key=about.get("key", {}),
                        size=path.stat().st_size,
                        built=about.get("built", 0.0),
                        seconds=about.get("seconds", 0.0),
                    )
                )
        return found

    def prune(self, unwanted: Callable[[Entry], bool]) -> list[Entry]:
        """Delete engines, and what broken builds left; gives the engines that were deleted.

        What is being built right now stays. Raises :class:`AnimupError` when a file cannot be deleted.
        """
        from filelock import FileLock, Timeout

        gone = []
        chosen = {_stem(entry.path): entry for entry in self.entries() if unwanted(entry)}
        left = {_stem(path) for pattern in ("*.part", "*.json", "*.lock") for path in self.folder.glob(pattern)}
        for name in sorted(left | chosen.keys()):
            engine = self.folder / f"{name}{SUFFIX}"
            if engine.exists() and name not in chosen:
                continue
            try:
                with FileLock(self.folder / f"{name}.lock", timeout=0):
                    for path in (engine, self.folder / f"{name}.json", *self.folder.glob(f"{name}.*.part")):
                        path.unlink(missing_ok=True)
                (self.folder / f"{name}.lock").unlink(missing_ok=True)
            except Timeout:
                continue
            except OSError as error:
                raise AnimupError(f"{error.filename or engine} cannot be deleted ({error.strerror})") from error
            if name in chosen:
                gone.append(chosen[name])
        return gone

    def _read(self, name: str, key: Key) -> tuple[bytes | None, str]:
        """An engine, or why what lies there is no good; without a reason where nothing does."""
        path = self.folder / f"{name}{SUFFIX}"
        try:
            engine = path.read_bytes()
        except OSError as error:
            return None, "" if isinstance(error, FileNotFoundError | NotADirectoryError) else f"{path}: {error}"
        about = _about(path)
        if about is None:
            return None, "its JSON file is missing or damaged"
        if about.get("key") != json.loads(_text(key)):
            return None, f"its key differs in {_differences(about.get('key', {}), key)}"
        if about.get("sha256") != hashlib.sha256(engine).hexdigest():
            return None, f"{path.name} is damaged"
        return engine, ""

    def _news(self, key: Key) -> str:
        """Why there is no engine for a key: what has changed since the one for the same job."""
        relatives = [entry for entry in self.entries() if entry.key and entry.key.get("job") == key.get("job")]
        if not relatives:
            return "there is none yet"
        last = max(relatives, key=lambda entry: entry.built)
        return f"the last one differs in {_differences(last.key, key)}"

    def _keep(self, name: str, key: Key, engine: bytes, seconds: float) -> None:
        about = {
            "format": FORMAT,
            "key": key,
            "sha256": hashlib.sha256(engine).hexdigest(),
            "bytes": len(engine),
            "built": time.time(),
            "seconds": round(seconds, 2),
        }
        try:
            # the JSON file last: without it an engine does not count
            _write(self.folder / f"{name}{SUFFIX}", engine)
            _write(self.folder / f"{name}.json", json.dumps(about, indent=1).encode())
        except OSError as error:
            LOG.warning(
                "engine %s could not be kept in %s (%s), and is built again next time: make room there, or set %s",
                name,
                self.folder,
                error.strerror or error,
                VARIABLE,
            )

    def _sweep(self, name: str) -> None:
        """Delete what a build that was killed left; whoever holds the lock may."""
        for path in self.folder.glob(f"{name}.*.part"):
            with contextlib.suppress(OSError):
                path.unlink()

    def _unkept(self, name: str, error: Exception, build: Callable[[], bytes]) -> bytes:
        LOG.warning(
            "engines cannot be kept in %s (%s): %s is built each time; make the folder writable, or set %s",
            self.folder,
            error,
            name,
            VARIABLE,
        )
        return build()


def _text(key: Key) -> str:
    return json.dumps(key, sort_keys=True)


def _stem(path: Path) -> str:
    """The engine's name that a file belongs to."""
    return re.sub(r"(\.(engine|json)\.\w+\.part|\.engine|\.json|\.lock)$", "", path.name)


def _about(path: Path) -> dict[str, Any] | None:
    """What the JSON file beside an engine holds."""
    try:
        about = json.loads(path.with_name(f"{_stem(path)}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    whole = isinstance(about, dict) and about.get("format") == FORMAT and isinstance(about.get("key"), dict)
    return about if whole and all(_is_time(about.get(name, 0.0)) for name in ("built", "seconds")) else None


def _is_time(value: object) -> bool:
    """Whether it is a number of seconds that a calendar knows."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < CENTURIES


def _differences(before: Key, now: Key) -> str:
    """In words, what differs between two keys."""
    now = json.loads(_text(now))
    parts = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now.get(name)
        if old != new:
            shown = [str(value) if len(str(value)) <= 40 else f"{str(value)[:12]}…" for value in (old, new)]
            parts.append(f"{name.replace('_', ' ')} ({shown[0]}, now {shown[1]})")
    return ", ".join(parts) or "nothing"


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        _sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def _sync_folder(folder: Path) -> None:
    """Have the system write down names; Windows does so by itself and cannot open folders."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
