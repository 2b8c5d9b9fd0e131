"""Runs of frames that show one drawing: what is one and what is none, and what the filters make of it."""

import random
import threading
from typing import Any

import numpy as np
import pytest
import vapoursynth as vs
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.clips import core, drawn
from tests.helpers.frames import digest, digests, planes_of
from vsanimup.engines import BACKENDS
from vsanimup.single_flight import SingleFlight
from vsanimup.video.duplicates import CELL, run_of, same_drawing

HEIGHT, WIDTH = 96, 144


def picture(seed: int = 0, shift: float = 0.0, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Ink on flat colours, in levels, moved ``shift`` samples to the right."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x = x - np.float32(shift)
    rng = np.random.default_rng(seed)
    result = np.full((height, width), 170, np.float32)
    for _ in range(6):
        cx, cy, r, level = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(10, 30), rng.uniform(60, 220)
        distance = np.hypot(x - cx, y - cy) - r
        result += (level - result) * np.clip(0.5 - distance, 0, 1)
        result += (20 - result) * np.clip(1.5 - np.abs(distance), 0, 1)  # an outline
    return result


def noisy(plane: np.ndarray, seed: int, sigma: int) -> np.ndarray:
    return np.round(plane + np.random.default_rng(seed).normal(0, sigma, plane.shape)).astype(np.float32)


# --- two frames ------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0, 1, 3, 6])
@pytest.mark.parametrize("size", [(96, 144), (90, 150), (17, 33), (16, 16), (180, 320)])
def test_copies_under_noise_are_one_drawing(sigma: int, size: tuple[int, int]) -> None:
    for seed in range(4):
        plane = picture(seed, 0, *size)
        assert same_drawing([noisy(plane, seed, sigma)], [noisy(plane, seed + 100, sigma)])


@pytest.mark.parametrize("sigma", [0, 1, 3])
@pytest.mark.parametrize("step", [0.25, 0.5, 1, 3])
def test_pans_are_not(sigma: int, step: float) -> None:
    for seed in range(4):
        before, after = noisy(picture(seed), seed, sigma), noisy(picture(seed, step), seed + 100, sigma)
        assert not same_drawing([before], [after])
        assert not same_drawing([before.T.copy()], [after.T.copy()])


# at sigma 5 a mouth as small as this can hide where four blocks meet
@pytest.mark.parametrize("sigma", [0, 1, 3])
@given(top=st.integers(0, HEIGHT - 4), left=st.integers(0, WIDTH - 10))
@settings(max_examples=25)
def test_a_mouth_that_opens_is_a_new_drawing(sigma: int, top: int, left: int) -> None:
    closed = picture(1)
    opened = closed.copy()
    mouth = opened[top : top + 4, left : left + 10]
    mouth[:] = np.where(mouth > 110, mouth - 70, mouth + 70)
    assert not same_drawing([noisy(closed, 0, sigma)], [noisy(opened, 1, sigma)])


def test_a_line_that_moves_by_one_sample_is_a_new_drawing() -> None:
    one, other = picture(2), picture(2)
    one[40, 30:50], other[41, 30:50] = 20, 20
    assert not same_drawing([noisy(one, 0, 3)], [noisy(other, 1, 3)])


@pytest.mark.parametrize("sigma", [0, 1, 3])
def test_fades_are_not_one_drawing(sigma: int) -> None:
    plane = picture(3, height=180, width=320)
    assert not same_drawing([noisy(plane, 0, sigma)], [noisy(plane + 1, 1, sigma)])
    part = plane.copy()
    part[:96, :96] += 3
    assert not same_drawing([noisy(plane, 0, sigma)], [noisy(part, 1, sigma)])


def test_colour_counts() -> None:
    luma, chroma = picture(4), np.full((HEIGHT // 2, WIDTH // 2), 128, np.float32)
    other = chroma.copy()
    other[20:28, 20:28] += 20
    assert same_drawing([luma, chroma, chroma], [luma, chroma, chroma])
    assert not same_drawing([luma, chroma, chroma], [luma, chroma, other])


def test_noise_in_which_nothing_can_be_told() -> None:
    plane = picture(5)
    assert not same_drawing([noisy(plane, 0, 15)], [noisy(plane, 1, 15)])


# --- runs ------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 1), min_size=1, max_size=CELL))
def test_runs_of_equal_frames(changes: list[int]) -> None:
    names = np.cumsum(changes).tolist()
    last = len(names) - 1
    runs = [run_of(n, 0, last, lambda a, b: names[a] == names[b]) for n in range(len(names))]
    for n, (first, end) in enumerate(runs):
        assert first <= n <= end and names[first] == names[end] == names[n]
        assert first == 0 or names[first - 1] != names[n]
        assert end == last or names[end + 1] != names[n]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=CELL), st.floats(0.1, 1))
def test_runs_part_a_cell_and_do_not_drift(steps: list[float], least: float) -> None:
    values = np.cumsum(steps)
    last = len(values) - 1

    def same(a: int, b: int) -> bool:
        return bool(values[b] - values[a] < least)

    runs = [run_of(n, 0, last, same) for n in range(len(values))]
    for n, run in enumerate(runs):
        assert run[0] <= n <= run[1] and all(runs[i] == run for i in range(run[0], run[1] + 1))
        assert run[0] == run[1] or same(*run)


def test_each_result_is_computed_once_and_failures_are_not_kept() -> None:
    calls, gate = [], threading.Event()
    once = SingleFlight[int, int](2)

    def compute() -> int:
        calls.append(1)
        gate.wait(5)
        if len(calls) == 1:
            raise ValueError("not now")
        return 7

    got: list[int | None] = []

    def ask() -> None:
        try:
            got.append(once.get(1, compute))
        except ValueError:
            got.append(None)

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join(5)
    assert sorted(got, key=str) == [7, 7, 7, 7, None] and len(calls) == 2
    for key in (2, 3):
        once.get(key, lambda: 0)
    once.get(1, compute)
    assert len(calls) == 3, "the oldest was forgotten"


# --- filters ---------------------------------------------------------------------------------------


class Spy:
    """A backend whose networks return the frame at the window's centre, a little brighter; counts its runs."""

    name = "spy"
    builds = False
    integers = True

    def __init__(self) -> None:
        self.runs = 0
        self.lock = threading.Lock()

    def unavailable(self) -> None:
        return None

    def streams(self) -> int:
        return 2

    def memory(self, device_id: int) -> None:
        return None

    def load(self, network: bytes, *, origin: str, sizes: dict[str, int], device_id: int, **_: Any) -> Any:
        spy, scale = self, 2 if "upscale" in origin else 1

        class Engine:
            backend = "spy"

            def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
                with spy.lock:
                    spy.runs += 1
                y, uv = inputs["y"], inputs["uv"]
                assert np.isfinite(y).all() and np.isfinite(uv).all()
                middle = y.shape[1] // 2
                # neighbours have a say, so that a wrong window shows
                luma = 0.9 * y[:, middle : middle + 1] + 0.1 * y.mean(1, keepdims=True)
                chroma = uv[:, 2 * middle : 2 * middle + 2]
                return {
                    "result_y": luma.repeat(scale, 2).repeat(scale, 3),
                    "result_uv": chroma.repeat(scale, 2).repeat(scale, 3),
                }

        return Engine()


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    backend = Spy()
    monkeypatch.setitem(BACKENDS, "spy", backend)
    return backend


def held(holds: list[int], sigma: float = 2.0, format: int = vs.YUV420P8) -> vs.VideoNode:
    """A clip that shows drawing i for ``holds[i]`` frames, each frame with noise of its own."""
    which = [i for i, hold in enumerate(holds) for _ in range(hold)]
    pictures = [picture(seed) for seed in range(len(holds))]

    def plane(n: int, index: int, shape: tuple[int, int]) -> np.ndarray:
        if index:
            return np.full(shape, 0.5)
        return np.clip(pictures[which[n]] + np.random.default_rng((n, 9)).normal(0, sigma, shape), 0, 255) / 255

    blank = core.std.BlankClip(format=format, width=WIDTH, height=HEIGHT, length=len(which), keep=True)
    return drawn(blank, plane)


DENOISE = {"task": "denoise", "gate": 0}


@pytest.mark.parametrize("name", ["Restore", "Upscale"])
@pytest.mark.parametrize("format", [vs.YUV420P8, vs.YUV420P16, vs.GRAY8, vs.YUV444P8, vs.YUV420PS])
def test_twos_are_computed_once_each(spy: Spy, name: str, format: int) -> None:
    # what enlarges alone takes more noise for grain
    clip, how = (held([2] * 6, format=format), DENOISE) if name == "Restore" else (held([2] * 6, 0.3, format), {})
    result = digests(getattr(core.animup, name)(clip, backend="spy", **how))
    assert spy.runs == 6
    assert result[::2] == result[1::2] and len(set(result)) == 6


def test_copies_are_averaged(spy: Spy) -> None:
    clip = held([CELL], sigma=4.0)
    truth = planes_of(held([1], sigma=0).get_frame(0))[0].astype(float)
    before = planes_of(clip.get_frame(3))[0] - truth
    after = planes_of(core.animup.Restore(clip, backend="spy", **DENOISE).get_frame(3))[0] - truth
    assert spy.runs == 1
    assert after.std() < 0.4 * before.std()


@pytest.mark.parametrize(("sigma", "runs"), [(0.3, 1), (1.5, 4)])
def test_grain_is_of_each_copy(spy: Spy, sigma: float, runs: int) -> None:
    """What enlarges alone takes frames for copies only where they differ faintly."""
    digests(core.animup.Upscale(held([4], sigma), backend="spy"))
    assert spy.runs == runs


@pytest.mark.parametrize(
    ("task", "sigma", "runs"),
    [("deblock", 0.3, 1), ("deblock", 1.5, 4), ("0.5*deblock+destream", 1.5, 4), ("deblock+denoise", 1.5, 1)],
)
def test_what_codecs_leave_of_grain_is_of_each_copy(spy: Spy, task: str, sigma: float, runs: int) -> None:
    """Nor does what removes a codec's damage alone take grain for noise."""
    digests(core.animup.Restore(held([4], sigma), backend="spy", task=task))
    assert spy.runs == runs


def test_equal_copies_give_what_one_frame_gives(spy: Spy) -> None:
    one = held([1])
    assert (
        digests(core.animup.Restore(one * 5, task="denoise", backend="spy"))
        == digests(core.animup.Restore(one, task="denoise", backend="spy")) * 5
    )


def test_equal_copies_among_others_give_what_the_middle_one_gives(spy: Spy) -> None:
    clip = held([3] * 4, sigma=0)
    off = digests(core.animup.Restore(clip, task="denoise", backend="spy", scenecut=0, temporal_threshold=0, dedup=0))
    assert len(set(off)) > 4, "the window matters"
    on = digests(core.animup.Restore(clip, task="denoise", backend="spy", scenecut=0, temporal_threshold=0))
    assert on == [off[n // 3 * 3 + 1] for n in range(12)]


@pytest.mark.parametrize("name", ["Restore", "Upscale"])
def test_drawings_switched_off(spy: Spy, name: str) -> None:
    clip = held([2] * 3)
    how = DENOISE if name == "Restore" else {}
    result = digests(getattr(core.animup, name)(clip, backend="spy", dedup=0, **how))
    assert spy.runs == 6 and len(set(result)) == 6


def test_frames_keep_their_own_properties(spy: Spy) -> None:
    clip = held([4])

    def mark(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        frame = f.copy()
        frame.props["own"] = n
        return frame

    result = core.animup.Restore(clip.std.ModifyFrame(clip, mark), backend="spy", **DENOISE)
    assert [result.get_frame(n).props["own"] for n in (2, 0, 3, 1)] == [2, 0, 3, 1]
    assert spy.runs == 1


def test_runs_end_at_cells_and_at_marked_cuts(spy: Spy) -> None:
    clip = held([CELL + 3], 0.3)
    digests(core.animup.Upscale(clip, backend="spy"))
    assert spy.runs == 2

    def mark(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        frame = f.copy()
        frame.props["_SceneChangePrev"] = int(n == 5)
        return frame

    marked = clip.std.ModifyFrame(clip, mark)
    result = digests(core.animup.Upscale(marked, backend="spy"))
    assert spy.runs == 5 and result[4] != result[5]
    digests(core.animup.Upscale(marked, backend="spy", scenecut=0))
    assert spy.runs == 7


def test_equal_samples_of_different_range_are_no_run(spy: Spy) -> None:
    clip = held([4], sigma=0)

    def mark(n: int, f: vs.VideoFrame) -> vs.VideoFrame:
        frame = f.copy()
        frame.props["_Range"] = int(n >= 2)
        return frame

    digests(core.animup.Upscale(clip.std.ModifyFrame(clip, mark), backend="spy"))
    assert spy.runs == 2


def test_strength_applies_to_each_copy(spy: Spy) -> None:
    clip = held([4], format=vs.YUV420PS)
    whole = core.animup.Restore(clip, backend="spy", temporal_threshold=0, **DENOISE)
    half = core.animup.Restore(clip, backend="spy", strength=0.5, temporal_threshold=0, **DENOISE)
    for n in range(4):
        source, full, result = (planes_of(c.get_frame(n))[0] for c in (clip, whole, half))
        np.testing.assert_allclose(result, (source + full) / 2, atol=1e-6)
    assert spy.runs == 2


def test_any_order_gives_the_same_frames(spy: Spy) -> None:
    rng = random.Random(3)
    clip = held([2, 1, 3, 2, 2, 4, 1, 3, 2, 5, 2])
    length = clip.num_frames

    def chain(streams: int) -> vs.VideoNode:
        return core.animup.Upscale(
            core.animup.Restore(clip, backend="spy", num_streams=streams), backend="spy", num_streams=streams
        )

    wanted = digests(chain(1))
    for _ in range(12):
        core.num_threads = rng.randint(1, 6)
        result = chain(rng.randint(1, 4))
        order = rng.choice(
            [
                list(range(length)),
                rng.sample(range(length), length),
                [rng.randrange(length)] * 3,
                list(range(length - 1, -1, -1)),
                list(range(rng.randrange(length), length)),
            ]
        )
        waiting = [result.get_frame_async(n) for n in order]
        assert [digest(future.result(timeout=60)) for future in waiting] == [wanted[n] for n in order]


def test_reading_on_reaches_the_next_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one drawing is computed for all who wait for its copies, the next is computed, too."""
    both = threading.Barrier(2)

    class Waiting(Spy):
        def load(self, network: bytes, **kw: Any) -> Any:
            inner = super().load(network, **kw)

            class Engine:
                backend = "spy"

                def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
                    both.wait(20)
                    results: dict[str, np.ndarray] = inner.run(inputs)
                    return results

            return Engine()

    monkeypatch.setitem(BACKENDS, "spy", Waiting())
    clip = core.animup.Upscale(held([3] * 4), backend="spy", num_streams=2)
    for future in [clip.get_frame_async(n) for n in range(12)]:
        future.result(timeout=60).close()


@pytest.mark.parametrize("function", ["Restore", "Upscale"])
def test_wrong_argument(function: str) -> None:
    with pytest.raises(vs.Error, match=rf"{function}: dedup must be 0 \(off\) or 1 \(on\), got 2"):
        getattr(core.animup, function)(held([1]), dedup=2)
