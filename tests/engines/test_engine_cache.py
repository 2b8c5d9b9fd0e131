"""The folder of engines: whatever happens, an engine comes out, or a clear error."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vsanimup.engines.cache import VARIABLE, Cache, default_folder

KEY = {"job": "net_fp16", "library_version": "1.0", "driver": "13.0"}
ENGINE = bytes(range(256)) * 40


@pytest.fixture
def said() -> Iterator[list[Any]]:
    """Lines of the log."""
    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, handler = logging.getLogger("vsanimup"), Handler(logging.INFO)
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield lines
    logger.removeHandler(handler)
    logger.setLevel(before)


def never() -> bytes:
    raise AssertionError("there was no need to build")


def start(code: str, folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """A process that uses the folder."""
    head = (
        "import logging, os, sys, time\nfrom pathlib import Path\nfrom vsanimup.engines.cache import Cache\n"
        f"logging.basicConfig(level=logging.INFO, stream=sys.stdout)\nKEY = {KEY!r}\n"
        "cache = Cache(Path(sys.argv[1]))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-u", "-c", head + code, str(folder), *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )


def until(condition: Callable[..., Any], what: str) -> None:
    """Wait for something that another process does."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, f"no {what}"
        time.sleep(0.02)


def files(folder: Path) -> set[str]:
    return {path.suffix for path in folder.iterdir()}


def test_an_engine_is_built_once_and_has_a_readable_name(tmp_path: Path, said: list[Any]) -> None:
    cache = Cache(tmp_path / "deep" / "engines")
    assert cache.get("net fp16 640x360 RTX 4090", KEY, lambda: ENGINE) == ENGINE
    assert cache.get("net fp16 640x360 RTX 4090", KEY, never) == ENGINE
    (entry,) = cache.entries()
    assert entry.path.name.startswith("net-fp16-640x360-RTX-4090_") and entry.path.suffix == ".engine"
    assert (entry.key, entry.size) == (KEY, len(ENGINE)) and entry.built > 1.7e9
    assert "there is none yet" in said[0]
    assert files(cache.folder) == {".engine", ".json", ".lock"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"driver": "13.1"}, r"driver (13.0, now 13.1)"), ({"library_version": "2.0"}, "library version (1.0, now 2.0)")],
)
def test_a_changed_key_is_a_rebuild_with_the_reason(
    tmp_path: Path, said: list[Any], change: dict[str, str], reason: str
) -> None:
    cache = Cache(tmp_path)
    cache.get("net", KEY, lambda: ENGINE)
    assert cache.get("net", {**KEY, **change}, lambda: b"other") == b"other"
    assert reason in said[-2]
    assert cache.get("net", KEY, never) == ENGINE  # two installations may share a folder


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "no json", "half json", "other json"])
def test_what_is_damaged_is_built_again(tmp_path: Path, said: list[Any], harm: str) -> None:
    cache = Cache(tmp_path)
    cache.get("net", KEY, lambda: ENGINE)
    (path,) = tmp_path.glob("*.engine")
    about = path.with_suffix(".json")
    if harm == "flip":
        path.write_bytes(ENGINE[:-1] + b"\0")
    elif harm in ("cut", "empty"):
        path.write_bytes(ENGINE[:1000] if harm == "cut" else b"")
    elif harm == "no json":
        about.unlink()
    elif harm == "half json":
        about.write_text(about.read_text()[:50])
    else:
        about.write_text(json.dumps({**json.loads(about.read_text()), "key": {"job": "else"}}))
    assert cache.get("net", KEY, lambda: b"new") == b"new"
    assert any(word in said[-2] for word in ("is damaged", "missing or damaged", "key differs"))
    assert cache.get("net", KEY, never) == b"new"


def test_of_two_processes_one_builds(tmp_path: Path) -> None:
    code = (
        "def build():\n"
        "    with open(sys.argv[2], 'a') as log: log.write('built\\n')\n"
        "    while not os.path.exists(sys.argv[3]): time.sleep(0.02)\n"
        "    return os.urandom(100000)\n"
        "print(cache.get('net', KEY, build).hex()[:64])\n"
    )
    built, go = tmp_path / "built", tmp_path / "go"
    first = start(code, tmp_path / "engines", built, go)
    until(built.exists, "build")
    second = start(code, tmp_path / "engines", built, go)
    assert second.stdout is not None
    told = second.stdout.readline()
    go.touch()
    answers = [process.communicate(timeout=60)[0].splitlines() for process in (first, second)]
    assert first.returncode == second.returncode == 0
    assert built.read_text() == "built\n"
    assert answers[0][-1] == answers[1][-1]
    assert "being built by another process" in told


@pytest.mark.parametrize("moment", ["building", "writing"])
def test_a_killed_build_leaves_nothing_that_counts(tmp_path: Path, moment: str) -> None:
    code = "def build():\n    time.sleep(100)\ncache.get('net', KEY, build)\n"
    if moment == "writing":  # on the disk, but not finished
        code = "os.fsync = lambda _: time.sleep(100)\ncache.get('net', KEY, lambda: os.urandom(1 << 20))\n"
    process = start(code, tmp_path)
    until(lambda: files(tmp_path) >= ({".part"} if moment == "writing" else {".lock"}), "build")
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert not list(tmp_path.glob("*.engine"))
    cache = Cache(tmp_path)
    assert cache.entries() == []
    assert cache.get("net", KEY, lambda: ENGINE) == ENGINE
    assert files(tmp_path) == {".engine", ".json", ".lock"}


def test_a_full_disk_costs_the_file_only(tmp_path: Path) -> None:
    code = (
        "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))\n"
        "print(len(cache.get('net', KEY, lambda: os.urandom(1 << 20))))\n"
    )
    answer = start(code, tmp_path).communicate(timeout=60)[0].splitlines()
    assert answer[-1] == str(1 << 20)
    assert "could not be kept" in answer[-2] and VARIABLE in answer[-2]
    assert files(tmp_path) == {".lock"}


@pytest.mark.parametrize("place", ["file", "read-only"])
def test_a_folder_that_cannot_be_written_to_is_no_end(tmp_path: Path, said: list[Any], place: str) -> None:
    folder = tmp_path / "engines" if place == "file" else Path("/proc/self/engines")
    if place == "file":
        folder.write_text("in the way")
    for _ in range(2):
        assert Cache(folder).get("net", KEY, lambda: ENGINE) == ENGINE
        assert "cannot be kept" in said[-1] and VARIABLE in said[-1]


def test_engines_are_read_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Cache(tmp_path).get("net", KEY, lambda: ENGINE)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert Cache(tmp_path).get("net", KEY, never) == ENGINE


def test_what_building_raises_comes_through_and_is_not_kept(tmp_path: Path) -> None:
    def fail() -> bytes:
        raise KeyError("inner")

    with pytest.raises(KeyError, match="inner"):
        Cache(tmp_path).get("net", KEY, fail)
    assert Cache(tmp_path).get("net", KEY, lambda: ENGINE) == ENGINE


def test_pruning_spares_what_is_wanted_or_being_built(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for version in ("1.0", "2.0"):
        cache.get("net", {**KEY, "library_version": version}, lambda: ENGINE)
    (tmp_path / "old_12345678.engine.77.part").write_bytes(b"half")
    code = "cache.get('busy', {'job': 'busy'}, lambda: print('begun') or time.sleep(100))\n"
    busy = start(code, tmp_path)
    assert busy.stdout is not None
    lines = [busy.stdout.readline(), busy.stdout.readline()]
    assert lines[-1] == "begun\n", lines
    gone = cache.prune(lambda entry: entry.key["library_version"] == "1.0")
    busy.kill()
    busy.wait(30)
    assert [entry.key["library_version"] for entry in gone] == ["1.0"]
    assert [entry.key["library_version"] for entry in cache.entries()] == ["2.0"]
    assert list(tmp_path.glob("*.part")) == [] and len(list(tmp_path.glob("busy*.lock"))) == 1


def test_the_folder_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert default_folder().parts[-2:] == ("animup", "engines") or os.name == "nt"
    monkeypatch.setenv(VARIABLE, "~/mine")
    assert default_folder() == Path.home() / "mine"
