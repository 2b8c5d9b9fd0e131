"""What tasks and diagnosis do to pictures."""

import numpy as np
import pytest

from tests.helpers.clips import core, disc, inked, moving
from tests.helpers.frames import digest, digests, planes_of

pytestmark = pytest.mark.weights


def test_each_task_mends_its_own_fault_better_than_another() -> None:
    clean = moving(width=192, height=96, length=5, noise=0.0)
    noisy = moving(width=192, height=96, length=5, noise=0.06)

    def error(task: str) -> float:
        after = core.animup.Restore(noisy, task=task, dedup=0).get_frame(2)
        difference = planes_of(after)[0].astype(float) - planes_of(clean.get_frame(2))[0]
        return float(np.square(difference).mean())

    before = np.square(planes_of(noisy.get_frame(2))[0].astype(float) - planes_of(clean.get_frame(2))[0]).mean()
    assert error("denoise") < 0.7 * before
    assert error("denoise") < min(error("deband"), error("deblur"))


def test_what_is_clean_comes_through_untouched() -> None:
    clip = disc()
    restored = core.animup.Restore(clip)
    assert restored.get_frame(2).props["AnimupMix"] == ""
    assert digests(restored) == digests(clip)


def test_what_is_noisy_does_not() -> None:
    clip = moving(width=320, height=192, length=6, noise=0.04)
    restored = core.animup.Restore(clip)
    assert "denoise" in restored.get_frame(2).props["AnimupMix"]
    assert digest(restored.get_frame(2)) != digest(clip.get_frame(2))


@pytest.mark.parametrize("function", ["Restore", "Upscale"])
def test_integers_draw_the_picture_that_floats_draw(function: str) -> None:
    clip = inked(noise=0.02)
    arguments = {"task": "deblock+0.5*denoise"} if function == "Restore" else {}
    filters = getattr(core.animup, function)
    rough, fine = (
        planes_of(filters(clip, precision=precision, **arguments).get_frame(2)) for precision in ("int8", "fp32")
    )
    for a, b in zip(rough, fine, strict=True):
        off = np.abs(a.astype(float) - b)
        assert off.mean() < 1 and off.max() < 12
    default, same = (filters(clip, **arguments | more).get_frame(2) for more in ({}, {"precision": "int8"}))
    assert digest(default) == digest(same)
