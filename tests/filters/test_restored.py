"""What was restored already, beside frames that were not: a frame does not depend on who asked before."""

from collections.abc import Callable
from typing import Any

import pytest
import vapoursynth as vs

from benchmarks.fuzz import MadeUp
from tests.helpers.clips import core, moving
from tests.helpers.frames import digest, digests
from vsanimup.engines import BACKENDS


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    """Networks that cost nothing."""
    backend = MadeUp()
    monkeypatch.setitem(BACKENDS, MadeUp.name, backend)
    return backend


def still(length: int = 6) -> vs.VideoNode:
    """Frames that show one drawing."""
    return moving(length=1, noise=0) * length


def both_ways(make: Callable[[], vs.VideoNode]) -> tuple[list[str], list[str]]:
    """Digests of the frames that ``make()`` gives, asked for in order, and from the end."""
    backward, clip = make(), make()
    return digests(clip), [digest(backward.get_frame(n)) for n in reversed(range(clip.num_frames))][::-1]


@pytest.mark.parametrize(
    ("name", "arguments"), [("Restore", {"task": "denoise"}), ("Upscale", {"task": "denoise"}), ("Upscale", {})]
)
def test_a_single_frame(name: str, arguments: dict[str, Any]) -> None:
    """The network's window is whole also where a scene has but one frame."""
    restored = core.animup.Restore(moving(width=32, height=32, length=1), task="denoise")
    result = getattr(core.animup, name)(restored, **arguments).get_frame(0)
    assert result.width == (32 if name == "Restore" else 64)


@pytest.mark.parametrize(("name", "more"), [("Restore", {"task": "denoise"}), ("Upscale", {})])
def test_a_drawing_is_restored_as_a_whole_or_not_at_all(made_up: MadeUp, name: str, more: dict[str, Any]) -> None:
    clip = still()

    def make() -> vs.VideoNode:
        restored = core.animup.Restore(clip, task="denoise", backend="made-up", temporal_threshold=0)
        return getattr(core.animup, name)(restored[:3] + clip[3:], backend="made-up", temporal_threshold=0, **more)

    in_order, backward = both_ways(make)
    assert in_order == backward


def test_equal_frames_restored_by_other_networks(made_up: MadeUp) -> None:
    """Enlarging goes by which network restored: equal samples do not make results equal."""
    clip = core.std.BlankClip(format=vs.YUV420P8, width=32, height=32, length=4, color=[60, 128, 128])

    def make() -> vs.VideoNode:
        parts = [core.animup.Restore(clip, task=task, backend="made-up") for task in ("denoise", "destream")]
        joined = parts[0][:2] + parts[1][2:]
        assert len({digest(frame) for frame in joined.frames()}) == 1
        return core.animup.Upscale(joined, backend="made-up")

    in_order, backward = both_ways(make)
    assert in_order == backward
    assert in_order[0] == in_order[1] and in_order[2] == in_order[3] and in_order[1] != in_order[2]
