"""The native node: frames, blocks and errors, through VapourSynth itself with Python callbacks."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import numpy as np
import pytest
import vapoursynth as vs

from tests.helpers.numbered import LENGTH, Sum, expected, numbered, one_by_one, together, value, wait_until
from vsanimup.bridge import Job, block_node
from vsanimup.errors import AnimupError

core = vs.core


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
        (vs.GRAY8, "u1"),
        (vs.YUV420P8, "u1"),
        (vs.YUV422P10, "u2"),
        (vs.YUV444P16, "u2"),
        (vs.GRAYS, "f4"),
        (vs.RGBH, "f2"),
        (vs.RGBS, "f4"),
        (vs.YUV410P8, "u1"),
    ],
)
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
    # one that is computed ahead is given up at a seek, and computed anew when it is asked for
    assert sorted(set(process.blocks) if prefetch else process.blocks) == list(range(10))


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
        barrier.wait(60)  # raises unless that many are here at a time

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
    all_wait = threading.Event()

    def process(job: Job) -> None:
        calls.append(job.block)
        if len(calls) == 1:
            assert all_wait.wait(60)
            raise AnimupError("not now")
        job.outputs[0].planes[0][:] = 9

    for pause in (0.1, 1, 10):  # whether all wait already cannot be seen from outside
        calls.clear()
        all_wait.clear()
        clip = block_node(numbered(), process, function="Upscale", block=4, prefetch=False)
        futures = [clip.get_frame_async(n) for n in (0, 1, 2)]
        time.sleep(pause)
        all_wait.set()
        errors = [str(future.exception()) for future in futures]
        assert set(errors) <= {"Upscale: not now", "None"}
        if "None" not in errors:
            break
    assert errors == ["Upscale: not now"] * 3
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
def test_impossible_outputs_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(AnimupError, match=f"^T: .*{told}"):
        block_node(numbered(), Sum(), function="T", **options)


def test_variable_clips_are_refused() -> None:
    a, b = core.std.BlankClip(width=16, height=16), core.std.BlankClip(width=32, height=16)
    c = core.std.BlankClip(width=16, height=16, format=vs.GRAY8)
    for variable in (core.std.Splice([a, b], mismatch=True), core.std.Splice([a, c], mismatch=True)):
        with pytest.raises(AnimupError, match=r"^T: clip must have one format and size"):
            block_node(variable, Sum(), function="T")
