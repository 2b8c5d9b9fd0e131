"""Chunks on a Dask cluster: its own scheduler and workers, on this machine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster
from typer.testing import CliRunner

from tests.helpers.render_files import TIMES, shown, video_hash
from vsanimup.cli.main import app
from vsanimup.render import chunk, cluster, cluster_worker, identity, plan
from vsanimup.render.chunk import Order, Script
from vsanimup.render.chunk_encoders import ChunkEncoder
from vsanimup.render.cluster_worker import ROOT, Delivery, Place
from vsanimup.render.journal import Entry, Journal, receive

pytestmark = [pytest.mark.first, pytest.mark.skipif(sys.platform == "win32", reason="signals are Unix's")]
COMMAND = [sys.executable, "-c", "from vsanimup.cli.main import app; app()", "encode"]


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workers' own folder of sources; empty at first."""
    return tmp_path_factory.mktemp("copies")


@pytest.fixture(scope="module")
def address(copies: Path) -> Iterator[str]:
    """Three workers of one thread."""
    with LocalCluster(
        n_workers=3,
        threads_per_worker=1,
        dashboard_address=":0",
        env={ROOT: str(copies)},
        silence_logs="CRITICAL",
        resources={"GPU": 1},
    ) as found:
        yield found.scheduler_address


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["encode", *map(str, arguments), "--json"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == code, result.output
    return result.output


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [*COMMAND, *map(str, arguments), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(found: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 250
    while not found() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert found(), process.communicate()


@pytest.mark.slow
def test_worker_and_client_killed(film: Path, whole: Path, address: str, tmp_path: Path) -> None:
    out = tmp_path / "film.mkv"
    arguments = (film.with_name("slow.vpy"), "-a", f"source={film}", "-o", out, "--chunk", 12, "--dask", address)
    chunks = Journal(out).folder
    first = start(*arguments)
    wait_for(lambda: list(chunks.glob("*/*.part")), first)
    with Client(address, set_as_default=False) as client:
        busy = next(worker for worker, keys in client.processing().items() if keys)
        os.kill(client.run(os.getpid, workers=[busy])[busy], signal.SIGKILL)
    wait_for(lambda: list(chunks.glob("*/*.json")), first)
    first.kill()
    first.communicate()
    assert not out.exists()
    last = json.loads(run(*arguments).splitlines()[-1])
    assert last["event"] == "done" and last["resumed"] >= 1
    assert video_hash(out) == video_hash(whole) and shown(out) == [t / 1000 for t in TIMES]


def test_without_a_shared_folder(
    film: Path, whole: Path, address: str, copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The film's folder is where this process stands, and the workers stand elsewhere: chunks come through Dask."""
    monkeypatch.chdir(tmp_path)
    received = []

    def counted(*given: Any) -> None:
        received.append(given[1].index)
        receive(*given)

    monkeypatch.setattr(cluster, "receive", counted)
    (copies / film.name).write_bytes(film.read_bytes())
    arguments = (film.with_name("script.vpy"), "-a", f"source={film}", "-o", "/proc/self/cwd/film.mkv")
    run(*arguments, "--chunk", 12, "--dask", address, "--source-root", film.parent)
    assert sorted(received) == [0, 1, 2, 3, 4]
    assert video_hash(tmp_path / "film.mkv") == video_hash(whole)


def test_workers_that_are_not_fit(
    film: Path, address: str, copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (film.with_name("script.vpy"), "-a", f"source={film}", "-o", tmp_path / "film.mkv", "--dask", address)
    (copies / film.name).write_bytes(film.read_bytes()[:-1])
    said = run(*arguments, "--source-root", film.parent, code=1)
    assert f"no worker is fit for the film: {copies / film.name} on the worker" in said
    assert f"is another file than {film}; copy it there again" in said
    (copies / film.name).unlink()
    mine = identity.versions("", {})["animup"]
    monkeypatch.setattr(cluster.DaskWorkers, "versions", lambda self, encoder, here: here | {"animup": "9.9"})
    said = run(*arguments, "--restart", code=1)
    assert f"has animup {mine}, the film is made with 9.9; install the same there" in said
    assert not (tmp_path / "film.mkv").exists()


def test_a_script_that_fails(film: Path, address: str, tmp_path: Path) -> None:
    script = tmp_path / "bad.vpy"
    bad = "whole = clip\nclip = clip.std.FrameEval(lambda n: whole if n < 30 else 1 / 0)\nclip.set_output()"
    script.write_text(film.with_name("script.vpy").read_text().replace("clip.set_output()", bad))
    said = run(script, "-a", f"source={film}", "-o", tmp_path / "film.mkv", "--chunk", 12, "--dask", address, code=1)
    assert re.search(r"chunk [234] \(frames \d+ to \d+\): .*division by zero", said), said


def test_a_client_with_other_versions_takes_the_workers(
    film: Path, whole: Path, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one without a GPU does, whose workers have one."""
    here = chunk.versions_here
    monkeypatch.setattr(plan, "versions_here", lambda *given: here(*given) | {"backends": "none"})
    out = tmp_path / "film.mkv"
    run(
        film.with_name("script.vpy"),
        "-a",
        f"source={film}",
        "-o",
        out,
        "--chunk",
        12,
        "--dask",
        address,
        "--resources",
        "GPU=1",
    )
    assert video_hash(out) == video_hash(whole)


RELEASED = threading.Event()
SEEN: list[int] = []


def made_slowly(order: Order, place: Place) -> Delivery:
    """Stands in for a worker's making of a chunk: the first copy of one takes for ever."""
    SEEN.append(order.index)
    if order.index == 1 and SEEN.count(1) == 1:
        RELEASED.wait(60)
    time.sleep(0.1)
    entry = Entry(index=order.index, first=0, end=1, size=0, sha256="", headers="", durations=[])
    return Delivery(entry=entry)


def test_a_slow_worker_does_not_hold_up_the_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    RELEASED.clear()
    SEEN.clear()
    monkeypatch.setattr(cluster_worker, "make", made_slowly)
    encoder = ChunkEncoder(name="x264", library="libx264", tool="x264", crf=16, preset="medium")
    script = Script(path="", text="", arguments={})
    orders = [
        Order(index=n, first=n, end=n + 1, script=script, encoder=encoder, rate=(24, 1), folder=str(tmp_path))
        for n in range(6)
    ]
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=":0", silence_logs="CRITICAL"
    ) as found:
        try:
            workers = cluster.DaskWorkers(found.scheduler_address, source=None, root=None, resources={}, warn=print)
            made = [entry.index for entry in workers.run(orders, lambda index, frames: None)]
            assert not RELEASED.is_set()
        finally:
            RELEASED.set()
    assert sorted(made) == list(range(6)) and made[-1] == 1 and SEEN.count(1) == 2


@pytest.mark.slow
def test_a_scheduler_that_restarts(film: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "film.mkv"
    script = film.with_name("slow.vpy")
    servers: list[subprocess.Popen[bytes]] = []
    port = free_port()

    def serve() -> None:
        quiet: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        dask = [sys.executable, "-m", "dask"]
        servers.append(subprocess.Popen([*dask, "scheduler", "--port", str(port), "--no-dashboard"], **quiet))
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--death-timeout", "30"]
        servers.append(subprocess.Popen([*dask, "worker", f"tcp://127.0.0.1:{port}", *options], **quiet))

    try:
        serve()
        process = start(script, "-a", f"source={film}", "-o", out, "--chunk", 12, "--dask", f"tcp://127.0.0.1:{port}")
        wait_for(lambda: list(Journal(out).folder.glob("*/*.json")), process)
        for server in servers:
            server.kill()
            server.wait()
        serve()
        said, errors = process.communicate(timeout=90)
        assert process.returncode == 0, errors
        assert f"the scheduler tcp://127.0.0.1:{port} is gone; waiting for it" in said
        assert video_hash(out) == video_hash(whole)
    finally:
        for server in servers:
            server.kill()
            server.wait()


def free_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_mistakes(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT", 0.3)
    arguments = (film.with_name("script.vpy"), "-a", f"source={film}", "-o", tmp_path / "film.mkv")
    nowhere = f"tcp://127.0.0.1:{free_port()}"
    assert f"there is no Dask scheduler at {nowhere}" in run(*arguments, "--dask", nowhere, code=1)
    assert "--resources must be NAME=N" in run(*arguments, "--dask", nowhere, "--resources", "GPU", code=1)
    said = run(*arguments, "--dask", nowhere, "--source-root", tmp_path, code=1)
    assert f"--source-root: {film} does not lie in {tmp_path}" in said
