"""Requests of the native node: none waits for ever, whatever else is asked for, dropped or taken away meanwhile."""

import gc
import random
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import vapoursynth as vs

from tests.helpers.clips import core
from vsanimup.bridge import SPAN, block_node
from vsanimup.bridge.frames import Job
from vsanimup.errors import AnimupError
from vsanimup.stop import current

PATIENCE = 30
ENDLESS = 2**31 - 1


@pytest.fixture
def small_cache() -> Iterator[None]:
    """VapourSynth throws frames away at once."""
    before = core.max_cache_size
    core.max_cache_size = 1
    yield
    core.max_cache_size = before


def numbered(length: int, spans: Callable[[int], tuple[int, ...]] | None = None) -> vs.VideoNode:
    """A clip whose samples are the frame's number, modulo 65536, and which shows the drawings ``spans(n)``."""

    def stamp(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        frame = f.copy()
        np.asarray(frame[0])[:] = n % 65536
        for name, number in zip(SPAN, spans(n) if spans else (), strict=False):
            frame.props[name] = number
        return frame

    blank = core.std.BlankClip(width=16, height=8, format=vs.GRAY16, length=length)
    return blank.std.ModifyFrame(blank, stamp)


def total(job: Job) -> None:
    """The sum of the source frames, modulo 65536, into each output frame."""
    value = sum(int(frame.planes[0][0, 0]) for frame in job.inputs) % 65536
    for frame in job.outputs:
        for plane in frame.planes:
            plane[:] = value


def value(frame: vs.VideoFrame) -> int:
    with frame:
        plane = np.asarray(frame[0])
        assert (plane == plane[0, 0]).all()
        return int(plane[0, 0])


def runs_of(lengths: list[int], around: int = 2) -> list[tuple[int, int, int, int]]:
    """Spans of drawings of so many frames, whose surroundings are ``around`` frames on each side."""
    first, spans = 0, []
    for length in lengths:
        last = first + length - 1
        spans += [(max(0, first - around), first, last, min(sum(lengths) - 1, last + around))] * length
        first += length
    return spans


def chain(clip: vs.VideoNode, streams: int, drawings: bool) -> vs.VideoNode:
    """Two nodes with windows, one after the other, that keep hardly any block."""
    for block, reach in ((1, 2), (3, 1)):
        how = {"spans": clip} if drawings and block == 1 else {"block": block}
        clip = block_node(clip, total, function="T", before=reach, after=reach, streams=streams, cached_blocks=3, **how)
    return clip


@pytest.mark.parametrize("drawings", [False, True])
@pytest.mark.parametrize("threads", ["many", "taken away"])
def test_random_requests_at_once_while_blocks_leave_the_cache(small_cache: None, threads: str, drawings: bool) -> None:
    """Seeks drop what was prefetched, while requests are on their way for earlier blocks of its frames."""
    rng = random.Random(drawings)
    lengths = [rng.randint(1, 4) for _ in range(40)]
    spans = runs_of(lengths)
    clip = numbered(len(spans), spans.__getitem__)
    core.num_threads = 1
    wanted = [value(frame) for frame in chain(clip, 1, drawings).frames()]
    for _ in range(12):
        core.num_threads = 7
        result = chain(clip, rng.choice([1, 2, 6]), drawings)
        numbers = rng.choices(range(len(spans)), k=200)
        waiting = []
        for n in numbers:
            waiting.append(result.get_frame_async(n))
            if threads == "taken away" and rng.random() < 0.1:
                core.num_threads = rng.randint(1, 7)
        assert [value(future.result(PATIENCE)) for future in waiting] == [wanted[n] for n in numbers]


class Gated:
    """Frame 2 waits at a gate, and what is computed ahead of it (3 or 4, whose source comes first) until it is given up
    or let go on; remembers which were begun."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ahead: int | None = None
        self.lock = threading.Lock()
        self.gate, self.waits, self.far = threading.Event(), threading.Event(), threading.Event()
        self.given_up, self.go_on = threading.Event(), threading.Event()

    def give_up(self) -> None:
        self.given_up.set()
        self.go_on.set()

    def __call__(self, job: Job) -> None:
        with self.lock:
            self.begun.append(job.first)
            held = job.first in (3, 4) and self.ahead is None
            self.ahead = job.first if held else self.ahead
        if job.first == 2:
            assert self.gate.wait(PATIENCE)
        if job.first == 200:
            self.far.set()
        if held:
            with current().telling(self.give_up):
                self.waits.set()
                assert self.go_on.wait(PATIENCE)
            if job.cancelled:
                raise AnimupError("nobody wants this frame any more")
        total(job)


def test_what_was_prefetched_is_given_up_at_a_seek() -> None:
    """Queued blocks are never computed, running ones are told; what somebody waits for goes on."""
    process = Gated()
    clip = block_node(numbered(400), process, function="T", streams=2, cached_blocks=8)
    assert [value(clip.get_frame(n)) for n in range(2)] == [0, 1]  # one after the other: reading on
    second = clip.get_frame_async(2)
    assert process.waits.wait(PATIENCE), "a frame is computed ahead"
    assert not process.given_up.is_set()
    far = clip.get_frame_async(200)
    assert process.given_up.wait(PATIENCE)
    process.gate.set()
    assert value(far.result(PATIENCE)) == 200 and value(second.result(PATIENCE)) == 2
    ahead = process.ahead
    assert ahead is not None and 7 - ahead not in process.begun, "it was next"
    assert value(clip.get_frame(ahead)) == ahead and process.begun.count(ahead) == 2


def test_what_was_prefetched_and_is_waited_for_is_not_given_up() -> None:
    """A frame that is computed out of turn is handed over after the one asked for before it."""
    process = Gated()
    clip = block_node(numbered(400), process, function="T", streams=2, cached_blocks=8)
    for n in range(2):
        clip.get_frame(n).close()
    second = clip.get_frame_async(2)
    assert process.waits.wait(PATIENCE)
    assert process.ahead is not None
    ahead = clip.get_frame_async(process.ahead)
    process.gate.set()
    assert value(second.result(PATIENCE)) == 2
    far = clip.get_frame_async(200)
    assert process.far.wait(PATIENCE)
    assert not process.given_up.wait(0.2), "it would be told by another thread"
    process.go_on.set()
    assert value(ahead.result(PATIENCE)) == process.ahead and value(far.result(PATIENCE)) == 200
    assert process.begun.count(process.ahead) == 1


def test_freeing_a_clip_ends_what_runs() -> None:
    process, freed = Gated(), threading.Event()
    clip = block_node(numbered(400), process, function="T", streams=2, cached_blocks=8, on_free=freed.set)
    process.gate.set()
    for n in range(3):
        clip.get_frame(n).close()
    assert process.waits.wait(PATIENCE)
    del clip
    gc.collect()
    assert process.given_up.wait(PATIENCE) and freed.wait(PATIENCE)


@pytest.mark.parametrize("drawings", [False, True])
def test_endless_clips(drawings: bool) -> None:
    """The longest clip that VapourSynth has: nothing goes over its end, and nothing takes time by its length."""
    last = ENDLESS - 1
    seen = {}

    def process(job: Job) -> None:
        seen[job.first] = [frame.n for frame in job.inputs]
        total(job)

    def spans(n: int) -> tuple[int, int, int, int]:
        return max(0, n - 9), n, n, min(last, n + 9)

    source = numbered(ENDLESS, spans)
    how = {"spans": source} if drawings else {"block": 4, "grid": 3}
    clip = block_node(source, process, function="T", before=2, after=3, prefetch=False, **how)
    for n in (0, last, last - 2, last - 1, ENDLESS // 2, 1):
        clip.get_frame(n).close()
    assert len(seen) >= 3
    for first, inputs in seen.items():
        cell = 1 if drawings else 12
        begin = first // cell * cell
        assert inputs == list(range(max(0, begin - 2), min(last, begin + cell - 1 + 3) + 1))


def test_one_frame_is_a_clip() -> None:
    source = numbered(1, lambda n: (0, 0, 0, 0))
    for how in ({"block": 5, "grid": 2}, {"spans": source}, {}):
        clip = block_node(source, total, function="T", before=3, after=3, streams=3, **how)
        assert [value(clip.get_frame(0)) for _ in range(3)] == [0, 0, 0]


def test_properties_that_contradict_each_other() -> None:
    """Each frame still comes: with the drawing that holds it, or as one of its own."""
    wild = random.Random(4)
    told = [tuple(wild.randint(-2, 40) for _ in SPAN) for _ in range(20)] + [(0, 20, 39, 39), (21, 21, 21, 21)] * 10
    clip = numbered(40, told.__getitem__)
    for seed in range(8):
        numbers = random.Random(seed).sample(range(40), 40)
        result = block_node(clip, total, function="T", before=1, after=1, spans=clip, streams=3, cached_blocks=2)
        waiting = [result.get_frame_async(n) for n in numbers]
        assert all(value(future.result(PATIENCE)) >= 0 for future in waiting)


def test_filters_that_write_to_one_copy_of_a_drawing_leave_the_others() -> None:
    spans = runs_of([6])
    clip = numbered(6, spans.__getitem__)
    result = block_node(clip, total, function="T", spans=clip)

    def write(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        frame = f.copy()
        np.asarray(frame[0])[:] += n
        return frame

    written = result.std.ModifyFrame(result, write)
    held = [result.get_frame(n) for n in range(6)]
    for _ in range(2):
        assert [value(written.get_frame(n)) for n in (5, 0, 3, 1)] == [20, 15, 18, 16]
        assert [value(result.get_frame(n)) for n in range(6)] == [15] * 6
    assert [value(frame) for frame in held] == [15] * 6


def test_a_source_that_fails_while_it_is_read_ahead() -> None:
    """Frames whose sources are there come, whatever else is asked for; errors are those of the source."""

    def fail(n: int) -> vs.VideoNode:
        if n % 10 == 9:
            raise ValueError(f"no frame {n}")
        return good

    good = numbered(60)
    clip = block_node(good.std.FrameEval(fail), total, function="T", block=2, streams=3, cached_blocks=3)
    for seed in range(6):
        numbers = random.Random(seed).choices(range(60), k=100) if seed else range(60)
        waiting = [(n, clip.get_frame_async(n)) for n in numbers]
        for n, future in waiting:
            if n % 10 >= 8:
                assert "no frame" in str(future.exception(PATIENCE))
            else:
                assert value(future.result(PATIENCE)) == n // 2 * 4 + 1
