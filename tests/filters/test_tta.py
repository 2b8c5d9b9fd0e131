"""The argument tta: the mean over a picture's four mirror images."""

from typing import Any

import numpy as np
import pytest
import vapoursynth as vs

from tests.helpers.clips import core, moving
from tests.helpers.frames import digests, planes_of

BARE = {"spatial_threshold": 0, "temporal_threshold": 0, "dedup": 0, "gate": 0}
"""Nothing that would treat a picture's directions differently, or frames together."""
WAYS = [
    pytest.param("Restore", {"task": "deblock"}, id="restore"),
    pytest.param("Upscale", {}, id="upscale"),
    pytest.param("Upscale", {"task": "destream"}, id="one-pass"),
]


def luma(clip: vs.VideoNode) -> np.ndarray:
    return planes_of(clip.get_frame(2))[0]


@pytest.mark.parametrize(("function", "arguments"), WAYS)
def test_is_the_mean_over_mirror_images(function: str, arguments: dict[str, Any]) -> None:
    """A gray clip, whose chroma has no site to mirror, of 40 + 8 samples each way, which fill whole tiles."""
    clip = moving(vs.GRAYS, width=88, height=40, length=5)
    make = getattr(core.animup, function)

    def run(source: vs.VideoNode, **more: Any) -> vs.VideoNode:
        return make(source, **arguments, **BARE, **more)

    sides = [
        luma(run(clip)),
        luma(run(clip.std.FlipVertical()).std.FlipVertical()),
        luma(run(clip.std.FlipHorizontal()).std.FlipHorizontal()),
        luma(run(clip.std.Turn180()).std.Turn180()),
    ]
    assert len({side.tobytes() for side in sides}) == 4, "networks see directions"
    np.testing.assert_allclose(luma(run(clip, tta=1)), np.mean(sides, axis=0), atol=1e-6)


@pytest.mark.parametrize(("function", "arguments"), WAYS)
def test_works_with_tiles_and_colour(function: str, arguments: dict[str, Any]) -> None:
    clip = moving(length=3, width=192, height=128)
    make = getattr(core.animup, function)
    once = digests(make(clip, tta=1, tilesize=[96], **arguments))
    assert once == digests(make(clip, tta=1, tilesize=[96], num_streams=1, **arguments))
    whole = planes_of(make(clip, tta=1, **arguments).get_frame(1))
    for found, plain in zip(whole, planes_of(make(clip, **arguments).get_frame(1)), strict=True):
        assert 0 < np.abs(found.astype(float) - plain).mean() < 4


@pytest.mark.parametrize("value", [-1, 2])
@pytest.mark.parametrize("function", ["Restore", "Upscale"])
def test_wrong_argument(function: str, value: int) -> None:
    with pytest.raises(vs.Error, match=rf"{function}: tta must be 0 \(off\) or 1 \(on\), got {value}"):
        getattr(core.animup, function)(moving(length=1), tta=value)
