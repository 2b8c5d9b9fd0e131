"""Restoring and enlarging in one pass: ``Upscale(task=…)``."""

import numpy as np
import pytest
import vapoursynth as vs

from tests.helpers.clips import core, disc, inked, moving
from tests.helpers.frames import digest, digests, planes_of
from vsanimup.networks.find import find

pytestmark = pytest.mark.weights


def error(a, b):
    """Mean squared difference of luma."""
    return float(np.square(planes_of(a)[0].astype(float) - planes_of(b)[0]).mean())


def test_it_restores_and_doubles():
    clean, noisy = inked(), inked(noise=0.05)
    wanted = core.animup.Upscale(clean).get_frame(2)
    one = core.animup.Upscale(noisy, task="denoise", dedup=0).get_frame(2)
    assert (one.width, one.height) == (384, 192) and one.props["AnimupMix"] == "denoise"
    plain, other = (core.animup.Upscale(noisy, dedup=0, **more).get_frame(2) for more in ({}, {"task": "deband"}))
    assert error(one, wanted) < 0.75 * error(plain, wanted)
    assert error(one, wanted) < error(other, wanted)


def test_words_do_as_well():
    clip = moving(length=3)
    spoken = core.animup.Upscale(clip, prompt="remove the blocking and a bit of noise").get_frame(1)
    named = core.animup.Upscale(clip, task="deblock+0.5*denoise").get_frame(1)
    assert digest(spoken) == digest(named) and spoken.props["AnimupMix"] == "deblock+0.5*denoise"


def test_what_is_clean_is_enlarged_as_without_a_task():
    clip = disc()
    result = core.animup.Upscale(clip, task="auto")
    assert result.get_frame(2).props["AnimupMix"] == ""
    assert digests(result) == digests(core.animup.Upscale(clip))


def test_what_is_noisy_is_not():
    clip = moving(width=320, height=192, length=6, noise=0.04)
    result = core.animup.Upscale(clip, task="auto").get_frame(2)
    mix = result.props["AnimupMix"]
    assert "denoise" in mix
    assert digest(result) == digest(core.animup.Upscale(clip, task=mix).get_frame(2))


@pytest.mark.parametrize("arguments", [{"task": "auto"}, {"task": "destream", "precision": "fp32"}])
def test_random_access(arguments):
    clip = moving(length=30, cut=17)
    linear = digests(core.animup.Upscale(clip, **arguments))
    result = core.animup.Upscale(clip, **arguments)
    for n in (29, 3, 17, 16, 0):
        assert digest(result.get_frame(n)) == linear[n]


@pytest.mark.parametrize("scale", [3, 4])
def test_other_scales(scale):
    wanted = core.animup.Upscale(inked(length=2), scale=scale).get_frame(1)
    noisy = inked(length=2, noise=0.05)
    one, plain = (core.animup.Upscale(noisy, scale=scale, **more).get_frame(1) for more in ({"task": "denoise"}, {}))
    assert (one.width, one.height) == (192 * scale, 96 * scale)
    assert error(one, wanted) < 0.9 * error(plain, wanted)


@pytest.mark.parametrize("format", [vs.YUV444P16, vs.GRAY8, vs.RGB24])
def test_other_formats(format):
    matrix = {"matrix_in_s": "709"} if format == vs.RGB24 else {}
    clip = moving(length=2).resize.Bicubic(format=format, **matrix)
    frame = core.animup.Upscale(clip, task="deblock").get_frame(1)
    assert frame.format.id == format and (frame.width, frame.height) == (192, 128)


def test_integers_draw_the_picture_that_floats_draw():
    clip = inked(noise=0.02)
    rough, fine = (
        planes_of(core.animup.Upscale(clip, task="destream", precision=precision).get_frame(2))
        for precision in ("int8", "fp32")
    )
    for a, b in zip(rough, fine, strict=True):
        off = np.abs(a.astype(float) - b)
        assert off.mean() < 0.6 and off.max() < 24


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"task": "cook"}, "Upscale: task must be one of deblock.*'cook'"),
        ({"task": "deblock", "prompt": "noise"}, "task or prompt, not both"),
        ({"prompt": "xyzzy plugh"}, "Upscale: prompt 'xyzzy plugh' is unclear"),
        (
            {"task": "deblock", "model": "lite-upscale"},
            "task='deblock': model='lite-upscale' enlarges alone; use Restore",
        ),
        ({"prompt": "noise", "model": "lite-upscale"}, "prompt='noise': model='lite-upscale' enlarges alone"),
        ({"task": "deblock", "strength": 0.5}, "strength=0.5 goes with AnimateLCM"),
        ({"task": "deblock", "model": "lite-restore"}, "restores, but this filter needs one that enlarges by 2"),
    ],
)
def test_what_cannot_be_done_is_refused(arguments, words):
    with pytest.raises(vs.Error, match=words):
        core.animup.Upscale(moving(length=2), **arguments)


def test_the_model_named_is_the_model_of_a_task():
    clip = moving(length=2)
    named = core.animup.Upscale(clip, model="lite-one-pass", task="deblur").get_frame(1)
    assert digest(named) == digest(core.animup.Upscale(clip, task="deblur").get_frame(1))
    assert find("lite-one-pass").model.radius == 2
