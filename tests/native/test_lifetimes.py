"""Nodes that go while they compute: with the clip, the script, the interpreter, vspipe."""

from __future__ import annotations

import functools
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import vapoursynth as vs

from tests.helpers.numbered import Sum, numbered, python, wait_until
from vsanimup.bridge import Job, block_node, functions

core = vs.core


# --- life and death --------------------------------------------------------------------------------


def test_nodes_do_not_leak() -> None:
    core.animup.Version()  # hands the native functions over
    gc.collect()
    before = functions().node_counts()  # what others left may go meanwhile
    freed: list[int] = []
    big = np.zeros(1 << 20)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def churn(count: int) -> None:
        for i in range(count):
            process = Sum()
            process.weights = big.copy()  # type: ignore[attr-defined]
            process.weights[:] = 1  # type: ignore[attr-defined]
            clip = block_node(numbered(8), process, function="T", block=4, on_free=functools.partial(freed.append, i))
            if i % 2:
                clip.get_frame(5).close()
            del clip, process

    def settled() -> bool:
        return all(now <= then for now, then in zip(functions().node_counts(), before, strict=True))

    churn(10)
    wait_until(lambda: len(freed) == 10 and settled())
    start = resident()
    churn(40)
    wait_until(lambda: len(freed) == 50 and settled())
    assert resident() - start < 20 * big.nbytes


def test_a_node_freed_with_a_block_running() -> None:
    started, go, seen, freed = threading.Event(), threading.Event(), [], threading.Event()

    def process(job: Job) -> None:
        if job.block == 1:
            started.set()
            go.wait(60)
            seen.append(job.cancelled)
            job.outputs[0].planes[0][:] = job.inputs[0].planes[0]

    clip = block_node(numbered(), process, function="T", block=4, on_free=freed.set)
    for n in range(4):
        clip.get_frame(n).close()
    assert started.wait(60)
    del clip
    gc.collect()
    assert not seen and not freed.is_set(), "free does not wait"
    go.set()
    assert freed.wait(60)
    assert seen == [True]


PRELUDE = """
    import os, sys, time, threading
    import vapoursynth as vs
    from vsanimup.bridge import block_node, functions
    core = vs.core
    def process(job):
        time.sleep(0.3)
        for frame in job.outputs:
            for plane in frame.planes: plane[:] = job.block
    source = core.std.BlankClip(format=vs.YUV420P8, width=64, height=64, length=1000)
    clip = block_node(source, process, function="T", block=4, streams=2)
"""


@pytest.mark.parametrize(
    "ending",
    [
        "",  # the interpreter ends with frames in flight
        "del clip, source, futures",
        "clip = source = core = None; import gc; gc.collect(); time.sleep(0.5)",
        "raise SystemExit(0)",
        "os._exit(0)",
        "threading.Thread(target=lambda: clip.get_frame(900).close()).start()",
    ],
)
def test_interpreter_ends_with_frames_in_flight(ending: str) -> None:
    requests = """
    futures = [clip.get_frame_async(n) for n in range(0, 40)]
    time.sleep(0.1)
    """
    run = python(textwrap.dedent(PRELUDE) + textwrap.dedent(requests) + ending)
    assert run.returncode == 0, (run.returncode, run.stderr)
    assert "Fatal" not in run.stderr and "terminate" not in run.stderr


def test_environments_come_and_go() -> None:
    """As in an editor that evaluates its script anew while frames are on their way."""
    run = python("""
        import time
        import vapoursynth as vs
        class Policy(vs.EnvironmentPolicy):
            current = None
            def on_policy_registered(self, api): self.api = api
            def get_current_environment(self): return self.current
            def set_environment(self, environment): old, self.current = self.current, environment; return old
        policy = Policy()
        vs.register_policy(policy)
        from vsanimup.bridge import block_node, functions
        def process(job):
            assert vs.core.num_threads > 0
            time.sleep(0.05)
            job.outputs[0].planes[0][:] = 1
        def script():
            source = vs.core.std.BlankClip(format=vs.GRAY8, width=64, height=64, length=100)
            return block_node(source, process, function="T", block=4)
        for round in range(6):
            environment = policy.current = policy.api.create_environment()
            clip = script()
            futures = [clip.get_frame_async(n) for n in range(12)]
            futures[0].result().close()
            if round % 2:
                for future in futures: future.result().close()
            del futures
            policy.api.destroy_environment(environment)
            policy.current = None
            del clip
        end = time.monotonic() + 5
        while functions().node_counts() != (0, 0) and time.monotonic() < end: time.sleep(0.01)
        print(functions().node_counts())
    """)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "(0, 0)"
    assert "still exist" not in run.stderr


# --- vspipe ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vspipe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """vspipe of this environment, told which Python to use."""
    folder = tmp_path_factory.mktemp("config")
    binaries = Path(sys.executable).parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(folder))
        subprocess.run([binaries / "vapoursynth", "config"], check=True, capture_output=True)
        yield [str(Path(vs.__file__).parent / "vspipe")]


def script(folder: Path, extra: str = "") -> str:
    path = folder / "script.vpy"
    path.write_text(textwrap.dedent(PRELUDE) + extra + "\nclip.set_output()\n", "utf-8")
    return str(path)


def test_vspipe_writes_the_clip_and_ends(vspipe: list[str], tmp_path: Path) -> None:
    run = subprocess.run(
        [*vspipe, "-c", "y4m", "--end", "13", script(tmp_path), "-"],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    header, _, rest = run.stdout.partition(b"\n")
    assert header.startswith(b"YUV4MPEG2")
    size = 64 * 64 * 3 // 2
    assert len(rest) == 14 * (6 + size)
    frames = [rest[i * (6 + size) + 6 :][:size] for i in range(14)]
    assert frames == [bytes([n // 4]) * size for n in range(14)]
    assert b"still exist" not in run.stderr and b"still allocated" not in run.stderr


def test_vspipe_reports_an_error_of_a_frame(vspipe: list[str], tmp_path: Path) -> None:
    broken = "clip = block_node(source, lambda job: 1 / 0, function='Upscale')\n"
    run = subprocess.run([*vspipe, script(tmp_path, broken), "-"], capture_output=True, timeout=120, check=False)
    assert run.returncode == 1
    assert b"Upscale: internal error: ZeroDivisionError" in run.stderr


def test_vspipe_ends_when_the_script_fails(vspipe: list[str], tmp_path: Path) -> None:
    broken = "futures = [clip.get_frame_async(n) for n in range(9)]\nraise RuntimeError('script')\n"
    run = subprocess.run([*vspipe, script(tmp_path, broken), "-"], capture_output=True, timeout=120, check=False)
    assert run.returncode == 1
    assert b"script" in run.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_interrupting_vspipe(vspipe: list[str], tmp_path: Path) -> None:
    with subprocess.Popen([*vspipe, "-p", script(tmp_path), "."], stderr=subprocess.PIPE, bufsize=0) as process:
        assert process.stderr
        told = b""
        while b"Frame:" not in told:  # frames are on their way
            told += (some := process.stderr.read(64))
            assert some, told
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 1
