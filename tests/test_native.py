"""The native node and the plugin's functions, through VapourSynth itself with Python callbacks."""

from __future__ import annotations

import concurrent.futures
import gc
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import vapoursynth as vs

from vsanimup import bridge
from vsanimup.bridge import Job, block_node
from vsanimup.errors import AnimupError

core = vs.core
LENGTH = 37


def numbered(length: int = LENGTH, format: int = vs.GRAY16, width: int = 16, height: int = 8) -> vs.VideoNode:
    """A clip whose samples say the frame's number."""
    blank = core.std.BlankClip(width=width, height=height, format=format, length=length)

    def stamp(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        frame = f.copy()
        for plane in range(frame.format.num_planes):
            np.asarray(frame[plane])[:] = n
        frame.props["number"] = n
        return frame

    return core.std.ModifyFrame(blank, blank, stamp)


class Sum:
    """Writes the sum of the source frames' numbers into every frame of a block; remembers its calls."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.blocks: list[int] = []
        self.lock = threading.Lock()

    def __call__(self, job: Job) -> None:
        with self.lock:
            self.blocks.append(job.block)
        time.sleep(self.seconds)
        total = sum(int(frame.planes[0][0, 0]) for frame in job.inputs)
        for frame in job.outputs:
            for plane in frame.planes:
                plane[:] = total + frame.n


def expected(n: int, block: int, before: int, after: int) -> int:
    first = n // block * block
    count = min(block, LENGTH - first)
    return sum(range(max(0, first - before), min(LENGTH - 1, first + count - 1 + after) + 1)) + n


def value(frame: vs.VideoFrame) -> int:
    with frame:
        plane = np.asarray(frame[0])
        assert (plane == plane[0, 0]).all()
        return int(plane[0, 0])


def together(clip: vs.VideoNode, numbers: Sequence[int]) -> list[int]:
    """Values of frames that were requested all at once."""
    futures = [clip.get_frame_async(n) for n in numbers]
    concurrent.futures.wait(futures)
    return [value(future.result()) for future in futures]


def one_by_one(clip: vs.VideoNode, numbers: Sequence[int]) -> list[int]:
    return [value(clip.get_frame(n)) for n in numbers]


def python(source: str, seconds: float = 30, **environment: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter runs `source`."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        timeout=seconds,
        env={**os.environ, **environment},
        check=False,
    )


# --- the plugin ------------------------------------------------------------------------------------


def test_plugin_is_there_without_an_import() -> None:
    run = python("""
        import sys, vapoursynth as vs
        plugin = {p.namespace: p for p in vs.core.plugins()}["animup"]
        assert plugin.identifier == "org.animup.vsanimup"
        names = {f.name for f in plugin.functions() if not f.name.startswith("internal_")}
        assert names == {"Restore", "Upscale", "Version"}, names
        assert not any(name.startswith("vsanimup") for name in sys.modules)
    """)
    assert run.returncode == 0, run.stderr
    assert run.stdout == ""


def test_arguments_arrive_as_plain_python(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}

    def create(clip: vs.VideoNode, **arguments: object) -> vs.VideoNode:
        seen.update(arguments)
        return clip.std.Invert()

    monkeypatch.setitem(sys.modules, "answer", type(sys)("answer"))
    monkeypatch.setattr(sys.modules["answer"], "create", create, raising=False)
    monkeypatch.setitem(bridge.HANDLERS, "Restore", ("answer", "create"))
    clip = core.std.BlankClip(format=vs.GRAY8, length=3)
    result = core.animup.Restore(clip, task="dérain", strength=1, tilesize=[256], overlap=[8, 16], device_id=0)
    assert seen == {"task": "dérain", "strength": 1.0, "tilesize": [256], "overlap": [8, 16], "device_id": 0}
    assert isinstance(seen["strength"], float)
    assert value(result.get_frame(0)) == 255


def test_a_mapping_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = {"name": "naïve", "count": 1 << 40, "ratio": 0.5, "raw": b"\xff\x00", "models": ["a", "b"]}
    monkeypatch.setitem(sys.modules, "answer", type(sys)("answer"))
    monkeypatch.setattr(sys.modules["answer"], "version", lambda: answer, raising=False)
    monkeypatch.setitem(bridge.HANDLERS, "Version", ("answer", "version"))
    assert core.animup.Version() == answer


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (AnimupError("strength must be at most 1"), "Restore: strength must be at most 1"),
        (AnimupError("Restore: no such model"), "Restore: no such model"),
        (KeyError("k"), "Restore: internal error: KeyError: 'k'"),
        (ImportError("onnx…"), "Restore: internal error: ImportError: onnx…"),
    ],
)
def test_errors_of_functions(monkeypatch: pytest.MonkeyPatch, raised: Exception, told: str) -> None:
    def create(clip: vs.VideoNode) -> vs.VideoNode:
        raise raised

    monkeypatch.setitem(sys.modules, "answer", type(sys)("answer"))
    monkeypatch.setattr(sys.modules["answer"], "create", create, raising=False)
    monkeypatch.setitem(bridge.HANDLERS, "Restore", ("answer", "create"))
    with pytest.raises(vs.Error) as caught:
        core.animup.Restore(core.std.BlankClip())
    assert str(caught.value) == told


def test_internal_errors_are_logged_with_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bridge.HANDLERS, "Restore", ("vsanimup.no_such_module", "create"))
    messages: list[str] = []
    handle = core.add_log_handler(lambda kind, text: messages.append(text))
    try:
        with pytest.raises(vs.Error, match="ModuleNotFoundError"):
            core.animup.Restore(core.std.BlankClip())
    finally:
        core.remove_log_handler(handle)
    assert any("Traceback" in text and "no_such_module" in text for text in messages)


def test_message_where_the_package_cannot_be_imported() -> None:
    run = python("""
        import sys, vapoursynth as vs
        sys.modules["vsanimup"] = None
        try:
            vs.core.animup.Version()
        except vs.Error as e:
            print(e)
    """)
    assert "Version: cannot import vsanimup into " in run.stdout
    assert sys.executable in run.stdout


def test_internal_functions_refuse_to_be_called() -> None:
    with pytest.raises(vs.Error, match="called outside"):
        core.animup.internal_arguments()
    with pytest.raises(vs.Error, match="KeyError"):
        core.animup.internal_block(
            core.std.BlankClip(), callback=-1, function="F", block=1, grid=1, before=0, after=0, width=2, height=2,
            format=vs.GRAY8, drawings=0, streams=1, cached_blocks=1, prefetch=0, group=0,
        )  # fmt: skip


# --- frames ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("block", [1, 3, 16])
@pytest.mark.parametrize(("before", "after"), [(0, 0), (2, 5), (40, 40)])
def test_same_frames_in_any_order(block: int, before: int, after: int, streams: int) -> None:
    numbers = list(range(LENGTH))
    wanted = [expected(n, block, before, after) for n in numbers]
    shuffled = random.Random(block).sample(numbers, LENGTH)

    def clip() -> vs.VideoNode:
        return block_node(
            numbered(),
            Sum(),
            function="T",
            block=block,
            before=before,
            after=after,
            streams=streams,
            cached_blocks=2,
        )

    assert one_by_one(clip(), numbers) == wanted
    assert one_by_one(clip(), numbers[::-1]) == wanted[::-1]
    assert one_by_one(clip(), shuffled) == [wanted[n] for n in shuffled]
    assert together(clip(), numbers) == wanted
    assert together(clip(), shuffled) == [wanted[n] for n in shuffled]


def test_a_job_gets_its_window() -> None:
    jobs: list[tuple[int, int, list[int], list[int]]] = []

    def process(job: Job) -> None:
        jobs.append((job.block, job.first, [f.n for f in job.inputs], [f.n for f in job.outputs]))
        for frame in job.inputs:
            assert frame.prop("number") == frame.n
            assert frame.planes[0][0, 0] == frame.n

    clip = block_node(numbered(10), process, function="T", block=4, before=1, after=2, prefetch=False)
    for n in (9, 0, 5):
        clip.get_frame(n).close()
    assert jobs == [
        (2, 8, [7, 8, 9], [8, 9]),
        (0, 0, [0, 1, 2, 3, 4, 5], [0, 1, 2, 3]),
        (1, 4, [3, 4, 5, 6, 7, 8, 9], [4, 5, 6, 7]),
    ]


@pytest.mark.parametrize(("block", "cell"), [(1, 4), (2, 2)])
def test_a_block_gets_the_frames_of_its_cell(block: int, cell: int) -> None:
    seen: dict[int, list[int]] = {}

    def process(job: Job) -> None:
        seen[job.first] = [f.n for f in job.inputs]
        assert [f.n for f in job.outputs] == list(range(job.first, min(job.first + block, 10)))

    clip = block_node(numbered(10), process, function="T", block=block, grid=cell, before=1, after=2, prefetch=False)
    for n in (9, 0, 4, 7):
        clip.get_frame(n).close()
    cells = {0: list(range(6)), 4: list(range(3, 10)), 8: [7, 8, 9]}
    assert seen == {n // block * block: cells[n // 4 * 4] for n in (9, 0, 4, 7)}


@pytest.mark.parametrize(
    ("format", "dtype"),
    [
        (vs.GRAY8, "u1"), (vs.YUV420P8, "u1"), (vs.YUV422P10, "u2"), (vs.YUV444P16, "u2"), (vs.GRAYS, "f4"),
        (vs.RGBH, "f2"), (vs.RGBS, "f4"), (vs.YUV410P8, "u1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("width", "height"), [(4, 4), (100, 52), (8, 256)])
def test_planes_of_every_format(format: int, dtype: str, width: int, height: int) -> None:
    def process(job: Job) -> None:
        source, output = job.inputs[0], job.outputs[0]
        for p, (a, b) in enumerate(zip(source.planes, output.planes, strict=True)):
            assert a.dtype == b.dtype == np.dtype(dtype)
            shift_w, shift_h = (info.subsampling_w, info.subsampling_h) if p else (0, 0)
            assert a.shape == b.shape == (height >> shift_h, width >> shift_w)
            assert not a.flags.writeable and b.flags.writeable
            b[:] = a

    info = core.get_video_format(format)
    clip = core.std.BlankClip(format=format, width=width, height=height, length=2)
    ramp = core.std.Expr(clip, "x 1 +") if info.bits_per_sample != 16 or info.sample_type == vs.INTEGER else clip
    result = block_node(ramp, process, function="T")
    for n in range(2):
        with ramp.get_frame(n) as a, result.get_frame(n) as b:
            assert all(np.array_equal(np.asarray(a[p]), np.asarray(b[p])) for p in range(info.num_planes))


def test_size_and_format_of_the_output() -> None:
    def process(job: Job) -> None:
        for source, output in zip(job.inputs, job.outputs, strict=True):
            for plane in output.planes:
                plane[:] = source.planes[0][0, 0] / 64
            assert [plane.shape for plane in output.planes] == [(18, 34)] * 3

    source = core.std.BlankClip(format=vs.YUV420P8, width=16, height=8, length=5, color=[16, 0, 0], fpsnum=25, fpsden=1)
    clip = block_node(source, process, function="T", block=3, width=34, height=18, format=vs.RGBS)
    assert (clip.format.id, clip.width, clip.height, clip.num_frames, clip.fps) == (vs.RGBS, 34, 18, 5, 25)
    assert one_by_one(clip, range(5)) == [0] * 5
    with clip.get_frame(4) as frame:
        assert np.asarray(frame[2])[17, 33] == 0.25


def test_properties() -> None:
    def process(job: Job) -> None:
        source, output = job.inputs[0], job.outputs[0]
        assert [source.prop(name) for name in ("a", "b", "c")] == [-5, 0.25, "größer"]
        assert source.prop("missing") is None and source.prop("missing", 7) == 7
        output.planes[0][:] = 0
        output.set_prop("a", 1 << 40)
        output.set_prop("d", 2.5)
        output.set_prop("e", "naïve")
        with pytest.raises(ValueError, match="not a name"):
            output.set_prop("not a name", 1)
        with pytest.raises(TypeError, match="read-only"):
            source.set_prop("a", 1)

    source = core.std.BlankClip(format=vs.GRAY8).std.SetFrameProps(a=-5, b=0.25, c="größer")
    with block_node(source, process, function="T").get_frame(3) as frame:
        props = dict(frame.props)
    assert props.pop("_DurationNum") == 1 and props.pop("_DurationDen") == 24
    assert props == {"a": 1 << 40, "b": 0.25, "c": "größer", "d": 2.5, "e": "naïve"}


# --- blocks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("streams", [1, 2])
def test_each_block_is_computed_once(streams: int, prefetch: bool) -> None:
    process = Sum(0.01)
    clip = block_node(numbered(), process, function="T", block=4, streams=streams, cached_blocks=10, prefetch=prefetch)
    numbers = random.Random(1).choices(range(LENGTH), k=200)
    assert together(clip, numbers) == [expected(n, 4, 0, 0) for n in numbers]
    assert sorted(process.blocks) == list(range(10))


def test_finished_blocks_are_kept_by_last_use() -> None:
    process = Sum()
    clip = block_node(numbered(), process, function="T", block=4, cached_blocks=2, prefetch=False)
    clip.std.SetVideoCache(mode=0)  # VapourSynth's own
    for n in (0, 4, 1, 8, 2, 5):  # blocks 0, 1, 0, 2, 0, 1
        clip.get_frame(n).close()
    # 0 was used again before 2 came, so 1 went and is computed anew
    assert process.blocks == [0, 1, 2, 1]


def test_requests_outlive_eviction() -> None:
    process = Sum(0.002)
    clip = block_node(numbered(), process, function="T", block=4, cached_blocks=1, streams=2)
    numbers = [n for k in range(4) for n in range(k, LENGTH, 4)]
    assert together(clip, numbers) == [expected(n, 4, 0, 0) for n in numbers]


def wait_until(condition: Callable[[], bool], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.005)


def test_prefetch_when_read_in_order() -> None:
    process = Sum()
    clip = block_node(numbered(), process, function="T", block=4, cached_blocks=4)
    for n in range(3):
        clip.get_frame(n).close()
    wait_until(lambda: process.blocks == [0, 1])
    time.sleep(0.05)
    assert process.blocks == [0, 1], "one block ahead, not more"


def test_no_prefetch_when_jumping_or_switched_off() -> None:
    process = Sum()
    jumping = block_node(numbered(400), process, function="T", block=4, cached_blocks=8)
    for n in (200, 0, 320, 100, 399, 40):
        jumping.get_frame(n).close()
    off = block_node(numbered(), process, function="T", block=4, prefetch=False)
    for n in range(4):
        off.get_frame(n).close()
    time.sleep(0.05)
    assert process.blocks == [50, 0, 80, 25, 99, 10, 0]


def test_a_failing_prefetch_fails_no_frame() -> None:
    calls: list[int] = []

    def process(job: Job) -> None:
        calls.append(job.block)
        if job.block == 1:
            raise AnimupError("block 1")

    clip = block_node(numbered(), process, function="T", block=4)
    for n in range(4):
        clip.get_frame(n).close()
    wait_until(lambda: 1 in calls)
    time.sleep(0.05)
    assert calls == [0, 1], "tried once"
    with pytest.raises(vs.Error, match=r"^T: block 1$"):
        clip.get_frame(4)
    assert calls.count(1) == 2


def test_a_source_error_ahead_fails_no_frame() -> None:
    good, bad = numbered(8), failing_source(8)
    clip = block_node(good + bad, Sum(), function="T", block=4, cached_blocks=4)
    assert one_by_one(clip, range(8)) == [sum(range(k, k + 4)) + n for k in (0, 4) for n in range(k, k + 4)]
    with pytest.raises(vs.Error, match="no such frame"):
        clip.get_frame(8)


@pytest.mark.parametrize("streams", [2, 4])
def test_streams_compute_side_by_side(streams: int) -> None:
    barrier = threading.Barrier(streams)

    def process(job: Job) -> None:
        barrier.wait(10)  # raises unless that many are here at a time

    clip = block_node(numbered(40), process, function="T", streams=streams, prefetch=False)
    futures = [clip.get_frame_async(n) for n in range(40)]
    for future in futures:
        future.result().close()


def test_thread_local_state_survives() -> None:
    local = threading.local()

    def process(job: Job) -> None:
        local.count = getattr(local, "count", 0) + 1
        job.outputs[0].planes[0][:] = local.count

    clip = block_node(numbered(), process, function="T", prefetch=False)
    assert one_by_one(clip, range(20)) == list(range(1, 21))


# --- errors ----------------------------------------------------------------------------------------


def failing_source(length: int) -> vs.VideoNode:
    def fail(n: int) -> vs.VideoNode:
        raise ValueError("no such frame")

    return core.std.FrameEval(core.std.BlankClip(format=vs.GRAY16, width=16, height=8, length=length), fail)


def test_an_error_reaches_all_who_wait_and_is_not_kept() -> None:
    calls: list[int] = []

    def process(job: Job) -> None:
        calls.append(job.block)
        if len(calls) == 1:
            time.sleep(0.2)
            raise AnimupError("not now")
        job.outputs[0].planes[0][:] = 9

    clip = block_node(numbered(), process, function="Upscale", block=4, prefetch=False)
    futures = [clip.get_frame_async(n) for n in (0, 1, 2)]
    assert [str(future.exception()) for future in futures] == ["Upscale: not now"] * 3
    assert value(clip.get_frame(0)) == 9
    assert calls == [0, 0]


def test_an_internal_error_names_its_type() -> None:
    def process(job: Job) -> None:
        raise ZeroDivisionError("oh")

    with pytest.raises(vs.Error, match=r"^Upscale: internal error: ZeroDivisionError: oh$"):
        block_node(numbered(), process, function="Upscale").get_frame(0)


def test_a_source_error_passes_unchanged() -> None:
    source = failing_source(10)
    with pytest.raises(vs.Error) as direct:
        source.get_frame(2)
    clip = block_node(source, Sum(), function="T", block=4, before=1)
    for _ in range(2):
        with pytest.raises(vs.Error) as through:
            clip.get_frame(2)
        assert str(through.value).splitlines()[-1] == str(direct.value).splitlines()[-1]


def test_a_kept_view_is_an_error() -> None:
    kept: list[np.ndarray] = []
    clip = block_node(numbered(), lambda job: kept.append(job.inputs[0].planes[0][1:, ::2]), function="T")
    with pytest.raises(vs.Error, match="a view of a frame was kept"):
        clip.get_frame(7)
    del clip
    assert (kept[0] == 7).all(), "still readable"


def test_frames_are_valid_only_during_the_call() -> None:
    kept: list[Job] = []

    def process(job: Job) -> None:
        assert not job.cancelled
        kept.append(job)

    block_node(numbered(), process, function="T").get_frame(0).close()
    assert kept[0].cancelled and kept[0].inputs[0].planes == ()
    with pytest.raises(ValueError, match="only during the call"):
        kept[0].inputs[0].prop("number")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"width": 15, "format": vs.YUV420P8}, "size 15x8 does not fit"),
        ({"width": 0}, "size 0x8"),
        ({"height": -4}, "size 16x-4"),
        ({"format": 1234567}, "format 1234567"),
        ({"block": 0}, "at least 1"),
        ({"grid": 0}, "at least 1"),
        ({"before": -1}, "at least 0"),
        ({"streams": 0}, "at least 1"),
        ({"cached_blocks": 0}, "at least 1"),
    ],
)
def test_impossible_outputs_are_refused(options: dict[str, int], told: str) -> None:
    with pytest.raises(AnimupError, match=f"^T: .*{told}"):
        block_node(numbered(), Sum(), function="T", **options)


def test_variable_clips_are_refused() -> None:
    a, b = core.std.BlankClip(width=16, height=16), core.std.BlankClip(width=32, height=16)
    c = core.std.BlankClip(width=16, height=16, format=vs.GRAY8)
    for variable in (core.std.Splice([a, b], mismatch=True), core.std.Splice([a, c], mismatch=True)):
        with pytest.raises(AnimupError, match=r"^T: clip must have one format and size"):
            block_node(variable, Sum(), function="T")


# --- life and death --------------------------------------------------------------------------------


def test_nodes_do_not_leak() -> None:
    gc.collect()
    wait_until(lambda: bridge.node_counts() == (0, 0))
    freed: list[int] = []
    big = np.zeros(1 << 20)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def churn(count: int) -> None:
        for i in range(count):
            process = Sum()
            process.weights = big.copy()  # type: ignore[attr-defined]
            process.weights[:] = 1  # type: ignore[attr-defined]
            clip = block_node(numbered(8), process, function="T", block=4, on_free=lambda i=i: freed.append(i))
            if i % 2:
                clip.get_frame(5).close()
            del clip, process

    churn(10)
    wait_until(lambda: bridge.node_counts() == (0, 0))
    start = resident()
    churn(40)
    wait_until(lambda: len(freed) == 50)
    assert bridge.node_counts() == (0, 0)
    assert resident() - start < 20 * big.nbytes


def test_a_node_freed_with_a_block_running() -> None:
    started, go, seen, freed = threading.Event(), threading.Event(), [], threading.Event()

    def process(job: Job) -> None:
        if job.block == 1:
            started.set()
            go.wait(10)
            seen.append(job.cancelled)
            job.outputs[0].planes[0][:] = job.inputs[0].planes[0]

    clip = block_node(numbered(), process, function="T", block=4, on_free=freed.set)
    for n in range(4):
        clip.get_frame(n).close()
    assert started.wait(5)
    begin = time.monotonic()
    del clip
    gc.collect()
    assert time.monotonic() - begin < 1, "free does not wait"
    assert not freed.is_set()
    go.set()
    assert freed.wait(5)
    assert seen == [True]


PRELUDE = """
    import os, sys, time, threading
    import vapoursynth as vs
    from vsanimup.bridge import block_node, node_counts
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
    begin = time.monotonic()
    run = python(textwrap.dedent(PRELUDE) + textwrap.dedent(requests) + ending)
    assert run.returncode == 0, (run.returncode, run.stderr)
    assert time.monotonic() - begin < 20
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
        from vsanimup.bridge import block_node, node_counts
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
        while node_counts() != (0, 0) and time.monotonic() < end: time.sleep(0.01)
        print(node_counts())
    """)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "(0, 0)"
    assert "still exist" not in run.stderr


# --- vspipe ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vspipe(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """vspipe of this environment, told which Python to use."""
    folder = tmp_path_factory.mktemp("config")
    binaries = Path(sys.executable).parent
    os.environ["XDG_CONFIG_HOME"] = str(folder)
    subprocess.run([binaries / "vapoursynth", "config"], check=True, capture_output=True)
    return [str(Path(vs.__file__).parent / "vspipe")]


def script(folder: Path, extra: str = "") -> str:
    path = folder / "script.vpy"
    path.write_text(textwrap.dedent(PRELUDE) + extra + "\nclip.set_output()\n", "utf-8")
    return str(path)


def test_vspipe_writes_the_clip_and_ends(vspipe: list[str], tmp_path: Path) -> None:
    run = subprocess.run(
        [*vspipe, "-c", "y4m", "--end", "13", script(tmp_path), "-"],
        capture_output=True,
        timeout=30,
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
    run = subprocess.run([*vspipe, script(tmp_path, broken), "-"], capture_output=True, timeout=30, check=False)
    assert run.returncode == 1
    assert b"Upscale: internal error: ZeroDivisionError" in run.stderr


def test_vspipe_ends_when_the_script_fails(vspipe: list[str], tmp_path: Path) -> None:
    broken = "futures = [clip.get_frame_async(n) for n in range(9)]\nraise RuntimeError('script')\n"
    run = subprocess.run([*vspipe, script(tmp_path, broken), "-"], capture_output=True, timeout=30, check=False)
    assert run.returncode == 1
    assert b"script" in run.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_interrupting_vspipe(vspipe: list[str], tmp_path: Path) -> None:
    process = subprocess.Popen([*vspipe, script(tmp_path), "."], stderr=subprocess.DEVNULL)
    time.sleep(1.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(3) == 1


# --- other hosts -----------------------------------------------------------------------------------


HOST = r"""
#include <VapourSynth4.h>
#include <dlfcn.h>
#include <cstdio>
#include <initializer_list>
int main(int, char **argv) {
    void *library = dlopen(argv[1], RTLD_NOW);
    if (!library) return 2;
    auto get = reinterpret_cast<VSGetVapourSynthAPI>(dlsym(library, "getVapourSynthAPI"));
    const VSAPI *vsapi = get(VAPOURSYNTH_API_VERSION);
    VSCore *core = vsapi->createCore(0);
    VSMap *args = vsapi->createMap();
    VSMap *blank = vsapi->invoke(vsapi->getPluginByNamespace("std", core), "BlankClip", args);
    VSPlugin *plugin = vsapi->getPluginByNamespace("animup", core);
    if (!plugin) return 3;
    VSMap *result = vsapi->invoke(plugin, "Restore", blank);
    std::puts(vsapi->mapGetError(result) ? vsapi->mapGetError(result) : "no error");
    for (VSMap *map : {args, blank, result}) vsapi->freeMap(map);
    vsapi->freeCore(core);
}
"""


@pytest.mark.skipif(sys.platform == "win32" or not shutil.which("g++"), reason="needs g++")
def test_a_host_without_python(tmp_path: Path) -> None:
    package = Path(vs.__file__).parent
    (tmp_path / "host.cpp").write_text(HOST)
    build = ["g++", "-std=c++17", f"-I{package / 'include'}", "host.cpp", "-o", "host", "-ldl"]
    subprocess.run(build, cwd=tmp_path, check=True)
    library = next(package.glob("libvapoursynth.*"))
    run = subprocess.run([tmp_path / "host", library], capture_output=True, text=True, timeout=30, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("Restore: no Python interpreter in this process (animup runs inside Python hosts")
