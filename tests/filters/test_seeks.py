"""What a frame that is asked for alone costs: each inference is one that somebody waits for."""

import random
from collections import Counter

import pytest

from benchmarks.fuzz import MadeUp
from tests.helpers.clips import core, moving
from vsanimup.engines import BACKENDS

WAYS = {
    "restore": (lambda clip: core.animup.Restore(clip, task="denoise"), {"lite-restore": 3}),
    "upscale": (core.animup.Upscale, {"lite-upscale": 1}),
    "one pass": (lambda clip: core.animup.Upscale(clip, task="denoise"), {"lite-one-pass": 3}),
    "both": (
        lambda clip: core.animup.Upscale(core.animup.Restore(clip, task="denoise")),
        {"lite-restore": 3, "lite-upscale": 1},
    ),
    "both, diagnosed": (
        lambda clip: core.animup.Upscale(core.animup.Restore(clip)),
        {"lite-restore": 3, "lite-upscale": 3},
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_seek_computes_three_frames_of_each_filter(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """The frame, and the one on each side that it is evened out with."""
    backend = MadeUp(0)
    monkeypatch.setitem(BACKENDS, "cpu", backend)
    make, most = WAYS[way]
    clip = make(moving(width=32, height=32, length=2000))
    for place in random.Random(1).sample(range(100, 1900, 50), 8):
        backend.runs.clear()
        clip.get_frame(place).close()
        found = Counter(backend.runs)
        if "diagnosed" in way:
            assert all(found[name] <= count for name, count in most.items()) and found
        else:
            assert found == most
