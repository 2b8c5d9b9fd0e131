"""Memory that windows hand on: its budget, its bookkeeping, and chains of windows through the filter."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vapoursynth as vs

from tests.helpers.clips import moving
from tests.helpers.frames import digest, digests
from tests.helpers.lcm_stub import StubBackend, write_stub
from tests.helpers.ways import settings
from vsanimup.engines import on_host
from vsanimup.errors import AnimupError
from vsanimup.networks.animatelcm.memory import Budget, Carried, Turn, everything
from vsanimup.networks.animatelcm.model import AnimateLcm
from vsanimup.networks.animatelcm.node import Enhance, Memory, diffusion_clip
from vsanimup.networks.animatelcm.pipeline import Enhancer, network_grids, network_sizes
from vsanimup.networks.animatelcm.windows import BLOCK

SPACING = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> AnimateLcm:
    return AnimateLcm.open(write_stub(tmp_path_factory.mktemp("stub"), memory=[[4, 1]]))


class Counted:
    """What enhances windows, and what it was asked for. It knows nothing of the clip, which holds it."""

    def __init__(self, enhancer: Enhance) -> None:
        self.enhancer, self.windows = enhancer, 0
        self.carried: list[Carried] = []

    def __call__(
        self,
        images: np.ndarray,
        scenes: np.ndarray,
        cancelled: Callable[[], bool],
        memory: tuple[Carried, Turn] | None = None,
    ) -> np.ndarray:
        self.windows += 1
        if memory is not None:
            self.carried = [*self.carried[-1:], memory[0]]
        return self.enhancer(images, scenes, cancelled, memory)


class Through:
    """A clip through the filter, and what that took."""

    def __init__(
        self, model: AnimateLcm, clip: vs.VideoNode, retention: float = 0.35, spacing: int = SPACING, **kw: Any
    ) -> None:
        self.backend = StubBackend()
        budget = Budget.of(retention, spacing)
        self.enhancer = Enhancer(
            model=model, width=2 * clip.width, height=2 * clip.height, backend=self.backend, budget=budget
        )
        self.counted = Counted(self.enhancer)
        memory = Memory(budget=budget, spacing=spacing) if budget else None
        self.clip = diffusion_clip(clip, 2, clip.format, settings(**{"dedup": False, **kw}), self.counted, memory)

    @property
    def windows(self) -> int:
        return self.counted.windows

    @property
    def carried(self) -> list[Carried]:
        return self.counted.carried


def film(length: int = 120, cut: int | None = 40, **kw: Any) -> vs.VideoNode:
    return moving(width=48, height=32, length=length, cut=cut, **kw)


@pytest.mark.parametrize("cut", [None, 40, 48])
def test_any_order_gives_the_bytes_of_the_linear_run(model: AnimateLcm, cut: int | None) -> None:
    clip = film(cut=cut)
    linear = digests(Through(model, clip).clip)
    order = random.Random(cut).sample(range(120), 12)
    again = Through(model, clip, num_streams=1).clip
    assert [digest(again.get_frame(n)) for n in order] == [linear[n] for n in order]
    threads = Through(model, clip, num_streams=3).clip
    waiting = [(n, threads.get_frame_async(n)) for n in order]
    assert all(digest(future.result(timeout=60)) == linear[n] for n, future in waiting)
    assert digests(Through(model, clip).clip[70:90]) == linear[70:90]


@pytest.mark.parametrize("streams", [1, 2])
@pytest.mark.parametrize("cut", [None, 40])
def test_linear_access_computes_each_window_once(model: AnimateLcm, streams: int, cut: int | None) -> None:
    plain = Through(model, film(cut=cut), 0.0, num_streams=1)
    digests(plain.clip)
    remembering = Through(model, film(cut=cut), num_streams=streams)
    digests(remembering.clip)
    assert remembering.windows == plain.windows >= 10


def test_a_seek_computes_the_chain_at_most(model: AnimateLcm) -> None:
    """Up to two windows a block; a scene cut shortens it."""
    whole = 2 * SPACING + 1  # and the first of the next chain, which is cross-faded
    for cut, n, most in ((None, 119, 4), (None, 3 * BLOCK + 4, 1), (None, 71, whole), (40, 71, whole - 2)):
        found = Through(model, film(cut=cut), num_streams=1)
        found.clip.get_frame(n)
        assert 1 <= found.windows <= most, n


def test_nothing_of_before_a_cut_is_left_behind_it(model: AnimateLcm) -> None:
    for cut in (30, 48):
        after = film()[60:]
        clips = [film(length=cut, cut=None, noise=noise) + after for noise in (1, 9)]
        clips = [clip.std.SetFrameProps(_SceneChangePrev=0) for clip in clips]
        clips = [marked(clip, cut) for clip in clips]
        first, second = (digests(Through(model, clip).clip) for clip in clips)
        assert first[cut:] == second[cut:] and first[cut - 1] != second[cut - 1]


def marked(clip: vs.VideoNode, at: int) -> vs.VideoNode:
    """A scene starts there."""
    return clip[:at] + clip[at:].std.SetFrameProps(_SceneChangePrev=1)[:1] + clip[at + 1 :]


def test_memory_reaches_into_later_windows(model: AnimateLcm) -> None:
    """A change in the first block alone is seen as far as the chain goes, and no further."""
    clips = [film(length=24, cut=None, noise=noise) + film(cut=None)[24:] for noise in (1, 2)]
    clips = [clip.std.SetFrameProps(_SceneChangePrev=0) for clip in clips]
    with_it = [digests(Through(model, clip, scenecut=0).clip) for clip in clips]
    without = [digests(Through(model, clip, 0.0, scenecut=0).clip) for clip in clips]
    chain = SPACING * BLOCK
    assert all(a != b for a, b in zip(with_it[0][32 : chain - 8], with_it[1][32 : chain - 8], strict=True))
    assert with_it[0][chain:] == with_it[1][chain:]
    assert without[0][48:] == without[1][48:]


def test_a_failed_window_is_no_end(model: AnimateLcm) -> None:
    clip = film(cut=None)
    linear = digests(Through(model, clip).clip)
    found = Through(model, clip, num_streams=1)
    assert digest(found.clip.get_frame(30)) == linear[30]
    enhancer, left = found.enhancer, [5]

    def failing(
        images: np.ndarray,
        scenes: np.ndarray,
        cancelled: Callable[[], bool],
        memory: tuple[Carried, Turn] | None = None,
    ) -> np.ndarray:
        def soon() -> bool:
            left[0] -= 1
            return left[0] < 0

        return enhancer(images, scenes, soon if left[0] >= 0 else cancelled, memory)

    found.counted.enhancer = failing
    with pytest.raises(vs.Error, match="the clip was closed"):
        found.clip.get_frame(60)
    assert digest(found.clip.get_frame(60)) == linear[60]


def test_memory_is_as_large_as_was_said(model: AnimateLcm) -> None:
    found = Through(model, film(), num_streams=1)
    digests(found.clip)
    kept = [array for tensors in found.carried[0].tensors.values() for array in tensors.values()]
    held = sum(on_host(array).nbytes for array in kept)
    assert held == pytest.approx(found.enhancer.memory_size, rel=0.05) and held > 0


def test_shares_are_those_of_the_paper() -> None:
    for retention, alpha in ((0.19, 0.1), (0.91, 0.7), (0.35, 1 - 0.65**0.5)):
        budget = Budget.of(retention, 5)
        assert budget is not None and budget.recent == round(alpha * everything(5))
        assert budget.slots == round(retention * everything(5))
    assert Budget.of(1, 5) == Budget(recent=everything(5), previous=0) and Budget.of(0, 5) is None


@pytest.mark.parametrize("seed", range(4))
def test_recent_are_kept_whole_and_previous_by_score(seed: int) -> None:
    """Against lists of drawings, one place at a time."""
    rng = np.random.default_rng(seed)
    budget = Budget(recent=5, previous=3)
    carried, names = Carried(budget), np.zeros(0)
    recent: list[int] = []
    previous: list[int] = []
    slots, scores = np.full(budget.slots, -1.0), np.zeros(budget.slots)
    for _ in range(12):
        frames, continued = int(rng.integers(2, 7)), bool(rng.random() < 0.8)
        keeps = int(rng.integers(0, frames + 1))
        sees = np.full(frames, continued)
        mine, rated = len(names) + np.arange(frames), rng.random(frames)
        names = np.concatenate([names, rated])
        given = carried.inputs(Turn(sees=sees, keeps=keeps))
        seen = slots[given["memory_mask"][0] == 0]
        assert set(seen) == (set(recent + previous) if continued else set())
        # what the graph does
        every, rating = np.concatenate([slots, mine]), np.concatenate([scores, rated])
        order = np.argsort(-(np.concatenate([given["slot_order"], given["frame_order"]]) + rating), kind="stable")
        slots, scores = every[order[: budget.slots]], rating[order[: budget.slots]]
        carried.follow(Turn(sees=sees, keeps=keeps))
        # what it is to be
        recent, previous = (recent, previous) if continued else ([], [])
        recent = recent + list(mine[keeps:])
        fallen, recent = recent[:-5], recent[-5:]
        previous = sorted(previous + fallen, key=lambda n: -names[n])[:3]
        assert sorted(slots[: carried.recent]) == recent
        assert set(slots[carried.recent : carried.recent + carried.previous]) == set(previous)


def test_engines_are_asked_for_with_the_slots(model: AnimateLcm) -> None:
    budget = Budget.of(0.35, 4)
    assert budget is not None
    grids = network_grids(model, 128, 64, budget)
    assert set(grids) == {"encode", "denoise_memory", "decode"}
    sizes = network_sizes(model, "denoise_memory", grids["denoise_memory"], budget)
    assert sizes["slots"] == budget.slots and "slots" not in network_sizes(model, "decode", grids["decode"], budget)
    assert model.frame_sizes("denoise_memory") == model.frame_sizes("denoise")


def test_a_model_without_the_graph(tmp_path: Path) -> None:
    plain = AnimateLcm.open(write_stub(tmp_path))
    with pytest.raises(AnimupError, match="memory needs a model with a graph for it, which stub has not: export it"):
        Enhancer(model=plain, width=64, height=64, backend=StubBackend(), budget=Budget.of(0.3, 4))


def test_gray(model: AnimateLcm) -> None:
    clip = film(length=3, cut=None).std.ShufflePlanes(0, vs.GRAY)
    assert Through(model, clip).clip.get_frame(1).format.color_family == vs.GRAY
