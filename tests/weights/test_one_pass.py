"""What restoring and enlarging in one pass does to pictures."""

import numpy as np
import pytest
import vapoursynth as vs

from tests.helpers.clips import core, disc, inked, moving
from tests.helpers.frames import digest, digests, planes_of

pytestmark = pytest.mark.weights


def error(a: vs.VideoFrame, b: vs.VideoFrame) -> float:
    """Mean squared difference of luma."""
    return float(np.square(planes_of(a)[0].astype(float) - planes_of(b)[0]).mean())


def test_it_restores_and_doubles() -> None:
    clean, noisy = inked(), inked(noise=0.05)
    wanted = core.animup.Upscale(clean).get_frame(2)
    one = core.animup.Upscale(noisy, task="denoise", dedup=0).get_frame(2)
    assert (one.width, one.height) == (384, 192) and one.props["AnimupMix"] == "denoise"
    plain, other = (core.animup.Upscale(noisy, dedup=0, **more).get_frame(2) for more in ({}, {"task": "deband"}))
    assert error(one, wanted) < 0.75 * error(plain, wanted)
    assert error(one, wanted) < error(other, wanted)


def test_what_is_clean_is_enlarged_as_without_a_task() -> None:
    clip = disc()
    result = core.animup.Upscale(clip, task="auto")
    assert result.get_frame(2).props["AnimupMix"] == ""
    assert digests(result) == digests(core.animup.Upscale(clip))


def test_what_is_noisy_is_not() -> None:
    clip = moving(width=320, height=192, length=6, noise=0.04)
    result = core.animup.Upscale(clip, task="auto").get_frame(2)
    mix = result.props["AnimupMix"]
    assert "denoise" in mix
    assert digest(result) == digest(core.animup.Upscale(clip, task=mix).get_frame(2))


@pytest.mark.parametrize("scale", [3, 4])
def test_other_scales(scale: int) -> None:
    wanted = core.animup.Upscale(inked(length=2), scale=scale).get_frame(1)
    noisy = inked(length=2, noise=0.05)
    one, plain = (core.animup.Upscale(noisy, scale=scale, **more).get_frame(1) for more in ({"task": "denoise"}, {}))
    assert (one.width, one.height) == (192 * scale, 96 * scale)
    assert error(one, wanted) < 0.9 * error(plain, wanted)


def test_integers_draw_the_picture_that_floats_draw() -> None:
    clip = inked(noise=0.02)
    rough, fine = (
        planes_of(core.animup.Upscale(clip, task="destream", precision=precision).get_frame(2))
        for precision in ("int8", "fp32")
    )
    for a, b in zip(rough, fine, strict=True):
        off = np.abs(a.astype(float) - b)
        assert off.mean() < 0.6 and off.max() < 24
